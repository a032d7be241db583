"""Which machine comes, goes or changes, and waiting for one."""

from __future__ import annotations

import enum
import errno
from ctypes import byref, c_uint64, c_void_p
from typing import Iterator, NamedTuple, Optional

from ._library import checked, lib, text
from ._machine import Machine, Owner, owned

_LIST, _WAIT, _LEADERS = 1, 2, 4
_PRESENT, _GONE = 1, 2
_NEVER = 2**64 - 1


class Change(enum.IntEnum):
    """What may happen."""

    NEW = 1
    REMOVED = 2
    CHANGED = 3
    PRESENT = 4
    """It was there when the monitor began."""
    LISTED = 5
    """All that were there have been told."""
    OVERFLOW = 6
    """Something was missed: forget all machines; with list=True they are told again."""


class Event(NamedTuple):
    """What became of a machine."""

    change: Change
    name: Optional[str]
    incarnation: Optional[int]
    machine: Optional[Machine]
    """What its record said, until the next event."""


class Monitor:
    """Tells what happens. To iterate over it gives what has happened, and does not wait: wait for its descriptor, fileno(), with
    select, selectors or asyncio, and iterate again."""

    def __init__(self, list: bool = False, wait: bool = False, leaders: bool = False) -> None:
        """list: begin with the machines that are there. wait: wait for the registry where there is none, instead of raising
        ENOENT. leaders: a machine is gone when its leader is."""
        pointer = c_void_p()
        flags = (_LIST if list else 0) | (_WAIT if wait else 0) | (_LEADERS if leaders else 0)
        checked(lib.machine_monitor_new(flags, byref(pointer)))
        self._owner = Owner(pointer, lib.machine_monitor_free)
        self._told = Owner(c_void_p(1), lambda _: None)

    def fileno(self) -> int:
        """The descriptor that is readable when there is something to tell; it stays the monitor's."""
        return checked(lib.machine_monitor_get_fd(self._pointer()))

    def __iter__(self) -> Iterator[Event]:
        return self

    def __next__(self) -> Event:
        # Not only an error that is raised ends what the event before has lent.
        self._told.close()
        event = c_void_p()
        while checked(lib.machine_monitor_next(self._pointer(), byref(event))):
            try:
                change = Change(lib.machine_event_get_change(event))
            except ValueError:
                # A later version's.
                continue
            name = lib.machine_event_get_name(event)
            number = c_uint64()
            has = lib.machine_event_get_incarnation(event, byref(number)) == 0
            machine = lib.machine_event_get_machine(event)
            self._told = Owner(c_void_p(1), lambda _: None)
            return Event(
                change,
                None if name is None else name.decode(),
                number.value if has else None,
                Machine(self._told, machine) if machine else None,
            )
        raise StopIteration

    def close(self) -> None:
        """Ends it."""
        self._told.close()
        self._owner.close()

    def __enter__(self) -> Monitor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _pointer(self) -> c_void_p:
        if self._owner.pointer is None:
            raise ValueError("the monitor is closed")
        return self._owner.pointer


def _waited(name: str, what: int, deadline: Optional[float]) -> c_void_p:
    until = _NEVER if deadline is None else min(_NEVER, max(0, int(deadline * 1_000_000)))
    machine = c_void_p()
    while True:
        # A handler of Python's runs after this call, and may raise.
        result = lib.machine_wait(text(name), what, 0, until, byref(machine))
        if result == 0:
            return machine
        if result == -errno.ETIMEDOUT:
            raise TimeoutError(errno.ETIMEDOUT, f"machine '{name}': the deadline is over")
        if result != -errno.EINTR:
            checked(result)


def wait(name: str, deadline: Optional[float] = None) -> Machine:
    """Waits until a machine is there, to a time of time.monotonic(). Raises TimeoutError."""
    return owned(_waited(name, _PRESENT, deadline))


def wait_gone(name: str, deadline: Optional[float] = None) -> None:
    """Waits until the machine that has the name now is gone, as wait()."""
    _waited(name, _GONE, deadline)
