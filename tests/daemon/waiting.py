"""Waiting for something to become true, never longer than a deadline."""

import os
import socket
import time

# More in an emulator, whose run says how long a program may take: five times so many seconds.
DEADLINE = max(20, int(os.environ.get("DEADLINE", "0")) // 5)
# What waits for nobody is done in so many seconds, however loaded the machine is. The daemon waits for nothing that hangs for
# less than 5 s, so that what waits with it is late by this.
AT_ONCE = 4


def until(condition, what="it", deadline=DEADLINE):
    """Returns the first true value of condition()."""
    end = time.monotonic() + deadline
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not come within {deadline} s")
        time.sleep(0.005)


def listens(path):
    """Whether somebody listens on this socket. It is there a moment before that."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(path) == 0


def links(pid):
    """What the process's descriptors are, without those that it closes while this looks; none if it has ended."""
    found = []
    try:
        fds = os.listdir(f"/proc/{pid}/fd")
    except (FileNotFoundError, ProcessLookupError):
        return found
    for fd in fds:
        try:
            found.append(os.readlink(f"/proc/{pid}/fd/{fd}"))
        except (FileNotFoundError, ProcessLookupError):
            pass
    return found
