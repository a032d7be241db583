//! Many processes at once: `struct machine_batch`.
//!
//! # Safety
//! As in [`crate::answer`]. A batch of the caller's is null, or was made by [`machine_batch_new`] and not yet freed.

#![allow(
    unsafe_code,
    clippy::missing_safety_doc,
    reason = "the C interface: the header says what is demanded"
)]

use core::ffi::{c_char, c_int};
use core::{ptr, slice};

use libc::{pid_t, size_t};
use libmachine::{Batch, Errno};

use crate::answer::{boxed, count, ended, no_flags, put, status, tell, wanted};

/// The machines of many processes.
#[allow(non_camel_case_types, reason = "as C has it")]
pub struct machine_batch(Batch);

/// Tells which machines many processes are in, each as machine_path_by_pid() does, at a fraction of the price: for tools that
/// show all processes.
///
/// Parameters:
///   pids   the processes; 0 is none here
///   n      how many there are
///   flags  0
///   ret    where the answers go
///
/// Returns: 0, or a negative errno. -EINVAL: ret is NULL, or pids is and n is not 0, or a flag is not known. -ESRCH: /proc is
/// not mounted.
///
/// Memory: machine_batch_free() the answers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_batch_new(
    pids: *const pid_t,
    n: size_t,
    flags: u64,
    ret: *mut *mut machine_batch,
) -> c_int {
    // SAFETY: as demanded.
    let pids = wanted(ret).and(no_flags(flags)).and_then(|()| unsafe { given(pids, n) });
    tell(pids.and_then(Batch::of), |batch| {
        let batch = boxed(machine_batch(batch))?;
        // SAFETY: as demanded.
        unsafe { put(ret, batch) };
        Ok(0)
    })
}

/// # Safety
/// There are so many, or none and the pointer is null.
unsafe fn given<'a>(pids: *const pid_t, n: size_t) -> Result<&'a [pid_t], Errno> {
    match n {
        0 => Ok(&[]),
        _ if pids.is_null() || n > usize::MAX / 64 => Err(Errno::INVAL),
        // SAFETY: as demanded.
        n => Ok(unsafe { slice::from_raw_parts(pids, n) }),
    }
}

/// Frees the answers of a batch.
///
/// Parameters:
///   batch  the answers; may be NULL
///
/// Returns: NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_batch_free(batch: *mut machine_batch) -> *mut machine_batch {
    // SAFETY: as demanded.
    unsafe { ended(batch) }
}

/// The number of answers in a batch: one for each process that was asked for, in a machine or not.
///
/// Parameters:
///   batch  the answers
///
/// Returns: how many there are, or a negative errno. -EINVAL: batch is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_batch_get_count(batch: *const machine_batch) -> c_int {
    // SAFETY: as demanded.
    status(unsafe { batch.as_ref() }.ok_or(Errno::INVAL).and_then(|batch| count(batch.0.len())))
}

/// How many of the processes of a batch are in a machine: those that machine_batch_get_path() has a text for.
///
/// Parameters:
///   batch  the answers
///
/// Returns: their number, or a negative errno. -EINVAL: batch is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_batch_get_found(batch: *const machine_batch) -> c_int {
    // SAFETY: as demanded.
    status(unsafe { batch.as_ref() }.ok_or(Errno::INVAL).and_then(|batch| count(batch.0.found())))
}

/// # Safety
/// As the module says.
unsafe fn text<'a>(batch: *const machine_batch, i: size_t) -> Option<&'a [u8]> {
    // SAFETY: as demanded.
    unsafe { batch.as_ref() }.and_then(|batch| batch.0.path_with_zero(i))
}

/// The machines that a process of a batch is in, the outermost first: "outer/inner".
///
/// Parameters:
///   batch  the answers
///   i      which process, by its place in what was asked, from 0 on
///
/// Returns: the names; NULL if it is in no machine, gone, hidden from the caller, or in a machine whose record cannot be read,
/// and if batch is NULL or has no such process.
///
/// Memory: the batch's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_batch_get_path(batch: *const machine_batch, i: size_t) -> *const c_char {
    // SAFETY: as demanded.
    unsafe { text(batch, i) }.map_or(ptr::null(), |text| text.as_ptr().cast())
}

/// The nearest machine that a process of a batch is in.
///
/// Parameters:
///   batch  the answers
///   i      which process, by its place in what was asked, from 0 on
///
/// Returns: its name; NULL where machine_batch_get_path() is.
///
/// Memory: the batch's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_batch_get_name(batch: *const machine_batch, i: size_t) -> *const c_char {
    // SAFETY: as demanded.
    let text = unsafe { text(batch, i) }.and_then(|text| text.rsplit(|&byte| byte == b'/').next());
    text.map_or(ptr::null(), |text| text.as_ptr().cast())
}
