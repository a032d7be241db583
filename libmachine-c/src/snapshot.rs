//! A machine as it was at one moment: `struct machine`.
//!
//! # Safety
//! As in [`crate::answer`] and [`crate::text`]. A machine of the caller's is null, or was made by [`machine_open`] and not
//! yet freed; nothing writes to it, so that threads may share it.

#![allow(
    unsafe_code,
    clippy::missing_safety_doc,
    reason = "the C interface: the header says what is demanded"
)]

use core::ffi::{c_char, c_int};
use core::mem::size_of;
use core::net::IpAddr;
use core::ptr;

use libc::{gid_t, pid_t, uid_t};
use libmachine::{Buffer, Descriptor, Errno, Field, Number, Snapshot, id_inside, id_on_host};
use registry::{Address, IdKind, IdRange};

use crate::answer::{count, put, status, tell, wanted};
use crate::text::given;

/// A machine, as its record had it when machine_open() read it.
#[allow(non_camel_case_types, reason = "as C has it")]
pub struct machine {
    snapshot: Snapshot,
    /// With the zero byte that C wants.
    name: [u8; 65],
    addresses: Buffer<machine_address>,
    uid_map: Buffer<machine_id_range>,
    gid_map: Buffer<machine_id_range>,
}

/// An address of a machine.
#[repr(C)]
#[allow(non_camel_case_types, reason = "as C has it")]
#[derive(Clone, Copy)]
pub struct machine_address {
    /// AF_INET or AF_INET6.
    pub family: c_int,
    /// The host's interface that an IPv6 link-local address is reached through; 0 where none is needed or known.
    pub scope_id: u32,
    /// In network byte order; of IPv4, the first four.
    pub bytes: [u8; 16],
}

/// A range of uids or gids of a machine, which are others on the host.
#[repr(C)]
#[allow(non_camel_case_types, reason = "as C has it")]
#[derive(Clone, Copy)]
pub struct machine_id_range {
    /// The first id inside the machine.
    pub inside: u32,
    /// The first id on the host.
    pub outside: u32,
    /// How many ids, at least one.
    pub count: u32,
}

impl machine {
    fn new(snapshot: Snapshot) -> Result<Self, Errno> {
        let mut machine = Self {
            name: [0; 65],
            addresses: Buffer::new(),
            uid_map: Buffer::new(),
            gid_map: Buffer::new(),
            snapshot,
        };
        for (to, from) in machine.name.iter_mut().zip(machine.snapshot.name().as_bytes()) {
            *to = *from;
        }
        for address in machine.snapshot.addresses().unwrap_or_default() {
            machine.addresses.push(address_of(address))?;
        }
        for range in machine.snapshot.id_map(IdKind::User) {
            machine.uid_map.push(range_of(*range))?;
        }
        for range in machine.snapshot.id_map(IdKind::Group) {
            machine.gid_map.push(range_of(*range))?;
        }
        Ok(machine)
    }
}

fn address_of(address: &Address) -> machine_address {
    let mut bytes = [0; 16];
    let family = match address.ip {
        IpAddr::V4(ip) => {
            bytes.iter_mut().zip(ip.octets()).for_each(|(to, from)| *to = from);
            libc::AF_INET
        }
        IpAddr::V6(ip) => {
            bytes = ip.octets();
            libc::AF_INET6
        }
    };
    machine_address { family, scope_id: address.scope_id, bytes }
}

fn range_of(range: IdRange) -> machine_id_range {
    machine_id_range { inside: range.inside, outside: range.outside, count: range.count }
}

/// The machine of a caller.
///
/// # Safety
/// As the module says.
unsafe fn known<'a>(m: *const machine) -> Result<&'a machine, Errno> {
    // SAFETY: as demanded.
    unsafe { m.as_ref() }.ok_or(Errno::INVAL)
}

