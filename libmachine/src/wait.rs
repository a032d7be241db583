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

/// Waits until the machine that has this name now, if only in another case, is no more: its leader has ended, or its record is
/// gone. Where there is none that is at once.
///
/// # Errors
/// Those of [`wait_for_machine`].
pub fn wait_for_end(name: &MachineName, deadline: Option<u64>) -> Result<(), Errno> {
    let mut monitor = watching(&spelled(name)?)?;
    let mut awaited = Awaited::default();
    loop {
        while let Some(event) = monitor.next_event()? {
            if awaited.is_gone_by(event.change, event.incarnation) {
                return Ok(());
            }
        }
        wait_for(monitor.descriptor(), deadline)?;
    }
}

/// The machine whose end is waited for.
#[derive(Default)]
struct Awaited {
    /// Its incarnation; 0 where its record has none.
    incarnation: Option<u64>,
    is_there: bool,
}

impl Awaited {
    /// Whether it is gone, by what has happened to machines of its name.
    fn is_gone_by(&mut self, change: Change, incarnation: Option<u64>) -> bool {
        match change {
            Change::Present => {
                self.is_there = true;
                // After an overflow it may be another one, and the end of the first was lost.
                let first = *self.incarnation.get_or_insert(incarnation.unwrap_or_default());
                first != 0 && incarnation.is_some_and(|incarnation| incarnation != first)
            }
            Change::Removed => true,
            Change::Overflow => {
                self.is_there = false;
                false
            }
            Change::Listed => !self.is_there,
            _ => false,
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_successor_that_an_overflow_hid_is_not_waited_for() {
        let after_an_overflow = |before, after| {
            let mut awaited = Awaited::default();
            assert!(!awaited.is_gone_by(Change::Present, before));
            assert!(!awaited.is_gone_by(Change::Listed, None));
            assert!(!awaited.is_gone_by(Change::Changed, before));
            assert!(!awaited.is_gone_by(Change::Overflow, None));
            awaited.is_gone_by(Change::Present, after)
        };
        assert!(after_an_overflow(Some(7), Some(8)));
        assert!(!after_an_overflow(Some(7), Some(7)));
        // A record without an incarnation does not tell.
        assert!(!after_an_overflow(None, None));
        assert!(!after_an_overflow(Some(7), None));
    }

    #[test]
    fn who_is_not_listed_is_gone() {
        let mut awaited = Awaited::default();
        assert!(awaited.is_gone_by(Change::Listed, None));
        awaited.is_gone_by(Change::Present, Some(7));
        awaited.is_gone_by(Change::Overflow, None);
        assert!(awaited.is_gone_by(Change::Listed, None));
        assert!(Awaited::default().is_gone_by(Change::Removed, None));
    }
}
