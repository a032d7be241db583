//! The machines that a monitor knows of.

use core::ops::{Deref, DerefMut};

use registry::MachineName;

use crate::buffer::Buffer;
use crate::errno::Errno;
use crate::system::{Borrowed, Descriptor, add_to_poll, remove_from_poll};

/// A leader that a poll tells of. It is told to forget it, which closing alone would not do where a child of fork(2) has the
/// descriptor too.
#[derive(Debug)]
pub struct Watched {
    /// Its pidfd; `None` once it was given up.
    leader: Option<Descriptor>,
    /// The number of the poll, which lives longer.
    poll: i32,
}

impl Watched {
    /// Has a leader watched by a poll.
    ///
    /// # Errors
    /// Why it cannot be watched.
    pub fn new(leader: Descriptor, poll: Borrowed<'_>) -> Result<Self, Errno> {
        add_to_poll(poll, leader.borrow())?;
        Ok(Self { leader: Some(leader), poll: poll.number() })
    }

    /// Whether this is its descriptor.
    pub fn is(&self, number: i32) -> bool {
        self.leader.as_ref().is_some_and(|leader| leader.borrow().number() == number)
    }

    /// Closes the descriptor, and leaves the poll alone, which is another process's.
    pub fn give_up(&mut self) {
        self.leader = None;
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if let Some(leader) = &self.leader {
            remove_from_poll(self.poll, leader.borrow());
        }
    }
}

/// A machine.
#[derive(Debug)]
pub struct Known {
    /// Its name.
    pub name: MachineName,
    /// Which of those of this name.
    pub incarnation: Option<u64>,
    /// Its leader, while that is watched.
    pub leader: Option<Watched>,
    /// Whether it was told that it has gone, though its record is there still.
    pub is_over: bool,
}

/// Machines, sorted by their names.
#[derive(Debug, Default)]
pub struct Table(Buffer<Known>);

impl Table {
    /// Without machines.
    pub const fn new() -> Self {
        Self(Buffer::new())
    }

    /// Where the machine of a name is, or would be.
    pub fn place(&self, name: &MachineName) -> Result<usize, usize> {
        let (mut low, mut high) = (0, self.0.len());
        while low < high {
            let middle = low.midpoint(high);
            match self.0.get(middle).map(|known| known.name.cmp(name)) {
                Some(core::cmp::Ordering::Equal) => return Ok(middle),
                Some(core::cmp::Ordering::Less) => low = middle.wrapping_add(1),
                _ => high = middle,
            }
        }
        Err(low)
    }

    /// Takes in a machine, in the place of one of the same name.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn insert(&mut self, known: Known) -> Result<(), Errno> {
        match self.place(&known.name) {
            Ok(place) => {
                if let Some(slot) = self.0.get_mut(place) {
                    *slot = known;
                }
                Ok(())
            }
            Err(place) => self.0.insert(place, known),
        }
    }

    /// Takes out the machine at a place.
    pub fn remove(&mut self, place: usize) -> Option<Known> {
        self.0.remove(place)
    }

    /// Forgets all of them.
    pub fn clear(&mut self) {
        self.0 = Buffer::new();
    }
}

impl Deref for Table {
    type Target = [Known];
    fn deref(&self) -> &[Known] {
        &self.0
    }
}

impl DerefMut for Table {
    fn deref_mut(&mut self) -> &mut [Known] {
        &mut self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn machines_are_sorted_and_found() {
        let name = |text: &str| MachineName::new(text.as_bytes()).unwrap();
        // A linear congruential generator: the same names in every run.
        let mut seed = 1_u64;
        let mut table = Table::new();
        let mut expected = Vec::new();
        for _ in 0..300 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let name = name(&std::format!("m{}", seed >> 54));
            table.insert(Known { name, incarnation: None, leader: None, is_over: false }).unwrap();
            expected.push(name);
        }
        expected.sort();
        expected.dedup();
        assert_eq!(table.iter().map(|known| known.name).collect::<Vec<_>>(), expected);
        for (place, name) in expected.iter().enumerate() {
            assert_eq!(table.place(name), Ok(place));
        }
        assert_eq!(table.place(&name("a")), Err(0));
        assert_eq!(table.place(&name("z")), Err(expected.len()));
    }
}
