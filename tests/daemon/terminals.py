"""Terminals of containers, whose devices and buses are traps."""

import array
import contextlib
import json
import os
import pathlib
import signal
import socket
import stat
import struct
import sys
import time
import unittest

import fuse
import processes
import world
from varlink import SOCKET, Client, listed
from waiting import AT_ONCE, DEADLINE, until

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent / "dbus"))
import wire  # noqa: E402

ROOTS = "/run/roots"


class Rooted(world.Case):
    def setUp(self):
        super().setUp()
        self.start()

    def rooted(self, name, prepare):
        """A machine whose root directory prepare() has filled."""
        root = f"{ROOTS}/{name}"
        os.makedirs(f"{root}/dev/pts")
        os.makedirs(f"{root}/run/dbus")
        prepare(root)
        self.register(name, self.leader(lambda: (os.chroot(root), os.chdir("/"))))

    @staticmethod
    def devices(root):
        processes.checked(processes.LIBC.mount(b"devpts", f"{root}/dev/pts".encode(), b"devpts", 0,
                                               b"newinstance,ptmxmode=0666,mode=620,gid=5"))
        os.symlink("pts/ptmx", f"{root}/dev/ptmx")

    @staticmethod
    def open(name, mode):
        """What Open answers, and the descriptors that come with it."""
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(DEADLINE)
            client.connect(SOCKET)
            client.sendall(json.dumps({"method": "io.systemd.Machine.Open", "parameters": {"name": name, "mode": mode}}).encode() + b"\0")
            data, ancillary, _, _ = client.recvmsg(65536, socket.CMSG_SPACE(64))
            fds = array.array("i")
            for _, _, content in ancillary:
                fds.frombytes(content)
        reply = json.loads(data.rstrip(b"\0"))
        return reply.get("error") or reply["parameters"], list(fds)

    def ask(self, name, mode="tty"):
        """A client that has called Open."""
        client = Client()
        self.addCleanup(client.close)
        client.send(json.dumps({"method": "io.systemd.Machine.Open", "parameters": {"name": name, "mode": mode}}).encode() + b"\0")
        return client


class Terminals(Rooted):
    def test_a_bare_terminal_is_the_containers(self):
        self.rooted("web", self.devices)
        told, fds = self.open("web", "tty")
        self.assertEqual(told, {"ptyFileDescriptor": 0, "ptyPath": "/dev/pts/0"})
        self.assertEqual(len(fds), 1)
        path = f"{ROOTS}/web/dev/pts/0"
        self.assertTrue(stat.S_ISCHR(os.stat(path).st_mode))
        other = os.open(path, os.O_RDWR | os.O_NOCTTY)
        os.write(other, b"inside")
        self.assertEqual(os.read(fds[0], 100), b"inside")
        for fd in (other, *fds):
            os.close(fd)

    def test_what_is_no_ptmx_is_never_opened(self):
        traps = {"fifo": lambda root: os.mkfifo(f"{root}/dev/ptmx"), "none": lambda root: None,
                 "device": lambda root: os.mknod(f"{root}/dev/ptmx", 0o20644, os.makedev(1, 5))}
        if not world.IS_ROOT:
            del traps["device"]
        for name, trap in traps.items():
            self.rooted(name, trap)
            told, fds = self.open(name, "tty")
            self.assertEqual((told, fds), ("io.systemd.System", []), name)
        self.assertEqual(set(listed()), set(traps))

    def test_a_container_without_a_bus_has_no_login(self):
        self.rooted("web", self.devices)
        self.assertEqual(self.open("web", "login"), ("io.systemd.Machine.NoIPC", []))

    def test_a_bus_that_accepts_and_never_answers_keeps_its_own_caller_waiting_alone(self):
        self.rooted("web", self.devices)
        bus = socket.socket(socket.AF_UNIX)
        self.addCleanup(bus.close)
        bus.bind(f"{ROOTS}/web/run/dbus/system_bus_socket")
        bus.listen(1)
        with Client() as waiting:
            waiting.send(json.dumps({"method": "io.systemd.Machine.Open", "parameters": {"name": "web", "mode": "login"}}).encode() + b"\0")
            began = time.monotonic()
            self.assertEqual(set(listed()), {"web"})
            self.assertLess(time.monotonic() - began, AT_ONCE)
            self.assertEqual(waiting.receive()["parameters"]["errnoName"], "ETIMEDOUT")

    def floods(self, name, flood):
        """A machine whose bus lets in and then says this without a pause, and answers nothing."""
        self.rooted(name, self.devices)
        server = socket.socket(socket.AF_UNIX)
        server.bind(f"{ROOTS}/{name}/run/dbus/system_bus_socket")
        server.listen(8)
        # A process of its own, which does not share our interpreter.
        pid = os.fork()
        if pid == 0:
            signal.alarm(2 * DEADLINE)
            try:
                while True:
                    client, _ = server.accept()
                    if os.fork() == 0:
                        self.let_in(client)
                        while True:
                            client.sendall(flood)
                    client.close()
            finally:
                os._exit(0)
        server.close()
        self.addCleanup(lambda: (os.kill(pid, signal.SIGKILL), os.waitpid(pid, 0)))

    @staticmethod
    def let_in(client):
        data = b""
        while not data.endswith(b"BEGIN\r\n"):
            data = client.recv(4096)
            for line in data.split(b"\r\n"):
                if b"AUTH" in line:
                    client.sendall(b"OK 0123456789abcdef0123456789abcdef\r\n")
                elif line == b"NEGOTIATE_UNIX_FD":
                    client.sendall(b"AGREE_UNIX_FD\r\n")
                elif line.startswith(b"BEGIN"):
                    break
            if b"BEGIN" in data:
                break
        hello = data.split(b"BEGIN\r\n", 1)[1] or client.recv(4096)
        serial = struct.unpack_from("<I", hello, 8)[0]
        client.sendall(wire.message(2, 1, {5: serial, 6: ":1.1", 7: "org.freedesktop.DBus"}, "s", (":1.1",)))

    def test_a_bus_that_never_stops_talking_costs_its_own_caller_alone(self):
        signals = {1: "/a", 2: "a.b", 3: "C", 7: ":1.2"}
        floods = {"signals": wire.message(4, 9, signals, "s", ("x" * 3000,)), "calls": wire.message(1, 9, {**signals, 6: ":1.1"}),
                  "large": wire.message(4, 9, signals, "s", ("x" * (60 << 20),))}
        before = self.machined.rss()
        waiting = []
        for name, flood in floods.items():
            self.floods(name, flood)
            waiting.append(self.ask(name, "login"))
        end = time.monotonic() + 3
        while time.monotonic() < end:
            began = time.monotonic()
            self.assertEqual(set(listed()), set(floods))
            self.assertLess(time.monotonic() - began, AT_ONCE)
        for client in waiting:
            self.assertEqual(client.receive()["parameters"]["errnoName"], "ETIMEDOUT")
        # One message that is not whole yet is kept.
        self.assertLess(self.machined.rss() - before, 16 << 10)