/// Reads the record of a machine. What is read then stays as it is, whatever becomes of the machine.
///
/// Parameters:
///   name  its name
///   ret   where the machine goes
///
/// Returns: 0, or a negative errno. -EINVAL: no valid name, or ret is NULL. -ENXIO: no such machine. -EBADMSG: its record is
/// damaged, or something that is no file is in its place.
///
/// Memory: machine_free() the machine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_open(name: *const c_char, ret: *mut *mut machine) -> c_int {
    // SAFETY: as demanded.
    let name = wanted(ret).and_then(|_| unsafe { given(name) }.ok_or(Errno::INVAL));
    tell(name.and_then(Snapshot::read).and_then(machine::new), |machine| {
        // SAFETY: as large as it must be, and malloc(3) aligns for everything.
        let place: *mut self::machine = unsafe { libc::malloc(size_of::<self::machine>()) }.cast();
        if place.is_null() {
            return Err(Errno::NOMEM);
        }
        // SAFETY: it is ours; and as demanded.
        unsafe {
            place.write(machine);
            put(ret, place);
        }
        Ok(0)
    })
}

/// Frees a machine, and everything that was got from it by pointer.
///
/// Parameters:
///   m  the machine; may be NULL
///
/// Returns: NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_free(m: *mut machine) -> *mut machine {
    if !m.is_null() {
        // SAFETY: made by machine_open, and not freed yet.
        unsafe {
            m.drop_in_place();
            libc::free(m.cast());
        }
    }
    ptr::null_mut()
}

/// The name of a machine.
///
/// Parameters:
///   m  the machine
///
/// Returns: the name; NULL if m is.
///
/// Memory: the machine's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_name(m: *const machine) -> *const c_char {
    // SAFETY: as demanded.
    unsafe { known(m) }.map_or(ptr::null(), |machine| machine.name.as_ptr().cast())
}

/// # Safety
/// As the module says.
unsafe fn text(m: *const machine, field: Field) -> *const c_char {
    // SAFETY: as demanded.
    let text = unsafe { known(m) }.ok().and_then(|machine| machine.snapshot.text_with_zero(field));
    text.map_or(ptr::null(), |text| text.as_ptr().cast())
}

/// The class of a machine: "container" or "vm", or what else its record says.
///
/// Parameters:
///   m  the machine
///
/// Returns: the text; NULL if it is not known, or if m is NULL.
///
/// Memory: the machine's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_class(m: *const machine) -> *const c_char {
    // SAFETY: as demanded.
    unsafe { text(m, Field::Class) }
}

/// What started a machine, "systemd-nspawn" for example.
///
/// Parameters:
///   m  the machine
///
/// Returns: the text; NULL if it is not known, or if m is NULL.
///
/// Memory: the machine's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_service(m: *const machine) -> *const c_char {
    // SAFETY: as demanded.
    unsafe { text(m, Field::Service) }
}

/// The systemd unit that a machine runs in.
///
/// Parameters:
///   m  the machine
///
/// Returns: the text; NULL if it is not known, or if m is NULL.
///
/// Memory: the machine's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_unit(m: *const machine) -> *const c_char {
    // SAFETY: as demanded.
    unsafe { text(m, Field::Unit) }
}

/// The control group below the unit, of a machine that is not all of it.
///
/// Parameters:
///   m  the machine
///
/// Returns: the text; NULL if it is not known, or if m is NULL.
///
/// Memory: the machine's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_subgroup(m: *const machine) -> *const c_char {
    // SAFETY: as demanded.
    unsafe { text(m, Field::Subgroup) }
}

/// The root directory of a machine on the host, as its registrar said.
///
/// Parameters:
///   m  the machine
///
/// Returns: the text; NULL if it is not known, or if m is NULL.
///
/// Memory: the machine's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_root(m: *const machine) -> *const c_char {
    // SAFETY: as demanded.
    unsafe { text(m, Field::Root) }
}

/// Where the SSH server of a machine is reached, "vsock/3" for example.
///
/// Parameters:
///   m  the machine
///
/// Returns: the text; NULL if it is not known, or if m is NULL.
///
/// Memory: the machine's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_ssh_address(m: *const machine) -> *const c_char {
    // SAFETY: as demanded.
    unsafe { text(m, Field::SshAddress) }
}

/// The file with the private key for the SSH server of a machine.
///
/// Parameters:
///   m  the machine
///
/// Returns: the text; NULL if it is not known, or if m is NULL.
///
/// Memory: the machine's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_ssh_private_key(m: *const machine) -> *const c_char {
    // SAFETY: as demanded.
    unsafe { text(m, Field::SshPrivateKeyPath) }
}

