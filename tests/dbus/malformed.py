"""Messages that no library sends, and clients that do not read: what the bus lets pass costs nobody else anything."""

import contextlib
import os
import pathlib
import resource
import struct
import time

import machines
import wire
from machines import bus
from service import (INTROSPECTABLE, LOG, LOG_CONTROL, MANAGER, NAME, PEER, PROPERTIES, ROOT, Client, case, differs,
                     path_of, same, text, wait_for)
from wire import (CALL, DESTINATION, ERROR_NAME, FDS, FIELDS, INTERFACE, MEMBER, NO_REPLY, PATH, REPLY_SERIAL, SENDER, SIGNAL,
                  SIGNATURE, Variant, put)

SERIAL = 7
# What no specification knows, and what its value may be.
UNKNOWN = (11, 42, 127, 128, 255)
VALUES = (Variant("u", 7), Variant("s", "x" * 5000), Variant("ay", b"x"), Variant("a{sv}", {"x": Variant("v", Variant("y", 1))}),
          Variant("(yx)", (1, 2)), Variant("v", Variant("(sv)", ("x", Variant("g", "u")))))
# sd-bus drops a message whose unknown field holds more than this.
VALUES = differs(ours=VALUES, others=VALUES[:2])
PING = {PATH: ROOT, INTERFACE: PEER, MEMBER: "Ping", DESTINATION: NAME}
LARGE = differs(stock257=False, stock262=False, ours=True)


@contextlib.contextmanager
def client(uid=machines.UNPRIVILEGED):
    """A client that is somebody else's."""
    os.seteuid(uid)
    try:
        other = Client(uid=uid)
    finally:
        os.seteuid(0)
    with other:
        yield other


def message(fields, body=b"", kind=CALL, flags=0, serial=SERIAL, version=1, length=None, more=()):
    """A message whose header is whatever is asked for; `more` are fields as bytes, behind the others."""
    size = len(body) if length is None else length
    head = bytearray(struct.pack("<BBBBIII", ord("l"), kind, flags, version, size, serial, 0))
    for code, value in fields.items():
        value = value if isinstance(value, Variant) else Variant(FIELDS[code], value)
        put(head, "(yv)", (code, value))
    for field in more:
        wire.pad(head, 8)
        head += field
    struct.pack_into("<I", head, 12, len(head) - 16)
    wire.pad(head, 8)
    return bytes(head) + bytes(body)


def values(signature, *body):
    data = bytearray()
    for part, value in zip(wire.types(signature), body, strict=True):
        put(data, part, value)
    return bytes(data)


def string(value, length=None, end=b"\0"):
    return struct.pack("<I", len(value) if length is None else length) + value + end


def manager(member, signature, body, **more):
    return message({**PING, INTERFACE: MANAGER, MEMBER: member, SIGNATURE: signature}, body, **more)


def create(properties):
    """CreateMachine of a process that there is not, with an array of properties that is these bytes."""
    data = bytearray(values("sayssus", "new", b"", "", "container", 4000000, "/"))
    wire.pad(data, 4)
    start = len(data) + 4
    data += struct.pack("<I", len(properties)) + bytes(-start % 8) + properties
    return manager("CreateMachine", "sayssusa(sv)", data)


def named(value):
    """A property called X whose value is these bytes: a signature and what follows it."""
    return string(b"X") + value


