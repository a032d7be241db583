//! From a process to its machine, exactly as sd_pid_get_machine_name(3): the unit that the process is in decides, by the
//! link `/run/systemd/machines/unit:UNIT`. The outermost unit counts, and nothing else: not the leader, not the parents.

use registry::{Decimal, parse_decimal};

use crate::buffer::Buffer;
use crate::errno::Errno;
use crate::group::{Group, below, unit_of};
use crate::registries::Registry;
use crate::system::{Borrowed, is_readable, open, process_of_pidfd, read, read_link, status};
use crate::zero_ended::ZeroEnded;

/// Links of units are seldom longer, in bytes: they name machines.
const TARGET: usize = 256;
const TARGET_MAX: usize = 4096;

/// The machine of a process, by its unit; of the caller for 0. What the link says is not checked.
///
/// # Errors
/// `ESRCH`: no such process. `ENXIO`: it is in no unit. `ENOENT`: no machine runs in its unit. `EUNATCH`: its group is
/// outside of the caller's cgroup namespace.
pub fn machine_of_pid(pid: u32) -> Result<Buffer<u8>, Errno> {
    let group = Group::of(pid)?;
    let root = group.root()?;
    let (unit, _) = unit_of(below(group.path(), &root)).ok_or(Errno::NXIO)?;
    machine_of_unit(Registry::SYSTEM, unit)
}

/// The machine of an open process. It is the same process afterwards as before.
///
/// # Errors
/// Those of [`machine_of_pid`], and those of [`pid_of`].
pub fn machine_of_pidfd(pidfd: Borrowed<'_>) -> Result<Buffer<u8>, Errno> {
    let name = machine_of_pid(pid_of(pidfd)?);
    // Its number may have become another's meanwhile, which then had the answer.
    pid_of(pidfd)?;
    name
}

/// The target of a unit's link in a registry.
pub(crate) fn machine_of_unit(registry: Registry, unit: &[u8]) -> Result<Buffer<u8>, Errno> {
    let directory = registry.directory();
    let path = ZeroEnded::<320>::new(&[directory.as_c_str().to_bytes(), b"/unit:", unit]);
    let mut short = [0; TARGET];
    let target = read_link(path.as_c_str(), &mut short)?;
    let mut name = Buffer::new();
    if target.len() < TARGET {
        name.extend(target)?;
        return Ok(name);
    }
    name.fill(0, TARGET_MAX)?;
    let length = read_link(path.as_c_str(), &mut name)?.len();
    name.truncate(length);
    Ok(name)
}

/// The id of an open process in the caller's PID namespace.
///
/// # Errors
/// `EBADF`, `ENOTTY`: no descriptor, or none of a process. `ESRCH`: it has exited and is reaped. `EREMOTE`: it is of a
/// PID namespace that this process does not see. `ENOSYS`: before Linux 6.13 /proc has to tell, and is not there.
pub fn pid_of(pidfd: Borrowed<'_>) -> Result<u32, Errno> {
    match process_of_pidfd(pidfd) {
        Ok(0) => Err(Errno::REMOTE),
        Ok(pid) => u32::try_from(pid).map_err(|_| Errno::SRCH),
        Err(errno @ (Errno::SRCH | Errno::BADF)) => Err(errno),
        // Not a pidfd, a kernel before 6.13, or one that was told by a filter to refuse it.
        Err(_) => pid_in_fdinfo(pidfd),
    }
}

/// The line `Pid:` of `/proc/self/fdinfo/FD`, pidfd_open(2).
fn pid_in_fdinfo(pidfd: Borrowed<'_>) -> Result<u32, Errno> {
    let number = Decimal::new(u32::try_from(pidfd.number()).map_err(|_| Errno::BADF)?);
    let path = ZeroEnded::<40>::new(&[b"/proc/self/fdinfo/", number.as_bytes()]);
    let file = open(None, path.as_c_str(), 0).map_err(|errno| {
        match errno {
            Errno::NOENT if status(pidfd).is_err() => Errno::BADF,
            // There is no /proc: -ENOENT would say that no machine runs in the unit.
            Errno::NOENT => Errno::NOSYS,
            errno => errno,
        }
    })?;
    let mut buffer = [0; 1024];
    let text = read(file.borrow(), &mut buffer)?;
    let line = text.split(|&byte| byte == b'\n').find_map(|line| line.strip_prefix(b"Pid:"));
    match line.ok_or(Errno::NOTTY)?.trim_ascii() {
        b"-1" => Err(Errno::SRCH),
        b"0" => Err(Errno::REMOTE),
        pid => parse_decimal(pid).and_then(|pid| u32::try_from(pid).ok()).ok_or(Errno::NOTTY),
    }
}

/// Whether an open process still runs: neither gone nor a zombie.
pub fn runs(pidfd: Borrowed<'_>) -> bool {
    !is_readable(pidfd)
}
