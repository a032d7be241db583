"""Waiting for something to become true, never longer than a deadline."""

import os
import time

DEADLINE = 20


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


def links(pid):
    """What the process's descriptors are, without those that it closes while this looks."""
    found = []
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            found.append(os.readlink(f"/proc/{pid}/fd/{fd}"))
        except FileNotFoundError:
            pass
    return found
