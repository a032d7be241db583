//! The system calls of what is loaded into other programs: of the NSS module and of libmachine.
//!
//! open, read and close of the C library are cancellation points, pthreads(7): a thread that is cancelled in one of them
//! would leave a descriptor open for good. So the kernel is called by syscall(2), which is none.
//!
//! # Safety
//! Plain system calls: paths end in a zero byte, buffers are as long as the kernel is told, a descriptor lives as long as
//! its [`Descriptor`]. A number that is no descriptor's is an error of the kernel's.

#![allow(unsafe_code, reason = "system calls")]

use core::ffi::{CStr, c_int, c_long};
use core::mem::zeroed;
use core::ptr;

use crate::decimal::Decimal;
use crate::files::{FileError, Files};
use crate::id_fields::NOBODY;
use crate::liveness::{OpenError, ProcessStat, Processes};
use crate::path::{MACHINE_DIRECTORY, Path};

/// An open descriptor, closed when it is dropped.
#[derive(Debug)]
pub struct Descriptor(c_int);

impl Descriptor {
    /// The number.
    pub const fn number(&self) -> c_int {
        self.0
    }

    /// Gives it away, still open.
    pub fn into_raw(self) -> c_int {
        let number = self.0;
        core::mem::forget(self);
        number
    }

    /// Takes one over; a negative number is none.
    ///
    /// # Safety
    /// It is open, and nobody else closes it.
    pub unsafe fn from_raw(number: c_int) -> Option<Self> {
        // Not then_some: what that throws away is closed.
        (number >= 0).then(|| Self(number))
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        // SAFETY: it is ours.
        unsafe { libc::syscall(libc::SYS_close, self.0) };
    }
}

/// What a file is.
#[derive(Clone, Copy, Debug)]
pub struct FileStatus {
    /// Its inode number.
    pub inode: u64,
    /// How many links it has; of a control group: two, and one for each group right below.
    pub links: libc::nlink_t,
    /// Whose it is.
    pub owner: libc::uid_t,
    mode: u32,
}

impl FileStatus {
    const fn of(stat: &libc::stat64) -> Self {
        Self { inode: stat.st_ino, links: stat.st_nlink, owner: stat.st_uid, mode: stat.st_mode }
    }

    /// Whether it is a regular file.
    pub const fn is_regular(&self) -> bool {
        self.mode & libc::S_IFMT == libc::S_IFREG
    }

    /// Whether it is a directory.
    pub const fn is_directory(&self) -> bool {
        self.mode & libc::S_IFMT == libc::S_IFDIR
    }
}

/// The errno of the last call.
pub fn errno() -> c_int {
    // SAFETY: it is always valid.
    unsafe { *libc::__errno_location() }
}

/// The descriptor that a system call has made.
///
/// # Errors
/// Its errno.
///
/// # Safety
/// The result is that of a call that opens a descriptor.
pub unsafe fn opened(result: c_long) -> Result<Descriptor, c_int> {
    match c_int::try_from(result) {
        Ok(number) if number >= 0 => Ok(Descriptor(number)),
        _ => Err(errno()),
    }
}

/// What a system call has written into the buffer.
///
/// # Errors
/// Its errno.
pub fn filled(buffer: &[u8], length: c_long) -> Result<&[u8], c_int> {
    match usize::try_from(length) {
        Ok(length) => Ok(buffer.get(..length).unwrap_or_default()),
        Err(_) => Err(errno()),
    }
}

/// Opens a file to read it, below a directory or `AT_FDCWD`. It never waits for the other end of a FIFO.
///
/// # Errors
/// The errno.
// Once, and not in each place: the module has to be small.
#[inline(never)]
pub fn open(directory: c_int, path: &CStr, flags: c_int) -> Result<Descriptor, c_int> {
    let flags = flags | libc::O_RDONLY | libc::O_CLOEXEC | libc::O_NONBLOCK | libc::O_NOCTTY;
    // SAFETY: the path ends in a zero byte, and the call opens a descriptor.
    unsafe { opened(libc::syscall(libc::SYS_openat, directory, path.as_ptr(), flags)) }
}

/// Reads the next piece of a file; an empty one is the end.
///
/// # Errors
/// The errno.
pub fn read(file: c_int, buffer: &mut [u8]) -> Result<&[u8], c_int> {
    // SAFETY: the kernel writes into the buffer, not beyond its end.
    let length = unsafe { libc::syscall(libc::SYS_read, file, buffer.as_mut_ptr(), buffer.len()) };
    filled(buffer, length)
}

/// Reads the target of a symlink, or as much of it as fits.
///
/// # Errors
/// The errno.
pub fn read_link<'a>(path: &CStr, buffer: &'a mut [u8]) -> Result<&'a [u8], c_int> {
    let at = libc::AT_FDCWD;
    // SAFETY: the path ends in a zero byte, and the kernel writes into the buffer, not beyond its end.
    let length =
        unsafe { libc::syscall(libc::SYS_readlinkat, at, path.as_ptr(), buffer.as_mut_ptr(), buffer.len()) };
    filled(buffer, length)
}

