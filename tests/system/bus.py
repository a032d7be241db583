"""The daemon on the system bus, as busctl shows it."""

import json
import os
import subprocess
import tempfile

from scene import DEADLINE, ENVIRONMENT, end, out, run, until

SERVICE = "org.freedesktop.machine1"
PATH = "/org/freedesktop/machine1"
MANAGER = "org.freedesktop.machine1.Manager"
MACHINE = "org.freedesktop.machine1.Machine"


def object_path(name):
    """The object of a machine: what is no letter, nor a digit after the first byte, is escaped."""
    return f"{PATH}/machine/" + "".join(
        byte if byte.isalpha() or (byte.isdigit() and place) else f"_{ord(byte):02x}" for place, byte in enumerate(name))


def call(method, *arguments, path=PATH, interface=MANAGER):
    """What a method returns: a list of its out arguments."""
    return json.loads(out("busctl", "--json=short", "call", SERVICE, path, interface, method, *arguments) or "{}").get("data", [])


def error(method, *arguments, path=PATH, interface=MANAGER):
    """The message of the error that a method answers with."""
    ended = run("busctl", "call", SERVICE, path, interface, method, *arguments)
    assert ended.returncode != 0, f"{method} {arguments} succeeded: {ended.stdout}"
    return ended.stderr.strip()


def properties(name):
    """All properties of a machine."""
    (told,) = call("GetAll", "s", MACHINE, path=object_path(name), interface="org.freedesktop.DBus.Properties")
    return {key: value["data"] for key, value in told.items()}


def machines():
    """All machines, by name: class, service and object."""
    (listed,) = call("ListMachines")
    return {name: rest for name, *rest in listed}


class Monitor:
    """Hears the signals of the daemon from now on."""

    # What the test itself emits, to know that it hears.
    MARK = "org.freedesktop.machine1.Test"

    def __init__(self, case):
        handle, self.log = tempfile.mkstemp(prefix="system-test-monitor.")
        case.addCleanup(os.unlink, self.log)
        match = f"type='signal',path_namespace='{PATH}'"
        with os.fdopen(handle, "w") as log:
            self.process = subprocess.Popen(["busctl", "--json=short", f"--match={match}", "monitor"],
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=ENVIRONMENT)
        case.addCleanup(end, self.process)
        until(self.is_hearing, "the monitor hears")

    def is_hearing(self):
        out("busctl", "emit", PATH, self.MARK, "Mark")
        return any(signal["interface"] == self.MARK for signal in self.signals())

    def signals(self):
        with open(self.log) as file:
            whole = file.read().split("\n")[:-1]
        return [json.loads(line) for line in whole if line.startswith('{"type":"signal"')]

    def heard(self):
        """The signals of the daemon so far: their names and arguments."""
        return [(signal["member"], *signal["payload"]["data"]) for signal in self.signals() if signal["interface"] == MANAGER]

    def hears(self, *signal, deadline=DEADLINE):
        until(lambda: signal in self.heard(), f"the signal {signal}", deadline)
