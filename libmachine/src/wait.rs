//! Waiting for one machine to appear or to end.

use registry::MachineName;

use crate::errno::Errno;
use crate::event::{Change, MonitorOptions};
use crate::monitor::Monitor;
use crate::snapshot::Snapshot;
use crate::system::wait_for;

/// Waits until there is a machine of this name whose leader may be alive, and returns it. One that is there already may have
/// the name in another case, as for [`Snapshot::in_any_case`]. The deadline is a time of `CLOCK_MONOTONIC` in microseconds;
/// without one there is none.
///
/// # Errors
/// `ETIMEDOUT`: the deadline is over. `EINTR`: a signal was handled; the same call goes on waiting.
pub fn wait_for_machine(name: &MachineName, deadline: Option<u64>) -> Result<Snapshot, Errno> {
    let mut monitor = watching(&spelled(name)?)?;
    loop {
        while let Some(event) = monitor.next_event()? {
            if matches!(event.change, Change::Present | Change::New | Change::Changed)
                && let Some(machine) = event.machine.filter(Snapshot::is_alive)
            {
                return Ok(machine);
            }
        }
        wait_for(monitor.descriptor(), deadline)?;
    }
}

/// Waits until the machine that has this name now, if only in another case, is no more: its leader has ended, or its record is gone. Where there is
/// none that is at once.
///
/// # Errors
/// Those of [`wait_for_machine`].
pub fn wait_for_end(name: &MachineName, deadline: Option<u64>) -> Result<(), Errno> {
    let mut monitor = watching(&spelled(name)?)?;
    let mut is_there = false;
    loop {
        while let Some(event) = monitor.next_event()? {
            match event.change {
                Change::Present => is_there = true,
                Change::Removed => return Ok(()),
                Change::Overflow => is_there = false,
                Change::Listed if !is_there => return Ok(()),
                _ => {}
            }
        }
        wait_for(monitor.descriptor(), deadline)?;
    }
}

/// The name as the machine that is there spells it.
fn spelled(name: &MachineName) -> Result<MachineName, Errno> {
    match Snapshot::in_any_case(name) {
        Ok(machine) => Ok(*machine.name()),
        Err(errno) if errno.is_shortage() => Err(errno),
        // None, or one that cannot be read: the monitor says which.
        Err(_) => Ok(*name),
    }
}

fn watching(name: &MachineName) -> Result<Monitor, Errno> {
    Monitor::with(MonitorOptions {
        list: true,
        wait_for_registry: true,
        watch_leaders: true,
        only: Some(*name),
    })
}
