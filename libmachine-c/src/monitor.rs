//! Which machine came, went or changed: `struct machine_monitor`; and waiting for one.
//!
//! # Safety
//! As in [`crate::answer`] and [`crate::text`]. A monitor of the caller's is null, or was made by [`machine_monitor_new`] and
//! not yet freed, and one thread at a time uses it. An event is null, or its monitor's, and that was not asked since.

#![allow(
    unsafe_code,
    clippy::missing_safety_doc,
    reason = "the C interface: the header says what is demanded"
)]

use core::ffi::{c_char, c_int};
use core::ptr;

use libmachine::{
    Borrowed, Change, Errno, Event, Monitor, MonitorOptions, last_name, wait_for_end, wait_for_machine,
};

use crate::answer::{boxed, ended, no_flags, only_flags, put, status, tell, wanted};
use crate::snapshot::{give, machine, with_zero};
use crate::text::given;

/// An event: a machine has come.
pub const MACHINE_EVENT_NEW: c_int = 1;
/// An event: a machine is there no longer.
pub const MACHINE_EVENT_REMOVED: c_int = 2;
/// An event: the record of a machine was written anew.
pub const MACHINE_EVENT_CHANGED: c_int = 3;
/// An event: a machine was there when the monitor began (MACHINE_MONITOR_LIST).
pub const MACHINE_EVENT_PRESENT: c_int = 4;
/// An event: all machines that were there have been told (MACHINE_MONITOR_LIST).
pub const MACHINE_EVENT_LISTED: c_int = 5;
/// An event: the kernel kept no more, and what happened since the event before is lost. Forget all machines, and list them
/// anew; with MACHINE_MONITOR_LIST they are told again, as MACHINE_EVENT_PRESENT and MACHINE_EVENT_LISTED.
pub const MACHINE_EVENT_OVERFLOW: c_int = 6;

/// For machine_monitor_new(): begin with the machines that are there, as MACHINE_EVENT_PRESENT, and then
/// MACHINE_EVENT_LISTED.
pub const MACHINE_MONITOR_LIST: u64 = 1;
/// For machine_monitor_new(): where there is no registry, wait for it; and again where it is removed.
pub const MACHINE_MONITOR_WAIT: u64 = 2;
/// For machine_monitor_new(): a machine is gone when its leader is, whether its record is removed or not. Takes a descriptor
/// for each machine.
pub const MACHINE_MONITOR_LEADERS: u64 = 4;

/// For machine_wait(): until the machine is there.
pub const MACHINE_WAIT_PRESENT: c_int = 1;
/// For machine_wait(): until the machine is gone.
pub const MACHINE_WAIT_GONE: c_int = 2;

/// A watch over the machines of the host.
#[allow(non_camel_case_types, reason = "as C has it")]
pub struct machine_monitor {
    monitor: Monitor,
    /// What was told last.
    event: Option<machine_event>,
}

/// What became of a machine.
#[allow(non_camel_case_types, reason = "as C has it")]
pub struct machine_event {
    change: c_int,
    name: Option<[u8; 65]>,
    incarnation: Option<u64>,
    machine: Option<machine>,
}

impl machine_event {
    fn new(event: Event) -> Result<Self, Errno> {
        Ok(Self {
            change: number_of(event.change),
            name: event.name.map(|name| with_zero(&name)),
            incarnation: event.incarnation,
            machine: event.machine.map(machine::new).transpose()?,
        })
    }
}

fn number_of(change: Change) -> c_int {
    match change {
        Change::New => MACHINE_EVENT_NEW,
        Change::Removed => MACHINE_EVENT_REMOVED,
        Change::Present => MACHINE_EVENT_PRESENT,
        Change::Listed => MACHINE_EVENT_LISTED,
        Change::Overflow => MACHINE_EVENT_OVERFLOW,
        _ => MACHINE_EVENT_CHANGED,
    }
}