/// fstat(2).
///
/// # Errors
/// The errno.
pub fn status(file: c_int) -> Result<FileStatus, c_int> {
    // SAFETY: a stat of zeros is a stat, and the kernel fills it in.
    let mut stat: libc::stat64 = unsafe { zeroed() };
    // Not fstat(2): on 32 bits that fails for an inode number that is longer, as that of a pidfd may be.
    // SAFETY: it is valid.
    if unsafe { libc::fstat64(file, &raw mut stat) } != 0 {
        return Err(errno());
    }
    Ok(FileStatus::of(&stat))
}

/// fstatat(2), below a directory or `AT_FDCWD`.
///
/// # Errors
/// The errno.
pub fn status_at(directory: c_int, path: &CStr, flags: c_int) -> Result<FileStatus, c_int> {
    // SAFETY: a stat of zeros is a stat, and the kernel fills it in.
    let mut stat: libc::stat64 = unsafe { zeroed() };
    // SAFETY: it is valid, and the path ends in a zero byte.
    if unsafe { libc::fstatat64(directory, path.as_ptr(), &raw mut stat, flags) } != 0 {
        return Err(errno());
    }
    Ok(FileStatus::of(&stat))
}

/// pidfd_open(2).
///
/// # Errors
/// The errno.
pub fn open_process(pid: i32) -> Result<Descriptor, c_int> {
    // SAFETY: it takes two integers, and opens a descriptor.
    unsafe { opened(libc::syscall(libc::SYS_pidfd_open, pid, 0)) }
}

/// Whether a file is readable now, as the pidfd of a process that has exited.
pub fn is_readable(file: c_int) -> bool {
    let mut poll = libc::pollfd { fd: file, events: libc::POLLIN, revents: 0 };
    let now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    let no_mask = ptr::null::<libc::sigset_t>();
    // SAFETY: one entry, no wait, and signals stay blocked as they are.
    unsafe { libc::syscall(libc::SYS_ppoll, &raw mut poll, 1, &raw const now, no_mask, 0) > 0 }
}

/// kill(2) with signal 0, which is sent to nobody: whether there is no process with this number.
pub fn is_nobody(pid: i32) -> bool {
    // SAFETY: it takes two integers, and no signal is sent.
    unsafe { libc::syscall(libc::SYS_kill, pid, 0) != 0 && errno() == libc::ESRCH }
}

/// The user as whom the calling process acts, if it acts as nobody else: its real, effective and saved uid are all this one,
/// and it was not started with the rights of another (a setuid program, AT_SECURE). A daemon of root's that serves a user
/// lowers one or two of the three, and must not take that user's word for a name.
pub fn sole_user() -> Option<u32> {
    let (mut real, mut effective, mut saved) = (0, 0, 0);
    // SAFETY: the three are the kernel's to write for the length of the call.
    let asked =
        unsafe { libc::syscall(libc::SYS_getresuid, &raw mut real, &raw mut effective, &raw mut saved) };
    // SAFETY: it takes a number, and has no other effect.
    let is_secure = unsafe { libc::getauxval(libc::AT_SECURE) } != 0;
    (asked == 0 && !is_secure && effective == real && saved == real).then_some(real)
}

/// What an errno says of a file.
pub const fn file_error(errno: c_int) -> FileError {
    match errno {
        libc::ENOENT | libc::ENOTDIR | libc::ELOOP => FileError::Absent,
        libc::EINVAL | libc::EISDIR | libc::EAGAIN => FileError::OtherKind,
        errno => FileError::Errno(errno),
    }
}

/// The files of a registry, as the calling process sees them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RegistryFiles {
    /// Whose own registry it is; [`NO_USER`]: the system's.
    // Not an option, which takes two registers: the module has to be small.
    user: u32,
}

/// The uid that is nobody's, credentials(7).
const NO_USER: u32 = u32::MAX;

impl RegistryFiles {
    /// Those of the system's registry, and of the kernel.
    pub const SYSTEM: Self = Self { user: NO_USER };

    /// Those of the registry of the user as whom the calling process acts, there or not, if it acts as nobody else. Who has no
    /// name, as in a user namespace, has no registry.
    #[inline(never)]
    pub fn of_caller() -> Option<Self> {
        let user = sole_user().filter(|&user| user != NOBODY)?;
        Some(Self { user })
    }

    /// Those [of the caller](Self::of_caller), if the directory of the records is there and that user's.
    #[inline(never)]
    pub fn own() -> Option<Self> {
        let own = Self::of_caller()?;
        let directory = own.directory();
        let status = status_at(libc::AT_FDCWD, directory.as_c_str(), libc::AT_SYMLINK_NOFOLLOW).ok()?;
        (status.is_directory() && status.owner == own.user).then_some(own)
    }

