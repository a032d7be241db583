//! What the journal is told of machines, by the ids of systemd's catalogue.

use registry::{MachineName, Record};
use tracing::info;

const MACHINE_START: &str = "24d8d4452573402496068381a6312df2";
const MACHINE_STOP: &str = "58432bd3bace477cb514b56381b8a758";

/// A machine, as far as the journal is told of it.
#[derive(Clone, Copy, Debug)]
pub struct Note {
    name: MachineName,
    leader: i32,
}

impl Note {
    /// Of this one.
    pub fn of(record: &Record) -> Self {
        Self { name: record.name, leader: record.leader.map_or(0, |leader| leader.pid) }
    }

    /// It was taken in.
    pub fn started(self) {
        let Self { name, leader } = self;
        info!(message_id = MACHINE_START, name = %name, leader, "New machine {name}.");
    }

    /// It is gone.
    pub fn stopped(self) {
        let Self { name, leader } = self;
        info!(message_id = MACHINE_STOP, name = %name, leader, "Machine {name} terminated.");
    }
}