def malformed():
    good = values("s", "web")
    for kind in 0, 5, 255:
        yield message(PING, kind=kind)
    for kind in wire.RETURN, wire.ERROR, SIGNAL:
        yield message({**PING, REPLY_SERIAL: 5, ERROR_NAME: "a.b"}, kind=kind)
    for fields in ({MEMBER: ""}, {MEMBER: "a.b"}, {MEMBER: b"a\0b"}, {INTERFACE: "a"}, {INTERFACE: b"a.\xff"}, {PATH: "x"},
                   {PATH: "/a/"}, {PATH: "/org/freedesktop/DBus/Local"}, {INTERFACE: "org.freedesktop.DBus.Local"},
                   {REPLY_SERIAL: 0}, {REPLY_SERIAL: Variant("t", 1)}, {PATH: Variant("s", ROOT)}, {ERROR_NAME: ""},
                   {SENDER: "x"}, {SENDER: ":1.1"}, {FDS: 1}, {FDS: 0xffffffff}, {0: Variant("u", 1)}, {SIGNATURE: "s"},
                   {SIGNATURE: "z"}, {SIGNATURE: "a"}, {SIGNATURE: "("}, {SIGNATURE: "y" * 255}, {SIGNATURE: "a" * 33 + "y"}):
        yield message({**PING, **fields})
    yield message({**PING, PATH: "/" + "a" * 300000})
    yield message(PING, more=[b"\x03\x01s\0" + string(b"Ping")])
    yield message(PING, more=[b"\x2a\x01?\0\0"])
    yield message(PING, more=[b"\x2a\x01v\0" + b"\x01v\0" * 100 + b"\x01y\0\0"])
    for missing in PATH, MEMBER, INTERFACE:
        yield message({code: value for code, value in PING.items() if code != missing})
    yield message(PING, serial=0)
    yield message(PING, version=2)
    yield message(PING, flags=0xfe)
    yield message(PING, b"x" * 8)
    yield message({**PING, SIGNATURE: "s"}, length=4)
    for body in (b"", good + b"\0", good + bytes(8), string(b"web", 2), string(b"web", 200), string(b"web", 0xffffffff),
                 string(b"web", end=b"x"), string(b"w\0b"), string(b"w\xff"), string(b"\xed\xa0\x80"), string(b"\xc0\xaf")):
        yield manager("GetMachine", "s", body)
    for signature in "u", "o", "(s)", "ay", "v", "a{sv}", "h":
        yield manager("GetMachine", signature, good)
    for value in (b"\x01b\0\x02\0\0\0", b"\0\0", b"\x02uu\0" + bytes(16), b"\x01z\0" + bytes(16), b"\x02(u\0" + bytes(16),
                  b"\x01h\0\0\0\0\0", b"\x01h\0\xff\xff\xff\xff", b"\x01v\0" * 60 + b"\x01y\0\0", b"\x01v\0" * 64 + b"\x01y\0\0",
                  b"\x01v\0" * 20000 + b"\x01y\0\0", b"\x21" + b"a" * 32 + b"y\0" + bytes(8), b"\x22" + b"a" * 33 + b"y\0" + bytes(8)):
        yield create(named(value))
    yield create(bytes(3))
    for length in 1 << 20, 1 << 26, (1 << 26) + 1, 0xffffffff:
        whole = bytearray(create(named(b"\x01u\0\0\0\0\0")))
        at = whole.index(string(b"X")) - 4
        while whole[at:at + 4] == bytes(4):
            at -= 4
        struct.pack_into("<I", whole, at, length)
        yield bytes(whole)


def owner():
    return bus.bus("GetNameOwner", "s", NAME)


def pid():
    return bus.bus("GetConnectionUnixProcessID", "s", NAME)[0]


def served(within=4.0):
    """Somebody else is answered, sooner than anybody gives up on the bus, which is after 5 s."""
    began = time.monotonic()
    same(bus.manager("GetMachine", "s", ".host"), [path_of(".host")])
    assert time.monotonic() - began < within, time.monotonic() - began


@contextlib.contextmanager
def unmoved(memory=None):
    """The daemon stays who it is, on its connection, and takes no more than so many KiB of memory at any time."""
    served()
    before = owner(), pid()
    process = pathlib.Path(f"/proc/{before[1]}")
    (process / "clear_refs").write_text("5")

    def status(field):
        return int(next(line.split()[1] for line in (process / "status").read_text().splitlines() if line.startswith(field)))
    resident, descriptors = status("VmRSS:"), len(os.listdir(process / "fd"))
    yield
    served()
    same((owner(), pid()), before)
    if memory is not None and LARGE:
        assert status("VmHWM:") - resident < memory, (status("VmHWM:"), resident)
    wait_for(lambda: len(os.listdir(process / "fd")) <= descriptors + 64)


def answer(other, data, fds=(), seconds=5):
    """What a message gets: a reply, an error as text, or nothing."""
    try:
        other.write(data, fds)
        return other.reply(SERIAL, seconds).body
    except wire.Failed as error:
        return text(error)
    except (ConnectionError, TimeoutError):
        return None


@case()
def a_header_field_that_is_not_known_is_ignored():
    with unmoved():
        for uid in machines.UNPRIVILEGED, 0:
            for code in UNKNOWN:
                for value in VALUES:
                    with client(uid) as other:
                        same(answer(other, message({**PING, code: value})), [], (uid, code, value))
                        other.write(message({**PING, MEMBER: "Pong", code: value}, kind=SIGNAL))
                        same(answer(other, message({code: value, **PING}, serial=SERIAL)), [], (uid, code, value))


@case()
def what_is_no_message_costs_nobody_else_anything():
    with unmoved(memory=8 << 10):
        for uid in machines.UNPRIVILEGED, 0:
            for data in malformed():
                with client(uid) as other, contextlib.suppress(ConnectionError):
                    other.write(data)
                    # What was answered after it has passed it.
                    answer(other, message(PING, serial=SERIAL), seconds=1)
                served()
    same(bus.names(), {".host"})


