"""D-Bus as it is on the wire, as far as the tests need it: they send what no library would send."""

import collections
import os
import socket
import struct
import time

CALL, RETURN, ERROR, SIGNAL = 1, 2, 3, 4
NO_REPLY, NO_AUTO_START, INTERACTIVE = 1, 2, 4
PATH, INTERFACE, MEMBER, ERROR_NAME, REPLY_SERIAL, DESTINATION, SENDER, SIGNATURE, FDS = range(1, 10)
FIELDS = {PATH: "o", INTERFACE: "s", MEMBER: "s", ERROR_NAME: "s", REPLY_SERIAL: "u", DESTINATION: "s", SENDER: "s",
          SIGNATURE: "g", FDS: "u"}
NUMBERS = {"y": "B", "n": "h", "q": "H", "i": "i", "u": "I", "b": "I", "x": "q", "t": "Q", "d": "d", "h": "I"}
ALIGNMENT = {"y": 1, "n": 2, "q": 2, "i": 4, "u": 4, "b": 4, "x": 8, "t": 8, "d": 8, "h": 4, "s": 4, "o": 4, "a": 4,
             "g": 1, "v": 1, "(": 8, "{": 8}
DEADLINE = 30

Variant = collections.namedtuple("Variant", "signature value")
Message = collections.namedtuple("Message", "type flags serial fields body fds")


def types(signature):
    """Splits a signature into its complete types."""
    found = []
    while signature:
        end = one(signature)
        found.append(signature[:end])
        signature = signature[end:]
    return found


def one(signature):
    if signature[0] == "a":
        return 1 + one(signature[1:])
    if signature[0] not in "({":
        return 1
    end = 1
    while signature[end] not in ")}":
        end += one(signature[end:])
    return end + 1


def pad(data, alignment):
    data += bytes(-len(data) % alignment)


def put(data, kind, value):
    first = kind[0]
    pad(data, ALIGNMENT[first])
    if first in NUMBERS:
        data += struct.pack("<" + NUMBERS[first], value)
    elif first in "so":
        text = value.encode() if isinstance(value, str) else value
        data += struct.pack("<I", len(text)) + text + b"\0"
    elif first == "g":
        data += bytes([len(value)]) + value.encode() + b"\0"
    elif first == "v":
        put(data, "g", value.signature)
        put(data, value.signature, value.value)
    elif first == "a":
        start = len(data)
        data += bytes(4)
        pad(data, ALIGNMENT[kind[1]])
        begin = len(data)
        if kind == "ay":
            data += bytes(value)
        else:
            for item in value.items() if isinstance(value, dict) else value:
                put(data, kind[1:], item)
        struct.pack_into("<I", data, start, len(data) - begin)
    else:
        for part, item in zip(types(kind[1:-1]), value, strict=True):
            put(data, part, item)


def get(data, at, kind):
    first = kind[0]
    at += -at % ALIGNMENT[first]
    if first in NUMBERS:
        form = "<" + NUMBERS[first]
        (value,) = struct.unpack_from(form, data, at)
        return (bool(value) if first == "b" else value), at + struct.calcsize(form)
    if first in "so":
        (length,) = struct.unpack_from("<I", data, at)
        return data[at + 4:at + 4 + length].decode(), at + length + 5
    if first == "g":
        length = data[at]
        return data[at + 1:at + 1 + length].decode(), at + length + 2
    if first == "v":
        inner, at = get(data, at, "g")
        value, at = get(data, at, inner)
        return Variant(inner, value), at
    if first == "a":
        (length,) = struct.unpack_from("<I", data, at)
        at += 4
        at += -at % ALIGNMENT[kind[1]]
        end = at + length
        if kind == "ay":
            return bytes(data[at:end]), end
        items = []
        while at < end:
            item, at = get(data, at, kind[1:])
            items.append(item)
        return (dict(items) if kind[1] == "{" else items), end
    parts = []
    for part in types(kind[1:-1]):
        value, at = get(data, at, part)
        parts.append(value)
    return tuple(parts), at


def message(kind, serial, fields, signature="", body=(), flags=0, fds=0):
    content = bytearray()
    for part, value in zip(types(signature), body, strict=True):
        put(content, part, value)
    if signature:
        fields = {**fields, SIGNATURE: signature}
    if fds:
        fields = {**fields, FDS: fds}
    head = bytearray(struct.pack("<BBBBII", ord("l"), kind, flags, 1, len(content), serial))
    put(head, "a(yv)", [(code, Variant(FIELDS[code], value)) for code, value in fields.items() if value is not None])
    pad(head, 8)
    return bytes(head + content)


