"""What every test stands in: a booted host, commands with a deadline, and a report of one line per test."""

import os
import pathlib
import signal
import subprocess
import time
import traceback
import unittest

# More where everything is slow.
DEADLINE = int(os.environ.get("DEADLINE", "40"))
# For what takes long everywhere: boots, jobs of systemd, an emulator.
PATIENCE = 3 * DEADLINE
RECORDS = pathlib.Path("/run/systemd/machines")
# Whose daemon is running: `stock257`, `stock262` or `ours`; body.py says it.
FLAVOUR = os.environ.get("FLAVOUR", "ours")
OURS = FLAVOUR == "ours"
SYSTEMD = int(subprocess.run(["systemctl", "--version"], capture_output=True, text=True, check=True).stdout.split()[1])

ENVIRONMENT = {**os.environ, "LC_ALL": "C.UTF-8", "SYSTEMD_PAGER": "", "SYSTEMD_COLORS": "0", "COLUMNS": "200",
               "SYSTEMD_LOG_LEVEL": "notice", "SYSTEMD_URLIFY": "0"}


def until(condition, what, deadline=DEADLINE):
    """Waits until the condition is true of something; returns that."""
    end = time.monotonic() + deadline
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {deadline} s: {what}")
        time.sleep(0.02)


def run(*command, deadline=DEADLINE, **environment):
    """Runs a command to its end; what it printed and how it ended. More variables may be given by name."""
    return subprocess.run([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=deadline, env={**ENVIRONMENT, **environment}, check=False)


def out(*command, **options):
    """What a command printed, which has to succeed."""
    ended = run(*command, **options)
    words = " ".join(str(word) for word in command)
    assert ended.returncode == 0, f"{words}: exit {ended.returncode}: {ended.stdout[-500:]}{ended.stderr[-500:]}"
    return ended.stdout


def refused(*command, **options):
    """What a command complained about, which has to fail."""
    ended = run(*command, **options)
    words = " ".join(str(word) for word in command)
    assert ended.returncode != 0, f"{words} succeeded: {ended.stdout[-500:]}"
    return ended.stderr + ended.stdout


def unit_property(unit, name):
    return out("systemctl", "show", f"--property={name}", "--value", unit).strip()


def is_running(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def daemon_pid():
    """The main process of the unit that has the well-known name, whoever wrote the unit."""
    return int(unit_property("dbus-org.freedesktop.machine1.service", "MainPID"))


def record(name):
    """The record of a machine, or nothing."""
    try:
        lines = (RECORDS / name).read_text().splitlines()
    except FileNotFoundError:
        return {}
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


class Case(unittest.TestCase):
    """A test that leaves nothing behind: whatever it starts by these methods ends with it, or with its class."""

    maxDiff = None
    longMessage = True

    def start(self, *command, **options):
        """A process that runs beside the test."""
        process = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL, env=ENVIRONMENT, **options)
        self.addCleanup(end, process)
        return process

    def assert_gone(self, name, deadline=DEADLINE):
        """The machine is no longer registered, for any way of asking."""
        until(lambda: not (RECORDS / name).exists(), f"the record of {name} is gone", deadline)
        until(lambda: "NoSuchMachine" in run("machinectl", "show", name).stderr or
              "No machine" in run("machinectl", "show", name).stderr, f"{name} is unknown to the daemon", deadline)


def end(process):
    """Ends a process by force, unless it has ended."""
    if process.poll() is None:
        process.send_signal(signal.SIGKILL)
    process.wait(DEADLINE)
    for stream in (process.stdout, process.stderr):
        if stream:
            stream.close()


class Report(unittest.TestResult):
    """One line per test, and the reason of those that fail. A test that the table of gaps lists has to fail."""

    def __init__(self, gaps):
        super().__init__()
        self.gaps, self.used = gaps, set()
        self.passed = self.failed = self.skipped = 0
        self.began = time.monotonic()
        self.bad_already = None

    @staticmethod
    def sentence(test):
        if not isinstance(test, unittest.TestCase):
            return str(test)
        return test.id().rsplit(".", 1)[-1].removeprefix("test_").replace("_", " ")

    def startTest(self, test):
        super().startTest(test)
        self.began = time.monotonic()

    def line(self, verdict, text):
        print(f"{verdict:<7} {text}", flush=True)

    def addSuccess(self, test):
        sentence = self.sentence(test)
        if sentence in self.gaps:
            self.used.add(sentence)
            self.failed += 1
            self.line("FAILED", f"{sentence}: it works now; take it out of the table of gaps")
        elif self.bad_already is not test:
            self.passed += 1
            self.line("ok", f"{sentence} ({time.monotonic() - self.began:.1f} s)")

    def bad(self, test, error):
        if self.bad_already is test:
            return
        self.bad_already = test
        sentence = self.sentence(test)
        if sentence in self.gaps:
            self.used.add(sentence)
            self.skipped += 1
            self.line("SKIPPED:", f"{sentence}: {self.gaps[sentence]}")
            return
        self.failed += 1
        text = str(error[1]).strip() or repr(error[1])
        self.line("FAILED", f"{sentence} ({time.monotonic() - self.began:.1f} s)")
        for line in text.splitlines()[:30]:
            print(f"        {line[:400]}")
        for line in "".join(traceback.format_tb(error[2])).splitlines():
            if "/unittest/" not in line and "tests/system" in line:
                print(f"        {line.strip()}", flush=True)

    def addFailure(self, test, error):
        super().addFailure(test, error)
        self.bad(test, error)

    def addError(self, test, error):
        super().addError(test, error)
        self.bad(test, error)

    def addSubTest(self, test, subtest, error):
        super().addSubTest(test, subtest, error)
        if error:
            self.bad(test, error)

    def addSkip(self, test, reason):
        # Not unittest's, which keeps a list by the name of this count.
        self.skipped += 1
        self.line("SKIPPED:", f"{self.sentence(test)}: {reason}")
