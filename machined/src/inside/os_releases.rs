//! What the operating systems inside containers say of themselves, os-release(5), as it was read lately.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use rustix::io::Errno;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::guest::Guest;
use super::reading::Reading;
use super::service::Inside;
use crate::machines::Key;
use crate::os_release::Fields;

/// How old an answer may be when it is given again.
pub const FRESH: Duration = Duration::from_secs(5);

type Answer = Result<Rc<Fields>, Errno>;

/// What was read lately, and what is being read.
pub struct OsReleases {
    files: Rc<Reading>,
    known: RefCell<HashMap<Key, (Instant, Rc<Fields>)>>,
    /// Told when there is something to be forgotten later.
    learned: Notify,
    /// What is being read, for whoever waits for it.
    reading: RefCell<HashMap<Key, watch::Receiver<Option<Answer>>>>,
    /// Who was asked for last.
    last: Cell<Option<Key>>,
}

impl OsReleases {
    /// By those who go inside.
    pub fn new(inside: Rc<Inside>) -> Rc<Self> {
        Rc::new(Self {
            files: Reading::new(inside),
            known: RefCell::default(),
            learned: Notify::new(),
            reading: RefCell::default(),
            last: Cell::default(),
        })
    }

    /// What the OS of a container says of itself; not older than [`FRESH`].
    ///
    /// # Errors
    /// As [`Reading::os_release`].
    pub async fn of_machine(self: &Rc<Self>, guest: Guest) -> Answer {
        let key = guest.key;
        if let Some(fields) = self.fresh(key) {
            return Ok(fields);
        }
        self.look_ahead(guest);
        let reading = self.reading.borrow().get(&key).cloned();
        let mut reading = reading.ok_or(Errno::SRCH)?;
        let answer = reading.wait_for(Option::is_some).await.map_err(|_| Errno::SRCH)?;
        answer.clone().ok_or(Errno::SRCH)?
    }

    /// Has the file of a machine read that is asked for, or will be soon.
    pub fn look_ahead(self: &Rc<Self>, guest: Guest) {
        let key = guest.key;
        if self.is_expected(key) {
            return;
        }
        let (answer, receiver) = watch::channel(None);
        self.reading.borrow_mut().insert(key, receiver);
        let (this, leader) = (self.clone(), guest.leader.clone());
        let read = self.files.os_release(guest);
        tokio::task::spawn_local(async move {
            let read = read.await.unwrap_or(Err(Errno::IO));
            // The number may have come to mean another process while the file was read.
            let read = if leader.has_exited() { Err(Errno::SRCH) } else { read };
            let read = read.map(|fields| this.intern(fields));
            // A machine that is gone meanwhile is not waited for, and not remembered.
            if this.reading.borrow_mut().remove(&key).is_some()
                && let Ok(fields) = &read
            {
                this.known.borrow_mut().insert(key, (Instant::now(), fields.clone()));
                this.learned.notify_one();
            }
            answer.send_replace(Some(read));
        });
    }

    /// Notes that a machine is asked for. Returns who was before.
    pub fn asked(&self, key: Key) -> Option<Key> {
        self.last.replace(Some(key))
    }

    /// Whether there is an answer for a machine, or will be one without another look.
    pub fn is_expected(&self, key: Key) -> bool {
        self.fresh(key).is_some() || self.reading.borrow().contains_key(&key)
    }

    fn fresh(&self, key: Key) -> Option<Rc<Fields>> {
        let known = self.known.borrow();
        known.get(&key).filter(|(read, _)| read.elapsed() < FRESH).map(|(_, fields)| fields.clone())
    }

    /// Forgets a machine.
    pub fn left(&self, key: Key) {
        self.known.borrow_mut().remove(&key);
        self.reading.borrow_mut().remove(&key);
    }

    /// Forgets what is not fresh any more, now and then. Nothing runs while nothing is known.
    pub async fn forget_old(&self) {
        loop {
            while self.known.borrow().is_empty() {
                self.learned.notified().await;
            }
            tokio::time::sleep(FRESH).await;
            let mut known = self.known.borrow_mut();
            known.retain(|_, (read, _)| read.elapsed() < FRESH);
            known.shrink_to_fit();
        }
    }

    /// Many containers run the same OS: what it says is kept once.
    fn intern(&self, fields: Fields) -> Rc<Fields> {
        // The same OS as the last few: a short look is enough.
        let known = self.known.borrow();
        let same =
            known.values().take(8).find(|(_, other)| **other == fields).map(|(_, other)| other.clone());
        same.unwrap_or_else(|| Rc::new(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_once_while_they_are_fresh() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let releases = OsReleases::new(Inside::for_tests());
            // Who asks while it is read waits for the same.
            let (one, two) = tokio::join!(
                releases.of_machine(Guest::for_tests(1)),
                releases.of_machine(Guest::for_tests(1))
            );
            let first = one.unwrap();
            assert!(Rc::ptr_eq(&first, &two.unwrap()));
            let again = releases.of_machine(Guest::for_tests(1)).await.unwrap();
            assert!(Rc::ptr_eq(&first, &again));
            let other = releases.of_machine(Guest::for_tests(2)).await.unwrap();
            assert!(Rc::ptr_eq(&first, &other), "the same OS is kept once");
            assert!(!first.is_empty() && releases.reading.borrow().is_empty());
            releases.left(Key::of_number(1));
            assert!(!releases.is_expected(Key::of_number(1)));
        });
    }
}