class Failed(Exception):
    """An error reply."""

    def __init__(self, reply):
        self.name = reply.fields[ERROR_NAME]
        self.text = reply.body[0] if reply.body else ""
        super().__init__(f"{self.name}: {self.text}")


class Bus:
    """A connection to a bus."""

    def __init__(self, path="/run/dbus/system_bus_socket", uid=None):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(DEADLINE)
        self.socket.connect(path)
        self.serial, self.rest, self.descriptors, self.queue = 0, b"", [], collections.deque()
        identity = str(os.geteuid() if uid is None else uid).encode().hex()
        self.socket.sendall(f"\0AUTH EXTERNAL {identity}\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n".encode())
        lines = b""
        while lines.count(b"\r\n") < 2:
            got = self.socket.recv(1)
            if not got:
                raise ConnectionError("the bus hung up")
            lines += got
        assert lines.startswith(b"OK ") and b"AGREE_UNIX_FD" in lines, lines
        (self.name,) = self.bus("Hello")

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def send(self, destination, path, interface, member, signature="", *body, flags=0, fds=()):
        """Sends a call and returns its serial."""
        self.serial += 1
        fields = {PATH: path, INTERFACE: interface, MEMBER: member, DESTINATION: destination}
        self.write(message(CALL, self.serial, fields, signature, body, flags, len(fds)), fds)
        return self.serial

    def write(self, data, fds=()):
        if fds:
            sent = socket.send_fds(self.socket, [data], list(fds))
            data = data[sent:]
        self.socket.sendall(data)

    def receive(self, deadline=None):
        """The next message; None if none came until the deadline."""
        deadline = time.monotonic() + DEADLINE if deadline is None else deadline
        while True:
            whole = self.whole()
            if whole is not None:
                return whole
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                return None
            self.socket.settimeout(remaining)
            try:
                data, fds, _, _ = socket.recv_fds(self.socket, 1 << 18, 64)
            except TimeoutError:
                return None
            finally:
                self.socket.settimeout(DEADLINE)
            if not data:
                raise ConnectionError("the bus hung up")
            self.rest += data
            self.descriptors += fds

    def whole(self):
        if len(self.rest) < 16:
            return None
        assert self.rest[0] == ord("l")
        _, kind, flags, _, length, serial, header = struct.unpack_from("<BBBBIII", self.rest)
        start = 16 + header + -header % 8
        if len(self.rest) < start + length:
            return None
        fields = {code: value.value for code, value in get(self.rest, 12, "a(yv)")[0]}
        content, at, body = self.rest[start:start + length], 0, []
        for part in types(fields.get(SIGNATURE, "")):
            value, at = get(content, at, part)
            body.append(value)
        self.rest = self.rest[start + length:]
        count = fields.get(FDS, 0)
        fds, self.descriptors = self.descriptors[:count], self.descriptors[count:]
        return Message(kind, flags, serial, fields, body, fds)

    def reply(self, serial, seconds=DEADLINE):
        """The reply to a call; other messages are kept for next()."""
        deadline = time.monotonic() + seconds
        for kept in list(self.queue):
            if kept.fields.get(REPLY_SERIAL) == serial:
                self.queue.remove(kept)
                return self.checked(kept)
        while (got := self.receive(deadline)) is not None:
            if got.type in (RETURN, ERROR) and got.fields.get(REPLY_SERIAL) == serial:
                return self.checked(got)
            self.queue.append(got)
        raise TimeoutError(f"no reply to call {serial}")

    @staticmethod
    def checked(got):
        if got.type == ERROR:
            raise Failed(got)
        return got

    def next(self, seconds=DEADLINE):
        """The next message that is not the reply to somebody's call; None if none comes."""
        return self.queue.popleft() if self.queue else self.receive(time.monotonic() + seconds)

    def call(self, destination, path, interface, member, signature="", *body, **more):
        return self.reply(self.send(destination, path, interface, member, signature, *body, **more)).body

    def bus(self, member, signature="", *body):
        return self.call("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", member, signature,
                         *body)

    def match(self, rule):
        self.bus("AddMatch", "s", rule)
