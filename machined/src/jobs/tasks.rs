//! What goes on: so much of a kind at a time, each with a number by which it can be ended.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use rustix::io::Errno;
use tokio::sync::Notify;

/// The tasks of a kind that go on.
#[derive(Debug)]
pub struct Tasks<T>(Rc<RefCell<State<T>>>);

#[derive(Debug)]
struct State<T> {
    most: usize,
    last: u64,
    ongoing: BTreeMap<u64, (T, Rc<Notify>)>,
}

/// The place of one of them; it is free when this is dropped.
#[derive(Debug)]
pub struct Place<T> {
    tasks: Rc<RefCell<State<T>>>,
    /// The number of the task, never used twice.
    pub id: u64,
    cancelled: Rc<Notify>,
}

impl<T: Clone> Tasks<T> {
    /// So many at a time.
    pub fn new(most: usize) -> Self {
        Self(Rc::new(RefCell::new(State { most, last: 0, ongoing: BTreeMap::new() })))
    }

    /// Whether one more may begin.
    pub fn has_room(&self) -> bool {
        let state = self.0.borrow();
        state.ongoing.len() < state.most
    }

    /// Begins one.
    ///
    /// # Errors
    /// `EBUSY`: there are too many.
    pub fn begin(&self, task: T) -> Result<Place<T>, Errno> {
        if !self.has_room() {
            return Err(Errno::BUSY);
        }
        let mut state = self.0.borrow_mut();
        state.last = state.last.saturating_add(1);
        let (id, cancelled) = (state.last, Rc::new(Notify::new()));
        state.ongoing.insert(id, (task, cancelled.clone()));
        Ok(Place { tasks: self.0.clone(), id, cancelled })
    }

    /// Those that go on, by their numbers.
    pub fn list(&self) -> Vec<(u64, T)> {
        self.0.borrow().ongoing.iter().map(|(id, (task, _))| (*id, task.clone())).collect()
    }

    /// Ends one; `false` if it does not go on.
    pub fn cancel(&self, id: u64) -> bool {
        let state = self.0.borrow();
        let found = state.ongoing.get(&id);
        // Who does not wait for it yet will find it.
        found.inspect(|(_, cancelled)| cancelled.notify_one()).is_some()
    }
}

impl<T> Place<T> {
    /// Notes how far it is.
    pub fn note(&self, note: impl FnOnce(&mut T)) {
        if let Some((task, _)) = self.tasks.borrow_mut().ongoing.get_mut(&self.id) {
            note(task);
        }
    }

    /// Waits until it is to end.
    pub async fn cancelled(&self) {
        self.cancelled.notified().await;
    }
}

impl<T> Drop for Place<T> {
    fn drop(&mut self) {
        self.tasks.borrow_mut().ongoing.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_so_many_places_and_one_is_free_when_its_task_ends() {
        let tasks = Tasks::new(64);
        let mut held: Vec<_> = (0..64).map(|number| tasks.begin(number).unwrap()).collect();
        assert!(!tasks.has_room());
        assert_eq!(tasks.begin(64).unwrap_err(), Errno::BUSY);
        let ended = held.pop().unwrap().id;
        assert!(!tasks.cancel(ended));
        assert_ne!(tasks.begin(65).unwrap().id, ended);
    }

    #[test]
    fn one_that_is_cancelled_hears_of_it_even_before_it_waits() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let tasks = Tasks::new(1);
        let place = tasks.begin(1).unwrap();
        place.note(|task| *task += 1);
        assert_eq!(tasks.list(), [(place.id, 2)]);
        assert!(tasks.cancel(place.id));
        runtime.block_on(place.cancelled());
    }
}
