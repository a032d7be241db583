//! From what the host sees to the machine it belongs to: `machine_by_*`, and their names, `machine_name_by_*`.
//!
//! # Safety
//! As in [`crate::answer`] and [`crate::text`].

#![allow(
    unsafe_code,
    clippy::missing_safety_doc,
    reason = "the C interface: the header says what is demanded"
)]

use core::ffi::{c_char, c_int, c_void};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::ptr;

use libc::{gid_t, pid_t, uid_t};
use libmachine::{
    Borrowed, Buffer, Errno, Number, Snapshot, id_inside, machine_of_address, machine_of_id, machines_of_pid,
    machines_of_pidfd, only_machine, path_of,
};
use registry::IdKind;

use crate::answer::{no_flags, only_flags, put, tell, wanted};
use crate::snapshot::{give, machine};
use crate::text::{copied, owned};

/// For machine_by_pid() and machine_by_pidfd(): the outermost machine, not the nearest.
pub const MACHINE_OUTERMOST: u64 = 1;

/// The machines of a process, given by its id.
///
/// # Errors
/// `EINVAL`: it is negative.
#[inline(never)]
pub fn of_pid(pid: pid_t) -> Result<Buffer<Snapshot>, Errno> {
    u32::try_from(pid).map_err(|_| Errno::INVAL).and_then(machines_of_pid)
}

/// The machines of a process, given by a descriptor of it.
///
/// # Errors
/// `EBADF`: it is none.
#[inline(never)]
pub fn of_pidfd(pidfd: c_int) -> Result<Buffer<Snapshot>, Errno> {
    // SAFETY: it is what the caller means.
    unsafe { Borrowed::from_raw(pidfd) }.ok_or(Errno::BADF).and_then(machines_of_pidfd)
}

fn one_of(mut machines: Buffer<Snapshot>, flags: u64) -> Result<Snapshot, Errno> {
    let one = if flags & MACHINE_OUTERMOST == 0 { machines.pop() } else { machines.remove(0) };
    one.ok_or(Errno::NXIO)
}

/// Finds the machine that a process is in: of machines that are nested in each other the nearest. Unlike
/// sd_pid_get_machine_name() it finds machines within other units, such as those of users, and leaves out those whose
/// leader has gone. Of a machine that shares its control group with others the leader alone is found.
///
/// Parameters:
///   pid    the process; 0 for the caller
///   flags  0, or MACHINE_OUTERMOST for the outermost machine
///   ret    where the machine goes
///
/// Returns: 0, or a negative errno. -ENXIO: it is in no machine. -ESRCH: there is no such process, or none that /proc
/// shows. -EINVAL: pid is negative, ret is NULL, or a flag is not known. -EUNATCH: its control group is outside of the
/// caller's cgroup namespace.
///
/// Memory: machine_free() the machine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_by_pid(pid: pid_t, flags: u64, ret: *mut *mut machine) -> c_int {
    let found = wanted(ret).and(only_flags(flags, MACHINE_OUTERMOST)).and_then(|()| of_pid(pid));
    // SAFETY: as demanded.
    unsafe { give(found.and_then(|machines| one_of(machines, flags)), ret) }
}

/// Finds the machine that a process is in, as machine_by_pid() does, by a descriptor of it.
///
/// Parameters:
///   pidfd  a descriptor made by pidfd_open(2)
///   flags  as of machine_by_pid()
///   ret    where the machine goes
///
/// Returns: 0, or a negative errno: those of machine_by_pid(). -EBADF, -ENOTTY: pidfd is no descriptor, or none of a
/// process. -EREMOTE: the process is of another PID namespace. -ENOSYS: before Linux 6.13 /proc has to tell, and is not
/// there.
///
/// Memory: machine_free() the machine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_by_pidfd(pidfd: c_int, flags: u64, ret: *mut *mut machine) -> c_int {
    let found = wanted(ret).and(only_flags(flags, MACHINE_OUTERMOST)).and_then(|()| of_pidfd(pidfd));
    // SAFETY: as demanded.
    unsafe { give(found.and_then(|machines| one_of(machines, flags)), ret) }
}

