"""A machine, as its record had it when it was read."""

from __future__ import annotations

import ctypes
import enum
import errno
import ipaddress
import socket
import uuid
from ctypes import byref, c_int, c_uint8, c_uint32, c_uint64, c_void_p
from typing import Any, Callable, NamedTuple, Optional, Union

from ._library import checked, lib, taken_ints, u32

IPAddress = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]


class Source(enum.IntEnum):
    """Where an address is known from."""

    INTERFACE = 1
    """An interface of the machine's own has it, by the kernel."""
    GIVEN = 2
    """Whoever registered the machine has given it."""
    LEASE = 3
    """A DHCP server of the host has leased it to the machine."""
    NEIGHBOUR = 4
    """The kernel has met it on the way to the machine."""


class Address(NamedTuple):
    """What the name of a machine resolves to."""

    ip: IPAddress
    scope_id: int
    """The host's interface that a link-local address is reached through; 0 where none is needed or known."""
    source: Optional[Source] = None
    """Where it is known from; None where the record does not tell, or tells what this version does not know."""


class IdRange(NamedTuple):
    """Ids of a machine, and what they are on the host."""

    inside: int
    outside: int
    number: int


class Owner:
    """What frees a pointer, once nobody needs it any more."""

    def __init__(self, pointer: c_void_p, free: Callable[[c_void_p], Any]) -> None:
        self.pointer: Optional[c_void_p] = pointer
        self._free = free

    def close(self) -> None:
        pointer, self.pointer = self.pointer, None
        if pointer:
            self._free(pointer)

    def __del__(self) -> None:
        self.close()