/// The Varlink address of the manager of a machine.
///
/// Parameters:
///   m  the machine
///
/// Returns: the text; NULL if it is not known, or if m is NULL.
///
/// Memory: the machine's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_control_address(m: *const machine) -> *const c_char {
    // SAFETY: as demanded.
    unsafe { text(m, Field::ControlAddress) }
}

/// The control group of a machine, as its registry sees it.
///
/// Parameters:
///   m  the machine
///
/// Returns: the text; NULL if it is not known, or if m is NULL.
///
/// Memory: the machine's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_control_group(m: *const machine) -> *const c_char {
    // SAFETY: as demanded.
    unsafe { text(m, Field::ControlGroup) }
}

/// The id that the system inside a machine has, machine-id(5).
///
/// Parameters:
///   m   the machine
///   id  where its 16 bytes go
///
/// Returns: 0, or a negative errno. -ENODATA: it is not known. -EINVAL: an argument is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_id(m: *const machine, id: *mut u8) -> c_int {
    // SAFETY: as demanded.
    let found = wanted(id).and_then(|_| unsafe { known(m) }?.snapshot.id().ok_or(Errno::NODATA));
    tell(found, |found| {
        // SAFETY: as demanded: there is room for so many bytes.
        unsafe { put(id.cast::<[u8; 16]>(), found.bytes()) };
        Ok(0)
    })
}

/// Whether a machine may still be alive: the process that leads it is not provably gone. The answer is that of now, not of
/// when the record was read.
///
/// Parameters:
///   m  the machine
///
/// Returns: 1, 0, or -EINVAL if m is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_is_alive(m: *const machine) -> c_int {
    // SAFETY: as demanded.
    status(unsafe { known(m) }.map(|machine| c_int::from(machine.snapshot.is_alive())))
}

/// The process that leads a machine, as the PID namespace of its registry numbers it. machine_leader_pidfd() is safe from
/// the number becoming another process's.
///
/// Parameters:
///   m    the machine
///   pid  where the process id goes
///
/// Returns: 0, or a negative errno. -ENODATA: it is not known. -EINVAL: an argument is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_leader(m: *const machine, pid: *mut pid_t) -> c_int {
    // SAFETY: as demanded.
    unsafe { answer(m, pid, |machine| machine.leader()) }
}

/// # Safety
/// As the module says; the place is null or valid for a write.
unsafe fn answer<T>(m: *const machine, place: *mut T, find: impl FnOnce(&Snapshot) -> Option<T>) -> c_int {
    // SAFETY: as demanded.
    let found = wanted(place).and_then(|_| find(&unsafe { known(m) }?.snapshot).ok_or(Errno::NODATA));
    tell(found, |found| {
        // SAFETY: as demanded.
        unsafe { put(place, found) };
        Ok(0)
    })
}

fn small<T: TryFrom<u64>>(machine: &Snapshot, number: Number) -> Option<T> {
    machine.number(number).and_then(|number| T::try_from(number).ok())
}

/// Opens the process that leads a machine: a pidfd, which is certainly of that process.
///
/// Parameters:
///   m  the machine
///
/// Returns: a descriptor, which is closed on exec, or a negative errno. -ENODATA: it is not known. -ESRCH: it has gone.
/// -EINVAL: m is NULL.
///
/// Memory: close(2) the descriptor.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_leader_pidfd(m: *const machine) -> c_int {
    // SAFETY: as demanded.
    status(unsafe { known(m) }.and_then(|machine| machine.snapshot.open_leader()).map(Descriptor::into_raw))
}

/// The process that looks after a machine, as the PID namespace of its registry numbers it.
///
/// Parameters:
///   m    the machine
///   pid  where the process id goes
///
/// Returns: 0, or a negative errno. -ENODATA: it is not known. -EINVAL: an argument is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_supervisor(m: *const machine, pid: *mut pid_t) -> c_int {
    // SAFETY: as demanded.
    unsafe { answer(m, pid, |machine| small(machine, Number::Supervisor).filter(|&pid| pid > 0)) }
}

