//! Many machines: `struct machine_list`.
//!
//! # Safety
//! As in [`crate::answer`] and [`crate::text`]. A list of the caller's is null, or was made by one of the functions here and
//! not yet freed.

#![allow(
    unsafe_code,
    clippy::missing_safety_doc,
    reason = "the C interface: the header says what is demanded"
)]

use core::ffi::{c_char, c_int};
use core::ptr;

use libc::{pid_t, size_t, uid_t};
use libmachine::{AllMachines, Buffer, Errno, Field, Number, Snapshot};

use crate::answer::{boxed, count, ended, no_flags, put, status, tell, wanted};
use crate::lookup::{given_id, of_pid, of_pidfd};
use crate::snapshot::{machine, with_zero};
use crate::text::given;

/// Machines, as their records had them when they were read.
#[allow(non_camel_case_types, reason = "as C has it")]
pub struct machine_list {
    machines: Buffer<machine>,
    /// The names of those whose records could not be read, and why.
    failures: Buffer<([u8; 65], Errno)>,
}

/// # Safety
/// The place is null or valid for a write.
#[inline(never)]
unsafe fn give(found: Result<AllMachines, Errno>, place: *mut *mut machine_list) -> c_int {
    tell(wanted(place).and(found), |mut found| {
        let mut list = machine_list { machines: Buffer::new(), failures: Buffer::new() };
        list.machines.reserve(found.machines.len())?;
        while let Some(snapshot) = found.machines.pop() {
            list.machines.push(machine::new(snapshot)?)?;
        }
        for (name, errno) in found.unreadable.iter() {
            list.failures.push((with_zero(name), *errno))?;
        }
        let list = boxed(list)?;
        // SAFETY: as demanded.
        unsafe { put(place, list) };
        Ok(0)
    })
}

/// Reads the records of all machines of the host. They are in no order. One whose leader has gone may be among them:
/// machine_list_keep_alive() leaves those out. Where there is no registry the list is empty.
///
/// Parameters:
///   flags  0
///   ret    where the list goes
///
/// Returns: 0, or a negative errno. -EINVAL: ret is NULL, or a flag is not known.
///
/// Memory: machine_list_free() the list.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_list_new(flags: u64, ret: *mut *mut machine_list) -> c_int {
    let found = wanted(ret).and(no_flags(flags)).and_then(|()| AllMachines::read());
    // SAFETY: as demanded.
    unsafe { give(found, ret) }
}

/// Lists the machines that a process is in, the outermost first.
///
/// Parameters:
///   pid    the process; 0 for the caller
///   flags  0
///   ret    where the list goes, which is empty if it is in none
///
/// Returns: 0, or a negative errno: those of machine_by_pid(), but for -ENXIO.
///
/// Memory: machine_list_free() the list.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_list_by_pid(pid: pid_t, flags: u64, ret: *mut *mut machine_list) -> c_int {
    let found = wanted(ret).and(no_flags(flags)).and_then(|()| of_pid(pid));
    // SAFETY: as demanded.
    unsafe { give(found.and_then(reversed), ret) }
}

/// Lists the machines that a process is in, as machine_list_by_pid() does, by a descriptor of it.
///
/// Parameters:
///   pidfd  a descriptor made by pidfd_open(2)
///   flags  0
///   ret    where the list goes, which is empty if it is in none
///
/// Returns: 0, or a negative errno: those of machine_by_pidfd(), but for -ENXIO.
///
/// Memory: machine_list_free() the list.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_list_by_pidfd(
    pidfd: c_int,
    flags: u64,
    ret: *mut *mut machine_list,
) -> c_int {
    let found = wanted(ret).and(no_flags(flags)).and_then(|()| of_pidfd(pidfd));
    // SAFETY: as demanded.
    unsafe { give(found.and_then(reversed), ret) }
}

/// Machines in the other order, since [`give`] takes the last first.
fn reversed(mut machines: Buffer<Snapshot>) -> Result<AllMachines, Errno> {
    machines.reverse();
    let mut all = AllMachines::default();
    all.machines = machines;
    Ok(all)
}

/// Frees a list, and its machines.
///
/// Parameters:
///   list  the list; may be NULL
///
/// Returns: NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_list_free(list: *mut machine_list) -> *mut machine_list {
    // SAFETY: as demanded.
    unsafe { ended(list) }
}

/// The number of machines in a list.
///
/// Parameters:
///   list  the list
///
/// Returns: how many there are, or a negative errno. -EINVAL: list is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_list_get_count(list: *const machine_list) -> c_int {
    // SAFETY: as demanded.
    status(unsafe { list.as_ref() }.ok_or(Errno::INVAL).and_then(|list| count(list.machines.len())))
}

/// A machine of a list.
///
/// Parameters:
///   list  the list
///   i     which one, from 0 on
///
/// Returns: the machine; NULL if there are not so many, or list is NULL.
///
/// Memory: the list's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_list_get_machine(list: *const machine_list, i: size_t) -> *const machine {
    // SAFETY: as demanded.
    unsafe { list.as_ref() }.and_then(|list| list.machines.get(i)).map_or(ptr::null(), ptr::from_ref)
}

