"""A process that is followed through its system calls, and ended at one of them, or told that it failed. ptrace(2)."""

import contextlib
import ctypes
import os
import platform
import signal
import struct
import time
import unittest

import processes
from waiting import DEADLINE

SYSCALL, DETACH = 24, 17
GETREGSET, SETREGSET, SEIZE, INTERRUPT, GET_SYSCALL_INFO = 0x4204, 0x4205, 0x4206, 0x4207, 0x420E
TRACESYSGOOD = 1
NT_PRSTATUS = 1
ENTRY = 1
WALL = 0x40000000
# Where the registers of a call are that is about to be made: its number, and later its result.
NUMBER, RESULT = 15, 10
NO_CALL = (1 << 64) - 1

NAMES = {1: "write", 20: "writev", 44: "sendto", 46: "sendmsg", 62: "kill", 82: "rename", 83: "mkdir", 84: "rmdir", 87: "unlink",
         88: "symlink", 188: "setxattr", 232: "epoll_wait", 257: "openat", 258: "mkdirat", 263: "unlinkat", 264: "renameat",
         265: "linkat", 266: "symlinkat", 281: "epoll_pwait", 316: "renameat2", 424: "pidfd_send_signal", 441: "epoll_pwait2"}
# Those that others see nothing of, or not always.
OTHERS = {0: "read", 16: "ioctl", 45: "recvfrom", 74: "fsync"}
WAITING = {"epoll_wait", "epoll_pwait", "epoll_pwait2"}
# The places of the paths among the arguments.
PATHS = {"openat": [1], "mkdirat": [1], "unlinkat": [1], "renameat": [1, 3], "renameat2": [1, 3], "linkat": [1, 3], "symlinkat": [0, 2],
         "mkdir": [0], "rmdir": [0], "unlink": [0], "rename": [0, 1], "symlink": [0, 1], "setxattr": [0]}

needs_steps = unittest.skipUnless(platform.machine() == "x86_64", "knows the system calls of x86-64 only")


def ptrace(request, pid, address=0, data=0):
    function = processes.LIBC.ptrace
    function.restype = ctypes.c_long
    function.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    if function(request, pid, address, data) == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


class Call:
    """A system call that is about to be made."""

    def __init__(self, pid, number, arguments):
        self.pid, self.arguments = pid, arguments
        self.name = NAMES.get(number) or OTHERS.get(number, str(number))

    def file(self):
        """What the first argument is a descriptor of."""
        with contextlib.suppress(OSError):
            return os.readlink(f"/proc/{self.pid}/fd/{self.arguments[0]}")
        return ""

    def text(self, place):
        """The string that an argument points to."""
        with open(f"/proc/{self.pid}/mem", "rb", buffering=0) as memory:
            memory.seek(self.arguments[place])
            text = memory.read(4096 - self.arguments[place] % 4096)
            return (text if b"\0" in text else text + memory.read(4096)).split(b"\0")[0].decode()

    def changes(self):
        """Whether anybody else can see that it was made."""
        if self.name == "openat":
            return bool(self.arguments[2] & os.O_CREAT)
        if self.name in ("write", "writev"):
            # But for the event loop's own, by which it wakes itself.
            return not self.file().startswith("anon_inode:")
        return self.name in NAMES.values() and self.name not in WAITING

    def __str__(self):
        paths = [self.text(place) for place in PATHS.get(self.name, [])]
        return " ".join([self.name, *(paths or [self.file()])])


class Steps:
    """A process that runs on, whose main thread stops at each system call while it is told to `run`."""

    def __init__(self, pid):
        self.pid = pid
        ptrace(SEIZE, pid, 0, TRACESYSGOOD)
        self.is_held, self.is_stopped = True, False
        self.stop()

    def stop(self):
        if not self.is_stopped:
            ptrace(INTERRUPT, self.pid)
            self.wait()

    def go_on(self, passed=0):
        ptrace(SYSCALL, self.pid, 0, passed)
        self.is_stopped = False

    def wait(self, options=0):
        """Its next stop, or end, as a status; None if it runs on."""
        pid, status = os.waitpid(self.pid, WALL | options)
        if not pid:
            return None
        self.is_stopped = self.is_held = os.WIFSTOPPED(status)
        return status

    def __enter__(self):
        return self

    def __exit__(self, *_):
        """Lets it go on alone."""
        if self.is_held:
            self.stop()
            ptrace(DETACH, self.pid)

    def call(self):
        """The call that is about to be made; None if it is one that has returned."""
        buffer = ctypes.create_string_buffer(88)
        ptrace(GET_SYSCALL_INFO, self.pid, len(buffer), ctypes.addressof(buffer))
        kind, _, _, _, number, *arguments = struct.unpack_from("<B3xIQQ7Q", buffer)
        return Call(self.pid, number, arguments) if kind == ENTRY else None

    def fail(self, errno):
        """Has the call that is about to be made fail instead."""
        self.set_register(NUMBER, NO_CALL)
        self.go_on()
        self.wait()
        self.set_register(RESULT, -errno & NO_CALL)

    def set_register(self, register, value):
        words = (ctypes.c_uint64 * 64)()
        vector = (ctypes.c_uint64 * 2)(ctypes.addressof(words), ctypes.sizeof(words))
        ptrace(GETREGSET, self.pid, NT_PRSTATUS, ctypes.addressof(vector))
        words[register] = value
        ptrace(SETREGSET, self.pid, NT_PRSTATUS, ctypes.addressof(vector))

    def run(self, decide, is_settled):
        """Lets it run until `is_settled` while it waits for something. `decide` is asked of every call that is about to be
        made: None to go on, an errno to have it fail, "kill" to end the process. Returns whether it was ended."""
        # Each step takes two switches to this process and back, on a busy machine many milliseconds: what is not to be long is
        # the time in which it changes nothing.
        passed, is_waiting, last, deadline = 0, False, None, time.monotonic() + DEADLINE
        while True:
            self.go_on(passed)
            while (status := self.wait(os.WNOHANG if is_waiting else 0)) is None:
                if is_settled():
                    return False
                assert time.monotonic() < deadline, f"it does not come to rest; the last that it changed: {last}"
                time.sleep(0.001)
            assert self.is_held, f"it ended by itself, with status {status}"
            passed = 0
            if os.WSTOPSIG(status) != signal.SIGTRAP | 0x80:
                # A signal for it; or, with more in the status, a stop that is ours.
                passed = 0 if status >> 16 else os.WSTOPSIG(status)
                continue
            call = self.call()
            is_waiting = call is not None and call.name in WAITING
            told = decide(call) if call else None
            if call and call.changes():
                last, deadline = str(call), time.monotonic() + DEADLINE
            if told == "kill":
                self.kill()
                return True
            if told is not None:
                self.fail(told)

    def kill(self):
        """Ends it before the call is made. Its parent hears of that after us."""
        os.kill(self.pid, signal.SIGKILL)
        while self.is_held:
            self.wait()
