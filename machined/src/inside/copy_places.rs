//! The copies that go on: so many at a time, each with a number by which it can be ended.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use rustix::io::Errno;
use tokio::sync::Notify;

use super::progress::Progress;
use super::request::Direction;
use crate::machines::Key;

/// How many, in all.
const COPIES: usize = 64;

/// A copy that goes on.
#[derive(Clone, Debug)]
pub struct Ongoing {
    /// Of which machine.
    pub key: Key,
    /// Its name.
    pub machine: String,
    /// From where to where.
    pub direction: Direction,
    /// What is copied.
    pub source: String,
    /// What it is to be.
    pub destination: String,
    /// How far it is.
    pub progress: Progress,
}

/// The copies that go on.
#[derive(Clone, Debug, Default)]
pub(super) struct Copies(Rc<RefCell<State>>);

#[derive(Debug, Default)]
struct State {
    last: u64,
    ongoing: BTreeMap<u64, (Ongoing, Rc<Notify>)>,
}

/// The place of one of them; it is free when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    copies: Copies,
    pub id: u64,
    cancelled: Rc<Notify>,
}

impl Copies {
    /// Whether one more may begin.
    pub(super) fn has_room(&self) -> bool {
        self.0.borrow().ongoing.len() < COPIES
    }

    /// Begins one.
    ///
    /// # Errors
    /// `EBUSY`: there are too many.
    pub(super) fn begin(&self, ongoing: Ongoing) -> Result<Place, Errno> {
        if !self.has_room() {
            return Err(Errno::BUSY);
        }
        let mut state = self.0.borrow_mut();
        state.last = state.last.saturating_add(1);
        let (id, cancelled) = (state.last, Rc::new(Notify::new()));
        state.ongoing.insert(id, (ongoing, cancelled.clone()));
        Ok(Place { copies: self.clone(), id, cancelled })
    }

    /// Those that go on, by their numbers.
    pub(super) fn list(&self) -> Vec<(u64, Ongoing)> {
        self.0.borrow().ongoing.iter().map(|(id, (ongoing, _))| (*id, ongoing.clone())).collect()
    }

    /// Ends one; `false` if it does not go on.
    pub(super) fn cancel(&self, id: u64) -> bool {
        let state = self.0.borrow();
        let found = state.ongoing.get(&id);
        // Who does not wait for it yet will find it.
        found.inspect(|(_, cancelled)| cancelled.notify_one()).is_some()
    }
}

impl Place {
    /// Notes how far it is.
    pub(super) fn note(&self, progress: Progress) {
        if let Some((ongoing, _)) = self.copies.0.borrow_mut().ongoing.get_mut(&self.id) {
            ongoing.progress = progress;
        }
    }

    /// Waits until it is to end.
    pub(super) async fn cancelled(&self) {
        self.cancelled.notified().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.copies.0.borrow_mut().ongoing.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ongoing() -> Ongoing {
        Ongoing {
            key: Key::of_number(1),
            machine: "web".to_owned(),
            direction: Direction::Into,
            source: "/a".to_owned(),
            destination: "/b".to_owned(),
            progress: Progress::default(),
        }
    }

    #[test]
    fn there_are_64_places_and_one_is_free_when_its_copy_ends() {
        let copies = Copies::default();
        let mut held: Vec<_> = (0..64).map(|_| copies.begin(ongoing()).unwrap()).collect();
        assert!(!copies.has_room());
        assert_eq!(copies.begin(ongoing()).unwrap_err(), Errno::BUSY);
        let ended = held.pop().unwrap().id;
        assert!(!copies.cancel(ended));
        assert_ne!(copies.begin(ongoing()).unwrap().id, ended);
    }

    #[test]
    fn one_that_is_cancelled_hears_of_it_even_before_it_waits() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let copies = Copies::default();
        let place = copies.begin(ongoing()).unwrap();
        place.note(Progress { bytes: 1, files: 2, total: None });
        assert_eq!(copies.list().first().map(|(id, copy)| (*id, copy.progress.files)), Some((place.id, 2)));
        assert!(copies.cancel(place.id));
        runtime.block_on(place.cancelled());
    }
}