class Machine:
    """What the record of a machine said. It changes no more, and stays readable whatever becomes of the machine; but that of
    an event is there only until the next event."""

    def __init__(self, owner: Owner, pointer: Optional[int] = None) -> None:
        self._owner, self._pointer = owner, pointer

    @property
    def _m(self) -> Any:
        if self._owner.pointer is None:
            raise ValueError("the event of this machine is over")
        return self._owner.pointer if self._pointer is None else self._pointer

    def __repr__(self) -> str:
        return f"<Machine {self.name}>" if self._owner.pointer is not None else "<Machine of an event that is over>"

    def _text(self, what: str) -> Optional[str]:
        text = getattr(lib, f"machine_get_{what}")(self._m)
        return None if text is None else text.decode("utf-8", "surrogateescape")

    def _number(self, what: str, kind: Any) -> Optional[int]:
        number = kind()
        result = getattr(lib, f"machine_get_{what}")(self._m, byref(number))
        if result == -errno.ENODATA:
            return None
        checked(result)
        return int(number.value)

    @property
    def name(self) -> str:
        """Its name."""
        return lib.machine_get_name(self._m).decode()

    @property
    def class_(self) -> Optional[str]:
        """"container" or "vm", or what else its record says."""
        return self._text("class")

    @property
    def service(self) -> Optional[str]:
        """What started it."""
        return self._text("service")

    @property
    def unit(self) -> Optional[str]:
        """The systemd unit that it runs in."""
        return self._text("unit")

    @property
    def subgroup(self) -> Optional[str]:
        """The control group below the unit, of a machine that is not all of it."""
        return self._text("subgroup")

    @property
    def root(self) -> Optional[str]:
        """Its root directory on the host, as its registrar said."""
        return self._text("root")

    @property
    def ssh_address(self) -> Optional[str]:
        """Where its SSH server is reached."""
        return self._text("ssh_address")

    @property
    def ssh_private_key_path(self) -> Optional[str]:
        """The file with the private key for that."""
        return self._text("ssh_private_key_path")

    @property
    def control_address(self) -> Optional[str]:
        """The Varlink address of its manager."""
        return self._text("control_address")

    @property
    def control_group(self) -> Optional[str]:
        """Its control group, as the registry sees it."""
        return self._text("control_group")

    @property
    def id(self) -> Optional[uuid.UUID]:
        """The id of the system inside, machine-id(5)."""
        found = (c_uint8 * 16)()
        result = lib.machine_get_id(self._m, found)
        if result == -errno.ENODATA:
            return None
        checked(result)
        return uuid.UUID(bytes=bytes(found))

    @property
    def incarnation(self) -> Optional[int]:
        """What tells its leader from every other since the host started: equal if two records are of one machine."""
        return self._number("incarnation", c_uint64)

    @property
    def leader(self) -> Optional[int]:
        """The process that leads it, as the PID namespace of the registry numbers it."""
        return self._number("leader", c_int)

    @property
    def supervisor(self) -> Optional[int]:
        """The process that looks after it."""
        return self._number("supervisor", c_int)

    @property
    def owner(self) -> Optional[int]:
        """The uid of the user who registered it."""
        return self._number("owner", c_uint32)

    @property
    def vsock_cid(self) -> Optional[int]:
        """Its context id, vsock(7)."""
        return self._number("vsock_cid", c_uint32)

    @property
    def control_group_id(self) -> Optional[int]:
        """The inode number of the directory of its control group."""
        return self._number("control_group_id", c_uint64)

    @property
    def realtime(self) -> Optional[int]:
        """When it was registered, in microseconds of CLOCK_REALTIME."""
        return self._number("realtime", c_uint64)

    @property
    def monotonic(self) -> Optional[int]:
        """When it was registered, in microseconds of CLOCK_MONOTONIC."""
        return self._number("monotonic", c_uint64)

    @property
    def interfaces(self) -> list[int]:
        """The indexes of the interfaces of the host that lead to it."""
        found, index = [], c_int()
        while checked(lib.machine_get_ifindex(self._m, len(found), byref(index))):
            found.append(index.value)
        return found

    def addresses(self) -> list[Address]:
        """What its name resolves to, the best first. Raises OSError: ENODATA where the record does not tell, ENONET where it has
        no network but the host's."""
        found: list[Address] = []
        family, address, scope = c_int(), c_void_p(), c_uint32()
        while checked(lib.machine_get_address(self._m, len(found), byref(family), byref(address), byref(scope))):
            length = 4 if family.value == socket.AF_INET else 16
            packed = ctypes.string_at(address.value or 0, length)
            found.append(Address(ipaddress.ip_address(packed), scope.value, self._source(len(found))))
        return found

    def _source(self, place: int) -> Optional[Source]:
        number = c_int()
        result = lib.machine_get_address_source(self._m, place, byref(number))
        if result == -errno.ENODATA:
            return None
        checked(result)
        try:
            return Source(number.value)
        except ValueError:
            # A later version's.
            return None

    def _ranges(self, what: str) -> list[IdRange]:
        found: list[IdRange] = []
        numbers = (c_uint32(), c_uint32(), c_uint32())
        while checked(getattr(lib, f"machine_get_{what}_range")(self._m, len(found), *map(byref, numbers))):
            found.append(IdRange(*(number.value for number in numbers)))
        return found

    def uid_ranges(self) -> list[IdRange]:
        """Its uids on the host; none if it has no user namespace. Raises OSError: ENODATA where the record does not tell, ENXIO
        for a virtual machine."""
        return self._ranges("uid")

    def gid_ranges(self) -> list[IdRange]:
        """Its gids on the host, as uid_ranges()."""
        return self._ranges("gid")

    def _translated(self, function: Any, number: int) -> int:
        found = c_uint32()
        checked(function(self._m, u32(number), byref(found)))
        return found.value

    def uid_to_host(self, uid: int) -> int:
        """The uid of the host that a uid inside is. Raises OSError, ENXIO if it has none."""
        return self._translated(lib.machine_uid_to_host, uid)

    def uid_from_host(self, uid: int) -> int:
        """The uid inside that a uid of the host is."""
        return self._translated(lib.machine_uid_from_host, uid)

    def gid_to_host(self, gid: int) -> int:
        """The gid of the host that a gid inside is."""
        return self._translated(lib.machine_gid_to_host, gid)

    def gid_from_host(self, gid: int) -> int:
        """The gid inside that a gid of the host is."""
        return self._translated(lib.machine_gid_from_host, gid)

    def is_alive(self) -> bool:
        """Whether its leader runs now. Raises OSError, EREMOTE where that cannot be seen from this PID namespace."""
        return checked(lib.machine_is_alive(self._m)) != 0

    def leader_pidfd(self) -> int:
        """Opens its leader; the caller closes the descriptor. Raises OSError, ESRCH if it has gone."""
        return checked(lib.machine_leader_pidfd(self._m))

    def supervisor_pidfd(self) -> int:
        """Opens the process that looks after it; the caller closes the descriptor."""
        return checked(lib.machine_supervisor_pidfd(self._m))

    def control_group_fd(self) -> int:
        """Opens the directory of its control group; the caller closes the descriptor. Raises OSError: ENODATA, EUNATCH."""
        return checked(lib.machine_control_group_fd(self._m))

    def processes(self) -> list[int]:
        """Its processes, in no order. Raises OSError: ENODATA, EUNATCH."""
        found = c_void_p()
        number = checked(lib.machine_find_processes(self._m, 0, byref(found)))
        return taken_ints(found, number)


def owned(pointer: c_void_p) -> Machine:
    """A machine that is the caller's."""
    return Machine(Owner(pointer, lib.machine_free))