/// Starts to watch. Without MACHINE_MONITOR_LIST machines that are there already are not told: list them after this, so that
/// none is missed.
///
/// Parameters:
///   flags  0, or MACHINE_MONITOR_LIST, MACHINE_MONITOR_WAIT, MACHINE_MONITOR_LEADERS, or'ed
///   ret    where the monitor goes
///
/// Returns: 0, or a negative errno. -ENOENT: there is no registry, and MACHINE_MONITOR_WAIT is not given. -EINVAL: ret is NULL,
/// or a flag is not known.
///
/// Memory: machine_monitor_free() the monitor. One thread at a time may use it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_monitor_new(flags: u64, ret: *mut *mut machine_monitor) -> c_int {
    let known = MACHINE_MONITOR_LIST | MACHINE_MONITOR_WAIT | MACHINE_MONITOR_LEADERS;
    let mut options = MonitorOptions::default();
    options.list = flags & MACHINE_MONITOR_LIST != 0;
    options.wait_for_registry = flags & MACHINE_MONITOR_WAIT != 0;
    options.watch_leaders = flags & MACHINE_MONITOR_LEADERS != 0;
    let monitor = wanted(ret).and(only_flags(flags, known)).and_then(|()| Monitor::with(options));
    tell(monitor, |monitor| {
        let monitor = boxed(machine_monitor { monitor, event: None })?;
        // SAFETY: as demanded.
        unsafe { put(ret, monitor) };
        Ok(0)
    })
}

/// Ends a monitor, and the event that it told last. In a child of fork(2) it gives back the child's copy, and the parent's goes
/// on.
///
/// Parameters:
///   m  the monitor; may be NULL
///
/// Returns: NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_monitor_free(m: *mut machine_monitor) -> *mut machine_monitor {
    // SAFETY: as demanded.
    unsafe { ended(m) }
}

/// The descriptor of a monitor, for poll(2) with POLLIN; it stays the monitor's, and is closed on exec.
///
/// Parameters:
///   m  the monitor
///
/// Returns: the descriptor, or -EINVAL if m is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_monitor_get_fd(m: *const machine_monitor) -> c_int {
    // SAFETY: as demanded.
    let monitor = unsafe { m.as_ref() }.ok_or(Errno::INVAL);
    status(monitor.map(|monitor| Borrowed::number(monitor.monitor.descriptor())))
}

/// Tells the next event, and does not wait for one. Call it until it returns 0, then wait for the descriptor. What came and
/// went meanwhile is told as both, in that order; where a record is replaced by another machine's of the same name, first
/// that the one was removed, then that the other is new; where more happens than the kernel keeps, MACHINE_EVENT_OVERFLOW
/// says so.
///
/// Parameters:
///   m      the monitor
///   event  where the event goes
///
/// Returns: 1; 0 if there is none at the moment; or a negative errno. -ESTALE: the registry was removed, and a new monitor
/// is needed; its machines were told to be removed before. -ECHILD: this process is a child of that which made the monitor,
/// and has to make its own. -EMFILE, -ENFILE, -ENOMEM: nothing is lost, and the next call tries again. -EINVAL: an
/// argument is NULL.
///
/// Memory: the monitor's, until the next call of this function or machine_monitor_free().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_monitor_next(
    m: *mut machine_monitor,
    event: *mut *const machine_event,
) -> c_int {
    // SAFETY: as demanded.
    let monitor = wanted(event).and_then(|_| unsafe { m.as_mut() }.ok_or(Errno::INVAL));
    tell(monitor, |monitor| {
        let Some(next) = monitor.monitor.next_event()? else { return Ok(0) };
        // Where memory is short for the machine, the event is told without it.
        let (change, name, incarnation) = (number_of(next.change), next.name, next.incarnation);
        let plain =
            machine_event { change, name: name.map(|name| with_zero(&name)), incarnation, machine: None };
        let next = monitor.event.insert(machine_event::new(next).unwrap_or(plain));
        // SAFETY: as demanded.
        unsafe { put(event, ptr::from_ref(next)) };
        Ok(1)
    })
}

/// What happened.
///
/// Parameters:
///   event  the event
///
/// Returns: MACHINE_EVENT_NEW, MACHINE_EVENT_REMOVED, MACHINE_EVENT_CHANGED, MACHINE_EVENT_PRESENT, MACHINE_EVENT_LISTED or
/// MACHINE_EVENT_OVERFLOW, or -EINVAL if event is NULL. There may be others in later versions: pass over what is not known.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_event_get_change(event: *const machine_event) -> c_int {
    // SAFETY: as demanded.
    status(unsafe { event.as_ref() }.ok_or(Errno::INVAL).map(|event| event.change))
}

