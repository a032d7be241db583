//! What a monitor tells, and what it may be asked to tell.

use registry::MachineName;

use crate::snapshot::Snapshot;

/// What may become of a machine, and of the monitor.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[non_exhaustive]
pub enum Change {
    /// It was there when the monitor began.
    Present,
    /// All that were there have been told.
    Listed,
    /// It has come.
    New,
    /// It is there no longer.
    Removed,
    /// Its record was written anew.
    Changed,
    /// The kernel kept no more, and what happened since the last event is lost: all that is known has to be forgotten.
    Overflow,
}

/// What became of a machine.
#[derive(Debug)]
#[non_exhaustive]
pub struct Event {
    /// What it was.
    pub change: Change,
    /// Which machine; `None` of [`Change::Listed`] and [`Change::Overflow`].
    pub name: Option<MachineName>,
    /// Which of those of this name, see [`Snapshot::incarnation`]; `None` where its record does not tell, or there was none
    /// any more when it could be read.
    pub incarnation: Option<u64>,
    /// What its record said, of a machine that is there.
    pub machine: Option<Snapshot>,
}

/// What a monitor is to tell.
#[derive(Clone, Copy, Default, Debug)]
#[non_exhaustive]
pub struct MonitorOptions {
    /// Begin with the machines that are there, as [`Change::Present`], and then [`Change::Listed`].
    pub list: bool,
    /// Where there is no registry, wait for it; and again where it goes.
    pub wait_for_registry: bool,
    /// A machine goes when its leader does, whether a daemon takes its record away or not. Takes a descriptor for each.
    pub watch_leaders: bool,
    /// No other machine than that of this name.
    pub only: Option<MachineName>,
}

impl Event {
    /// What happened, without a record.
    pub(crate) const fn of(change: Change, name: Option<MachineName>, incarnation: Option<u64>) -> Self {
        Self { change, name, incarnation, machine: None }
    }
}
