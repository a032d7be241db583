//! Which places of a list hold a process id.

use crate::buffer::Buffer;
use crate::errno::Errno;

/// The places of each process id of a list: a hash table with open addressing, and a chain for ids that occur twice.
#[derive(Debug)]
pub struct PidTable {
    pids: Buffer<i32>,
    /// A place plus one, or 0; a power of two of them, at least twice as many as there are ids.
    slots: Buffer<usize>,
    /// For each place the next one with the same id, plus one.
    next: Buffer<usize>,
}

impl PidTable {
    /// The places of these ids. Those that are not positive have none.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn of(pids: &[i32]) -> Result<Self, Errno> {
        let size =
            pids.len().checked_mul(2).and_then(usize::checked_next_power_of_two).ok_or(Errno::NOMEM)?;
        let mut table = Self { pids: Buffer::new(), slots: Buffer::new(), next: Buffer::new() };
        table.pids.extend(pids)?;
        table.slots.fill(0, size)?;
        table.next.fill(0, pids.len())?;
        let mut place = 0_usize;
        for &pid in pids {
            let found = table.slot_of(pid);
            if let Some(slot) = table.slots.get_mut(found).filter(|_| pid > 0) {
                let first = core::mem::replace(slot, place.wrapping_add(1));
                if let Some(next) = table.next.get_mut(place) {
                    *next = first;
                }
            }
            place = place.wrapping_add(1);
        }
        Ok(table)
    }

    /// The slot that has an id, or the free one where it belongs.
    fn slot_of(&self, pid: i32) -> usize {
        let mask = self.slots.len().wrapping_sub(1);
        // Ids are dense: their low bits spread best.
        let mut slot = usize::try_from(pid).unwrap_or_default() & mask;
        while let Some(place) = self.slots.get(slot).and_then(|place| place.checked_sub(1)) {
            if self.pids.get(place) == Some(&pid) {
                break;
            }
            slot = slot.wrapping_add(1) & mask;
        }
        slot
    }

    /// The places of an id.
    pub fn places(&self, pid: i32) -> impl Iterator<Item = usize> {
        let slot = if pid > 0 { self.slots.get(self.slot_of(pid)) } else { None };
        let mut at = slot.copied().unwrap_or_default();
        core::iter::from_fn(move || {
            let place = at.checked_sub(1)?;
            at = self.next.get(place).copied().unwrap_or_default();
            Some(place)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn all_places_of_an_id_are_found() {
        let pids: Vec<i32> = (0..1000).map(|number| number * 7 % 300 - 5).collect();
        let table = PidTable::of(&pids).unwrap();
        for pid in -10..310 {
            let mut found: Vec<usize> = table.places(pid).collect();
            found.sort_unstable();
            let expected: Vec<usize> =
                (0..pids.len()).filter(|&place| pid > 0 && pids[place] == pid).collect();
            assert_eq!(found, expected, "{pid}");
        }
        assert_eq!(PidTable::of(&[]).unwrap().places(1).count(), 0);
    }
}
