//! The system calls of the lookups: those of the module, [`registry::calls`], and what else is asked here. As there, the kernel
//! is called by syscall(2), which is no cancellation point.
//!
//! # Safety
//! Plain system calls: paths end in a zero byte, buffers are as long as the kernel is told, a descriptor lives as long as
//! its [`Descriptor`].

#![allow(unsafe_code, reason = "system calls")]

use core::ffi::{CStr, c_int, c_long};
use core::marker::PhantomData;
use core::mem::{size_of, zeroed};
use core::ptr;

use registry::calls;
pub use registry::calls::FileStatus;

use crate::buffer::Buffer;
use crate::errno::Errno;

/// `PIDFD_GET_INFO` for the first version of its structure, linux/pidfd.h: `_IOWR(0xff, 11, 64 bytes)`.
const PIDFD_GET_INFO: libc::c_ulong = 0xc040_ff0b;
/// `PIDFD_INFO_CGROUPID`: the kernel sets it where it tells the group, asked or not.
const PIDFD_INFO_CGROUPID: u64 = 4;
/// `CGROUP2_SUPER_MAGIC`, linux/magic.h.
const CGROUP2_SUPER_MAGIC: u64 = 0x6367_7270;
/// How much of a file is read at first: most are shorter, and the C library has such pieces of memory at hand.
const PIECE: usize = 1024;

/// An open descriptor, closed when it is dropped.
#[derive(Debug)]
pub struct Descriptor(calls::Descriptor);

/// A descriptor that belongs to somebody else, who keeps it open meanwhile.
///
/// ```compile_fail,E0505
/// fn outlives(monitor: libmachine::Monitor) {
///     let lent = monitor.descriptor();
///     drop(monitor);
///     lent.number();
/// }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Borrowed<'fd>(c_int, PhantomData<&'fd Descriptor>);

impl Borrowed<'_> {
    /// The descriptor with this number; negative ones are none.
    ///
    /// # Safety
    /// It stays what the caller means by it: whatever has the number is asked, and may be read. One that is not open is an error.
    pub unsafe fn from_raw(number: c_int) -> Option<Self> {
        (number >= 0).then_some(Self(number, PhantomData))
    }

    /// The number.
    pub const fn number(self) -> c_int {
        self.0
    }
}

impl Descriptor {
    /// Lends it.
    pub const fn borrow(&self) -> Borrowed<'_> {
        Borrowed(self.0.number(), PhantomData)
    }

    /// Gives it away, still open.
    pub fn into_raw(self) -> c_int {
        self.0.into_raw()
    }

    /// Takes one over.
    ///
    /// # Safety
    /// It is open, and nobody else closes it.
    pub unsafe fn from_raw(number: c_int) -> Option<Self> {
        // SAFETY: as demanded.
        unsafe { calls::Descriptor::from_raw(number) }.map(Self)
    }
}

#[cfg(feature = "std")]
mod with_std {
    use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

    use super::{Borrowed, Descriptor, PhantomData};

    impl AsRawFd for Descriptor {
        fn as_raw_fd(&self) -> RawFd {
            self.0.number()
        }
    }

    impl AsFd for Descriptor {
        fn as_fd(&self) -> BorrowedFd<'_> {
            // SAFETY: it is open as long as the descriptor lives.
            unsafe { BorrowedFd::borrow_raw(self.0.number()) }
        }
    }

    impl From<Descriptor> for OwnedFd {
        fn from(descriptor: Descriptor) -> Self {
            // SAFETY: it is open, and the descriptor's no more.
            unsafe { Self::from_raw_fd(descriptor.into_raw()) }
        }
    }

    impl<'fd> From<BorrowedFd<'fd>> for Borrowed<'fd> {
        fn from(descriptor: BorrowedFd<'fd>) -> Self {
            Self(descriptor.as_raw_fd(), PhantomData)
        }
    }
}

fn last() -> Errno {
    Errno(calls::errno())
}

/// # Safety
/// The result is that of a call that opens a descriptor.
unsafe fn descriptor(result: c_long) -> Result<Descriptor, Errno> {
    // SAFETY: as demanded.
    unsafe { calls::opened(result) }.map(Descriptor).map_err(Errno)
}

/// The number of a directory to start from.
fn at(directory: Option<&Descriptor>) -> c_int {
    directory.map_or(libc::AT_FDCWD, |directory| directory.0.number())
}

fn done(result: c_long) -> Result<c_long, Errno> {
    if result < 0 { Err(last()) } else { Ok(result) }
}

/// Opens a file to read it, below a directory if that is given. It never waits for the other end of a FIFO.
pub fn open(directory: Option<&Descriptor>, path: &CStr, flags: c_int) -> Result<Descriptor, Errno> {
    calls::open(at(directory), path, flags).map(Descriptor).map_err(Errno)
}

/// Reads the next piece; an empty one is the end.
pub fn read<'a>(file: Borrowed<'_>, buffer: &'a mut [u8]) -> Result<&'a [u8], Errno> {
    calls::read(file.0, buffer).map_err(Errno)
}

