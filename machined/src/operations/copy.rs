//! Copies between the host and containers.

use images::Progress;
use registry::Class;
use rustix::io::Errno;

use super::metadata::uid_shift;
use super::services::Operations;
use super::target::Target;
use crate::authorization::{Authorized, Copy as MayCopy};
use crate::error::Error;
use crate::inside::{Copy, Direction, Ongoing};
use crate::machines::Key;

/// What is to be copied.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Copying {
    /// From where to where.
    pub direction: Direction,
    /// What, with its absolute path.
    pub source: String,
    /// What it is to be, likewise.
    pub destination: String,
    /// Whether files that are there already are replaced.
    pub replaces: bool,
}

impl Operations {
    /// Whether something can be copied at all, before anybody is asked who may.
    ///
    /// # Errors
    /// [`Error::TooManyCopies`]. [`Error::NotSupported`]: it is no container.
    pub fn may_copy(&self, target: Target) -> Result<(), Error> {
        if !self.inside.may_copy() {
            return Err(Error::TooManyCopies);
        }
        let Target::Machine(key) = target else { return Err(Error::NotSupported) };
        match self.record(key).ok_or(Error::NoSuchMachine)?.class {
            Class::Container => Ok(()),
            _ => Err(Error::NotSupported),
        }
    }

    /// The copies that go on, by their numbers.
    pub fn copies(&self, _: &Authorized<MayCopy>) -> Vec<(u64, Ongoing)> {
        self.inside.ongoing_copies()
    }

    /// The machine that a copy of this number is for.
    pub fn machine_of_copy(&self, id: u64) -> Option<Key> {
        let ongoing = self.inside.ongoing_copies();
        ongoing.into_iter().find(|(number, _)| *number == id).map(|(_, ongoing)| ongoing.key)
    }

    /// Ends a copy; `false` if it does not go on.
    pub fn cancel_copy(&self, _: &Authorized<MayCopy>, id: u64) -> bool {
        self.inside.cancel_copy(id)
    }

    /// Copies something into a container or out of it, and says its number and how far it is, of how much if that is `counted`. Everything
    /// keeps its owner; where the container has a user namespace, all belongs to its root there, and to the host's here. The
    /// copy ends with the machine, and when this is given up.
    ///
    /// # Errors
    /// [`Error::TooManyCopies`]. [`Error::NotSupported`]: it is no container. [`Error::Copy`]: what failed first, and at
    /// which file; `ENXIO`: the ids of the container are mapped in an odd way.
    pub async fn copy(
        &self,
        _: &Authorized<MayCopy>,
        target: Target,
        copying: Copying,
        counted: bool,
        each: impl FnMut(u64, Progress),
    ) -> Result<(), Error> {
        self.may_copy(target)?;
        let Target::Machine(key) = target else { return Err(Error::NotSupported) };
        let record = self.record(key).ok_or(Error::NoSuchMachine)?;
        let failed = |errno| Error::Copy { errno, path: None };
        let shift = uid_shift(&record).map_err(|_| failed(Errno::NXIO))?;
        let owner = match copying.direction {
            _ if shift == 0 => None,
            Direction::Into => Some(shift),
            Direction::OutOf => Some(0),
        };
        let Copying { direction, source, destination, replaces } = copying;
        let copy = Copy { direction, source, destination, replaces, owner, counts: counted };
        let guest = self.guest(key)?;
        let done = self.inside.copy(&record.name.to_string(), &guest, copy, each).await;
        done.map_err(|error| Error::Copy { errno: error.errno, path: error.path })
    }
}
