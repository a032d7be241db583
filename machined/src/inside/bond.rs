//! What ties the processes that go inside to the daemon.

use rustix::io::Errno;
use rustix::process::{
    DumpableBehavior, Pid, Signal, getppid, set_dumpable_behavior, set_parent_process_death_signal,
};

/// Lets a process end with its parent. To be told again after every change of credentials.
///
/// # Errors
/// `ESRCH`: the parent has ended already.
pub(super) fn be_bound_to(parent: Pid) -> Result<(), Errno> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // Nobody looks into it, and nobody lets it say what it does not.
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    if getppid() == Some(parent) { Ok(()) } else { Err(Errno::SRCH) }
}
