"""A client of the daemon's socket that takes no care of what it sends."""

import contextlib
import json
import os
import pickle
import select
import socket

from waiting import DEADLINE, until

SOCKET = "/run/systemd/machine/io.systemd.Machine"
MACHINE = "io.systemd.Machine."
SERVICE = "org.varlink.service."
CONTROL = "io.systemd.service."
NO_SUCH_MACHINE = MACHINE + "NoSuchMachine"
MACHINE_EXISTS = MACHINE + "MachineExists"
INVALID = SERVICE + "InvalidParameter"
DENIED = SERVICE + "PermissionDenied"
SYSTEM = "io.systemd.System"
OK = "ok"
# Of asm-generic/socket.h.
SO_PEERPIDFD = 77


def has_pidfd(connection):
    """Whether the kernel tells whose the other end is by a descriptor, as since Linux 6.5."""
    with contextlib.suppress(OSError):
        os.close(connection.getsockopt(socket.SOL_SOCKET, SO_PEERPIDFD))
        return True
    return False


def may_ask_polkit():
    """Whether who calls by a socket may be asked about at polkit, which has to know for sure whom is meant."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        return has_pidfd(ours)


def message(method, parameters=None, **flags):
    method = method if "." in method else MACHINE + method
    return json.dumps({"method": method, "parameters": parameters or {}, **flags}).encode() + b"\0"


def verdict(reply):
    """A reply in a word: ok, closed, an error id, with the one field that counts."""
    if reply is None:
        return "closed"
    if "error" not in reply:
        return OK
    fields = reply.get("parameters", {})
    detail = fields.get("errnoName") or fields.get("parameter")
    return f'{reply["error"]} {detail}' if detail else reply["error"]


class Client:
    """One connection."""

    def __init__(self, deadline=DEADLINE, path=SOCKET):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(deadline)
        self.rest = b""
        self.messages = []
        try:
            until(lambda: self.connect(path), "room in the backlog", deadline)
        except OSError:
            self.socket.close()
            raise

    def connect(self, path):
        # With a timeout python's socket does not wait for a full backlog to drain.
        try:
            self.socket.connect(path)
        except BlockingIOError:
            return False
        return True

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def receive(self):
        """The next reply; None if the connection was closed."""
        while not self.messages:
            try:
                chunk = self.socket.recv(1 << 16)
            except (ConnectionResetError, BrokenPipeError):
                chunk = b""
            if not chunk:
                return None
            *whole, self.rest = (self.rest + chunk).split(b"\0")
            self.messages += whole
        return json.loads(self.messages.pop(0))

    def call(self, method, parameters=None, **flags):
        """The one reply to a call; None if the connection was closed."""
        try:
            self.send(message(method, parameters, **flags))
        except (ConnectionResetError, BrokenPipeError):
            return None
        return self.receive()

    def ask(self, method, parameters=None):
        return verdict(self.call(method, parameters))

    def stream(self, method, parameters=None):
        """All replies to a call with `more`."""
        self.send(message(method, parameters, more=True))
        replies = []
        while True:
            reply = self.receive()
            replies.append(reply)
            if not reply or not reply.get("continues"):
                return replies


def asked(client, method, parameters=None):
    """Sends a call; returns what tells the verdict when it is there, and None until then."""
    client.send(message(method, parameters))
    told = []

    def answer():
        if not told and select.select([client.socket], [], [], 0)[0]:
            told.append(verdict(client.receive()))
        return told[0] if told and told[0] != "closed" else None
    return answer


def call(method, parameters=None, **flags):
    with Client() as client:
        return client.call(method, parameters, **flags)


def ask(method, parameters=None):
    return verdict(call(method, parameters))


def register(name, leader, **more):
    return ask("Register", {"name": name, "class": "container", "leader": leader, **more})


def listed(**parameters):
    """What List tells, by name, the host left out."""
    with Client() as client:
        replies = client.stream("List", parameters)
    assert all(replies) and "error" not in replies[-1], replies[-1]
    fields = [reply["parameters"] for reply in replies]
    names = [machine["name"] for machine in fields]
    assert len(set(names)) == len(names), f"listed twice: {names}"
    return {machine["name"]: machine for machine in fields if machine["name"] != ".host"}


def as_user(uid, function):
    """What function() returns when this uid runs it, in a child."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reader)
            if uid != os.getuid():
                os.setgroups([])
                os.setresgid(uid, uid, uid)
                os.setresuid(uid, uid, uid)
            with os.fdopen(writer, "wb") as pipe:
                pickle.dump(function(), pipe)
            os._exit(0)
        except BaseException as error:  # noqa: B902
            print(f"as uid {uid}: {error!r}", flush=True)
            os._exit(1)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        told = pipe.read()
    assert os.waitpid(child, 0)[1] == 0, f"the child with uid {uid} failed"
    return pickle.loads(told)
