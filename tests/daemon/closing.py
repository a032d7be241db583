"""Descriptors that peers pass along, whose close lasts: nobody waits for them but those who are there for it."""

import array
import contextlib
import os
import pathlib
import signal
import socket
import subprocess
import sys
import unittest
from shutil import which

import traps
import varlink
import wire
import world
from bus import CONFIGURATION
from service import LAUNCHER
from waiting import links, listens, until

INFO = b'{"method":"org.varlink.service.GetInfo"}\0'
BUS = "/run/dbus/system_bus_socket"
MACHINE1 = ("org.freedesktop.machine1", "/org/freedesktop/machine1")


# Runs a command for which the kernel knows no SO_PASSRIGHTS, as before Linux 6.16, by seccomp(2): both system calls, by their
# numbers, at level SOL_SOCKET and with that option, fail with ENOPROTOOPT.
OLDER_KERNEL = """
import ctypes, os, struct, sys
get, put = map(int, sys.argv[1:3])
load, equal, end = 0x20, 0x15, 0x06
code = [(load, 0, 0, 0), (equal, 1, 0, get), (equal, 0, 5, put), (load, 0, 0, 24), (equal, 0, 3, 1), (load, 0, 0, 32),
        (equal, 0, 1, 83), (end, 0, 0, 0x50000 | 92), (end, 0, 0, 0x7fff0000)]
filters = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in code))
program = struct.pack("HxxxxxxQ", len(code), ctypes.addressof(filters))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, program, 0, 0) == 0, os.strerror(ctypes.get_errno())
os.execv(sys.argv[3], sys.argv[3:])
"""
# The numbers of getsockopt(2) and setsockopt(2).
NUMBERS = {"x86_64": ("55", "54"), "aarch64": ("209", "208")}.get(os.uname().machine)


def pass_along(sock, data, *descriptors):
    """Whether the kernel takes them for this peer."""
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))]
    try:
        sock.sendmsg([data], rights)
    except PermissionError:
        return False
    return True


