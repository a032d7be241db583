//! The host itself, which clients see as a machine of the name `.host`.

use libmachine::ProcessHandle;
use registry::{MachineId, Process};
use rustix::time::{ClockId, clock_gettime};

/// What clients are told of it.
#[derive(Debug)]
pub struct Host {
    /// Its machine id.
    pub id: Option<MachineId>,
    /// Process 1.
    pub leader: Option<Process>,
    /// The unit that everything is in; `None` without systemd.
    pub unit: Option<&'static str>,
    /// When it was booted, microseconds of CLOCK_REALTIME.
    pub realtime: Option<u64>,
    /// Its AF_VSOCK context id, `VMADDR_CID_LOCAL`.
    pub vsock_cid: Option<u32>,
}

impl Host {
    /// Its class.
    pub const CLASS: &'static str = "host";
    /// Its root directory.
    pub const ROOT: &'static str = "/";

    /// Looks at it.
    pub fn look(has_systemd: bool) -> Self {
        let id = std::fs::read_to_string("/etc/machine-id").ok();
        Self {
            id: id.and_then(|id| MachineId::parse(id.trim().as_bytes())).flatten(),
            leader: ProcessHandle::open(1).ok().map(|init| init.identity()),
            unit: has_systemd.then_some("-.slice"),
            realtime: boot_time(),
            vsock_cid: std::path::Path::new("/dev/vsock").exists().then_some(1),
        }
    }
}

/// When the host was booted, microseconds of the real-time clock.
fn boot_time() -> Option<u64> {
    let microseconds = |clock| {
        let now = clock_gettime(clock);
        u64::try_from(now.tv_sec)
            .ok()?
            .checked_mul(1_000_000)?
            .checked_add(u64::try_from(now.tv_nsec).ok()? / 1000)
    };
    microseconds(ClockId::Realtime)?.checked_sub(microseconds(ClockId::Boottime)?)
}