@case()
def a_message_of_any_size_is_answered_or_left_out_and_not_kept():
    with unmoved(memory=8 << 10):
        for size in 2 << 20, 60 << 20:
            for data in (manager("GetMachine", "s", values("s", "x" * size)),
                         message({**PING, PATH: "/" + "x" * size}),
                         message({**PING, 42: Variant("s", "x" * size)}),
                         message({**PING, SIGNATURE: "s"}, values("s", "x" * size), kind=SIGNAL)):
                with client(0) as other, contextlib.suppress(ConnectionError):
                    got = answer(other, data, seconds=0.3)
                    if LARGE and isinstance(got, str):
                        same(got, "LimitsExceeded: The message is too large.")
                served()


@case()
def a_hundred_thousand_properties_are_too_many():
    properties = bytearray()
    for number in range(100000):
        put(properties, "(sv)", (f"X{number}", Variant("s", "x")))
    with unmoved(memory=8 << 10), client(0) as other:
        same(answer(other, create(bytes(properties))), differs(
            ours="LimitsExceeded: The message is too large.",
            others="UnixProcessIdUnknown: Failed to pin process 4000000: No such process"))


@case("ours")
def values_of_any_type_are_not_read_for_somebody_who_may_do_nothing():
    asked = "InteractiveAuthorizationRequired: Interactive authentication required."
    for value in Variant("ay", bytes(1000000)), Variant("av", [Variant("y", 1)] * 200000):
        properties = [("X", value)]
        unknown = "InvalidArgs: Unknown property 'X'"
        wrong = f"InvalidArgs: Incorrect parameters for property 'LogLevel', expected 's', got '{value.signature}'."
        calls = [
            (manager("CreateMachine", "sayssusa(sv)",
                     values("sayssusa(sv)", "new", b"", "", "container", 0, "/", properties)), asked),
            (manager("CreateMachineWithNetwork", "sayssusaia(sv)",
                     values("sayssusaia(sv)", "new", b"", "", "container", 0, "/", [], properties)), asked),
            (manager("CreateMachineEx", "sa(sv)a(sv)", values("sa(sv)a(sv)", "new", [], properties)), asked),
            (manager("CreateMachineEx", "sa(sv)a(sv)", values("sa(sv)a(sv)", "new", properties, [])), unknown),
            (manager("RegisterMachineEx", "sa(sv)", values("sa(sv)", "new", properties)), unknown),
            (message({**PING, PATH: LOG, INTERFACE: PROPERTIES, MEMBER: "Set", SIGNATURE: "ssv"},
                     values("ssv", LOG_CONTROL, "LogLevel", value)), wrong),
        ]
        with unmoved(memory=8 << 10):
            for data, expected in calls:
                with client() as other:
                    same(answer(other, data), expected)
    same(bus.names(), {".host"})


@case()
def descriptors_that_nobody_asked_for_are_closed():
    null = os.open("/dev/null", os.O_RDONLY)
    with unmoved(memory=8 << 10):
        for sent in 1, 16, 17, 100, 253:
            for said in {sent, 1, 0}:
                with client() as other, contextlib.suppress(ConnectionError):
                    for _ in range(20):
                        other.write(message({**PING, FDS: said}, flags=NO_REPLY), [null] * sent)
                    answer(other, message(PING), seconds=1)
    os.close(null)


@case("ours")
def descriptors_that_there_is_no_room_for_are_refused():
    null = os.open("/dev/null", os.O_RDONLY)
    with unmoved(), client() as other:
        limits = resource.prlimit(pid(), resource.RLIMIT_NOFILE)
        used = 1 + max(int(name) for name in os.listdir(f"/proc/{pid()}/fd"))
        resource.prlimit(pid(), resource.RLIMIT_NOFILE, (used, limits[1]))
        try:
            got = [answer(other, message({**PING, FDS: 10}), [null] * 10), answer(other, message(PING))]
        finally:
            resource.prlimit(pid(), resource.RLIMIT_NOFILE, limits)
        same(got, ["LimitsExceeded: The message is too large.", []])
    os.close(null)


@case()
def clients_that_never_read_cost_others_nothing():
    call = message({**PING, INTERFACE: INTROSPECTABLE, MEMBER: "Introspect"})
    with unmoved(memory=64 << 10), contextlib.ExitStack() as stack:
        deaf = [stack.enter_context(client()) for _ in range(4)]
        for each in deaf:
            each.socket.settimeout(0.05)
        end = time.monotonic() + 4
        while time.monotonic() < end and deaf:
            for each in list(deaf):
                try:
                    for _ in range(50):
                        each.write(call)
                except TimeoutError:
                    # A message was written in part, so there can be no other.
                    deaf.remove(each)
                except ConnectionError:
                    deaf.remove(each)
            served()
        for _ in range(20):
            served()