/// Reads a file that is written at once: a piece that does not fill the buffer is the last.
pub fn read_all(file: &Descriptor, limit: usize) -> Result<Buffer<u8>, Errno> {
    let mut text = Buffer::new();
    let mut piece = PIECE;
    loop {
        // SAFETY: the kernel has written as much as it says, and not more than there is room for.
        let length = unsafe {
            text.append(piece, |start, room| {
                usize::try_from(libc::syscall(libc::SYS_read, file.0.number(), start, room))
                    .map_err(|_| last())
            })
        }?;
        if text.len() > limit {
            return Err(Errno::TOOBIG);
        }
        if length < piece {
            return Ok(text);
        }
        piece = text.len();
    }
}

/// Reads the target of a symlink, or as much of it as fits.
pub fn read_link<'a>(path: &CStr, buffer: &'a mut [u8]) -> Result<&'a [u8], Errno> {
    calls::read_link(path, buffer).map_err(Errno)
}

/// Reads the next entries of a directory, `struct linux_dirent64` each.
pub fn entries<'a>(directory: &Descriptor, buffer: &'a mut [u8]) -> Result<&'a [u8], Errno> {
    // SAFETY: the kernel writes into the buffer, not beyond its end.
    let length = unsafe {
        libc::syscall(libc::SYS_getdents64, directory.0.number(), buffer.as_mut_ptr(), buffer.len())
    };
    calls::filled(buffer, length).map_err(Errno)
}

/// fstat(2).
pub fn status(file: Borrowed<'_>) -> Result<FileStatus, Errno> {
    calls::status(file.0).map_err(Errno)
}

/// What a path leads to, below a directory if that is given.
pub fn status_at(directory: Option<&Descriptor>, path: &CStr) -> Result<FileStatus, Errno> {
    calls::status_at(at(directory), path, 0).map_err(Errno)
}

/// What is at a path itself, be it a symlink.
pub fn status_of_itself(path: &CStr) -> Result<FileStatus, Errno> {
    calls::status_at(libc::AT_FDCWD, path, libc::AT_SYMLINK_NOFOLLOW).map_err(Errno)
}

/// The inode number of what a path leads to, below a directory if that is given.
pub fn inode_at(directory: Option<&Descriptor>, path: &CStr) -> Result<u64, Errno> {
    status_at(directory, path).map(|status| status.inode)
}

/// pidfd_open(2).
pub fn open_process(pid: i32) -> Result<Descriptor, Errno> {
    calls::open_process(pid).map(Descriptor).map_err(Errno)
}

/// What `PIDFD_GET_INFO` says of a process: its id here, 0 if it has none here.
///
/// # Errors
/// `ENOTTY`: no pidfd, or a kernel before 6.13. `ESRCH`: the process has exited and is reaped.
pub fn process_of_pidfd(pidfd: Borrowed<'_>) -> Result<i32, Errno> {
    let [_, _, ids, ..] = info_of_pidfd(pidfd)?;
    let [a, b, c, d, ..] = ids.to_ne_bytes();
    Ok(i32::from_ne_bytes([a, b, c, d]))
}

/// The id of the control group of the caller in the unified hierarchy, as the kernel has it: the inode number of its directory.
/// `None` where the kernel does not tell, as before Linux 6.13.
pub fn own_group_id() -> Option<u64> {
    let own = open_process(own_pid()).ok()?;
    let [told, group, ..] = info_of_pidfd(own.borrow()).ok()?;
    (told & PIDFD_INFO_CGROUPID != 0).then_some(group)
}

/// Whether a directory is in a file system of control groups, version 2.
pub fn is_control_groups(directory: &Descriptor) -> bool {
    // SAFETY: a statfs of zeros is a statfs, and the kernel fills it in.
    let mut found: libc::statfs64 = unsafe { zeroed() };
    // SAFETY: it is valid.
    let asked = unsafe { libc::fstatfs64(directory.0.number(), &raw mut found) };
    // Its type differs from one C library and processor to another.
    asked == 0 && u64::try_from(found.f_type) == Ok(CGROUP2_SUPER_MAGIC)
}

/// `struct pidfd_info`: mask, cgroupid, then pid.
fn info_of_pidfd(pidfd: Borrowed<'_>) -> Result<[u64; 8], Errno> {
    let mut info = [0; 8];
    // SAFETY: the structure has 64 bytes, and its mask asks for nothing that is optional.
    done(unsafe { libc::syscall(libc::SYS_ioctl, pidfd.0, PIDFD_GET_INFO, info.as_mut_ptr()) })?;
    Ok(info)
}

/// Whether a process has exited: its pidfd is readable.
pub fn is_readable(file: Borrowed<'_>) -> bool {
    calls::is_readable(file.0)
}

/// The process at the other end of a Unix socket, `SO_PEERCRED`; 0 if there is none in this namespace.
pub fn peer(socket: Borrowed<'_>) -> Result<i32, Errno> {
    let mut credentials = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut length = libc::socklen_t::try_from(size_of::<libc::ucred>()).unwrap_or_default();
    // SAFETY: both are valid, and the length is that of the structure.
    done(unsafe {
        libc::syscall(
            libc::SYS_getsockopt,
            socket.0,
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            &raw mut credentials,
            &raw mut length,
        )
    })?;
    Ok(credentials.pid)
}