class Closing(world.Case):
    program, path, prefix = world.MACHINED, varlink.SOCKET, []

    def begin(self, *arguments, **more):
        self.machined = world.Daemon(*arguments, program=self.program, prefix=self.prefix, **more)
        self.addCleanup(self.machined.close)

    def assert_served(self, times=20):
        """Many others get an answer before long, one after the other."""
        for _ in range(times):
            with varlink.Client(path=self.path) as client:
                client.send(INFO)
                self.assertIn("parameters", client.receive() or {})

    def children(self):
        """The processes that descend from the daemon."""
        found, parents = {self.machined.pid}, {}
        for name in os.listdir("/proc"):
            with contextlib.suppress(OSError, ValueError):
                fields = open(f"/proc/{int(name)}/stat").read().rpartition(")")[2].split()
                if fields[0] != "Z":
                    parents[int(name)] = int(fields[1])
        while more := {pid for pid, parent in parents.items() if parent in found} - found:
            found |= more
        return found - {self.machined.pid}

    def workers(self):
        found = []
        for pid in self.children():
            with contextlib.suppress(OSError):
                if "worker" in pathlib.Path(f"/proc/{pid}/comm").read_text():
                    found.append(pid)
        return found

    def early(self, *descriptors):
        """A connection from before the daemon is there, with which these were passed along already."""
        self.path = "/run/given"
        # The one that waits for us is the one that becomes the daemon.
        (bound, is_bound), (goes_on, go_on) = os.pipe(), os.pipe()
        wait = f"os.write({is_bound}, b'x'); os.read({goes_on}, 1); os.dup2"
        daemon = world.Daemon(program=self.program, ready=False, pass_fds=(is_bound, goes_on),
                              prefix=[*self.prefix, sys.executable, "-c", LAUNCHER.replace("os.dup2", wait), self.path, "varlink"])
        self.machined = daemon
        self.addCleanup(daemon.close)
        os.read(bound, 1)
        connection = socket.socket(socket.AF_UNIX)
        self.addCleanup(connection.close)
        connection.connect(self.path)
        self.assertTrue(pass_along(connection, INFO, *descriptors))
        os.write(go_on, b"x")
        for end in (bound, is_bound, goes_on, go_on):
            os.close(end)
        return connection

    def await_ready(self):
        self.assertEqual(until(self.machined.told, "READY=1"), "READY=1")

    def test_a_socket_that_lingers_stops_nobody(self):
        """What `repro-linger` does: a call with such a socket, whose last close is left to the daemon."""
        self.begin()
        for _ in range(5):
            with varlink.Client(path=self.path) as client:
                sock, other = traps.lingering()
                self.addCleanup(other.close)
                pass_along(client.socket, INFO, sock.fileno())
                traps.let_go(sock)
                self.assert_served(5)
        self.assertEqual(self.machined.stop(), 0)

    def test_a_socket_that_was_passed_before_the_start_stops_nobody(self):
        sock, other = traps.lingering()
        self.addCleanup(other.close)
        connection = self.early(sock.fileno())
        traps.let_go(sock)
        self.await_ready()
        self.assert_served()
        # The connection is let go, and what is in it is closed by somebody, whom that holds up for a second at most.
        with contextlib.suppress(ConnectionResetError):
            self.assertEqual(connection.recv(100), b"")
        until(lambda: len(self.workers()) == 1, "the end of who closed it")
        self.assert_served()
        self.assertEqual(self.machined.stop(), 0)

    def test_what_is_passed_along_without_a_call_and_left_stops_nobody(self):
        sock, other = traps.lingering()
        self.addCleanup(other.close)
        connection = self.early(sock.fileno())
        # It leaves before it is looked at, and what it sent is never read.
        connection.close()
        traps.let_go(sock)
        self.await_ready()
        self.assert_served()
        self.assertEqual(self.machined.stop(), 0)

    @world.needs_root
    def test_a_file_whose_flush_hangs_stops_nobody(self):
        trap = self.trap()
        self.begin()
        file = trap.open()
        for _ in range(5):
            with varlink.Client(path=self.path) as client:
                pass_along(client.socket, INFO, file)
                self.assert_served(5)
        os.close(file)
        self.assertNotIn(self.machined.pid, trap.hangs)
        self.assertEqual(self.machined.stop(), 0)

    def trap(self):
        try:
            trap = traps.HangingFile("/run/trap")
        except OSError as error:
            self.skipTest(str(error))
        self.addCleanup(trap.close)
        return trap

    def test_a_terminal_with_output_that_nobody_reads_stops_nobody(self):
        self.begin()
        for _ in range(5):
            terminal, end = traps.unread_terminal()
            self.addCleanup(os.close, end)
            self.hand_over(terminal)
            os.close(terminal)
            self.assert_served(5)
        self.assertEqual(self.machined.stop(), 0)

    def hand_over(self, *descriptors):
        """A call with these, whether the kernel takes them or not."""
        with varlink.Client(path=self.path) as client:
            pass_along(client.socket, INFO, *descriptors)

    def test_what_closes_has_nothing_of_the_daemons_and_ends_with_it(self):
        self.begin()
        until(lambda: len(self.workers()) == 1, "a worker")
        looked_at = 0
        for pid in self.children():
            try:
                status = pathlib.Path(f"/proc/{pid}/status").read_text()
            except OSError:
                # Who looks at images has ended meanwhile.
                continue
            looked_at += 1
            self.assertIn("\nThreads:\t1\n", status)
            held = links(pid)
            self.assertEqual([link for link in held if link.startswith("/") and link != "/dev/null"], [])
            self.assertLessEqual(len(held), 7)
        self.assertGreaterEqual(looked_at, 2, "the closer and its worker")
        self.machined.kill()
        until(lambda: not self.children(), "their end")


@unittest.skipUnless(NUMBERS, "needs the numbers of two system calls")
class BeforeLinux616(Closing):
    """The same where the kernel cannot refuse descriptors, so that the daemon looks before it reads."""

    prefix = [sys.executable, "-c", OLDER_KERNEL, *(NUMBERS or ())]

    def test_descriptors_that_the_kernel_lets_through_end_the_connection(self):
        self.begin()
        sock, other = traps.lingering()
        self.addCleanup(other.close)
        with varlink.Client(path=self.path) as client:
            self.assertTrue(pass_along(client.socket, INFO, sock.fileno()), "the kernel refuses them")
            self.assertIsNone(client.receive())
        traps.let_go(sock)
        self.assert_served()
        self.assertEqual(self.machined.stop(), 0)


