//! The host as the lookups of the registry ask for it: its processes, and what an errno says of its files, as this process sees them.

use registry::{Decimal, FileError, OpenError, Path, ProcessStat, Processes};

use crate::errno::Errno;
use crate::system::{Descriptor, inode_at, is_nobody, is_readable, open, open_process, read, status};

/// The processes that this process sees.
#[derive(Clone, Copy, Debug)]
pub struct System;

/// What an errno says of a file.
pub fn file_error(errno: Errno) -> FileError {
    match errno.0 {
        libc::ENOENT | libc::ENOTDIR | libc::ELOOP => FileError::Absent,
        libc::EINVAL | libc::EISDIR | libc::EAGAIN => FileError::OtherKind,
        errno => FileError::Errno(errno),
    }
}

/// What /proc says of a process.
#[inline(never)]
fn stat_of(pid: i32) -> Option<ProcessStat> {
    let mut path = Path::new();
    path.push(b"/proc/");
    path.push(Decimal::new(u32::try_from(pid).ok()?).as_bytes());
    path.push(b"/stat");
    let file = open(None, path.as_c_str(), 0).ok()?;
    let mut buffer = [0; 1024];
    ProcessStat::parse(read(file.borrow(), &mut buffer).ok()?)
}

impl Processes for System {
    type Handle = Descriptor;

    fn open(&self, pid: i32) -> Result<Descriptor, OpenError> {
        open_process(pid)
            .map_err(|errno| if errno == Errno::SRCH { OpenError::Gone } else { OpenError::Unknown })
    }

    fn inode(&self, process: &Descriptor) -> Option<u64> {
        status(process.borrow()).ok().map(|status| status.inode)
    }

    fn has_exited(&self, process: &Descriptor) -> bool {
        is_readable(process.borrow())
    }

    fn is_gone(&self, pid: i32) -> bool {
        is_nobody(pid) || stat_of(pid).is_some_and(|stat| stat.has_exited)
    }

    fn start_time(&self, pid: i32) -> Option<u64> {
        stat_of(pid).map(|stat| stat.start_time)
    }

    fn pid_namespace(&self) -> Option<u64> {
        // O_PATH would open the link's target without a right to it; stat(2) needs none either.
        inode_at(None, c"/proc/self/ns/pid").ok()
    }
}