/// Tells of a machine that is not in a list since its record could not be read.
///
/// Parameters:
///   list   the list
///   i      which one, from 0 on
///   name   where its name goes; may be NULL
///   error  where the negative errno goes that says why, -EBADMSG for a damaged record; may be NULL
///
/// Returns: 1; 0 if there are not so many; or a negative errno. -EINVAL: list is NULL.
///
/// Memory: the list's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_list_get_failure(
    list: *const machine_list,
    i: size_t,
    name: *mut *const c_char,
    error: *mut c_int,
) -> c_int {
    // SAFETY: as demanded.
    tell(unsafe { list.as_ref() }.ok_or(Errno::INVAL), |list| {
        let Some((text, errno)) = list.failures.get(i) else { return Ok(0) };
        // SAFETY: as demanded.
        unsafe {
            put(name, text.as_ptr().cast());
            put(error, errno.0.wrapping_neg());
        }
        Ok(1)
    })
}

/// # Safety
/// As the module says.
#[inline(never)]
unsafe fn keep(list: *mut machine_list, is_kept: &dyn Fn(&Snapshot) -> bool) -> c_int {
    // SAFETY: as demanded.
    tell(unsafe { list.as_mut() }.ok_or(Errno::INVAL), |list| {
        list.machines.keep(|machine| is_kept(machine.snapshot()));
        count(list.machines.len())
    })
}

/// Leaves out of a list the machines whose leader has gone.
///
/// Parameters:
///   list  the list
///
/// Returns: how many are left, or a negative errno. -EINVAL: list is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_list_keep_alive(list: *mut machine_list) -> c_int {
    // SAFETY: as demanded.
    unsafe { keep(list, &Snapshot::is_alive) }
}

/// Leaves out of a list the machines of other classes.
///
/// Parameters:
///   list  the list
///   name  that of the class, "container" or "vm"
///
/// Returns: how many are left, or a negative errno. -EINVAL: an argument is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_list_keep_class(list: *mut machine_list, name: *const c_char) -> c_int {
    // SAFETY: as demanded.
    match unsafe { given(name) } {
        // SAFETY: as demanded.
        Some(class) => unsafe { keep(list, &|machine| machine.text(Field::Class) == Some(class)) },
        None => tell(Err(Errno::INVAL), |()| Ok(0)),
    }
}

/// Leaves out of a list the machines that other users registered.
///
/// Parameters:
///   list   the list
///   owner  the uid of the user
///
/// Returns: how many are left, or a negative errno. -EINVAL: list is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_list_keep_owner(list: *mut machine_list, owner: uid_t) -> c_int {
    // SAFETY: as demanded.
    unsafe { keep(list, &|machine| machine.number(Number::Owner) == Some(owner.into())) }
}

/// Leaves out of a list the machines with other context ids of vsock(7), or none.
///
/// Parameters:
///   list  the list
///   cid   the context id
///
/// Returns: how many are left, or a negative errno. -EINVAL: list is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_list_keep_vsock_cid(list: *mut machine_list, cid: u32) -> c_int {
    // SAFETY: as demanded.
    unsafe { keep(list, &|machine| machine.number(Number::VsockCid) == Some(cid.into())) }
}

/// Leaves out of a list the machines that a network interface of the host does not lead to.
///
/// Parameters:
///   list     the list
///   ifindex  the index of the interface
///
/// Returns: how many are left, or a negative errno. -EINVAL: list is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_list_keep_ifindex(list: *mut machine_list, ifindex: c_int) -> c_int {
    // SAFETY: as demanded.
    unsafe { keep(list, &|machine| machine.interfaces().contains(&ifindex)) }
}

/// cbindgen:ptrs-as-arrays=[[id;16]]
/// Leaves out of a list the machines whose systems have other ids, machine-id(5).
///
/// Parameters:
///   list  the list
///   id    the 16 bytes of the id
///
/// Returns: how many are left, or a negative errno. -EINVAL: an argument is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_list_keep_id(list: *mut machine_list, id: *const u8) -> c_int {
    // SAFETY: as demanded.
    match unsafe { given_id(id) } {
        // SAFETY: as demanded.
        Ok(id) => unsafe { keep(list, &|machine| machine.id().is_some_and(|own| own.bytes() == id)) },
        Err(errno) => tell(Err(errno), |()| Ok(0)),
    }
}

/// Leaves out of a list the machines with other control groups.
///
/// Parameters:
///   list  the list
///   id    the id of the group, the inode number of its directory
///
/// Returns: how many are left, or a negative errno. -EINVAL: list is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_list_keep_control_group_id(list: *mut machine_list, id: u64) -> c_int {
    // SAFETY: as demanded.
    unsafe { keep(list, &|machine| machine.number(Number::ControlGroupId) == Some(id)) }
}
