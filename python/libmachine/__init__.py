"""The containers and virtual machines of a host, from files: no daemon is asked, and nothing waits but wait().

What goes wrong is raised as an OSError, whose errno and text mean what machine(3) says: ENXIO that there is no such machine, ESRCH that
the process has gone, EBADMSG that a record is damaged."""

from __future__ import annotations

import ctypes
import ipaddress
import socket
import uuid
from ctypes import byref, c_char_p, c_int, c_uint32, c_void_p
from typing import Any, Iterable, Optional, Union

from ._library import checked, i32, lib, taken_text, text, u32, u64
from ._machine import Address, IdRange, IPAddress, Machine, Owner, Source, owned
from ._monitor import Change, Event, Monitor, wait, wait_gone

__all__ = [
    "Address", "Change", "Event", "IdRange", "Machine", "Monitor", "Source", "by_address", "by_control_group_id", "by_gid", "by_id",
    "by_ifindex", "by_pid", "by_pidfd", "by_uid", "by_vsock_cid", "check_name", "machines", "machines_of_pid", "open",
    "path_by_pid", "paths", "suggest_name", "unreadable", "version", "wait", "wait_gone",
]  # fmt: skip

NAME_MAX = 64
_OUTERMOST = 1


def _one(function: Any, *arguments: Any) -> Machine:
    machine = c_void_p()
    checked(function(*arguments, byref(machine)))
    return owned(machine)


def open(name: str) -> Machine:
    """Reads the record of a machine, by its name or by what path_by_pid() says. Raises OSError: ENXIO if there is none."""
    return _one(lib.machine_open, text(name), 0)


def by_pid(pid: int = 0, outermost: bool = False) -> Machine:
    """The machine that a process is in, the nearest of those that are nested. Raises OSError: ENXIO if it is in none."""
    return _one(lib.machine_by_pid, i32(pid), _OUTERMOST if outermost else 0)


def by_pidfd(pidfd: int, outermost: bool = False) -> Machine:
    """The machine that an open process is in."""
    return _one(lib.machine_by_pidfd, i32(pidfd), _OUTERMOST if outermost else 0)


def path_by_pid(pid: int = 0) -> str:
    """The names of the machines that a process is in, "outer/inner". Raises OSError: ENXIO if it is in none."""
    path = c_void_p()
    checked(lib.machine_path_by_pid(i32(pid), 0, byref(path)))
    return taken_text(path)


def paths(pids: Iterable[int]) -> list[Optional[str]]:
    """The machines of many processes, "outer/inner" each or None, at a fraction of the price of a call for each."""
    numbers = [i32(pid) for pid in pids]
    batch = c_void_p()
    checked(lib.machine_batch_new((c_int * len(numbers))(*numbers), len(numbers), 0, byref(batch)))
    try:
        found = (lib.machine_batch_get_path(batch, place) for place in range(len(numbers)))
        return [None if path is None else path.decode() for path in found]
    finally:
        lib.machine_batch_free(batch)


def _of_id(function: Any, number: int) -> tuple[Machine, int]:
    machine, inside = c_void_p(), c_uint32()
    checked(function(u32(number), 0, byref(machine), byref(inside)))
    return owned(machine), inside.value


def by_uid(uid: int) -> tuple[Machine, int]:
    """The machine that a uid of the host belongs to, and which it is inside. Raises OSError: ENXIO, ENOTUNIQ."""
    return _of_id(lib.machine_by_uid, uid)


def by_gid(gid: int) -> tuple[Machine, int]:
    """The machine that a gid of the host belongs to, and which it is inside."""
    return _of_id(lib.machine_by_gid, gid)


def by_address(address: Union[str, IPAddress]) -> Machine:
    """The machine that an address leads to from the host. Raises OSError: ENXIO, ENOTUNIQ; ValueError if it is none."""
    ip = ipaddress.ip_address(address)
    family = socket.AF_INET if ip.version == 4 else socket.AF_INET6
    return _one(lib.machine_by_address, family, ip.packed, 0)


def by_vsock_cid(cid: int) -> Machine:
    """The virtual machine with a context id of vsock(7)."""
    return _one(lib.machine_by_vsock_cid, u32(cid), 0)


def by_ifindex(ifindex: int) -> Machine:
    """The machine that an interface of the host leads to."""
    return _one(lib.machine_by_ifindex, i32(ifindex), 0)


def by_id(id: uuid.UUID) -> Machine:
    """The machine whose system has this id of machine-id(5)."""
    return _one(lib.machine_by_id, id.bytes, 0)


def by_control_group_id(id: int) -> Machine:
    """The machine that has this control group for its own."""
    return _one(lib.machine_by_control_group_id, u64(id), 0)


def _listed(function: Any, *arguments: Any) -> Owner:
    machines = c_void_p()
    checked(function(*arguments, byref(machines)))
    return Owner(machines, lib.machine_list_free)


def _members(owner: Owner) -> list[Machine]:
    number = checked(lib.machine_list_get_count(owner.pointer))
    return [Machine(owner, lib.machine_list_get_machine(owner.pointer, place)) for place in range(number)]


def machines(alive: bool = True, class_: Optional[str] = None, owner: Optional[int] = None) -> list[Machine]:
    """All machines of the host, or those of a class or a user; with alive=False also those whose leader has gone."""
    found = _listed(lib.machine_list_new, 0)
    if alive:
        checked(lib.machine_list_keep_alive(found.pointer))
    if class_ is not None:
        checked(lib.machine_list_keep_class(found.pointer, text(class_)))
    if owner is not None:
        checked(lib.machine_list_keep_owner(found.pointer, u32(owner)))
    return _members(found)


def machines_of_pid(pid: int = 0) -> list[Machine]:
    """The machines that a process is in, the outermost first; none if it is the host's."""
    return _members(_listed(lib.machine_list_by_pid, i32(pid), 0))


def unreadable() -> dict[str, int]:
    """The machines whose records are there and cannot be read, with the errno that says why: EBADMSG for a damaged one."""
    found, failures = _listed(lib.machine_list_new, 0), {}
    name, error = c_char_p(), c_int()
    while checked(lib.machine_list_get_failure(found.pointer, len(failures), byref(name), byref(error))):
        failures[(name.value or b"").decode()] = -error.value
    return failures


def check_name(name: str) -> Optional[str]:
    """Which rule a text breaks that may not be the name of a machine, in words; None if it may."""
    rule = checked(lib.machine_name_check(text(name)))
    return None if rule == 0 else lib.machine_name_rule(rule).decode()


def suggest_name(resembling: str) -> str:
    """A name that resembles a text and may be the name of a machine."""
    room = ctypes.create_string_buffer(NAME_MAX + 1)
    checked(lib.machine_name_suggest(text(resembling), room, len(room)))
    return room.value.decode()


def version() -> str:
    """The version of the library."""
    return lib.libmachine_version().decode()
