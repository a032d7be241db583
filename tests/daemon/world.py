"""What every test stands in: an empty /run, a daemon of its own, and an end in which everything is checked."""

import contextlib
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
import unittest

import processes
import records
import varlink
from waiting import until

MACHINED = os.environ["MACHINED"]
LOGS = os.environ["LOGS"]
CGROUP = os.environ.get("CGROUP")
IS_ROOT = open("/proc/self/uid_map").read().split() == ["0", "0", "4294967295"]
NOBODY, OWNER = 4711, 1000
MS_RDONLY, MS_REMOUNT = 1, 32

needs_root = unittest.skipUnless(IS_ROOT, "needs uids other than root's")
needs_cgroup = unittest.skipUnless(CGROUP and os.access(CGROUP, os.W_OK), "needs a control group to write to")


class Daemon:
    """One run of the daemon."""

    def __init__(self, *arguments, program=MACHINED, env=None, ready=True, log=None, prefix=(), **more):
        handle, self.log_path = tempfile.mkstemp(suffix=".log", dir=LOGS)
        self.notify_path = f"{self.log_path}.notify"
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.settimeout(0.05)
        self.notify.bind(self.notify_path)
        os.chmod(self.notify_path, 0o666)
        environment = {"PATH": os.environ["PATH"], "NOTIFY_SOCKET": self.notify_path, **(env or {})}
        with os.fdopen(handle, "w") as own:
            self.process = subprocess.Popen([*prefix, program, *arguments], env=environment, stderr=log or own,
                                            stdin=subprocess.DEVNULL, **more)
        self.pid = self.process.pid
        if ready:
            told = until(self.told, "READY=1")
            assert told == "READY=1", f"the daemon did not start: {told}: {self.log()}"

    def told(self):
        """What the daemon told its service manager, or that it ended."""
        with contextlib.suppress(socket.timeout):
            return self.notify.recv(4096).decode().strip()
        return None if self.process.poll() is None else f"exit code {self.process.returncode}"

    def log(self):
        with open(self.log_path) as file:
            return file.read()

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        """Ends it as a service manager does; returns the exit code."""
        self.process.terminate()
        return self.process.wait(20)

    def close(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.kill()
        self.notify.close()

    def count_fds(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def status(self, field):
        with open(f"/proc/{self.pid}/status") as file:
            return next(line.split()[1] for line in file if line.startswith(f"{field}:"))

    def ticks(self):
        """Processor time of it and of those whom it has waited for, in seconds."""
        with open(f"/proc/{self.pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
        return sum(int(field) for field in fields[11:15]) / os.sysconf("SC_CLK_TCK")

    def cpu(self):
        """The processor time it has taken, in seconds."""
        with open(f"/proc/{self.pid}/stat") as file:
            return sum(map(int, file.read().rsplit(")", 1)[1].split()[11:13])) / os.sysconf("SC_CLK_TCK")

    def rss(self):
        """Resident memory in KiB."""
        return int(self.status("VmRSS"))

    def allocated(self):
        """Resident memory in KiB that is not of files."""
        return int(self.status("RssAnon"))

    def peak(self):
        """The most resident memory that there ever was, in KiB."""
        return int(self.status("VmHWM"))


class Case(unittest.TestCase):
    """A test with an empty /run. What it starts by these methods ends with it."""

    # Limits from the start: in a user namespace there can be none later where there was none.
    run_options = "mode=755,size=256m,nr_inodes=40000"

    def setUp(self):
        subprocess.run(["umount", "--lazy", "/run"], check=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", self.run_options, "tmpfs", "/run"], check=True)
        self.machined = None

    def start(self, *arguments, **more):
        daemon = Daemon(*arguments, **more)
        self.addCleanup(daemon.close)
        self.machined = daemon
        return daemon

    def restart(self, *arguments, **more):
        self.machined.kill()
        return self.start(*arguments, **more)

    def leader(self, body=None):
        process = processes.Process(body)
        self.addCleanup(process.kill)
        return process

    def container(self, *addresses, bridge=None):
        container = processes.Container(*addresses, bridge=bridge)
        self.addCleanup(container.kill)
        return container

    def register(self, name, leader, **more):
        self.assertEqual(varlink.register(name, leader.pid, **more), varlink.OK)

    @staticmethod
    def remount(options, flags=0):
        """Changes the options of /run; mount(8) would repeat all others, which a user namespace may not."""
        processes.checked(processes.LIBC.mount(b"tmpfs", b"/run", b"tmpfs", MS_REMOUNT | flags, options.encode()))

    @staticmethod
    def fill(entries=False):
        """Takes all space of /run, or all of its inodes."""
        # As many as there are: the kernel refuses fewer.
        there = os.statvfs("/run")
        limit = f"nr_inodes={there.f_files - there.f_ffree + 4}" if entries else "size=100k"
        Case.remount(limit)
        os.makedirs("/run/ballast", exist_ok=True)
        with contextlib.suppress(OSError):
            for number in range(1000):
                with open(f"/run/ballast/{number}", "wb", buffering=0) as file:
                    while not entries and file.write(b"x" * 4096):
                        pass

    @staticmethod
    def free():
        """Gives back what `fill` took."""
        shutil.rmtree("/run/ballast")

    def assert_consistent(self):
        """The table, the records and the index tell the same, and of the living only."""
        pictures = []

        def is_settled():
            # What changes by itself meanwhile, as the host's routes do when a container's network is gone, is no fault. The
            # daemon answers between two changes: what is the same before and after an answer is no half of one.
            pictures[:] = [*pictures[-1:], self.picture()]
            return pictures[0] == pictures[-1] and len(pictures) == 2

        until(is_settled, "an end of changes")
        listed, found, indexes = pictures[-1]
        self.assertEqual(sorted(found), sorted(listed))
        for name, machine in listed.items():
            self.assertEqual(int(found[name]["LEADER"]), machine["leader"]["pid"], name)
            self.assertTrue(processes.is_running(machine["leader"]["pid"]), f"{name} is dead")
        self.assertEqual(indexes, {"addresses": records.expected_index(found), "names": records.expected_case_index(found),
                                   "groups": records.expected_group_index(found),
                                   **{kind: records.expected_id_lists(kind, found) for kind in ("uids", "gids")}})

    @staticmethod
    def picture():
        """The table, the records and the indexes as they are."""
        lists = {kind: {page: set(text.strip(";").split(";")) for page, text in records.id_lists(kind).items()}
                 for kind in ("uids", "gids")}
        return varlink.listed(), records.everything(), {"addresses": records.index(), "names": records.case_index(),
                                                            "groups": records.group_index(), **lists}

    def assert_addresses(self, name, *expected, with_links=True):
        """The name comes to resolve to these, in any order; `with_links` to those of IPv6's links on that link."""
        def found():
            addresses = records.addresses(name) or []
            return sorted(addresses if with_links else [address.split("%")[0] for address in addresses])

        with self.subTest(name):
            until(lambda: found() == sorted(expected), f"{name} = {expected}, at first {records.addresses(name)},")


class Report(unittest.TestResult):
    """One line per test, and the reason of those that fail."""

    def __init__(self):
        super().__init__()
        self.started = 0

    @staticmethod
    def sentence(test):
        return test.id().rsplit(".", 1)[-1].split(" ")[0].removeprefix("test_").replace("_", " ")

    def startTest(self, test):
        super().startTest(test)
        self.started = time.monotonic()

    def addSuccess(self, test):
        if not any(failed is test for failed, _ in self.failures):
            print(f"ok {self.sentence(test)} ({time.monotonic() - self.started:.1f} s)", flush=True)

    def bad(self, test, error):
        print(f"FAILED {self.sentence(test)}: {error[1]!r}", flush=True)
        for line in "".join(traceback.format_tb(error[2])).splitlines():
            if "/unittest/" not in line:
                print(f"  {line}")
        daemon = getattr(test, "machined", None)
        if daemon:
            print("".join(f"  log: {line}\n" for line in daemon.log().splitlines()[-10:]), end="", flush=True)

    def addFailure(self, test, error):
        super().addFailure(test, error)
        self.bad(test, error)

    def addError(self, test, error):
        super().addError(test, error)
        self.bad(test, error)

    def addSubTest(self, test, subtest, error):
        super().addSubTest(test, subtest, error)
        if error:
            self.failures.append((test, ""))
            self.bad(test, error)

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        print(f"SKIPPED: {self.sentence(test)}: {reason}", flush=True)


def main():
    """Runs the tests of the program, or those whose sentence contains an argument."""
    # Many leaders and connections; the daemon raises its own limit.
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    unittest.defaultTestLoader.testNamePatterns = [f"*{word}*" for word in sys.argv[1:]] or None
    suite = unittest.defaultTestLoader.loadTestsFromModule(sys.modules["__main__"])
    report = Report()
    suite.run(report)
    sys.exit(not report.wasSuccessful())
