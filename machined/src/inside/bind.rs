//! A bind mount into a container, mount(2), by a child in its mount namespace.
//!
//! # Safety
//! mount_setattr(2) gets a structure of integers that lives until it returns, with its size, and an empty path.
#![allow(unsafe_code, reason = "rustix has no mount_setattr")]

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, mkdirat, openat};
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, OpenTreeFlags, UnmountFlags, move_mount, open_tree, unmount};
use rustix::process::fchdir;
use rustix::thread::{ThreadNameSpaceType, move_into_thread_name_spaces};

use super::asked::Asked;
use super::path::{open, root_of_leader};
use super::request::{Answer, Bind};

/// `MOUNT_ATTR_RDONLY`, linux/mount.h.
const READ_ONLY: u64 = 1;
/// `MOVE_MOUNT_BENEATH`, linux/mount.h, since Linux 6.5.
const BENEATH: u32 = 0x200;

/// Mounts a file or directory of the host at a place in the container, in the place of what was mounted there before.
///
/// # Errors
/// `EINVAL`: the leader is in the mount namespace of the host. Others as the kernel has them.
pub(super) fn bind(asked: &Asked, wanted: &Bind) -> Result<Answer, Errno> {
    let (pid, pidfd) = asked.leader.as_ref().ok_or(Errno::INVAL)?;
    let inode = |whose: &str| rustix::fs::stat(format!("/proc/{whose}/ns/mnt")).map(|stat| stat.st_ino);
    if inode(&pid.to_string())? == inode("self")? {
        return Err(Errno::INVAL);
    }
    let root = root_of_leader(*pid, pidfd.as_fd())?;
    let tree =
        open_tree(CWD, &wanted.source, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)?;
    if wanted.is_read_only {
        make_read_only(tree.as_fd())?;
    }
    let is_directory = FileType::from_raw_mode(fstat(&tree)?.st_mode) == FileType::Directory;
    move_into_thread_name_spaces(pidfd.as_fd(), ThreadNameSpaceType::MOUNT)?;
    let place = Place::of(root.as_fd(), &wanted.destination)?;
    if wanted.makes_directories {
        // What cannot be made is missed below.
        let _ = place.make(root.as_fd(), is_directory);
    }
    place.replace(root.as_fd(), tree.as_fd())?;
    Ok(Answer::default())
}

fn make_read_only(tree: BorrowedFd<'_>) -> Result<(), Errno> {
    // struct mount_attr: what to set, what to clear, propagation, user namespace.
    let attributes = [READ_ONLY, 0, 0, 0];
    // SAFETY: see above.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            attributes.as_ptr(),
            size_of_val(&attributes),
        )
    };
    if done == 0 {
        return Ok(());
    }
    Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO))
}

/// A path in a container, by its parts.
struct Place<'a> {
    path: &'a str,
    parent: &'a str,
    name: &'a str,
}

impl<'a> Place<'a> {
    fn of(_: BorrowedFd<'_>, path: &'a str) -> Result<Self, Errno> {
        let (parent, name) = path.rsplit_once('/').ok_or(Errno::INVAL)?;
        Ok(Self { path, parent, name })
    }

    /// Makes what is missing: directories, and last a directory or a file.
    fn make(&self, root: BorrowedFd<'_>, is_directory: bool) -> Result<(), Errno> {
        let mut above = open(root, "/", OFlags::PATH | OFlags::DIRECTORY)?;
        let mut reached = String::new();
        for part in self.parent.split('/').filter(|part| !part.is_empty()) {
            reached = format!("{reached}/{part}");
            above = match open(root, &reached, OFlags::PATH | OFlags::DIRECTORY) {
                Err(Errno::NOENT) => {
                    mkdirat(&above, part, Mode::from_raw_mode(0o755))?;
                    open(root, &reached, OFlags::PATH | OFlags::DIRECTORY)?
                }
                opened => opened?,
            };
        }
        if is_directory {
            return mkdirat(&above, self.name, Mode::from_raw_mode(0o700));
        }
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        openat(&above, self.name, flags, Mode::from_raw_mode(0o600)).map(drop)
    }

    fn open(&self, root: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
        open(root, self.path, OFlags::PATH)
    }

    /// Puts a tree there. An earlier mount is covered by nothing: the new one goes beneath it, and it is taken away.
    fn replace(&self, root: BorrowedFd<'_>, tree: BorrowedFd<'_>) -> Result<(), Errno> {
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
        let target = self.open(root)?;
        let beneath = flags | MoveMountFlags::from_bits_retain(BENEATH);
        match move_mount(tree, "", &target, "", beneath) {
            Ok(()) => {
                drop(target);
                let parent = if self.parent.is_empty() { "/" } else { self.parent };
                fchdir(open(root, parent, OFlags::PATH | OFlags::DIRECTORY)?)?;
                unmount(self.name, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)
            }
            // No mount is there; or the kernel knows no such way.
            Err(_) => move_mount(tree, "", &target, "", flags),
        }
    }
}