/// # Safety
/// The place is null or valid for a write.
#[inline(never)]
unsafe fn path(found: Result<Buffer<Snapshot>, Errno>, place: *mut *mut c_char) -> c_int {
    let machines =
        found.and_then(|machines| if machines.is_empty() { Err(Errno::NXIO) } else { Ok(machines) });
    tell(machines, |machines| {
        let text = if place.is_null() { ptr::null_mut() } else { owned(path_of(&machines)?)? };
        // SAFETY: as demanded.
        unsafe { put(place, text) };
        Ok(0)
    })
}

/// Tells which machines a process is in, by their names, the outermost first: "outer/inner". machine_open() takes that.
///
/// Parameters:
///   pid    the process; 0 for the caller
///   flags  0
///   path   where the names go; may be NULL
///
/// Returns: 0, or a negative errno: those of machine_by_pid().
///
/// Memory: free(3) the path.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_path_by_pid(pid: pid_t, flags: u64, path: *mut *mut c_char) -> c_int {
    // SAFETY: as demanded.
    unsafe { self::path(no_flags(flags).and_then(|()| of_pid(pid)), path) }
}

/// Tells which machines a process is in, as machine_path_by_pid() does, by a descriptor of it.
///
/// Parameters:
///   pidfd  a descriptor made by pidfd_open(2)
///   flags  0
///   path   where the names go; may be NULL
///
/// Returns: 0, or a negative errno: those of machine_by_pidfd().
///
/// Memory: free(3) the path.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_path_by_pidfd(pidfd: c_int, flags: u64, path: *mut *mut c_char) -> c_int {
    // SAFETY: as demanded.
    unsafe { self::path(no_flags(flags).and_then(|()| of_pidfd(pidfd)), path) }
}

/// # Safety
/// The places are null or valid for a write.
#[inline(never)]
unsafe fn machine_of(kind: IdKind, id: u32, flags: u64, ret: *mut *mut machine, inside: *mut u32) -> c_int {
    let mut id_in_machine = 0;
    let found = wanted(ret).and(no_flags(flags)).and_then(|()| {
        let found = Snapshot::of(machine_of_id(kind, id)?.machine())?;
        // Its record may be another machine's by now.
        id_in_machine = id_inside(&found, kind, id).map_err(|_| Errno::NXIO)?;
        if found.is_alive() { Ok(found) } else { Err(Errno::NXIO) }
    });
    // SAFETY: as demanded.
    unsafe {
        let result = give(found, ret);
        if result >= 0 {
            put(inside, id_in_machine);
        }
        result
    }
}

/// # Safety
/// The places are null or valid for a write.
#[inline(never)]
unsafe fn name_of(kind: IdKind, id: u32, flags: u64, place: *mut *mut c_char, inside: *mut u32) -> c_int {
    tell(no_flags(flags).and_then(|()| machine_of_id(kind, id)), |found| {
        let name = if place.is_null() { ptr::null_mut() } else { copied(found.machine().as_bytes())? };
        // SAFETY: as demanded.
        unsafe {
            put(place, name);
            put(inside, found.inside());
        }
        Ok(0)
    })
}

/// Finds the machine that a uid of the host belongs to. machine_name_by_uid() takes less time.
///
/// Parameters:
///   uid     the uid on the host
///   flags   0
///   ret     where the machine goes
///   inside  where the uid inside the machine goes; may be NULL
///
/// Returns: 0, or a negative errno. -ENXIO: it is no living machine's, as those of the host itself. -ENOTUNIQ: it is
/// more than one machine's. -EBADMSG: the record that decides is damaged. -EINVAL: ret is NULL, or a flag is not known.
///
/// Memory: machine_free() the machine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_by_uid(
    uid: uid_t,
    flags: u64,
    ret: *mut *mut machine,
    inside: *mut uid_t,
) -> c_int {
    // SAFETY: as demanded.
    unsafe { machine_of(IdKind::User, uid, flags, ret, inside) }
}

