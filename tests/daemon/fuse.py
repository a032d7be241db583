"""A file system that takes every request and answers none but the first: whoever looks into it waits until it goes."""

import os
import select
import signal
import struct
import subprocess

import processes
from waiting import DEADLINE

INIT = 26
# Of linux/fuse.h: the header of a request, of an answer, and what INIT is answered with.
HEADER, ANSWER = struct.Struct("IIQQIIII"), struct.Struct("IiQ")
WELCOME = struct.Struct("IIIIHHIIHHII6I")


class Hanging:
    """Such a file system at `path`, with a process of its own that serves it. The process must be there before the mount
    is used: what it was never asked can be killed, what it has taken cannot."""

    def __init__(self, path):
        device = os.open("/dev/fuse", os.O_RDWR)
        options = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
        try:
            processes.checked(processes.LIBC.mount(b"hang", os.fsencode(path), b"fuse", 0, options))
            self.path = path
            self.asked = os.eventfd(0)
            self.server = os.fork()
            if self.server == 0:
                self.serve(device)
        finally:
            os.close(device)

    def serve(self, device):
        try:
            while True:
                request = os.read(device, 1 << 20)
                _, code, unique, *_ = HEADER.unpack_from(request)
                if code == INIT:
                    body = WELCOME.pack(7, 31, 0, 0, 0, 0, 65536, 0, 0, 0, 0, 0, *[0] * 6)
                    os.write(device, ANSWER.pack(ANSWER.size + len(body), 0, unique) + body)
                else:
                    os.eventfd_write(self.asked, 1)
        finally:
            os._exit(0)

    def until_asked(self):
        """Waits until somebody waits for it."""
        assert select.select([self.asked], [], [], DEADLINE)[0], f"nobody looks into {self.path}"

    def end(self):
        """With its server, and nobody waits any more."""
        os.kill(self.server, signal.SIGKILL)
        os.waitpid(self.server, 0)
        os.close(self.asked)
        subprocess.run(["umount", "--lazy", self.path], stderr=subprocess.DEVNULL, check=False)


def is_there():
    """Whether this host has FUSE, and lets us mount it."""
    return os.access("/dev/fuse", os.R_OK | os.W_OK) and os.geteuid() == 0
