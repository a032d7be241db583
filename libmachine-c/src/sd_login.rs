//! The functions of sd-login(3) that are about machines: the same names, results and errors.
//!
//! # Safety
//! As in [`crate::answer`] and [`crate::text`]. A monitor is no object but its descriptor plus one, as in libsystemd: one
//! made by either library is understood by the other.

#![allow(
    unsafe_code,
    clippy::missing_safety_doc,
    reason = "the C interface: the header says what is demanded"
)]

use core::ffi::{c_char, c_int};
use core::ptr;

use libc::pid_t;
use libmachine::{
    Borrowed, Category, Descriptor, Errno, Listing, Seen, drain, each_name, pid_of_peer, stock_class,
    stock_interfaces, stock_machine_of_pid, stock_machine_of_pidfd, watch_categories,
};

use crate::answer::{count, put, status, tell, wanted};
use crate::text::{StringList, given, owned};

/// A monitor of sd-login's.
#[allow(non_camel_case_types, reason = "as C has it")]
pub struct sd_login_monitor(());

/// What sd_pid_get_machine_name(3) says where a process is in no unit.
fn without_unit(errno: Errno) -> Errno {
    if errno == Errno::NXIO { Errno::NODATA } else { errno }
}

/// Tells which machine a process is in, by the unit it is in: the outermost one, whatever is nested in it.
///
/// Parameters:
///   pid   the process; 0 for the caller
///   name  where the name goes; may be NULL
///
/// Returns: 0, or a negative errno. -ENOENT: no machine runs in its unit, as for most processes of a host. -ENODATA: it is
/// in no unit. -ESRCH: there is no such process, or none that /proc shows. -EINVAL: pid is negative. -EUNATCH: its control
/// group is outside of the caller's namespace.
///
/// Memory: free(3) the name.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sd_pid_get_machine_name(pid: pid_t, name: *mut *mut c_char) -> c_int {
    let found = u32::try_from(pid).map_err(|_| Errno::INVAL).and_then(stock_machine_of_pid);
    tell(found.map_err(without_unit).and_then(owned_if(name)), |text| {
        // SAFETY: as demanded.
        unsafe { put(name, text) };
        Ok(0)
    })
}

/// Tells which machine a process is in, as sd_pid_get_machine_name() does, by a descriptor of it.
///
/// Parameters:
///   pidfd  a descriptor made by pidfd_open(2)
///   name   where the name goes; may be NULL
///
/// Returns: 0, or a negative errno: those of sd_pid_get_machine_name(). -EBADF, -ENOTTY: pidfd is no descriptor, or none of
/// a process. -EREMOTE: the process is of another PID namespace.
///
/// Memory: free(3) the name.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sd_pidfd_get_machine_name(pidfd: c_int, name: *mut *mut c_char) -> c_int {
    // SAFETY: it is what the caller means.
    let found = unsafe { Borrowed::from_raw(pidfd) }.ok_or(Errno::BADF).and_then(stock_machine_of_pidfd);
    tell(found.map_err(without_unit).and_then(owned_if(name)), |text| {
        // SAFETY: as demanded.
        unsafe { put(name, text) };
        Ok(0)
    })
}

/// Tells which machine the process at the other end of a Unix socket is in.
///
/// Parameters:
///   fd    a connected socket, unix(7)
///   name  where the name goes; may be NULL
///
/// Returns: 0, or a negative errno: those of sd_pid_get_machine_name(), but -ENXIO where the process is in no unit.
/// -ENODATA: the other end is no process of this PID namespace. -EBADF, -ENOTSOCK: fd is no descriptor, or no socket.
///
/// Memory: free(3) the name.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sd_peer_get_machine_name(fd: c_int, name: *mut *mut c_char) -> c_int {
    // SAFETY: it is what the caller means.
    let pid = unsafe { Borrowed::from_raw(fd) }.ok_or(Errno::BADF).and_then(pid_of_peer);
    let pid = pid.and_then(|pid| u32::try_from(pid).ok().filter(|&pid| pid > 0).ok_or(Errno::NODATA));
    tell(pid.and_then(stock_machine_of_pid).and_then(owned_if(name)), |text| {
        // SAFETY: as demanded.
        unsafe { put(name, text) };
        Ok(0)
    })
}

/// A string for the caller, if one is wanted.
fn owned_if(name: *mut *mut c_char) -> impl FnOnce(libmachine::Buffer<u8>) -> Result<*mut c_char, Errno> {
    move |text| if name.is_null() { Ok(ptr::null_mut()) } else { owned(text) }
}

/// Lists the machines of the host, in no order. Names that look like backups (web.old, web.bak) are left out;
/// machine_list_new() has them.
///
/// Parameters:
///   machines  where the list goes, which ends in NULL; may be NULL. It is NULL if there is not even a file.
///
/// Returns: how many there are, or a negative errno.
///
/// Memory: free(3) each name, and then the list.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sd_get_machine_names(machines: *mut *mut *mut c_char) -> c_int {
    // SAFETY: as demanded.
    unsafe { list(machines) }
}

/// # Safety
/// The place is null or valid for a write.
unsafe fn list(place: *mut *mut *mut c_char) -> c_int {
    let (mut names, mut number) = (StringList::default(), 0_usize);
    let seen = each_name(Listing::AsStock, &mut |name| {
        number = number.saturating_add(1);
        if place.is_null() { Ok(()) } else { names.push(name.as_bytes()) }
    });
    let list = seen.and_then(|seen| match seen {
        Seen::Files if !place.is_null() => names.into_raw(),
        _ => Ok(ptr::null_mut()),
    });
    tell(list, |list| {
        let number = count(number)?;
        // SAFETY: as demanded.
        unsafe { put(place, list) };
        Ok(number)
    })
}