/// Opens the process that looks after a machine.
///
/// Parameters:
///   m  the machine
///
/// Returns: a descriptor, which is closed on exec, or a negative errno. -ENODATA: it is not known. -ESRCH: it has gone.
/// -EINVAL: m is NULL.
///
/// Memory: close(2) the descriptor.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_supervisor_pidfd(m: *const machine) -> c_int {
    // SAFETY: as demanded.
    status(
        unsafe { known(m) }.and_then(|machine| machine.snapshot.open_supervisor()).map(Descriptor::into_raw),
    )
}

/// The user who registered a machine.
///
/// Parameters:
///   m    the machine
///   uid  where the uid goes
///
/// Returns: 0, or a negative errno. -ENODATA: it is not known. -EINVAL: an argument is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_owner(m: *const machine, uid: *mut uid_t) -> c_int {
    // SAFETY: as demanded.
    unsafe { answer(m, uid, |machine| small(machine, Number::Owner)) }
}

/// The context id of a machine, vsock(7).
///
/// Parameters:
///   m    the machine
///   cid  where the id goes
///
/// Returns: 0, or a negative errno. -ENODATA: it is not known. -EINVAL: an argument is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_vsock_cid(m: *const machine, cid: *mut u32) -> c_int {
    // SAFETY: as demanded.
    unsafe { answer(m, cid, |machine| small(machine, Number::VsockCid)) }
}

/// The id of the control group of a machine: the inode number of its directory.
///
/// Parameters:
///   m   the machine
///   id  where the id goes
///
/// Returns: 0, or a negative errno. -ENODATA: it is not known. -EINVAL: an argument is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_control_group_id(m: *const machine, id: *mut u64) -> c_int {
    // SAFETY: as demanded.
    unsafe { answer(m, id, |machine| small(machine, Number::ControlGroupId)) }
}

/// When a machine was registered, by the clock on the wall.
///
/// Parameters:
///   m     the machine
///   usec  where the time goes, in microseconds of CLOCK_REALTIME
///
/// Returns: 0, or a negative errno. -ENODATA: it is not known. -EINVAL: an argument is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_realtime(m: *const machine, usec: *mut u64) -> c_int {
    // SAFETY: as demanded.
    unsafe { answer(m, usec, |machine| small(machine, Number::Realtime)) }
}

/// When a machine was registered, counted from when the host started.
///
/// Parameters:
///   m     the machine
///   usec  where the time goes, in microseconds of CLOCK_MONOTONIC
///
/// Returns: 0, or a negative errno. -ENODATA: it is not known. -EINVAL: an argument is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_monotonic(m: *const machine, usec: *mut u64) -> c_int {
    // SAFETY: as demanded.
    unsafe { answer(m, usec, |machine| small(machine, Number::Monotonic)) }
}

/// # Safety
/// As the module says; the place is null or valid for a write.
unsafe fn list<T>(
    m: *const machine,
    place: *mut *const T,
    find: impl FnOnce(&machine) -> Result<&[T], Errno>,
) -> c_int {
    // SAFETY: as demanded.
    tell(unsafe { known(m) }.and_then(find), |items| {
        let number = count(items.len())?;
        let start = if items.is_empty() { ptr::null() } else { items.as_ptr() };
        // SAFETY: as demanded.
        unsafe { put(place, start) };
        Ok(number)
    })
}

/// The network interfaces of the host that lead to a machine, by their indexes.
///
/// Parameters:
///   m    the machine
///   ret  where the address of the first goes, NULL if there are none; may be NULL
///
/// Returns: how many there are, or a negative errno. -EINVAL: m is NULL.
///
/// Memory: the machine's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_ifindices(m: *const machine, ret: *mut *const c_int) -> c_int {
    // SAFETY: as demanded.
    unsafe { list(m, ret, |machine| Ok(machine.snapshot.interfaces())) }
}