/// The caller's process id.
pub fn own_pid() -> i32 {
    // SAFETY: it always succeeds.
    unsafe { libc::getpid() }
}

/// inotify_init1(2): not blocking, closed on exec.
pub fn watch() -> Result<Descriptor, Errno> {
    // SAFETY: it takes an integer, and opens a descriptor.
    unsafe { descriptor(libc::syscall(libc::SYS_inotify_init1, libc::IN_NONBLOCK | libc::IN_CLOEXEC)) }
}

/// inotify_add_watch(2): the number of the watch.
pub fn watch_path(watch: &Descriptor, path: &CStr, events: u32) -> Result<i32, Errno> {
    // SAFETY: the path ends in a zero byte.
    let number =
        unsafe { libc::syscall(libc::SYS_inotify_add_watch, watch.0.number(), path.as_ptr(), events) };
    done(number).map(|number| i32::try_from(number).unwrap_or_default())
}

/// inotify_rm_watch(2). That there is no such watch is no error.
pub fn unwatch(watch: &Descriptor, number: i32) {
    // SAFETY: it takes two integers.
    unsafe { libc::syscall(libc::SYS_inotify_rm_watch, watch.0.number(), number) };
}

/// epoll_create1(2): closed on exec.
pub fn new_poll() -> Result<Descriptor, Errno> {
    // SAFETY: it takes an integer, and opens a descriptor.
    unsafe { descriptor(libc::syscall(libc::SYS_epoll_create1, libc::EPOLL_CLOEXEC)) }
}

/// epoll_ctl(2): tells of this descriptor, by its number, when it is readable. It is forgotten when it is closed.
pub fn add_to_poll(poll: Borrowed<'_>, file: Borrowed<'_>) -> Result<(), Errno> {
    let data = u64::try_from(file.0).unwrap_or_default();
    let mut event = libc::epoll_event { events: u32::try_from(libc::EPOLLIN).unwrap_or_default(), u64: data };
    let add = libc::EPOLL_CTL_ADD;
    // SAFETY: the event is valid.
    done(unsafe { libc::syscall(libc::SYS_epoll_ctl, poll.0, add, file.0, &raw mut event) }).map(|_| ())
}

/// epoll_ctl(2): tells no more of this descriptor. A number that is no poll's, or none of its, changes nothing.
pub(crate) fn remove_from_poll(poll: c_int, file: Borrowed<'_>) {
    let mut event = libc::epoll_event { events: 0, u64: 0 };
    // SAFETY: the event is valid.
    unsafe { libc::syscall(libc::SYS_epoll_ctl, poll, libc::EPOLL_CTL_DEL, file.0, &raw mut event) };
}

/// epoll_pwait(2) without waiting: the number of a descriptor that is readable.
pub fn readable_of_poll(poll: &Descriptor) -> Result<Option<c_int>, Errno> {
    let mut event = libc::epoll_event { events: 0, u64: 0 };
    let no_mask = ptr::null::<libc::sigset_t>();
    // SAFETY: there is room for one event, and signals stay blocked as they are.
    let number = unsafe {
        libc::syscall(libc::SYS_epoll_pwait, poll.0.number(), &raw mut event, 1, 0, no_mask, size_of::<u64>())
    };
    match done(number) {
        Ok(0) | Err(Errno(libc::EINTR)) => Ok(None),
        Ok(_) => Ok(c_int::try_from(event.u64).ok()),
        Err(errno) => Err(errno),
    }
}

/// Waits until a descriptor is readable, or a time of `CLOCK_MONOTONIC` in microseconds is reached; for ever without one.
///
/// # Errors
/// `ETIMEDOUT`, `EINTR`.
pub fn wait_for(file: Borrowed<'_>, deadline: Option<u64>) -> Result<(), Errno> {
    let mut poll = libc::pollfd { fd: file.0, events: libc::POLLIN, revents: 0 };
    let left = deadline.map(|deadline| deadline.saturating_sub(now()));
    let time = left.map(|left| libc::timespec {
        tv_sec: libc::time_t::try_from(left / 1_000_000).unwrap_or(libc::time_t::MAX),
        tv_nsec: c_long::try_from((left % 1_000_000).saturating_mul(1000)).unwrap_or_default(),
    });
    let time = time.as_ref().map_or(ptr::null(), ptr::from_ref);
    let no_mask = ptr::null::<libc::sigset_t>();
    // SAFETY: one entry; the time is null or valid; signals stay blocked as they are.
    match done(unsafe { libc::syscall(libc::SYS_ppoll, &raw mut poll, 1, time, no_mask, size_of::<u64>()) }) {
        Ok(0) => Err(Errno::TIMEDOUT),
        Ok(_) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// `CLOCK_MONOTONIC` in microseconds.
pub fn now() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: it is valid.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    let nanoseconds = u64::try_from(time.tv_nsec).unwrap_or_default();
    seconds.saturating_mul(1_000_000).saturating_add(nanoseconds / 1000)
}
