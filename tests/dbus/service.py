"""org.freedesktop.machine1 as the tests call it, and what they are told."""

import difflib
import os
import signal
import sys
import time
import traceback

import wire
from wire import Variant

NAME = "org.freedesktop.machine1"
ROOT = "/org/freedesktop/machine1"
MACHINES = f"{ROOT}/machine"
LOG = "/org/freedesktop/LogControl1"
MANAGER, MACHINE, LOG_CONTROL = f"{NAME}.Manager", f"{NAME}.Machine", "org.freedesktop.LogControl1"
PROPERTIES, INTROSPECTABLE, PEER = (f"org.freedesktop.DBus.{name}" for name in ("Properties", "Introspectable", "Peer"))
PREFIXES = (("org.freedesktop.DBus.Error.", ""), ("org.freedesktop.machine1.", "machine1."),
            ("org.freedesktop.systemd1.", "systemd1."))

flavour = "ours"
failed, passed, cases = [], [], []


def text(error):
    """An error as one line, its name abbreviated."""
    name = error.name
    for prefix, short in PREFIXES:
        if name.startswith(prefix):
            name = short + name[len(prefix):]
            break
    return f"{name}: {error.text}"


class Client(wire.Bus):
    """A client of the service."""

    def ask(self, path, interface, member, signature="", *body, **more):
        """What comes back: the values of the reply as a list, or the error as text."""
        try:
            return self.call(NAME, path, interface, member, signature, *body, **more)
        except wire.Failed as error:
            return text(error)

    def manager(self, member, signature="", *body, **more):
        return self.ask(ROOT, MANAGER, member, signature, *body, **more)

    def machine(self, name, member, signature="", *body, **more):
        return self.ask(path_of(name), MACHINE, member, signature, *body, **more)

    def get(self, path, interface, name):
        got = self.ask(path, PROPERTIES, "Get", "ss", interface, name)
        return got if isinstance(got, str) else got[0].value

    def set(self, path, interface, name, value):
        return self.ask(path, PROPERTIES, "Set", "ssv", interface, name, value)

    def all(self, path, interface):
        got = self.ask(path, PROPERTIES, "GetAll", "s", interface)
        return got if isinstance(got, str) else {name: value.value for name, value in got[0].items()}

    def register(self, name, leader, member="RegisterMachine", id=b"", service="svc", kind="container", root="/",
                 interfaces=None, properties=None, **more):
        signature, body = "sayssus", [name, id, service, kind, leader, root]
        if interfaces is not None:
            signature, body = signature + "ai", [*body, interfaces]
        if properties is not None:
            signature, body = signature + "a(sv)", [*body, properties]
        return self.manager(member, signature, *body, **more)

    def names(self):
        return {row[0] for row in self.manager("ListMachines")[0]}

    def signals(self):
        """Those that came since the last time, each as its name and what it carries."""
        mark = self.send(NAME, ROOT, PEER, "Ping")
        heard = []
        while True:
            got = self.next()
            if got is None:
                raise TimeoutError("no answer to a ping")
            if got.type == wire.SIGNAL and got.fields[wire.INTERFACE] == MANAGER:
                heard.append((got.fields[wire.MEMBER], *got.body))
            if got.fields.get(wire.REPLY_SERIAL) == mark:
                return heard


def label(name):
    """sd_bus_path_encode(3), written anew."""
    safe = [chr(byte) if chr(byte).isalpha() or (chr(byte).isdigit() and at) else f"_{byte:02x}"
            for at, byte in enumerate(name.encode())]
    return "".join(safe) or "_"


def path_of(name):
    return f"{MACHINES}/{label(name)}"


def as_user(uid, what):
    """Runs what(client) as somebody else, in a child, and returns what it returns, which has to be text."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(uid)
            os.setuid(uid)
            with Client() as client:
                os.write(writer, str(what(client)).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        told = pipe.read()
    os.waitpid(child, 0)
    return told


def wait_for(condition):
    """Waits until something is so; the alarm around every case is the deadline."""
    while not (found := condition()):
        time.sleep(0.02)
    return found


def same(got, expected, what=""):
    if got == expected:
        return
    if isinstance(got, str) and isinstance(expected, str) and "\n" in expected:
        lines = difflib.unified_diff(expected.splitlines(), got.splitlines(), "expected", "got", lineterm="", n=1)
        raise AssertionError("\n".join([str(what), *lines]))
    raise AssertionError(f"{what}\n      expected {expected!r}\n      got      {got!r}")


def differs(**by_flavour):
    """The value for whose daemon is running."""
    return by_flavour[flavour] if flavour in by_flavour else by_flavour["others"]


def case(*flavours):
    """Makes a test of a function whose name is a sentence; for these flavours only, if any are named."""
    def keep(function):
        if not flavours or flavour in flavours:
            cases.append(function)
        return function
    return keep


def give_up(*_):
    raise TimeoutError("the deadline of the case is over")


def run(tidy=lambda: None):
    """Runs all cases, prints a line for each, and exits."""
    signal.signal(signal.SIGALRM, give_up)
    for function in cases:
        sentence = function.__name__.replace("_", " ")
        signal.alarm(120)
        try:
            function()
            print(f"ok {sentence}", flush=True)
            passed.append(sentence)
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[1 if len(traceback.extract_tb(error.__traceback__)) > 1 else 0]
            print(f"FAILED {sentence}: line {where.lineno}: {type(error).__name__}: {error}", flush=True)
            failed.append(sentence)
        finally:
            signal.alarm(0)
            tidy()
    print(f"{len(passed)} passed, {len(failed)} failed")
    sys.exit(bool(failed))
