//! The extended attributes that a copy keeps.

use std::os::fd::OwnedFd;

use rustix::fs::{XattrFlags, fgetxattr, flistxattr, fsetxattr};
use rustix::io::Errno;

/// The largest list of names, and the largest value, that the kernel has.
const LARGEST: usize = 64 << 10;

/// What became of a file's access control lists.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Lists {
    /// There are none, or they are there again.
    Kept,
    /// Their ids mean nothing where the copy is, or there is no place for them.
    Lost,
}

/// Copies the attributes of users; and those that speak of ids, if these mean the same in both places.
///
/// # Errors
/// As the kernel has them; there may be no room for all of them.
pub(super) fn copy_attributes(
    source: &OwnedFd,
    target: &OwnedFd,
    ids_are_the_same: bool,
) -> Result<Lists, Errno> {
    // Most files have few or none.
    let mut names = vec![0_u8; 256];
    let length = match flistxattr(source, names.as_mut_slice()) {
        Err(Errno::OPNOTSUPP) => return Ok(Lists::Kept),
        Err(Errno::RANGE) => {
            names.resize(LARGEST, 0);
            flistxattr(source, names.as_mut_slice())?
        }
        length => length?,
    };
    let mut lists = Lists::Kept;
    for name in names.get(..length).unwrap_or_default().split(|&byte| byte == 0) {
        let is_list = name.starts_with(b"system.posix_acl_");
        if is_list && !ids_are_the_same {
            lists = Lists::Lost;
            continue;
        }
        let is_kept = name.starts_with(b"user.") || is_list || name == b"security.capability";
        if !is_kept || (name == b"security.capability" && !ids_are_the_same) {
            continue;
        }
        let mut value = vec![0; LARGEST];
        let length = match fgetxattr(source, name, &mut value) {
            Err(Errno::NODATA) => continue,
            length => length?,
        };
        match fsetxattr(target, name, value.get(..length).unwrap_or_default(), XattrFlags::empty()) {
            Ok(()) => {}
            // The file system has none of this kind.
            Err(Errno::OPNOTSUPP) if is_list => lists = Lists::Lost,
            Err(Errno::OPNOTSUPP) => {}
            // A service that may not give any, as that of the original.
            Err(Errno::PERM) if name == b"security.capability" => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(lists)
}
