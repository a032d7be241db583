//! What the kernel tells of a block device.
//!
//! # Safety
//! Three ioctls of linux/fs.h with one integer each, of the type that is given here.
#![allow(unsafe_code, reason = "ioctls")]

use std::ffi::c_int;
use std::os::fd::AsFd;

use rustix::io::Errno;
use rustix::ioctl::{Getter, Opcode, Updater, ioctl, opcode};

const BLKROSET: Opcode = opcode::none(0x12, 93);

const BLKROGET: Opcode = opcode::none(0x12, 94);
/// Declared with `size_t`, and filled in as 64 bits.
const BLKGETSIZE64: Opcode = opcode::read::<usize>(0x12, 114);

/// Whether the device cannot be written to.
pub(crate) fn is_read_only(device: impl AsFd) -> Result<bool, Errno> {
    // SAFETY: BLKROGET fills in an int.
    let read_only: c_int = unsafe { ioctl(device, Getter::<BLKROGET, c_int>::new()) }?;
    Ok(read_only != 0)
}

/// Lets nobody write to the device, or lets them again.
pub(crate) fn set_read_only(device: impl AsFd, read_only: bool) -> Result<(), Errno> {
    let mut read_only = c_int::from(read_only);
    // SAFETY: BLKROSET reads an int.
    unsafe { ioctl(device, Updater::<BLKROSET, c_int>::new(&mut read_only)) }
}

/// How many bytes the device has.
pub(crate) fn size(device: impl AsFd) -> Result<u64, Errno> {
    // SAFETY: BLKGETSIZE64 fills in a 64-bit integer.
    unsafe { ioctl(device, Getter::<BLKGETSIZE64, u64>::new()) }
}