/// Tells which machine a uid of the host belongs to, by its name.
///
/// Parameters:
///   uid     the uid on the host
///   flags   0
///   name    where the name of the machine goes; may be NULL
///   inside  where the uid inside the machine goes; may be NULL
///
/// Returns: 0, or a negative errno: those of machine_by_uid().
///
/// Memory: free(3) the name.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_name_by_uid(
    uid: uid_t,
    flags: u64,
    name: *mut *mut c_char,
    inside: *mut uid_t,
) -> c_int {
    // SAFETY: as demanded.
    unsafe { name_of(IdKind::User, uid, flags, name, inside) }
}

/// Finds the machine that a gid of the host belongs to. machine_name_by_gid() takes less time.
///
/// Parameters:
///   gid     the gid on the host
///   flags   0
///   ret     where the machine goes
///   inside  where the gid inside the machine goes; may be NULL
///
/// Returns: 0, or a negative errno. -ENXIO: it is no living machine's, as those of the host itself. -ENOTUNIQ: it is
/// more than one machine's. -EBADMSG: the record that decides is damaged. -EINVAL: ret is NULL, or a flag is not known.
///
/// Memory: machine_free() the machine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_by_gid(
    gid: gid_t,
    flags: u64,
    ret: *mut *mut machine,
    inside: *mut gid_t,
) -> c_int {
    // SAFETY: as demanded.
    unsafe { machine_of(IdKind::Group, gid, flags, ret, inside) }
}

/// Tells which machine a gid of the host belongs to, by its name.
///
/// Parameters:
///   gid     the gid on the host
///   flags   0
///   name    where the name of the machine goes; may be NULL
///   inside  where the gid inside the machine goes; may be NULL
///
/// Returns: 0, or a negative errno: those of machine_by_gid().
///
/// Memory: free(3) the name.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_name_by_gid(
    gid: gid_t,
    flags: u64,
    name: *mut *mut c_char,
    inside: *mut gid_t,
) -> c_int {
    // SAFETY: as demanded.
    unsafe { name_of(IdKind::Group, gid, flags, name, inside) }
}

/// Finds the machine that an address leads to from the host, by the index that gethostbyaddr(3) asks as well. An address that
/// several machines have leads to none of them.
///
/// Parameters:
///   family   AF_INET or AF_INET6
///   address  a struct in_addr or a struct in6_addr
///   flags    0
///   ret      where the machine goes
///
/// Returns: 0, or a negative errno. -ENXIO: it leads to no living machine. -ENOTUNIQ: more than one has it; go through a list
/// with machine_get_address() to find them. -EAFNOSUPPORT: another family. -EINVAL: address or ret is NULL, or a flag is not
/// known. -EBADMSG: the record that decides is damaged.
///
/// Memory: machine_free() the machine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_by_address(
    family: c_int,
    address: *const c_void,
    flags: u64,
    ret: *mut *mut machine,
) -> c_int {
    let checked = wanted(ret).and(no_flags(flags));
    // SAFETY: as demanded.
    let found = checked.and_then(|()| unsafe { given(family, address) }).and_then(machine_of_address);
    // SAFETY: as demanded.
    unsafe { give(found, ret) }
}

/// Tells which machine an address leads to from the host, by its name.
///
/// Parameters:
///   family   AF_INET or AF_INET6
///   address  a struct in_addr or a struct in6_addr
///   flags    0
///   name     where the name of the machine goes; may be NULL
///
/// Returns: 0, or a negative errno: those of machine_by_address().
///
/// Memory: free(3) the name.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_name_by_address(
    family: c_int,
    address: *const c_void,
    flags: u64,
    name: *mut *mut c_char,
) -> c_int {
    // SAFETY: as demanded.
    let found = no_flags(flags).and_then(|()| unsafe { given(family, address) }).and_then(machine_of_address);
    tell(found, |found| {
        let text = if name.is_null() { ptr::null_mut() } else { copied(found.name().as_bytes())? };
        // SAFETY: as demanded.
        unsafe { put(name, text) };
        Ok(0)
    })
}

