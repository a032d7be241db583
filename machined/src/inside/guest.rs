//! A machine as something that can be gone into.

use std::rc::Rc;

use libmachine::ProcessHandle;

use crate::jobs::Party;
use crate::machines::Key;

/// The machine that something is done in.
#[derive(Clone, Debug)]
pub struct Guest {
    /// Which one it is.
    pub key: Key,
    /// The user who registered it, if that is known.
    pub owner: Option<u32>,
    /// Its leader.
    pub leader: Rc<ProcessHandle>,
}

impl Guest {
    /// On whose behalf something is done in it.
    pub(super) fn party(&self) -> Party {
        Party::machine(self.key, self.owner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Guest {
        /// This process, as a machine of this number.
        pub fn for_tests(number: u64) -> Self {
            Self::of(std::process::id(), number)
        }

        /// A process, likewise.
        pub fn of(pid: u32, number: u64) -> Self {
            let leader = Rc::new(ProcessHandle::open(i32::try_from(pid).unwrap()).unwrap());
            Self { key: Key::of_number(number), owner: None, leader }
        }
    }
}