/// What the name of a machine resolves to, the best first.
///
/// Parameters:
///   m    the machine
///   ret  where the address of the first goes, NULL if there are none; may be NULL
///
/// Returns: how many there are, or a negative errno. -ENOSYS: the machine shares the host's network. -ENODATA: not known, as where
/// another registry wrote the record. -EINVAL: m is NULL.
///
/// Memory: the machine's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_addresses(m: *const machine, ret: *mut *const machine_address) -> c_int {
    // SAFETY: as demanded.
    unsafe { list(m, ret, |machine| machine.snapshot.addresses().map(|_| &*machine.addresses)) }
}

/// The uids of a machine and what they are on the host; none if the machine has no user namespace.
///
/// Parameters:
///   m    the machine
///   ret  where the address of the first goes, NULL if there are none; may be NULL
///
/// Returns: how many there are, or a negative errno. -EINVAL: m is NULL.
///
/// Memory: the machine's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_uid_map(m: *const machine, ret: *mut *const machine_id_range) -> c_int {
    // SAFETY: as demanded.
    unsafe { list(m, ret, |machine| Ok(&*machine.uid_map)) }
}

/// The gids of a machine and what they are on the host; none if the machine has no user namespace.
///
/// Parameters:
///   m    the machine
///   ret  where the address of the first goes, NULL if there are none; may be NULL
///
/// Returns: how many there are, or a negative errno. -EINVAL: m is NULL.
///
/// Memory: the machine's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_gid_map(m: *const machine, ret: *mut *const machine_id_range) -> c_int {
    // SAFETY: as demanded.
    unsafe { list(m, ret, |machine| Ok(&*machine.gid_map)) }
}

/// # Safety
/// As the module says; the place is null or valid for a write.
unsafe fn id(
    m: *const machine,
    place: *mut u32,
    find: impl FnOnce(&Snapshot) -> Result<u32, Errno>,
) -> c_int {
    // SAFETY: as demanded.
    let found = wanted(place).and_then(|_| find(&unsafe { known(m) }?.snapshot));
    tell(found, |found| {
        // SAFETY: as demanded.
        unsafe { put(place, found) };
        Ok(0)
    })
}

/// Translates a uid of a machine to that of the host.
///
/// Parameters:
///   m     the machine
///   uid   the id inside the machine
///   host  where the id on the host goes
///
/// Returns: 0, or a negative errno. -ENXIO: the machine does not have this id. -ENODATA: its map is not known, or it has
/// none. -EINVAL: an argument is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_uid_to_host(m: *const machine, uid: uid_t, host: *mut uid_t) -> c_int {
    // SAFETY: as demanded.
    unsafe { id(m, host, |machine| id_on_host(machine, IdKind::User, uid)) }
}

/// Translates a uid of the host to that of a machine.
///
/// Parameters:
///   m       the machine
///   uid     the id on the host
///   inside  where the id inside the machine goes
///
/// Returns: 0, or a negative errno. -ENXIO: the id is none of the machine's. -ENODATA: its map is not known, or it has
/// none. -EINVAL: an argument is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_uid_from_host(m: *const machine, uid: uid_t, inside: *mut uid_t) -> c_int {
    // SAFETY: as demanded.
    unsafe { id(m, inside, |machine| id_inside(machine, IdKind::User, uid)) }
}

/// Translates a gid of a machine to that of the host.
///
/// Parameters:
///   m     the machine
///   gid   the id inside the machine
///   host  where the id on the host goes
///
/// Returns: 0, or a negative errno. -ENXIO: the machine does not have this id. -ENODATA: its map is not known, or it has
/// none. -EINVAL: an argument is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_gid_to_host(m: *const machine, gid: gid_t, host: *mut gid_t) -> c_int {
    // SAFETY: as demanded.
    unsafe { id(m, host, |machine| id_on_host(machine, IdKind::Group, gid)) }
}

/// Translates a gid of the host to that of a machine.
///
/// Parameters:
///   m       the machine
///   gid     the id on the host
///   inside  where the id inside the machine goes
///
/// Returns: 0, or a negative errno. -ENXIO: the id is none of the machine's. -ENODATA: its map is not known, or it has
/// none. -EINVAL: an argument is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_gid_from_host(m: *const machine, gid: gid_t, inside: *mut gid_t) -> c_int {
    // SAFETY: as demanded.
    unsafe { id(m, inside, |machine| id_inside(machine, IdKind::Group, gid)) }
}
