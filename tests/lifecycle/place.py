"""Where the tests stand: a booted Debian, our daemon as a service of it, and units that are there for one test."""

import contextlib
import itertools
import os
import pathlib
import re
import select
import subprocess
import unittest

os.environ.setdefault("MACHINED", "/usr/local/sbin/machined")
os.environ.setdefault("LOGS", "/tmp")

import processes  # noqa: E402
import records  # noqa: E402
import world  # noqa: E402
from varlink import Client, listed, register  # noqa: E402,F401
from waiting import until  # noqa: E402

MACHINED = os.environ["MACHINED"]
SERVICE = "machined.service"
NUMBER = itertools.count()
# What keeps process 1 busy, that it is busy, and that it may go on.
GENERATOR = pathlib.Path("/run/systemd/system-generators/freeze")
FROZEN, THAWED = pathlib.Path("/run/frozen"), pathlib.Path("/run/thawed")


def run(*command, check=True, **options):
    """What a command prints."""
    done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          check=False, **options)
    if check and done.returncode != 0:
        raise AssertionError(f"{command} ended with {done.returncode}: {done.stdout}")
    return done.stdout.strip()


def show(unit, *properties):
    """The values of a unit's properties."""
    return [run("systemctl", "show", "--value", f"--property={name}", unit) for name in properties]


def is_active(unit):
    return run("systemctl", "is-active", unit, check=False) == "active"


SYSTEMD = int(re.match(r"systemd (\d+)", run("systemctl", "--version"))[1])


def enable():
    """The documented command: ours takes the place of the original."""
    run("systemctl", "enable", "machined")
    run("systemctl", "restart", "machined")


def disable():
    """Ours gives the place back."""
    run("systemctl", "disable", "machined")
    run("systemctl", "stop", "machined")


def main_process(unit):
    """The program that is a service's main process."""
    pid = int(show(unit, "MainPID")[0])
    return os.readlink(f"/proc/{pid}/exe") if pid else None


def daemon():
    """The process of our daemon, as process 1 knows it; 0: there is none."""
    return int(show(SERVICE, "MainPID")[0])


def next_daemon(pid, counted=False):
    """Waits for the daemon after this one. Process 1 calls a dead one active until it has seen the end of it."""
    # A test may end more of them than process 1 would start; that it counts them is for tests of their own.
    if not counted:
        run("systemctl", "reset-failed", SERVICE, check=False)
    until(lambda: daemon() not in (0, pid) and is_active(SERVICE), "the next daemon")


def killed(counted=False):
    """Our daemon is killed, and the next one is there."""
    pid = daemon()
    run("systemctl", "kill", "--signal=KILL", "--kill-whom=main", SERVICE)
    next_daemon(pid, counted)


class Case(unittest.TestCase):
    """A test with our daemon in the place of the original, and without machines."""

    def setUp(self):
        self.machined = None
        run("systemctl", "enable", "machined")
        self.start()

    def start(self):
        run("systemctl", "start", SERVICE)
        self.addCleanup(self.stop)

    @staticmethod
    def stop():
        run("systemctl", "stop", SERVICE, check=False)
        for name in records.names():
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{records.RECORDS}/{name}")

    def freeze(self):
        """Keeps process 1 busy until `thaw`, which is what a generator can do: it waits for each while it reloads."""
        for path in FROZEN, THAWED:
            path.unlink(missing_ok=True)
        GENERATOR.parent.mkdir(exist_ok=True)
        GENERATOR.write_text(f"#!/bin/sh\ntouch {FROZEN}\nuntil [ -e {THAWED} ]; do sleep 0.02; done\n")
        GENERATOR.chmod(0o755)
        self.addCleanup(GENERATOR.unlink)
        reload = subprocess.Popen(["systemctl", "daemon-reload"])
        self.addCleanup(reload.wait, 120)
        self.addCleanup(THAWED.touch)
        until(FROZEN.exists, "the reload")

    def assert_served_while(self, client, serve, rounds, least):
        """Others are served while a client waits: whoever is answered before it has not waited for the same. On a machine that
        is busy with other things, a few of them."""
        done = 0
        while done < rounds:
            serve()
            if select.select([client.socket], [], [], 0)[0]:
                break
            done += 1
        self.assertGreaterEqual(done, least, "rounds before it had its answer")

    def leader(self):
        """A process that is no unit of its own, and not in this test's."""
        process = processes.Process()
        self.addCleanup(process.kill)
        return process

    def apart(self, body=None):
        """A process in a group of its own below this test's unit, which is then nobody's alone."""
        process = processes.Process(body)
        self.addCleanup(process.kill)
        with open("/proc/self/cgroup") as file:
            path = next(line.removeprefix("0::/").strip() for line in file if line.startswith("0::"))
        group = pathlib.Path("/sys/fs/cgroup") / path / f"test-{process.pid}"
        group.mkdir()
        (group / "cgroup.procs").write_text(str(process.pid))
        return process

    def service(self, script="exec sleep infinity", *options):
        """Starts a service; returns its unit and its process."""
        # Another program before this one may have left some that failed.
        unit = f"test-{os.getpid()}-{next(NUMBER)}.service"
        # Until the process is the shell it may move itself to the unit's group, also out of a scope that it was given since.
        run("systemd-run", "--quiet", "--service-type=exec", f"--unit={unit}", *options, "sh", "-c", script)
        self.addCleanup(run, "systemctl", "stop", unit, check=False)
        return unit, int(show(unit, "MainPID")[0])

    def nested(self, unit, name="inner"):
        """A group below a service's, and a process in it; returns that process."""
        group = pathlib.Path("/sys/fs/cgroup") / show(unit, "ControlGroup")[0].lstrip("/") / name
        group.mkdir()
        process = self.leader()
        (group / "cgroup.procs").write_text(str(process.pid))
        return process

    def beside(self, process):
        """A process in the group of another one."""
        with open(f"/proc/{process.pid}/cgroup") as file:
            path = next(line.removeprefix("0::/").strip() for line in file if line.startswith("0::"))
        other = self.leader()
        (pathlib.Path("/sys/fs/cgroup") / path / "cgroup.procs").write_text(str(other.pid))
        return other

    @staticmethod
    def child(pid):
        """The first child of a process, as soon as it has one."""
        def first():
            with open(f"/proc/{pid}/task/{pid}/children") as file:
                return file.read().split()
        return int(until(first, f"a child of process {pid}")[0])

    def assert_ends(self, pid):
        until(lambda: not processes.is_running(pid), f"the end of process {pid}")


main = world.main
