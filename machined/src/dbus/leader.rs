//! Processes that callers name, and the callers' own.

use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;

use dbus_server::{Call, Credentials, ErrorReply, description};
use libmachine::ProcessHandle;
use registry::Process;
use rustix::fd::AsFd;
use rustix::io::Errno;
use rustix::process::Pid;

use super::errors;

/// The process that sent a call.
///
/// # Errors
/// It is gone, or the bus does not say which it is.
pub(super) async fn sender(call: &Call) -> Result<ProcessHandle, ErrorReply> {
    let credentials = call.credentials().await?;
    let gone = || errors::bare(Errno::SRCH);
    let pid = credentials.pid.ok_or_else(gone)?;
    let process = match &credentials.pidfd {
        Some(pidfd) => {
            let pidfd = pidfd
                .try_clone()
                .map_err(|error| errors::bare(Errno::from_io_error(&error).unwrap_or(Errno::IO)))?;
            ProcessHandle::pinned(pid, pidfd)
        }
        // Some buses only tell the number.
        None => ProcessHandle::open(pid.as_raw_nonzero().get()),
    };
    process.map_err(|_| gone())
}

/// The process that sent a call, as a record names it.
pub(super) fn identity(credentials: &Rc<Credentials>) -> Option<Process> {
    let pid = credentials.pid?;
    match &credentials.pidfd {
        Some(pidfd) => Some(ProcessHandle::identity_of(pid, pidfd.as_fd())),
        None => Some(Process { pid: pid.as_raw_nonzero().get(), pidfd_id: None }),
    }
}

/// The process of this number; D-Bus has no sign, and the original prints one.
///
/// # Errors
/// There is none.
pub(super) fn by_number(number: u32) -> Result<ProcessHandle, ErrorReply> {
    let pid = number.cast_signed();
    ProcessHandle::open(pid).map_err(|error| cannot_pin(&error, &pid.to_string()))
}

fn cannot_pin(error: &libmachine::Error, process: &str) -> ErrorReply {
    let errno = match error {
        libmachine::Error::NoSuchProcess(_) | libmachine::Error::InvalidPid(_) => Errno::SRCH,
        error => Errno::from_raw_os_error(error.errno()),
    };
    errors::with_text(errno, format!("Failed to pin process {process}: {}", description(errno)))
}

/// A leader as the methods of newer systemd take it.
#[derive(Debug, Default)]
pub(super) struct NamedLeader {
    /// Its number.
    pub pid: u32,
    /// A descriptor of it.
    pub pidfd: Option<OwnedFd>,
    /// The inode number of such a descriptor.
    pub pidfd_id: u64,
}

impl NamedLeader {
    /// The process that is named, if one is.
    ///
    /// # Errors
    /// There is none, or what is said of it does not fit together.
    pub(super) fn open(self) -> Result<Option<ProcessHandle>, ErrorReply> {
        if let Some(pidfd) = self.pidfd {
            let number = pid_of(&pidfd).ok_or_else(|| {
                let text =
                    format!("Failed to parse PIDFD {}: {}", pidfd.as_raw_fd(), description(Errno::NOTTY));
                errors::with_text(Errno::NOTTY, text)
            })?;
            let process = ProcessHandle::pinned(number, pidfd)
                .map_err(|error| cannot_pin(&error, &number.as_raw_nonzero().to_string()))?;
            if self.pid != 0 && self.pid.cast_signed() != process.pid() {
                let text = "LeaderPID and LeaderPIDFD refer to different processes";
                return Err(ErrorReply::invalid_args(text));
            }
            if self.pidfd_id != 0 && Some(self.pidfd_id) != process.pidfd_id() {
                let text = "LeaderPIDFDID does not match the inode number of LeaderPIDFD";
                return Err(ErrorReply::invalid_args(text));
            }
            return Ok(Some(process));
        }
        match (self.pid, self.pidfd_id) {
            (0, 0) => Ok(None),
            (0, _) | (_, 0) => Err(ErrorReply::invalid_args(
                "Both LeaderPID and LeaderPIDFDID must be specified to identify the leader process by PIDFDID",
            )),
            (pid, id) => {
                let name = format!("{} by PIDFDID {id}", pid.cast_signed());
                let process =
                    ProcessHandle::open(pid.cast_signed()).map_err(|error| cannot_pin(&error, &name))?;
                match process.pidfd_id() {
                    Some(own) if own == id => Ok(Some(process)),
                    _ => Err(cannot_pin(&libmachine::Error::NoSuchProcess(process.pid()), &name)),
                }
            }
        }
    }
}

/// The process that a pidfd is of, as the kernel says in `/proc/self/fdinfo`, pidfd_open(2).
fn pid_of(pidfd: &OwnedFd) -> Option<Pid> {
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd())).ok()?;
    let number = text.lines().find_map(|line| line.strip_prefix("Pid:"))?.trim().parse().ok();
    number.filter(|&number: &i32| number > 0).and_then(Pid::from_raw)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{PidfdFlags, getpid, pidfd_open};

    #[test]
    fn a_pidfd_tells_whose_it_is() {
        let own = pidfd_open(getpid(), PidfdFlags::empty()).unwrap();
        assert_eq!(pid_of(&own), Some(getpid()));
        assert_eq!(pid_of(&OwnedFd::from(std::fs::File::open("/dev/null").unwrap())), None);
    }

    #[test]
    fn what_is_said_of_a_leader_has_to_fit_together() {
        let pidfd = || pidfd_open(getpid(), PidfdFlags::empty()).unwrap();
        let own = u32::try_from(getpid().as_raw_nonzero().get()).unwrap();
        let refused = |leader: NamedLeader| leader.open().unwrap_err().message;
        assert!(NamedLeader::default().open().unwrap().is_none());
        let named = NamedLeader { pid: own, pidfd: Some(pidfd()), pidfd_id: 0 };
        assert_eq!(named.open().unwrap().unwrap().pid(), getpid().as_raw_nonzero().get());
        assert!(refused(NamedLeader { pid: own, ..NamedLeader::default() }).starts_with("Both LeaderPID"));
        assert!(refused(NamedLeader { pidfd_id: 7, ..NamedLeader::default() }).starts_with("Both LeaderPID"));
        let other = NamedLeader { pid: own + 1, pidfd: Some(pidfd()), pidfd_id: 0 };
        assert_eq!(refused(other), "LeaderPID and LeaderPIDFD refer to different processes");
        let other = NamedLeader { pid: 0, pidfd: Some(pidfd()), pidfd_id: 1 };
        assert_eq!(refused(other), "LeaderPIDFDID does not match the inode number of LeaderPIDFD");
        let other = NamedLeader { pid: own, pidfd: None, pidfd_id: 1 };
        assert_eq!(refused(other), format!("Failed to pin process {own} by PIDFDID 1: No such process"));
    }
}
