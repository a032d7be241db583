"""Descriptors whose last close, or every close, lasts for as long as whoever made them likes."""

import contextlib
import os
import signal
import socket
import struct
import termios
import threading
import tty

import processes

INIT, LOOKUP, GETATTR, OPEN, RELEASE, FLUSH, FORGET, INTERRUPT = 26, 1, 3, 14, 18, 25, 2, 36
HEADER = struct.Struct("<IIQQIIII")


def lingering():
    """A TCP socket whose last close waits for an hour, and the other end, which has to stay open for that."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    listener.bind(("127.0.0.1", 0))
    listener.listen(1)
    sock = socket.socket()
    sock.connect(listener.getsockname())
    other, _ = listener.accept()
    listener.close()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 3600))
    sock.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            sock.send(b"x" * 65536)
    return sock, other


def let_go(sock):
    """Closes a lingering socket here, in a process whose end never waits."""
    child = os.fork()
    if child == 0:
        signal.pause()
    os.close(sock.detach())
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def unread_terminal():
    """A terminal whose output was stopped, and is not read from the other end, which has to stay open."""
    end, terminal = os.openpty()
    tty.setraw(terminal)
    os.set_blocking(terminal, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(terminal, b"x" * 4096)
    termios.tcflow(terminal, termios.TCOOFF)
    return terminal, end


class HangingFile:
    """A file of a FUSE file system that answers everything, but a flush by any other process than those that are let
    off. A close of such a file waits, and nothing ends that but the end of the server."""

    def __init__(self, directory):
        self.fuse = os.open("/dev/fuse", os.O_RDWR)
        self.directory = directory
        os.makedirs(directory, exist_ok=True)
        options = f"fd={self.fuse},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
        if processes.LIBC.mount(b"trap", directory.encode(), b"fuse", 0, options):
            os.close(self.fuse)
            raise OSError("no FUSE mounts")
        self.let_off = {os.getpid()}
        self.hangs = []
        self.is_closed = False
        self.server = threading.Thread(target=self.serve, daemon=True)
        self.server.start()

    def open(self):
        return os.open(f"{self.directory}/file", os.O_RDONLY)

    def serve(self):
        with contextlib.suppress(OSError):
            while True:
                request = os.read(self.fuse, 1 << 20)
                _, code, unique, _, _, _, pid, _ = HEADER.unpack_from(request)
                self.answer(code, unique, pid)

    def answer(self, code, unique, pid):
        attributes = struct.pack("<QQQQQQIIIIIIIIII", 2, 0, 0, 0, 0, 0, 0, 0, 0, 0o100666, 1, 0, 0, 0, 512, 0)
        if code in (FORGET, INTERRUPT):
            return
        if code == FLUSH and pid not in self.let_off:
            self.hangs.append(pid)
            return
        body = {INIT: struct.pack("<IIIIHHIIHHI28x", 7, 31, 0, 0, 0, 0, 65536, 0, 0, 0, 0),
                LOOKUP: struct.pack("<QQQQII", 2, 0, 1 << 30, 1 << 30, 0, 0) + attributes,
                GETATTR: struct.pack("<QII", 1 << 30, 0, 0) + attributes,
                OPEN: struct.pack("<QII", 1, 0, 0)}.get(code, b"")
        os.write(self.fuse, struct.pack("<IiQ", 16 + len(body), 0, unique) + body)

    def close(self):
        """Ends the server, and with it all waiting."""
        if self.is_closed:
            return
        self.is_closed = True
        processes.LIBC.umount2(self.directory.encode(), 2)
        with contextlib.suppress(OSError):
            # The end of the connection ends all that waits.
            path = "/sys/fs/fuse/connections"
            for name in os.listdir(path) if os.path.isdir(path) else []:
                with open(f"{path}/{name}/abort", "w") as abort:
                    abort.write("1")
        os.close(self.fuse)
