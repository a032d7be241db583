//! The kernel's answers to the questions of [`Processes`], with the standard library at hand.

use std::fs;
use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open, test_kill_process};

use crate::liveness::{OpenError, ProcessStat, Processes, start_time_of_stat};

/// The processes that this process sees.
#[derive(Clone, Copy, Debug, Default)]
pub struct KernelProcesses;

impl Processes for KernelProcesses {
    type Handle = OwnedFd;

    fn open(&self, pid: i32) -> Result<OwnedFd, OpenError> {
        let positive = if pid > 0 { Pid::from_raw(pid) } else { None };
        let pid = positive.ok_or(OpenError::Gone)?;
        pidfd_open(pid, PidfdFlags::empty())
            .map_err(|errno| if errno == Errno::SRCH { OpenError::Gone } else { OpenError::Unknown })
    }

    fn inode(&self, process: &OwnedFd) -> Option<u64> {
        rustix::fs::fstat(process).ok().map(|stat| stat.st_ino)
    }

    fn has_exited(&self, process: &OwnedFd) -> bool {
        let now = Timespec::default();
        poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&now)).is_ok_and(|ready| ready > 0)
    }

    fn is_gone(&self, pid: i32) -> bool {
        let Some(id) = Pid::from_raw(pid.max(0)) else { return true };
        test_kill_process(id) == Err(Errno::SRCH)
            || fs::read(std::format!("/proc/{pid}/stat"))
                .is_ok_and(|stat| ProcessStat::parse(&stat).is_some_and(|stat| stat.has_exited))
    }

    fn start_time(&self, pid: i32) -> Option<u64> {
        start_time_of_stat(&fs::read(std::format!("/proc/{pid}/stat")).ok()?)
    }

    fn pid_namespace(&self) -> Option<u64> {
        rustix::fs::stat("/proc/self/ns/pid").ok().map(|stat| stat.st_ino)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{LeaderIdentity, is_alive};
    use std::process::Command;

    fn identity(pid: u32) -> LeaderIdentity {
        let pid = i32::try_from(pid).unwrap();
        let handle = KernelProcesses.open(pid).unwrap();
        LeaderIdentity {
            pid,
            pidfd_id: KernelProcesses.inode(&handle).unwrap(),
            start_time: KernelProcesses.start_time(pid).unwrap(),
            pid_namespace: KernelProcesses.pid_namespace().unwrap(),
        }
    }

    #[test]
    fn a_real_process_lives_until_it_is_a_zombie() {
        let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
        let with_id = identity(child.id());
        let without_id = LeaderIdentity { pidfd_id: 0, ..with_id };
        assert!(is_alive(&with_id, &KernelProcesses) && is_alive(&without_id, &KernelProcesses));
        assert!(!is_alive(&LeaderIdentity { pidfd_id: with_id.pidfd_id + 1, ..with_id }, &KernelProcesses));
        assert!(!is_alive(&LeaderIdentity { start_time: 1, ..without_id }, &KernelProcesses));

        let handle = KernelProcesses.open(with_id.pid).unwrap();
        child.kill().unwrap();
        poll(&mut [PollFd::new(&handle, PollFlags::IN)], None).unwrap();
        assert!(!is_alive(&with_id, &KernelProcesses), "killed, not yet reaped");
        assert!(KernelProcesses.is_gone(with_id.pid), "told by /proc");
        child.wait().unwrap();
        assert!(!is_alive(&with_id, &KernelProcesses), "reaped");
        assert!(!is_alive(&without_id, &KernelProcesses), "reaped");
    }
}
