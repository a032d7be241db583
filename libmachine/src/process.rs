//! A process, pinned by a pidfd so that its number cannot come to mean another one.

use std::format;
use std::fs;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::string::String;
use std::sync::atomic::{AtomicU8, Ordering};
use std::vec::Vec;

use registry::{Process, parse_kernel_map, start_time_of_stat};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::cgroup::ControlGroup;
use crate::error::Error;

/// `PID_FS_MAGIC`, linux/magic.h: the file system whose pidfds have an inode number for each process.
const PID_FS_MAGIC: u64 = 0x5049_4446;

/// Files of `/proc/PID` are seldom longer, in bytes.
const PROC_FILE: usize = 4096;

/// An open process.
#[derive(Debug)]
pub struct ProcessHandle {
    pid: Pid,
    pidfd: OwnedFd,
    pidfd_id: Option<u64>,
}

impl ProcessHandle {
    /// Opens the process with this id, pidfd_open(2).
    ///
    /// # Errors
    /// [`Error::InvalidPid`]: not positive, or a thread that leads no process. [`Error::NoSuchProcess`]: there is
    /// none, or it is a zombie. [`Error::Process`]: no descriptor is free, and the like.
    pub fn open(pid: i32) -> Result<Self, Error> {
        let positive = if pid > 0 { Pid::from_raw(pid) } else { None };
        let id = positive.ok_or(Error::InvalidPid(pid.into()))?;
        let pidfd = pidfd_open(id, PidfdFlags::NONBLOCK).map_err(|errno| match errno {
            Errno::SRCH => Error::NoSuchProcess(pid),
            // A thread: EINVAL until Linux 6.9, ENOENT since.
            Errno::INVAL | Errno::NOENT => Error::InvalidPid(pid.into()),
            errno => Error::Process { pid, action: "open the pidfd", source: errno.into() },
        })?;
        Self::pinned(id, pidfd)
    }

    /// Takes a pidfd that came from elsewhere (`SO_PEERPIDFD`), with the id it was said to have.
    ///
    /// # Errors
    /// [`Error::NoSuchProcess`]: the process has exited.
    pub fn pinned(pid: Pid, pidfd: OwnedFd) -> Result<Self, Error> {
        let pidfd_id = pidfd_id(pidfd.as_fd());
        let process = Self { pid, pidfd, pidfd_id };
        if process.has_exited() { Err(Error::NoSuchProcess(process.pid())) } else { Ok(process) }
    }

    /// Its id.
    pub fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// The inode number of its pidfd, where the kernel gives each process its own (Linux 6.9).
    pub fn pidfd_id(&self) -> Option<u64> {
        self.pidfd_id
    }

    /// Its pidfd.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// The process as a record names it.
    pub fn identity(&self) -> Process {
        Process { pid: self.pid(), pidfd_id: self.pidfd_id }
    }

    /// Whether it has exited, zombies included.
    pub fn has_exited(&self) -> bool {
        let now = Timespec::default();
        poll(&mut [PollFd::new(&self.pidfd, PollFlags::IN)], Some(&now)).is_ok_and(|ready| ready > 0)
    }

    /// Sends it a signal, pidfd_send_signal(2).
    ///
    /// # Errors
    /// [`Error::NoSuchProcess`], [`Error::Process`].
    pub fn signal(&self, signal: Signal) -> Result<(), Error> {
        pidfd_send_signal(&self.pidfd, signal).map_err(|errno| self.failed("signal", errno))
    }

    /// When it started, in clock ticks since boot; `None` where /proc does not tell.
    pub fn start_time(&self) -> Option<u64> {
        self.read("stat").ok().as_deref().and_then(start_time_of_stat)
    }

    /// When it started, if that is what tells it from a later process of the same id: where its pidfd has no identity.
    pub fn identifying_start_time(&self) -> Option<u64> {
        if self.pidfd_id.is_some() { None } else { self.start_time() }
    }

    /// The process behind a pidfd that came from elsewhere, as a record names it, without keeping it.
    pub fn identity_of(pid: Pid, pidfd: BorrowedFd<'_>) -> Process {
        Process { pid: pid.as_raw_nonzero().get(), pidfd_id: pidfd_id(pidfd) }
    }

    /// Its parent; `None` for the first process of the namespace and its siblings.
    ///
    /// # Errors
    /// Those of [`ProcessHandle::open`], and [`Error::Process`] where /proc does not tell.
    pub fn parent(&self) -> Result<Option<Self>, Error> {
        let stat = self.read("stat")?;
        let parent = stat
            .rsplitn(2, |&byte| byte == b')')
            .next()
            .and_then(|rest| std::str::from_utf8(rest).ok())
            .and_then(|rest| rest.split_ascii_whitespace().nth(1))
            .and_then(|pid| pid.parse::<i32>().ok());
        match parent {
            Some(pid) if pid > 0 => Self::open(pid).map(Some),
            _ => Ok(None),
        }
    }

