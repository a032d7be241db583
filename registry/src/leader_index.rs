//! The leader index: which machine does this process lead?
//!
//! `/run/machined/leaders/PID` is a symlink to the name of the machine, PID being the id of the leader in the daemon's PID
//! namespace, for machines that have neither a unit nor a control group: who descends from the leader belongs to them.
//! `/run/machined/leaders/only-PID` is one for machines whose group leads to none of their processes: they share it with
//! others, or are a user's alone and have it outside of that user's slice. All other machines are found by their groups and units. The
//! index is a hint: the record of the machine it names has to have this `LEADER=`, in the reader's own PID namespace.

use crate::decimal::Decimal;
use crate::path::{LEADER_DIRECTORY, Path, entry_path};

/// How many parents of a process are looked at for one that leads a machine. Each costs some 30 microseconds, and anybody can make a
/// long row of them.
pub const ANCESTORS_MAX: usize = 256;

/// The path of a leader's link.
pub fn leader_link(pid: u32) -> Path {
    entry_path(LEADER_DIRECTORY, Decimal::new(pid).as_bytes())
}

/// The path of the link of a leader of which nobody else is known to belong to the machine.
pub fn leader_only_link(pid: u32) -> Path {
    let mut link = entry_path(LEADER_DIRECTORY, b"only-");
    link.push(Decimal::new(pid).as_bytes());
    link
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_link_is_named_by_the_process_id() {
        assert_eq!(leader_link(4711).as_c_str(), c"/run/machined/leaders/4711");
        assert_eq!(leader_only_link(4711).as_c_str(), c"/run/machined/leaders/only-4711");
    }
}