    /// Whose own registry it is; `None`: the system's.
    pub const fn user(self) -> Option<u32> {
        if self.user == NO_USER { None } else { Some(self.user) }
    }

    /// The directory of the records.
    #[inline(never)]
    pub fn directory(self) -> Path {
        let mut path = Path::new();
        path.push(MACHINE_DIRECTORY.as_bytes());
        match self.user() {
            Some(user) => path.of_user(user),
            None => path,
        }
    }

    /// Does something where this registry has what that of the system has at a path.
    pub fn at<T>(self, path: &Path, act: impl FnOnce(&CStr) -> T) -> T {
        let of_user;
        let path = match self.user() {
            Some(user) => {
                of_user = path.of_user(user);
                &of_user
            }
            None => path,
        };
        act(path.as_c_str())
    }
}

impl Files for RegistryFiles {
    type File = Descriptor;

    /// No symlink, no terminal, no wait for the other end of a FIFO. In a registry of a user's, what is not that user's is as
    /// good as missing.
    fn open(&self, path: &Path) -> Result<Descriptor, FileError> {
        let file = self.at(path, |path| open(libc::AT_FDCWD, path, libc::O_NOFOLLOW)).map_err(file_error)?;
        let Some(user) = self.user() else { return Ok(file) };
        let is_the_users = status(file.0).is_ok_and(|status| status.is_regular() && status.owner == user);
        if is_the_users { Ok(file) } else { Err(FileError::Absent) }
    }

    fn read<'a>(&self, file: &Descriptor, buffer: &'a mut [u8]) -> Result<&'a [u8], FileError> {
        read(file.0, buffer).map_err(file_error)
    }

    #[inline(never)]
    fn read_link<'a>(&self, path: &Path, buffer: &'a mut [u8]) -> Result<&'a [u8], FileError> {
        self.at(path, |path| read_link(path, buffer)).map_err(file_error)
    }
}

/// The processes that the calling process sees.
#[derive(Clone, Copy, Debug)]
pub struct SeenProcesses;

/// What /proc says of a process.
#[cold]
#[inline(never)]
fn stat_of(pid: i32) -> Option<ProcessStat> {
    let mut path = Path::new();
    for piece in [b"/proc/", Decimal::new(u32::try_from(pid).ok()?).as_bytes(), b"/stat"] {
        path.push(piece);
    }
    let file = open(libc::AT_FDCWD, path.as_c_str(), 0).ok()?;
    let mut buffer = [0; 1024];
    ProcessStat::parse(read(file.0, &mut buffer).ok()?)
}

impl Processes for SeenProcesses {
    type Handle = Descriptor;

    fn open(&self, pid: i32) -> Result<Descriptor, OpenError> {
        open_process(pid)
            .map_err(|errno| if errno == libc::ESRCH { OpenError::Gone } else { OpenError::Unknown })
    }

    fn inode(&self, process: &Descriptor) -> Option<u64> {
        status(process.0).ok().map(|status| status.inode)
    }

    fn has_exited(&self, process: &Descriptor) -> bool {
        is_readable(process.0)
    }

    fn is_gone(&self, pid: i32) -> bool {
        is_nobody(pid) || stat_of(pid).is_some_and(|stat| stat.has_exited)
    }

    fn start_time(&self, pid: i32) -> Option<u64> {
        stat_of(pid).map(|stat| stat.start_time)
    }

    fn pid_namespace(&self) -> Option<u64> {
        // O_PATH would open the link's target without a right to it; stat(2) needs none either.
        status_at(libc::AT_FDCWD, c"/proc/self/ns/pid", 0).ok().map(|status| status.inode)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::liveness::start_time_of_stat;

    #[test]
    fn the_start_time_of_a_process_is_found_by_its_pid() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let expected = start_time_of_stat(&std::fs::read("/proc/self/stat").unwrap());
        assert!(expected.is_some());
        assert_eq!(SeenProcesses.start_time(pid), expected);
        assert_eq!(SeenProcesses.start_time(0x7fff_ffff), None);
        assert!(SeenProcesses.start_time(1).is_some());
    }

    #[test]
    fn a_process_is_its_own_user_alone_and_its_registry_is_found_by_the_uid() {
        // SAFETY: it takes nothing.
        let uid = unsafe { libc::getuid() };
        assert_eq!(sole_user(), Some(uid));
        let own = RegistryFiles::of_caller().unwrap();
        assert_eq!(own.user(), Some(uid));
        let path =
            |files: RegistryFiles| std::string::String::from(files.directory().as_c_str().to_str().unwrap());
        assert_eq!(path(own), std::format!("/run/user/{uid}/systemd/machines"));
        assert_eq!(path(RegistryFiles::SYSTEM), "/run/systemd/machines");
    }
}