@unittest.skipUnless(fuse.is_there(), "needs FUSE, and to be root")
class Hangs(Rooted):
    """Terminals that wait for a file system that never answers: who waits for it cannot even be killed."""

    def hangs(self, name):
        def prepare(root):
            os.mkdir(f"{root}/hang")
            mount = fuse.Hanging(f"{root}/hang")
            self.addCleanup(mount.end)
            os.symlink("/hang/ptmx", f"{root}/dev/ptmx")
        self.rooted(name, prepare)

    def assert_good(self):
        began = time.monotonic()
        told, fds = self.open("good", "tty")
        self.assertLess(time.monotonic() - began, AT_ONCE)
        self.assertIn("ptyPath", told)
        for fd in fds:
            os.close(fd)

    def stuck(self):
        """The processes of ours that wait for the file system, or behind one that does."""
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                comm, waits = (pathlib.Path(f"/proc/{pid}/{what}").read_text() for what in ("comm", "wchan"))
                if comm == "machined\n" and (waits == "request_wait_answer" or processes.state(int(pid)) == "D"):
                    found.append(pid)
        return found

    def test_four_machines_that_hang_keep_no_other_waiting(self):
        self.rooted("good", self.devices)
        waiting = []
        for number in range(4):
            self.hangs(f"hangs{number}")
            waiting += [self.ask(f"hangs{number}") for _ in range(4)]
        until(lambda: len(self.stuck()) == 16, "all that may hang")
        self.assert_good()
        for client in waiting:
            self.assertEqual(client.receive()["parameters"]["errnoName"], "ETIMEDOUT")
        self.assert_good()

    def test_a_machine_that_hangs_has_few_that_hang_however_many_wait_for_it(self):
        self.rooted("good", self.devices)
        self.hangs("hangs")
        waiting = [self.ask("hangs") for _ in range(60)]
        for client in waiting:
            self.assertEqual(client.receive()["parameters"]["errnoName"], "ETIMEDOUT")
        # Four, and those whose turn it was when the first of these were late.
        self.assertIn(len(self.stuck()), range(4, 8))
        self.assert_good()


if __name__ == "__main__":
    world.main()
