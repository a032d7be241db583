"""Containers that lay traps for whoever goes into them, while ours is a service. What they do costs their own callers alone."""

import contextlib
import ctypes
import json
import os
import pathlib
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
import unittest

from bus import MANAGER, PATH, SERVICE, call, error, machines
from machines import SCRATCH, Container, image
from scene import ENVIRONMENT, Case, daemon_pid, out, refused, run, until

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent / "daemon"))
import fuse  # noqa: E402
import processes  # noqa: E402

VARLINK = "/run/systemd/machine/io.systemd.Machine"
UNIT = "systemd-machined.service"
# 1,000,000 takes minutes to be made.
FILES = int(os.environ.get("TRAPPED_FILES", "20000"))
# A page of the container's own programs and ours, and what a copy remembers.
MOST_MEMORY = 48 << 20
RENAME_EXCHANGE = 2
AT_FDCWD = -100
SYS_CLONE3 = 435


# A first process of a container that walks from one root directory to another by way of a directory that is a link the next
# moment, and ends when it is told to.
SWAPS_ITS_ROOT = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

static void leave(int number) { _exit(number == 0); }

int main(void) {
    int top = open("/", O_RDONLY | O_DIRECTORY);
    signal(SIGTERM, leave);
    signal(SIGRTMIN + 3, leave);
    for (;;) {
        if (renameat2(top, "a", top, "b", RENAME_EXCHANGE) || (chroot("/a/in") && chroot("/b/in")) || fchdir(top) || chroot("."))
            return 1;
    }
}
"""


def manager(method, *words):
    """The command that calls a method of the Manager."""
    return ["busctl", "--timeout=60", "call", SERVICE, PATH, MANAGER, method, *words]


def processes_of_ours():
    """The processes that our program runs as, and their parents."""
    found = {}
    for entry in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            place = pathlib.Path("/proc", entry)
            if (place / "comm").read_text() == "machined\n":
                found[int(entry)] = int((place / "stat").read_text().rsplit(")", 1)[1].split()[1])
    return found


def at_work():
    """The processes of ours that are at work in the container, and counted as its own."""
    found = []
    for pid in processes_of_ours():
        with contextlib.suppress(OSError):
            if "trap" in pathlib.Path(f"/proc/{pid}/cgroup").read_text():
                found.append(pid)
    return found


def with_number(pid):
    """Makes a process of this number, which nobody has; it sleeps. False if somebody has it after all."""
    number = ctypes.c_int(pid)
    arguments = (ctypes.c_uint64 * 11)(0, 0, 0, 0, signal.SIGCHLD, 0, 0, 0, ctypes.addressof(number), 1, 0)
    made = processes.LIBC.syscall(SYS_CLONE3, ctypes.byref(arguments), ctypes.c_size_t(ctypes.sizeof(arguments)))
    if made == 0:
        signal.pause()
        os._exit(0)
    return made == pid


class Trapped(Case):
    @classmethod
    def setUpClass(cls):
        SCRATCH.mkdir(exist_ok=True)
        cls.good = Container("good")
        cls.addClassCleanup(cls.good.end)

    def box(self, prepare=lambda directory: None):
        """A container whose files prepare() has changed."""
        prepare(image("trap"))
        box = Container("trap")
        self.addCleanup(box.end)
        return box, pathlib.Path(f"/proc/{box.leader}/root")

    def assert_unharmed(self):
        """Another machine has all that is its own."""
        self.assertIn("Debian", json.dumps(call("GetMachineOSRelease", "s", "good")))
        out(*manager("OpenMachinePTY", "s", "good"))
        out("machinectl", "copy-to", "--force", "good", "/etc/hostname", "/root/copied")
        self.assertEqual(pathlib.Path(f"/proc/{self.good.leader}/root/root/copied").read_text(),
                         pathlib.Path("/etc/hostname").read_text())

    def restart_is_quick(self, *more):
        """A restart takes no longer than one does anyway, and a kill is no different; machines stay."""
        began = time.monotonic()
        out("systemctl", "restart", UNIT)
        usual = time.monotonic() - began
        for begin in more:
            begin()
        began = time.monotonic()
        out("systemctl", "restart", UNIT)
        self.assertLess(time.monotonic() - began, 4 + 3 * usual)
        for begin in more:
            begin()
        pid = daemon_pid()
        os.kill(pid, signal.SIGKILL)
        until(lambda: daemon_pid() not in (0, pid), "the next daemon")
        self.assertLessEqual({"good", "trap"}, set(machines()))
        run("systemctl", "reset-failed", UNIT)


class Terminals(Trapped):
    def test_what_is_no_ptmx_is_refused_and_never_opened(self):
        _, inside = self.box()
        ptmx = inside / "dev/ptmx"
        traps = {
            "a FIFO": lambda: os.mkfifo(ptmx, 0o666),
            "another device": lambda: os.mknod(ptmx, 0o666 | stat.S_IFCHR, os.makedev(1, 5)),
            "a directory": ptmx.mkdir,
            "a link to itself": lambda: ptmx.symlink_to("ptmx"),
            "a file": ptmx.touch,
        }
        for name, make in traps.items():
            if ptmx.is_dir() and not ptmx.is_symlink():
                ptmx.rmdir()
            else:
                ptmx.unlink()
            make()
            for method in "OpenMachinePTY", "OpenMachineLogin":
                self.assertRegex(error(method, "s", "trap"), "Inappropriate ioctl|Too many levels", name)
            if name == "a FIFO":
                # Nobody reads from it, and so nobody can write.
                with self.assertRaises(OSError):
                    os.open(ptmx, os.O_WRONLY | os.O_NONBLOCK)
        self.assert_unharmed()

    def listens(self, inside, backlog=4):
        """A bus of the container's own."""
        (inside / "run/dbus").mkdir(parents=True, exist_ok=True)
        server = socket.socket(socket.AF_UNIX)
        self.addCleanup(server.close)
        server.bind(str(inside / "run/dbus/system_bus_socket"))
        server.listen(backlog)
        return server

    def test_a_bus_that_accepts_and_never_answers_costs_its_own_caller_alone(self):
        _, inside = self.box()
        server = self.listens(inside)
        waiting = self.start(*manager("OpenMachineLogin", "s", "trap"), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        taken, _ = server.accept()
        with taken:
            self.assert_unharmed()
            self.assertNotEqual(waiting.wait(60), 0)
        self.assertIn("timed out", waiting.stderr.read().decode())
        begin = lambda: self.start(*manager("OpenMachineLogin", "s", "trap"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.restart_is_quick(lambda: (begin(), server.accept()))
        self.assert_unharmed()

    def test_a_bus_that_lets_in_and_then_falls_silent_costs_its_own_caller_alone(self):
        _, inside = self.box()
        server = self.listens(inside)

        def serve():
            with contextlib.suppress(OSError):
                taken, _ = server.accept()
                with taken:
                    while data := taken.recv(4096):
                        for line in data.split(b"\r\n"):
                            if b"AUTH" in line:
                                taken.sendall(b"OK 0123456789abcdef0123456789abcdef\r\n")
                            elif line == b"NEGOTIATE_UNIX_FD":
                                taken.sendall(b"AGREE_UNIX_FD\r\n")

        thread = threading.Thread(target=serve)
        thread.start()
        waiting = self.start(*manager("OpenMachineShell", "sssasas", "trap", "root", "/bin/sh", "0", "0"),
                             stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        self.assert_unharmed()
        self.assertNotEqual(waiting.wait(60), 0)
        self.assertIn("timed out", waiting.stderr.read().decode())
        thread.join(60)

    def test_a_bus_with_a_full_backlog_is_not_waited_for(self):
        _, inside = self.box()
        self.listens(inside, 0)
        held = []
        with contextlib.suppress(BlockingIOError):
            while True:
                held.append(socket.socket(socket.AF_UNIX))
                held[-1].setblocking(False)
                held[-1].connect(str(inside / "run/dbus/system_bus_socket"))
        self.assertIn("Resource temporarily unavailable", error("OpenMachineLogin", "s", "trap"))
        for client in held:
            client.close()
        self.assert_unharmed()

    def test_what_cannot_be_opened_is_told_with_what_to_do(self):
        box, inside = self.box()
        said = lambda method, *words: error(method, words and "sssasas" or "s", "trap", *words)
        self.assertIn("nsenter(1) goes in without", said("OpenMachineLogin"))
        ptmx = inside / "dev/ptmx"
        ptmx.unlink()
        self.assertIn("No such file or directory: the machine has no /dev/ptmx; mount a devpts", said("OpenMachinePTY"))
        ptmx.touch()
        self.assertIn("Inappropriate ioctl for device: the machine's /dev/ptmx makes no terminals", said("OpenMachinePTY"))
        guest = self.start("sleep", "infinity")
        out("varlinkctl", "call", VARLINK, "io.systemd.Machine.Register",
            json.dumps({"name": "guest", "class": "vm", "leader": guest.pid, "allocateUnit": True}))
        self.addCleanup(self.assert_gone, "guest")
        self.addCleanup(run, "machinectl", "terminate", "guest")
        for method in "OpenMachinePTY", "OpenMachineLogin":
            self.assertRegex(error(method, "s", "guest"), "Operation not supported: guest is no container; .* ssh machine/guest")

    def test_a_machine_without_a_bus_has_no_login_and_one_whose_bus_is_a_file_neither(self):
        _, inside = self.box()
        self.assertIn("There is no system bus in container trap.", error("OpenMachineLogin", "s", "trap"))
        (inside / "run/dbus").mkdir(parents=True)
        (inside / "run/dbus/system_bus_socket").touch()
        self.assertIn("Socket operation on non-socket", error("OpenMachineLogin", "s", "trap"))


class Files(Trapped):
    def test_a_directory_that_becomes_a_link_leads_nobody_to_the_host(self):
        victim, mine = pathlib.Path("/run/victim"), pathlib.Path("/run/copied")
        for directory in victim, mine:
            directory.mkdir()
            self.addCleanup(shutil.rmtree, directory)
        (victim / "secret").write_text("the host's")
        _, inside = self.box()
        (inside / "tmp/a").mkdir()
        (inside / "tmp/a/secret").write_text("the container's")
        os.symlink("../" * 9 + "run/victim", inside / "tmp/b")
        over = threading.Event()
        one, other = (os.fsencode(inside / "tmp" / name) for name in "ab")

        def swap():
            while not over.is_set():
                processes.LIBC.renameat2(AT_FDCWD, one, AT_FDCWD, other, RENAME_EXCHANGE)

        thread = threading.Thread(target=swap)
        thread.start()
        came = 0
        try:
            for number in range(20):
                run("machinectl", "copy-to", "trap", "/etc/hostname", f"/tmp/a/{number}")
                run("machinectl", "bind", "--mkdir", "trap", "/etc/hostname", f"/tmp/a/bound{number}")
                run("machinectl", "copy-from", "trap", "/tmp/a/secret", mine / str(number))
                if (mine / str(number)).exists():
                    came += 1
                    self.assertEqual((mine / str(number)).read_text(), "the container's")
        finally:
            over.set()
            thread.join()
        self.assertEqual(os.listdir(victim), ["secret"])
        self.assertNotEqual(came, 0)

    def test_a_root_that_is_swapped_for_where_a_link_leads_leads_nobody_to_the_host(self):
        victim = pathlib.Path("/run/victim")
        (victim / "in").mkdir(parents=True)
        self.addCleanup(shutil.rmtree, victim)
        (victim / "in/secret").write_text("the host's")
        source, program = pathlib.Path("/run/swaps.c"), image("trap") / "swaps"
        source.write_text(SWAPS_ITS_ROOT)
        self.addCleanup(source.unlink)
        out("gcc", "-static", "-o", program, source)
        directory = image("trap")
        for name in "a/in/tmp", "run/victim/in/tmp":
            (directory / name).mkdir(parents=True)
        for name in "a/in/secret", "run/victim/in/secret":
            (directory / name).write_text("the container's")
        os.symlink("../" * 9 + "run/victim", directory / "b")
        box = Container("trap", payload=("/swaps",), init=())
        self.addCleanup(box.end)
        came = 0
        mine = pathlib.Path("/run/came-out")
        for number in range(40):
            run("machinectl", "copy-to", "trap", "/etc/hostname", f"/tmp/{number}")
            run("machinectl", "bind", "--mkdir", "trap", "/etc/hostname", f"/tmp/bound{number}")
            run("machinectl", "copy-from", "trap", "/secret", mine)
            run(*manager("OpenMachinePTY", "s", "trap"))
            if mine.exists():
                came += 1
                self.assertEqual(mine.read_text(), "the container's")
                mine.unlink()
        self.assertIsNone(box.process.poll(), box.log.read_text())
        self.assertNotEqual(came, 0)
        self.assertEqual(os.listdir(victim / "in"), ["secret"])
        self.assertEqual((victim / "in/secret").read_text(), "the host's")
        self.assert_unharmed()

    def test_a_copy_of_very_many_files_is_cancelled_and_takes_little_memory(self):
        def fill(directory):
            top = directory / "many"
            for number in range(max(1, FILES // 1000)):
                below = str(top / str(number))
                os.makedirs(below)
                # Inodes of their own, each with a second name: what has one is remembered.
                for other in range(0, 1000, 2):
                    os.close(os.open(f"{below}/{other}", os.O_CREAT | os.O_WRONLY))
                    os.link(f"{below}/{other}", f"{below}/{other + 1}")

        box, _ = self.box(fill)
        target = pathlib.Path("/var/tmp/many-copied")
        self.addCleanup(shutil.rmtree, target, ignore_errors=True)
        copy = self.start("machinectl", "copy-from", "trap", "/many", target, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        child = until(at_work, "a process that copies in the container's group")[0]
        until(lambda: target.is_dir() and len(os.listdir(target)) > FILES // 4000, "some of it")
        os.kill(child, signal.SIGSTOP)
        status = pathlib.Path(f"/proc/{child}/status").read_text()
        highest = int(status.split("VmHWM:")[1].split()[0]) * 1024
        print(f"        {highest >> 10} KiB at the most, {FILES} files")
        self.assertLess(highest, MOST_MEMORY)
        self.assert_unharmed()
        listed = json.loads(out("varlinkctl", "--json=short", "call", VARLINK, "io.mymachines.Copying.List", "{}"))
        number = {entry["machine"]: entry["id"] for entry in listed["copies"]}["trap"]
        out("varlinkctl", "call", VARLINK, "io.mymachines.Copying.Cancel", json.dumps({"id": number}))
        self.assertNotEqual(copy.wait(60), 0)
        until(lambda: not pathlib.Path(f"/proc/{child}").exists(), "the end of the process that copied")
        self.assertTrue(box.process.poll() is None)

    def test_a_leader_that_ends_and_whose_number_is_anothers_gets_no_copy(self):
        box, _ = self.box()
        leader = box.leader
        ours, daemon = processes_of_ours(), daemon_pid()
        marks = [pathlib.Path("/run/for-a-number"), pathlib.Path("/run/bound-for-a-number")]
        doormen = [pid for pid, parent in ours.items() if parent == daemon]
        for pid in doormen:
            os.kill(pid, signal.SIGSTOP)
        try:
            calls = [self.start(*words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) for words in (
                manager("CopyToMachine", "sss", "trap", "/etc/hostname", str(marks[0])),
                manager("BindMountMachine", "sssbb", "trap", "/etc/hostname", str(marks[1]), "false", "true"),
                manager("OpenMachinePTY", "s", "trap"))]
            os.kill(leader, signal.SIGKILL)
            box.process.wait(60)
            until(lambda: not pathlib.Path(f"/proc/{leader}").exists(), "the end of the leader")
            self.assertTrue(with_number(leader))
            self.addCleanup(lambda: (os.kill(leader, signal.SIGKILL), os.waitpid(leader, 0)))
        finally:
            for pid in doormen:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
        for waiting in calls:
            self.assertNotEqual(waiting.wait(60), 0)
        self.assert_unharmed()
        self.assertEqual([str(mark) for mark in marks if mark.exists()], [])


@unittest.skipUnless(fuse.is_there(), "needs FUSE")
class Hangs(Trapped):
    """A file system that takes requests and never answers them: who waits for it cannot even be killed."""

    def test_a_file_system_that_hangs_keeps_nobody_but_its_own_callers(self):
        mounts = []

        def hang(directory):
            (directory / "hang").mkdir()
            mounts.append(fuse.Hanging(str(directory / "hang")))

        _, inside = self.box(hang)
        # Before the end of the container, whose files are removed then.
        self.addCleanup(lambda: [mount.end() for mount in mounts])
        ptmx = inside / "dev/ptmx"
        ptmx.unlink()
        ptmx.symlink_to("/hang/ptmx")

        def stuck():
            found = []
            for pid in at_work():
                with contextlib.suppress(OSError):
                    if processes.state(pid) == "D" or "fuse" in pathlib.Path(f"/proc/{pid}/wchan").read_text() or \
                            pathlib.Path(f"/proc/{pid}/wchan").read_text() == "request_wait_answer":
                        found.append(pid)
            return found

        words = ("CopyFromMachine", "sss", "trap", "/hang/x", "/run/never")
        first = self.start(*manager(*words), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        until(stuck, "a copy that hangs")
        self.assert_unharmed()
        self.assertIn("timed out", refused(*manager("OpenMachinePTY", "s", "trap")))
        self.assert_unharmed()

        def begin():
            before = set(stuck())
            self.start(*manager(*words), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            until(lambda: set(stuck()) - before, "one more that hangs")

        self.restart_is_quick(begin)
        self.assertNotEqual(first.wait(60), 0)
        self.assert_unharmed()
