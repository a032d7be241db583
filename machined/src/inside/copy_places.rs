//! How many copies there are at a time.

use std::cell::Cell;
use std::rc::Rc;

use rustix::io::Errno;

/// How many, in all.
const COPIES: usize = 64;

/// The copies that go on.
#[derive(Clone, Debug, Default)]
pub(super) struct Copies(Rc<Cell<usize>>);

/// One of them.
#[derive(Debug)]
pub(super) struct Place(Copies);

impl Copies {
    /// Whether one more may begin.
    pub(super) fn has_room(&self) -> bool {
        self.0.get() < COPIES
    }

    /// Begins one.
    ///
    /// # Errors
    /// `EBUSY`: there are too many.
    pub(super) fn begin(&self) -> Result<Place, Errno> {
        if !self.has_room() {
            return Err(Errno::BUSY);
        }
        self.0.set(self.0.get().saturating_add(1));
        Ok(Place(self.clone()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.0.set(self.0.0.get().saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_64_places_and_one_is_free_when_its_copy_ends() {
        let copies = Copies::default();
        let mut held: Vec<_> = (0..64).map(|_| copies.begin().unwrap()).collect();
        assert!(!copies.has_room());
        assert_eq!(copies.begin().unwrap_err(), Errno::BUSY);
        held.pop();
        copies.begin().unwrap();
    }
}