/// The machine that an event is of.
///
/// Parameters:
///   event  the event
///
/// Returns: its name; NULL for MACHINE_EVENT_LISTED and MACHINE_EVENT_OVERFLOW, and if event is NULL.
///
/// Memory: the event's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_event_get_name(event: *const machine_event) -> *const c_char {
    // SAFETY: as demanded.
    let name = unsafe { event.as_ref() }.and_then(|event| event.name.as_ref());
    name.map_or(ptr::null(), |name| name.as_ptr().cast())
}

/// Which of the machines of its name an event is of: see machine_get_incarnation().
///
/// Parameters:
///   event        the event
///   incarnation  where the number goes
///
/// Returns: 0, or a negative errno. -ENODATA: the record does not tell, or the machine was gone, or another in its place,
/// before it could be read. -EINVAL: an argument is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_event_get_incarnation(
    event: *const machine_event,
    incarnation: *mut u64,
) -> c_int {
    // SAFETY: as demanded.
    let event = wanted(incarnation).and_then(|_| unsafe { event.as_ref() }.ok_or(Errno::INVAL));
    tell(event.and_then(|event| event.incarnation.ok_or(Errno::NODATA)), |found| {
        // SAFETY: as demanded.
        unsafe { put(incarnation, found) };
        Ok(0)
    })
}

/// What the record said of a machine that is there.
///
/// Parameters:
///   event  the event
///
/// Returns: the machine; NULL for MACHINE_EVENT_REMOVED, MACHINE_EVENT_LISTED and MACHINE_EVENT_OVERFLOW, where the machine
/// was gone before its record could be read, and if event is NULL.
///
/// Memory: the event's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_event_get_machine(event: *const machine_event) -> *const machine {
    // SAFETY: as demanded.
    let machine = unsafe { event.as_ref() }.and_then(|event| event.machine.as_ref());
    machine.map_or(ptr::null(), ptr::from_ref)
}

/// Waits for one machine. This is the only function that waits. No machine is there while its leader is gone; there need be
/// no registry yet.
///
/// Parameters:
///   name      the name of the machine, or a path, as for machine_open(); where none is there yet it has exactly this name
///   what      MACHINE_WAIT_PRESENT: until it is there; MACHINE_WAIT_GONE: until the machine that has the name now is gone,
///             which is at once where there is none
///   flags     0
///   deadline  a time of CLOCK_MONOTONIC, in microseconds; UINT64_MAX for none. One that is past asks without waiting.
///   ret       where the machine goes that is there, NULL with MACHINE_WAIT_GONE; may be NULL
///
/// Returns: 0, or a negative errno. -ETIMEDOUT: the deadline is over. -EINTR: a signal was handled; call it again with the
/// same arguments. -EINVAL: no valid name, another what, or a flag is not known.
///
/// Memory: machine_free() the machine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_wait(
    name: *const c_char,
    what: c_int,
    flags: u64,
    deadline: u64,
    ret: *mut *mut machine,
) -> c_int {
    // SAFETY: as demanded.
    let name = no_flags(flags).and_then(|()| unsafe { given(name) }.ok_or(Errno::INVAL));
    let name = name.and_then(last_name);
    let deadline = Some(deadline).filter(|&deadline| deadline != u64::MAX);
    match what {
        MACHINE_WAIT_PRESENT => {
            let found = name.and_then(|name| wait_for_machine(&name, deadline));
            if ret.is_null() {
                return status(found.map(|_| 0));
            }
            // SAFETY: as demanded.
            unsafe { give(found, ret) }
        }
        MACHINE_WAIT_GONE => tell(name.and_then(|name| wait_for_end(&name, deadline)), |()| {
            // SAFETY: as demanded.
            unsafe { put(ret, ptr::null_mut()) };
            Ok(0)
        }),
        _ => status(Err(Errno::INVAL)),
    }
}