/// # Safety
/// The place is null or valid for a write.
#[inline(never)]
unsafe fn only(flags: u64, ret: *mut *mut machine, is_it: &dyn Fn(&Snapshot) -> bool) -> c_int {
    let found = wanted(ret).and(no_flags(flags)).and_then(|()| only_machine(is_it));
    // SAFETY: as demanded.
    unsafe { give(found, ret) }
}

/// Finds the virtual machine that has a context id of vsock(7). All records are read for it.
///
/// Parameters:
///   cid    the context id
///   flags  0
///   ret    where the machine goes
///
/// Returns: 0, or a negative errno. -ENXIO: no living machine has it. -ENOTUNIQ: more than one has. -EBADMSG, -EACCES: none
/// has, but there is a record that is damaged or cannot be read, which may be its. -EINVAL: ret is NULL, or a flag is not
/// known.
///
/// Memory: machine_free() the machine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_by_vsock_cid(cid: u32, flags: u64, ret: *mut *mut machine) -> c_int {
    // SAFETY: as demanded.
    unsafe { only(flags, ret, &|machine| machine.number(Number::VsockCid) == Some(cid.into())) }
}

/// Finds the machine that a network interface of the host leads to. All records are read for it.
///
/// Parameters:
///   ifindex  the index of the interface
///   flags    0
///   ret      where the machine goes
///
/// Returns: 0, or a negative errno: those of machine_by_vsock_cid().
///
/// Memory: machine_free() the machine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_by_ifindex(ifindex: c_int, flags: u64, ret: *mut *mut machine) -> c_int {
    // SAFETY: as demanded.
    unsafe { only(flags, ret, &|machine| machine.interfaces().contains(&ifindex)) }
}

/// cbindgen:ptrs-as-arrays=[[id;16]]
/// Finds the machine whose system has an id of machine-id(5). All records are read for it.
///
/// Parameters:
///   id     its 16 bytes
///   flags  0
///   ret    where the machine goes
///
/// Returns: 0, or a negative errno: those of machine_by_vsock_cid(). -EINVAL: also if id is NULL.
///
/// Memory: machine_free() the machine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_by_id(id: *const u8, flags: u64, ret: *mut *mut machine) -> c_int {
    // SAFETY: as demanded: it has so many bytes, and need not be aligned.
    match unsafe { given_id(id) } {
        // SAFETY: as demanded.
        Ok(id) => unsafe { only(flags, ret, &|machine| machine.id().is_some_and(|own| own.bytes() == id)) },
        Err(errno) => tell(Err(errno), |()| Ok(0)),
    }
}

/// The bytes of a machine id.
///
/// # Errors
/// `EINVAL`: there are none.
///
/// # Safety
/// The id is null or has 16 bytes.
pub unsafe fn given_id(id: *const u8) -> Result<[u8; 16], Errno> {
    if id.is_null() {
        return Err(Errno::INVAL);
    }
    // SAFETY: as demanded.
    Ok(unsafe { id.cast::<[u8; 16]>().read_unaligned() })
}

/// Finds the machine that has this control group for its own. All records are read for it.
///
/// Parameters:
///   id     the id of the group, the inode number of its directory
///   flags  0
///   ret    where the machine goes
///
/// Returns: 0, or a negative errno: those of machine_by_vsock_cid().
///
/// Memory: machine_free() the machine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_by_control_group_id(id: u64, flags: u64, ret: *mut *mut machine) -> c_int {
    // SAFETY: as demanded.
    unsafe { only(flags, ret, &|machine| machine.number(Number::ControlGroupId) == Some(id)) }
}

/// # Safety
/// The address is null, or of its family.
unsafe fn given(family: c_int, address: *const c_void) -> Result<IpAddr, Errno> {
    if address.is_null() {
        return Err(Errno::INVAL);
    }
    match family {
        // SAFETY: as demanded; it need not be aligned.
        libc::AF_INET => Ok(Ipv4Addr::from(unsafe { address.cast::<[u8; 4]>().read_unaligned() }).into()),
        // SAFETY: as demanded; it need not be aligned.
        libc::AF_INET6 => Ok(Ipv6Addr::from(unsafe { address.cast::<[u8; 16]>().read_unaligned() }).into()),
        _ => Err(Errno::AFNOSUPPORT),
    }
}