@unittest.skipUnless(which("dbus-daemon"), "needs dbus-daemon")
class OnTheBus(Closing):
    def setUp(self):
        super().setUp()
        os.makedirs("/run/dbus", exist_ok=True)
        pathlib.Path("/run/bus.conf").write_text(CONFIGURATION % f"unix:path={BUS}")
        self.bus = subprocess.Popen(["dbus-daemon", "--nofork", "--config-file=/run/bus.conf"],
                                    stderr=subprocess.DEVNULL)
        self.addCleanup(self.stop_bus)
        until(lambda: listens(BUS), "the bus")

    def stop_bus(self):
        self.bus.kill()
        self.bus.wait()

    def begin(self, *arguments, **more):
        super().begin(*arguments, **more)
        with wire.Bus() as bus:
            until(lambda: bus.bus("NameHasOwner", "s", MACHINE1[0])[0], "the name")
        self.owner = self.owned()

    def owned(self):
        with wire.Bus() as bus:
            return bus.bus("GetNameOwner", "s", MACHINE1[0])

    def assert_served(self, times=20):
        super().assert_served(times)
        with wire.Bus() as bus:
            for _ in range(times):
                self.assertIsNotNone(bus.call(*MACHINE1, "org.freedesktop.DBus.Peer", "GetMachineId"))
        self.assertEqual(self.owned(), self.owner, "it has left the bus meanwhile")

    def hand_over(self, *descriptors):
        """A call that takes no descriptors, with some; and its answer."""
        with wire.Bus() as bus:
            serial = bus.send(*MACHINE1, "org.freedesktop.machine1.Manager", "GetMachine", "s", "none", fds=descriptors)
            with self.assertRaises(wire.Failed) as failed:
                bus.reply(serial)
            self.assertEqual(failed.exception.name, "org.freedesktop.machine1.NoSuchMachine")

    # What concerns the socket of its own is told once.
    test_a_socket_that_was_passed_before_the_start_stops_nobody = None
    test_what_is_passed_along_without_a_call_and_left_stops_nobody = None
    test_what_closes_has_nothing_of_the_daemons_and_ends_with_it = None

    def test_a_socket_that_lingers_stops_nobody(self):
        self.begin()
        for _ in range(3):
            sock, other = traps.lingering()
            self.addCleanup(other.close)
            copy = os.dup(sock.fileno())
            traps.let_go(sock)
            sender = os.fork()
            if sender == 0:
                # Its end does not wait, and it closes nothing before that.
                bus = wire.Bus()
                bus.reply(bus.send("org.freedesktop.DBus", "/", "org.freedesktop.DBus", "GetId"))
                bus.send(*MACHINE1, "org.freedesktop.machine1.Manager", "GetMachine", "s", "none", fds=[copy])
                bus.receive()
                os.kill(os.getpid(), signal.SIGKILL)
            traps.let_go(socket.socket(fileno=copy))
            os.waitpid(sender, 0)
            self.assert_served()
        until(lambda: len(self.workers()) == 1, "the end of those who closed them")
        self.assertEqual(self.machined.stop(), 0)

    @world.needs_root
    def test_a_file_whose_flush_hangs_stops_nobody(self):
        """Such a file is flushed whenever a descriptor of it is closed, so it must not be installed in the daemon at all."""
        trap = self.trap()
        self.begin()
        trap.let_off.add(self.bus.pid)
        file = trap.open()
        for number in range(1, 6):
            self.hand_over(file)
            until(lambda: len(trap.hangs) >= number, "a close that hangs")
            self.assert_served(5)
        self.assertNotIn(self.machined.pid, trap.hangs)
        self.assertEqual(len(set(trap.hangs)), 5)
        os.close(file)
        # It is told how many there are.
        def is_told():
            self.assert_served(1)
            return "5 of 64 processes that close what peers passed along hang" in self.machined.log()
        until(is_told, "the number of those who hang")
        # Nor do those who hang keep it from ending, or its successor from starting.
        self.assertEqual(self.machined.stop(), 0)
        self.begin()
        self.assert_served()
        trap.close()
        until(lambda: len(self.workers()) == 1, "their end")

    def test_descriptors_of_processes_come_in(self):
        self.begin()
        leader = self.leader()
        pidfd = os.pidfd_open(leader.pid)
        properties = [("LeaderPIDFD", wire.Variant("h", 0)), ("Class", wire.Variant("s", "container"))]
        with wire.Bus() as bus:
            bus.call(*MACHINE1, "org.freedesktop.machine1.Manager", "RegisterMachineEx", "sa(sv)", "web", properties,
                     fds=[pidfd])
        os.close(pidfd)
        self.assertEqual(varlink.listed()["web"]["leader"]["pid"], leader.pid)


if __name__ == "__main__":
    world.main()