    /// The control group it is in.
    ///
    /// # Errors
    /// [`Error::NoControlGroup`], [`Error::NoSuchProcess`], [`Error::Process`].
    pub fn control_group(&self) -> Result<ControlGroup, Error> {
        ControlGroup::parse(&self.read("cgroup")?).ok_or_else(|| Error::NoControlGroup(self.pid()))
    }

    /// Its `uid_map` or `gid_map`, as this process sees it; empty where it is not written yet.
    ///
    /// # Errors
    /// [`Error::NoSuchProcess`], [`Error::Process`].
    pub fn id_map(&self, file: &'static str) -> Result<Vec<registry::IdRange>, Error> {
        let text = self.read(file)?;
        let mut map: Vec<_> = parse_kernel_map(&text).flatten().collect();
        // It is kept, and mostly one range; room for four was made.
        map.shrink_to_fit();
        Ok(map)
    }

    /// The text of `/proc/PID/status`.
    pub(crate) fn status(&self) -> Result<Vec<u8>, Error> {
        self.read("status")
    }

    /// Reads a file of `/proc/PID` that is certainly this process's: it was still there afterwards.
    fn read(&self, file: &'static str) -> Result<Vec<u8>, Error> {
        // Files of /proc say that they are empty: with room for all of it they are read in one piece.
        let mut text = Vec::with_capacity(PROC_FILE);
        let read = fs::File::open(format!("/proc/{}/{file}", self.pid()))
            .and_then(|opened| opened.take(u64::MAX).read_to_end(&mut text));
        if self.has_exited() {
            return Err(Error::NoSuchProcess(self.pid()));
        }
        read.map(|_| text).map_err(|source| Error::Process { pid: self.pid(), action: file, source })
    }

    fn failed(&self, action: &'static str, errno: Errno) -> Error {
        match errno {
            Errno::SRCH => Error::NoSuchProcess(self.pid()),
            errno => Error::Process { pid: self.pid(), action, source: errno.into() },
        }
    }
}

impl AsFd for ProcessHandle {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

fn pidfd_id(pidfd: BorrowedFd<'_>) -> Option<u64> {
    // Before pidfs all pidfds shared one anonymous inode, whose number says nothing.
    has_pidfs(pidfd).then(|| rustix::fs::fstat(pidfd).ok().map(|stat| stat.st_ino))?
}

/// Whether the kernel's pidfds are in a file system of their own: asked once, since it stays the same.
fn has_pidfs(pidfd: BorrowedFd<'_>) -> bool {
    const UNKNOWN: u8 = 2;
    static HAS_PIDFS: AtomicU8 = AtomicU8::new(UNKNOWN);
    match HAS_PIDFS.load(Ordering::Relaxed) {
        UNKNOWN => {
            let Ok(stat) = rustix::fs::fstatfs(pidfd) else { return false };
            let has = u64::try_from(stat.f_type) == Ok(PID_FS_MAGIC);
            HAS_PIDFS.store(has.into(), Ordering::Relaxed);
            has
        }
        has => has == 1,
    }
}

/// The id of this boot, random(4): 32 hexadecimal digits.
///
/// # Errors
/// Where /proc is not there.
pub fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().replace('-', ""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_process_is_pinned_and_its_end_is_seen() {
        let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
        let process = ProcessHandle::open(i32::try_from(child.id()).unwrap()).unwrap();
        assert!(!process.has_exited() && process.start_time().is_some());
        let me = i32::try_from(std::process::id()).unwrap();
        assert_eq!(process.parent().unwrap().map(|parent| parent.pid()), Some(me));
        process.signal(Signal::KILL).unwrap();
        poll(&mut [PollFd::new(&process, PollFlags::IN)], None).unwrap();
        assert!(process.has_exited());
        assert!(matches!(process.control_group(), Err(Error::NoSuchProcess(_))));
        assert!(matches!(ProcessHandle::open(process.pid()), Err(Error::NoSuchProcess(_))), "a zombie");
        child.wait().unwrap();
        assert!(matches!(process.signal(Signal::TERM), Err(Error::NoSuchProcess(_))));
    }

    #[test]
    fn what_is_no_process_is_refused() {
        assert!(matches!(ProcessHandle::open(0), Err(Error::InvalidPid(0))));
        assert!(matches!(ProcessHandle::open(-1), Err(Error::InvalidPid(-1))));
        assert!(matches!(ProcessHandle::open(i32::MAX), Err(Error::NoSuchProcess(_))));
        let thread = std::thread::spawn(|| rustix::thread::gettid().as_raw_nonzero().get());
        // It may be gone by now: neither is a process.
        assert!(ProcessHandle::open(thread.join().unwrap()).is_err());
    }

    #[test]
    fn a_boot_id_has_32_digits() {
        assert_eq!(boot_id().unwrap().len(), 32);
    }
}