/// Tells the class of a machine: "container" or "vm", or whatever its record says; "host" for ".host".
///
/// Parameters:
///   machine    its name
///   ret_class  where the class goes; may be NULL
///
/// Returns: 0, or a negative errno. -EINVAL: no valid name. -ENXIO: no such machine. -EIO: its record has no class.
///
/// Memory: free(3) the class.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sd_machine_get_class(machine: *const c_char, ret_class: *mut *mut c_char) -> c_int {
    // SAFETY: as demanded.
    let name = unsafe { given(machine) }.ok_or(Errno::INVAL);
    tell(name.and_then(stock_class).and_then(owned_if(ret_class)), |text| {
        // SAFETY: as demanded.
        unsafe { put(ret_class, text) };
        Ok(0)
    })
}

/// Lists the network interfaces of the host that lead to a machine, by their indexes.
///
/// Parameters:
///   machine    its name
///   ifindices  where the array goes; may be NULL. It is NULL if there are none.
///
/// Returns: how many there are, or a negative errno. -EINVAL: no valid name. -ENXIO: no such machine. -EUCLEAN,
/// -ERANGE: its record has something else in their place.
///
/// Memory: free(3) the array.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sd_machine_get_ifindices(
    machine: *const c_char,
    ifindices: *mut *mut c_int,
) -> c_int {
    // SAFETY: as demanded.
    let name = unsafe { given(machine) }.ok_or(Errno::INVAL);
    tell(name.and_then(stock_interfaces), |list| {
        let number = count(list.len())?;
        if !ifindices.is_null() {
            // SAFETY: as demanded.
            unsafe { put(ifindices, list.into_raw()) };
        }
        Ok(number)
    })
}

/// Watches for changes: of machines, and of what systemd-logind keeps. Wait for the descriptor, flush, look again.
///
/// Parameters:
///   category  "machine", "seat", "session" or "uid"; NULL for all of them
///   ret       where the monitor goes
///
/// Returns: 0, or a negative errno. -EINVAL: no such category, or ret is NULL. -ENOENT: there is nothing to be watched,
/// as where no registry or no systemd-logind runs.
///
/// Memory: sd_login_monitor_unref() the monitor.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sd_login_monitor_new(
    category: *const c_char,
    ret: *mut *mut sd_login_monitor,
) -> c_int {
    // SAFETY: as demanded.
    let category = unsafe { given(category) };
    let watched = wanted(ret).and_then(|_| match category {
        None => watch_categories(&Category::ALL),
        Some(name) => watch_categories(&[Category::from_name(name).ok_or(Errno::INVAL)?]),
    });
    tell(watched, |descriptor| {
        let address = usize::try_from(descriptor.into_raw()).unwrap_or_default().wrapping_add(1);
        // SAFETY: as demanded.
        unsafe { put(ret, ptr::without_provenance_mut(address)) };
        Ok(0)
    })
}

fn number_of(monitor: *mut sd_login_monitor) -> Option<c_int> {
    c_int::try_from(monitor.addr().checked_sub(1)?).ok()
}

fn descriptor_of<'m>(monitor: *mut sd_login_monitor) -> Result<Borrowed<'m>, Errno> {
    // SAFETY: a monitor is its descriptor, which its owner keeps open.
    number_of(monitor).and_then(|number| unsafe { Borrowed::from_raw(number) }).ok_or(Errno::INVAL)
}

/// Ends a monitor.
///
/// Parameters:
///   m  the monitor; may be NULL
///
/// Returns: NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sd_login_monitor_unref(m: *mut sd_login_monitor) -> *mut sd_login_monitor {
    // SAFETY: as demanded: it is a monitor's, and not ended yet.
    drop(number_of(m).and_then(|number| unsafe { Descriptor::from_raw(number) }));
    ptr::null_mut()
}

/// Forgets what a monitor has noticed, so that its descriptor is not readable until something happens again.
///
/// Parameters:
///   m  the monitor
///
/// Returns: 0, or a negative errno.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sd_login_monitor_flush(m: *mut sd_login_monitor) -> c_int {
    status(descriptor_of(m).and_then(drain).map(|()| 0))
}

/// The descriptor of a monitor, for poll(2); it stays the monitor's.
///
/// Parameters:
///   m  the monitor
///
/// Returns: the descriptor, or a negative errno.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sd_login_monitor_get_fd(m: *mut sd_login_monitor) -> c_int {
    status(descriptor_of(m).map(Borrowed::number))
}

/// What to wait for at a monitor's descriptor, as poll(2) has it.
///
/// Parameters:
///   m  the monitor
///
/// Returns: POLLIN, or a negative errno.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sd_login_monitor_get_events(m: *mut sd_login_monitor) -> c_int {
    status(descriptor_of(m).map(|_| c_int::from(libc::POLLIN)))
}

/// How long to wait at most for a monitor's descriptor.
///
/// Parameters:
///   m             the monitor
///   timeout_usec  where the time goes, in microseconds of CLOCK_MONOTONIC: UINT64_MAX, for ever
///
/// Returns: 0, or a negative errno.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sd_login_monitor_get_timeout(
    m: *mut sd_login_monitor,
    timeout_usec: *mut u64,
) -> c_int {
    let checked = descriptor_of(m).and_then(|_| wanted(timeout_usec));
    tell(checked, |place| {
        // SAFETY: as demanded.
        unsafe { put(place, u64::MAX) };
        Ok(0)
    })
}
