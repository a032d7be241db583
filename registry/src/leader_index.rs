//! The leader index: which machine does this process lead?
//!
//! `/run/machined/leaders/PID` is a symlink to the name of the machine, PID being the id of the leader in the daemon's PID
//! namespace. Only machines that have neither a unit nor a control group are in it: all others are found by those. The
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_link_is_named_by_the_process_id() {
        assert_eq!(leader_link(4711).as_c_str(), c"/run/machined/leaders/4711");
    }
}
