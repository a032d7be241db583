#!/usr/bin/env -S python3 -B
"""What a client of /run/systemd/machine/io.systemd.Machine may rely on, byte by byte.

One body of cases for the original and for ours: each is a sentence, what to do, and what must come back. The expected
values were measured on stock systemd 262; where stock 257 or ours deliberately differ stands in DIFFERENCES, with the
reason. Needs root, a running systemd and python's standard library.
"""

import argparse
import functools
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import threading
import time

SOCKET = "/run/systemd/machine/io.systemd.Machine"
parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--flavour", choices=("stock257", "stock262", "ours"), default="ours",
                    help="whose daemon is running (default: ours)")
flavour = parser.parse_args().flavour

CONTRACT = pathlib.Path(__file__).resolve().parent / "contract"
DEADLINE = 30
UNPRIVILEGED = 4711
MACHINE = "io.systemd.Machine."
SERVICE = "org.varlink.service."
CONTROL = "io.systemd.service."

# What comes back, as one line of text: the error id and its fields, or "ok" and the fields of the reply.
CLOSED = "closed"
OK = "ok"
EXPECTED_MORE = SERVICE + "ExpectedMore"
DENIED = SERVICE + "PermissionDenied"
CHALLENGED = "io.systemd.InteractiveAuthenticationRequired"
NO_SUCH_MACHINE = MACHINE + "NoSuchMachine"
MACHINE_EXISTS = MACHINE + "MachineExists"
NOT_AVAILABLE = MACHINE + "NotAvailable"
NO_PRIVATE_NETWORKING = MACHINE + "NoPrivateNetworking"
ABSENT = object()


def invalid(parameter):
    return f'{SERVICE}InvalidParameter {{"parameter":"{parameter}"}}'


class RefusedName(str):
    """What ours says of a name beside the parameter: the rule that it breaks, and a name that breaks none."""

    def __eq__(self, got):
        return isinstance(got, str) and re.fullmatch(str(self), got) is not None

    __hash__ = str.__hash__


def refused(name):
    if flavour != "ours" or not isinstance(name, str):
        return invalid("name")
    head = f'{SERVICE}InvalidParameter {{"parameter":"name","reason":"machine name \''
    return RefusedName(re.escape(head) + r""".*': [^()]*(is empty|bytes|allowed|dots?|in a row|hyphen)[^()]* \(try '[a-z0-9.-]+'\)"}""")


def no_method(method):
    return f'{SERVICE}MethodNotFound {{"method":"{method}"}}'


def no_interface(interface):
    return f'{SERVICE}InterfaceNotFound {{"interface":"{interface}"}}'


def system(number, name):
    if flavour == "stock257":
        return f'io.systemd.System {{"errno":{number}}}'
    return f'io.systemd.System {{"origin":"linux","errno":{number},"errnoName":"{name}"}}'


# Talking

END = b'{"method":"org.varlink.service.GetInterfaceDescription","parameters":{"interface":"the.end"}}\0'
ENDED = b'{"error":"org.varlink.service.InterfaceNotFound","parameters":{"interface":"the.end"}}'


def exchange(*writes):
    """Sends what is given, then a call whose reply is known, and returns the raw replies up to that one, without their
    NULs; CLOSED at the end of the list if the connection was closed before. So no case has to wait to see that nothing
    comes."""
    replies, rest = [], b""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(DEADLINE)
        connection.connect(SOCKET)

        def send():
            try:
                for write in (*writes, END):
                    connection.sendall(write)
            except OSError:
                pass  # Closed by the other side; reading will tell.

        # The server may stop reading while nobody reads its replies.
        sender = threading.Thread(target=send, daemon=True)
        sender.start()
        while True:
            try:
                chunk = connection.recv(1 << 16)
            except ConnectionResetError:
                chunk = b""
            if not chunk:
                return [*replies, CLOSED]
            rest += chunk
            *whole, rest = rest.split(b"\0")
            replies += whole
            if replies and replies[-1] == ENDED:
                return replies[:-1]


def line(raw):
    if raw == CLOSED:
        return CLOSED
    reply = json.loads(raw)
    fields = reply.get("parameters") or {}
    text = json.dumps(fields, separators=(",", ":"), ensure_ascii=False) if fields else ""
    return f'{reply.get("error", OK)} {text}'.strip() + (" continues" if reply.get("continues") else "")


def lines(*writes):
    return [line(raw) for raw in exchange(*writes)]


def message(method, parameters=ABSENT, **flags):
    call = {"method": method, **({} if parameters is ABSENT else {"parameters": parameters}), **flags}
    return json.dumps(call, ensure_ascii=False).encode() + b"\0"


def ask(method, parameters=ABSENT, **flags):
    """The one reply to a call, or the list of them."""
    got = lines(message(method, parameters, **flags))
    return got[0] if len(got) == 1 else got


def fields(method, parameters=ABSENT, **flags):
    (raw,) = exchange(message(method, parameters, **flags))
    return json.loads(raw).get("parameters", {})


def unprivileged(what):
    """Runs what() as somebody else, in a child."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(UNPRIVILEGED)
            os.setuid(UNPRIVILEGED)
            os.write(writer, json.dumps(what()).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        told = pipe.read()
    os.waitpid(child, 0)
    return json.loads(told)


# Leaders and machines

children = []


def wait_for(condition):
    while not condition():
        time.sleep(0.02)  # The alarm around every case is the deadline.


@functools.cache
def leader(label):
    """A process in a scope of its own: a unit can host one machine only."""
    child = subprocess.Popen(["systemd-run", "--quiet", "--scope", f"--unit=compliance-{label}-{os.getpid()}",
                              "sleep", "infinity"])
    children.append(child)
    wait_for(lambda: pathlib.Path(f"/proc/{child.pid}/comm").read_text() == "sleep\n")
    return child.pid


@functools.cache
def dead_pid():
    child = subprocess.Popen(["true"])
    child.wait()
    return child.pid


@functools.cache
def zombie_pid():
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    return child


@functools.cache
def thread_id():
    ready = threading.Event()
    told = []

    def live():
        told.append(threading.get_native_id())
        ready.set()
        threading.Event().wait()

    threading.Thread(target=live, daemon=True).start()
    ready.wait()
    return told[0]


def pidfd_id(pid):
    pidfd = os.pidfd_open(pid)
    try:
        return os.fstat(pidfd).st_ino
    finally:
        os.close(pidfd)


def boot_id():
    return pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip().replace("-", "")


def forget(name):
    ask(MACHINE + "Unregister", {"name": name})
    wait_for(lambda: ask(MACHINE + "List", {"name": name}) == NO_SUCH_MACHINE)


TRIAL = "compliance-trial"


def trial(**changes):
    given = {"name": TRIAL, "class": "container", "leader": leader("trial"), **changes}
    return {key: value for key, value in given.items() if value is not ABSENT}


def register(**changes):
    """Tries to register; what was registered is forgotten again."""
    request = trial(**changes)
    told = ask(MACHINE + "Register", request)
    if told == OK:
        forget(request["name"])
    return told


def kept(field, **changes):
    """Registers, and returns what List says of one field."""
    request = trial(**changes)
    told = ask(MACHINE + "Register", request)
    if told != OK:
        return told
    listed = fields(MACHINE + "List", {"name": request["name"]})
    forget(request["name"])
    return listed.get(field, "absent")


def second_in_unit():
    """Registers two processes of one unit."""
    child = subprocess.Popen(["systemd-run", "--quiet", "--scope", "--expand-environment=no",
                              "sh", "-c", "sleep 1000 & echo $$ $!; wait"],
                             stdout=subprocess.PIPE, text=True)
    children.append(child)
    first, second = map(int, child.stdout.readline().split())
    told = [ask(MACHINE + "Register", trial(leader=first)), ask(MACHINE + "Register", trial(name="second", leader=second))]
    forget(TRIAL)
    os.kill(second, signal.SIGKILL)  # `wait` ends, and the first with it.
    return told


A, VM = "compliance-a", "compliance-vm"


def register_both():
    return [
        ask(MACHINE + "Register", {"name": A, "class": "container", "leader": leader("a"), "service": "a service"}),
        ask(MACHINE + "Register", {
            "name": VM, "class": "vm", "leader": leader("vm"), "id": "0123456789abcdef0123456789abcdef",
            "service": "vm service", "rootDirectory": "/var/tmp/a b", "ifIndices": [1], "vSockCid": 4242,
            "sshAddress": "vsock/4242", "sshPrivateKeyPath": "/k", "allocateUnit": True,
            **({} if flavour == "stock257" else {"controlAddress": "/run/control"})}),
    ]


@functools.cache
def networked():
    """A leader in a network namespace of its own, with two addresses."""
    setup = ("ip link add one type veth peer name two && ip address add 192.0.2.7/24 dev one && "
             "ip address add 2001:db8::7/64 dev one nodad && ip link set one up && ip link set two up && exec sleep infinity")
    child = subprocess.Popen(["systemd-run", "--quiet", "--scope", "unshare", "--net", "sh", "-c", setup])
    children.append(child)
    wait_for(lambda: pathlib.Path(f"/proc/{child.pid}/comm").read_text() == "sleep\n")
    return child.pid


def addresses():
    """What is told of a container with addresses: all keys, the keys of an address, and the global ones as text."""
    told = ask(MACHINE + "Register", trial(leader=networked()))
    machine = fields(MACHINE + "List", {"name": TRIAL, "acquireMetadata": "yes"}) if told == OK else {}
    forget(TRIAL)
    each = machine.get("addresses", [])
    text = [socket.inet_ntop(address["family"], bytes(address["address"])) for address in each]
    return [told, " ".join(machine), sorted({" ".join(address) for address in each}),
            sorted(address for address in text if not address.startswith("fe80"))]


def listed(**parameters):
    """The name of the machine found, or the error."""
    (raw,) = exchange(message(MACHINE + "List", parameters))
    reply = json.loads(raw)
    return line(raw) if "error" in reply else reply["parameters"]["name"]


def streamed(**parameters):
    replies = [json.loads(raw) for raw in exchange(message(MACHINE + "List", parameters, more=True))]
    return replies


def keys(method, parameters):
    return " ".join(fields(method, parameters))


def by_pid(**identity):
    return listed(pid=identity)


def lives(label):
    return pathlib.Path(f"/proc/{leader(label)}/stat").read_text().split()[2] not in "ZX"


# Introspection

def members(text):
    """The members of an interface description, comments stripped, one string each."""
    stripped = "\n".join(text_line for text_line in text.splitlines() if not text_line.strip().startswith("#"))
    return [member.strip() for member in stripped.split("\n\n") if member.strip()]


def described(interface):
    return members(fields(SERVICE + "GetInterfaceDescription", {"interface": interface}).get("description", ""))


def contract(interface):
    version = "257" if flavour == "stock257" else "262"
    return members((CONTRACT / version / f"{interface}.varlink").read_text())


def strangers(interface):
    """Members served that the contract does not have, or has elsewhere."""
    remaining = iter(contract(interface))
    return [member for member in described(interface) if member not in remaining]


def undeclared(interface):
    """Types used and not declared."""
    served = described(interface)
    declared = {member.split("(")[0].split()[1] for member in served if member.startswith("type ")}
    used = {word.strip("?[],") for member in served for word in member.split() if word.strip("?[],")[:1].isupper()}
    names = {member.split("(")[0].split()[1] for member in served}
    known = {member.split("(")[0].split()[1] for member in contract(interface) if member.startswith("type ")}
    return sorted((used & known) - declared - names)


INFO = b'{"method":"org.varlink.service.GetInfo"}\0'


def info_after(*writes):
    """What comes before the reply to GetInfo, sent behind: shows that the connection went on."""
    *before, last = exchange(*writes, INFO)
    if last == CLOSED:
        return CLOSED if not before else [*map(line, before), CLOSED]
    assert b'"vendor"' in last, last
    return [*map(line, before)]


def get_info(*, text):
    """The reply to one message, given as text, that asks for GetInfo."""
    got = exchange(text.encode() + b"\0")
    return "info" if len(got) == 1 and got[0] != CLOSED and b'"vendor"' in got[0] else " ".join(map(line, got))


def nested(depth):
    return info_after(b'{"method":"org.varlink.service.GetInfo","parameters":{"x":' + b"[" * depth + b"]" * depth + b"}}\0")


def pipelined(count):
    calls = b"".join(message(f"com.example.N{number}") for number in range(count))
    return lines(calls) == [no_method(f"com.example.N{number}") for number in range(count)]


def half_closed():
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(DEADLINE)
        connection.connect(SOCKET)
        connection.sendall(END * 3)
        connection.shutdown(socket.SHUT_WR)
        got = b""
        while chunk := connection.recv(1 << 16):
            got += chunk
    return got == (ENDED + b"\0") * 3


def raw(method, parameters=ABSENT, **flags):
    return [reply if reply == CLOSED else reply.decode() for reply in exchange(message(method, parameters, **flags))]


FRAMING = [
    ("two calls in one write are both answered",
     lambda: len(exchange(INFO + INFO)), 2),
    ("a call that arrives byte by byte is answered",
     lambda: len(exchange(*[bytes([byte]) for byte in INFO])), 1),
    ("a thousand calls sent at once are answered in their order",
     lambda: pipelined(1000), True),
    ("whoever closes its sending side still gets its answers, then the end",
     half_closed, True),
    ("white space around and within a message is fine",
     lambda: get_info(text=' \n\t{ "method" :\n"org.varlink.service.GetInfo" }\n'), "info"),
    ("escaped keys and values mean what they spell",
     lambda: get_info(text=r'{"\u006dethod":"org.varlink.service.GetInf\u006f"}'), "info"),
    ("parameters that are null are absent",
     lambda: get_info(text='{"method":"org.varlink.service.GetInfo","parameters":null}'), "info"),
    ("parameters that are an empty object are absent",
     lambda: get_info(text='{"method":"org.varlink.service.GetInfo","parameters":{}}'), "info"),
    ("parameters that are an array close the connection",
     lambda: info_after(b'{"method":"org.varlink.service.GetInfo","parameters":[]}\0'), CLOSED),
    ("parameters that are a string close the connection",
     lambda: info_after(b'{"method":"org.varlink.service.GetInfo","parameters":"x"}\0'), CLOSED),
    ("an array instead of an object closes the connection", lambda: info_after(b"[]\0"), CLOSED),
    ("a string instead of an object closes the connection", lambda: info_after(b'"x"\0'), CLOSED),
    ("null instead of an object closes the connection", lambda: info_after(b"null\0"), CLOSED),
    ("what is not JSON closes the connection", lambda: info_after(b"hello\0"), CLOSED),
    ("an empty message closes the connection", lambda: info_after(b"\0"), CLOSED),
    ("a message of blanks closes the connection", lambda: info_after(b"  \0"), CLOSED),
    ("invalid UTF-8 closes the connection",
     lambda: info_after(b'{"method":"org.varlink.service.GetInfo\xff"}\0'), CLOSED),
    ("invalid UTF-8 in a parameter closes the connection",
     lambda: info_after(b'{"method":"io.systemd.Machine.List","parameters":{"name":"\xff"}}\0'), CLOSED),
    ("half a surrogate pair closes the connection",
     lambda: info_after(rb'{"method":"io.systemd.Machine.List","parameters":{"name":"\ud800"}}' + b"\0"), CLOSED),
    ("an escaped NUL closes the connection",
     lambda: info_after(rb'{"method":"io.systemd.Machine.List","parameters":{"name":"a\u0000"}}' + b"\0"), CLOSED),
    ("a trailing comma closes the connection",
     lambda: info_after(b'{"method":"org.varlink.service.GetInfo",}\0'), CLOSED),
    ("a comment closes the connection",
     lambda: info_after(b'{"method":"org.varlink.service.GetInfo"/**/}\0'), CLOSED),
    ("two objects in one message close the connection", lambda: info_after(INFO[:-1] + INFO), CLOSED),
    ("arrays nested two thousand deep are still read", lambda: nested(2000), [invalid("x")]),
    ("arrays nested twenty thousand deep close the connection", lambda: nested(20000), CLOSED),
    ("a message of 17 MiB without an end closes the connection",
     lambda: lines(b'{"method":"' + b"a" * (17 << 20)), [CLOSED]),
    ("a message without a method closes the connection", lambda: info_after(b"{}\0"), CLOSED),
    ("a method that is null closes the connection", lambda: info_after(b'{"method":null}\0'), CLOSED),
    ("a method that is a number closes the connection", lambda: info_after(b'{"method":1}\0'), CLOSED),
    ("an unknown field beside the method closes the connection",
     lambda: info_after(b'{"method":"org.varlink.service.GetInfo","foo":1}\0'), CLOSED),
    ("a method given twice closes the connection",
     lambda: info_after(b'{"method":"org.varlink.service.GetInfo","method":"org.varlink.service.GetInfo"}\0'), CLOSED),
    ("a parameter given twice is refused by name, and the connection goes on",
     lambda: info_after(b'{"method":"io.systemd.Machine.List","parameters":{"name":".host","name":"aaa"}}\0'),
     [invalid("name")]),
    ("`more` that is null closes the connection",
     lambda: info_after(b'{"method":"org.varlink.service.GetInfo","more":null}\0'), CLOSED),
    ("`more` that is a number closes the connection",
     lambda: info_after(b'{"method":"org.varlink.service.GetInfo","more":1}\0'), CLOSED),
    ("`oneway` that is null closes the connection",
     lambda: info_after(b'{"method":"org.varlink.service.GetInfo","oneway":null}\0'), CLOSED),
    ("`oneway` and `more` together close the connection",
     lambda: info_after(message(MACHINE + "List", {}, oneway=True, more=True)), CLOSED),
    ("`upgrade` is tolerated",
     lambda: get_info(text='{"method":"org.varlink.service.GetInfo","upgrade":false}'), "info"),
    ("a oneway call gets no reply", lambda: info_after(message(SERVICE + "GetInfo", oneway=True)), []),
    ("a oneway call that fails gets no reply", lambda: info_after(message(SERVICE + "Nope", oneway=True)), []),
    ("a oneway call with a wrong parameter gets no reply",
     lambda: info_after(message(MACHINE + "Unregister", {"x": 1}, oneway=True)), []),
    ("`more` on a method that gives one reply is an ordinary call",
     lambda: ask(MACHINE + "Unregister", {"name": "nope"}, more=True), NO_SUCH_MACHINE),
    ("`more` on a method that gives one reply adds no `continues`",
     lambda: b"continues" in exchange(message(SERVICE + "GetInfo", more=True))[0], False),
    ("an empty reply is an empty object",
     lambda: raw(MACHINE + "Unregister", {"name": ".host"}), ["{}"]),
    ("an error without fields has no parameters",
     lambda: raw(MACHINE + "Unregister", {"name": "nope"}), ['{"error":"io.systemd.Machine.NoSuchMachine"}']),
    ("an error with fields has them behind its name",
     lambda: raw(MACHINE + "Unregister", {"x": 1}),
     ['{"error":"org.varlink.service.InvalidParameter","parameters":{"parameter":"x"}}']),
]

GENERIC = [
    ("GetInfo has five fields in their order",
     lambda: keys(SERVICE + "GetInfo", {}), "vendor product version url interfaces"),
    ("GetInfo lists the interfaces sorted",
     lambda: (names := fields(SERVICE + "GetInfo")["interfaces"]) == sorted(names), True),
    ("GetInfo lists the interfaces of machines and the generic ones",
     lambda: sorted({"io.systemd", "io.systemd.Machine", "org.varlink.service", "io.systemd.service"}
                    - set(fields(SERVICE + "GetInfo")["interfaces"])), []),
    ("GetInfo refuses an unknown parameter by name", lambda: ask(SERVICE + "GetInfo", {"x": 1}), invalid("x")),
    ("every interface of GetInfo has a description",
     lambda: [name for name in fields(SERVICE + "GetInfo")["interfaces"] if not described(name)], []),
    ("the description of an unknown interface is refused",
     lambda: ask(SERVICE + "GetInterfaceDescription", {"interface": "io.systemd.Nope"}), no_interface("io.systemd.Nope")),
    ("the description of an interface without a dot is refused alike",
     lambda: ask(SERVICE + "GetInterfaceDescription", {"interface": "foo"}), no_interface("foo")),
    ("the description of no interface is refused",
     lambda: ask(SERVICE + "GetInterfaceDescription", {"interface": ""}), no_interface("")),
    ("users are not looked up on this socket",
     lambda: ask(SERVICE + "GetInterfaceDescription", {"interface": "io.systemd.UserDatabase"}),
     no_interface("io.systemd.UserDatabase")),
    ("GetInterfaceDescription needs an interface", lambda: ask(SERVICE + "GetInterfaceDescription"), invalid("interface")),
    ("GetInterfaceDescription needs an interface that is not null",
     lambda: ask(SERVICE + "GetInterfaceDescription", {"interface": None}), invalid("interface")),
    ("GetInterfaceDescription needs an interface that is a string",
     lambda: ask(SERVICE + "GetInterfaceDescription", {"interface": 5}), invalid("interface")),
    *[(f"the method {method!r} is not found", functools.partial(ask, method), no_method(method))
      for method in ("", "foo", "com.example.Foo", MACHINE + "Foo", "io.systemd.Machine", "io.systemd.Foo",
                     SERVICE + "getInfo", SERVICE, ".GetInfo", "org.varlink.service/GetInfo", MACHINE + "NoSuchMachine",
                     MACHINE + "Fóo")],
    *[(f"{interface} serves only what the contract has, in its words and order",
       functools.partial(strangers, interface), [])
      for interface in ("org.varlink.service", "io.systemd", "io.systemd.Machine", "io.systemd.MachineImage",
                        "io.systemd.service")],
    ("io.systemd.Machine declares every type it uses", lambda: undeclared("io.systemd.Machine"), []),
    ("io.systemd.Machine has the methods that list, register and end machines",
     lambda: sorted({"Register", "Unregister", "Terminate", "Kill", "List"}
                    - {member.split("(")[0].split()[1] for member in described("io.systemd.Machine")}), []),
]

CONTROLS = [
    ("Ping answers", lambda: ask(CONTROL + "Ping"), OK),
    ("Ping refuses an unknown parameter by name", lambda: ask(CONTROL + "Ping", {"x": 1}), invalid("x")),
    ("the log level can be set", lambda: ask(CONTROL + "SetLogLevel", {"level": 7}), OK),
    ("the log level that was set is told", lambda: ask(CONTROL + "GetLogLevel"), 'ok {"level":7}'),
    ("a log level may be a decimal string", lambda: ask(CONTROL + "SetLogLevel", {"level": "6"}), OK),
    *[(f"the log level {level!r} is refused", functools.partial(ask, CONTROL + "SetLogLevel", {"level": level}),
       invalid("level")) for level in (8, -1, 1 << 40, 6.5, "debug", True)],
    ("SetLogLevel needs a level", lambda: ask(CONTROL + "SetLogLevel", {}), invalid("level")),
    ("anybody may ping", lambda: unprivileged(lambda: ask(CONTROL + "Ping")), OK),
    ("anybody may ask for the log level", lambda: unprivileged(lambda: ask(CONTROL + "GetLogLevel")), 'ok {"level":6}'),
    ("not anybody may set the log level",
     lambda: unprivileged(lambda: ask(CONTROL + "SetLogLevel", {"level": 6})).split()[0], DENIED),
    ("not anybody may see the environment", lambda: unprivileged(lambda: ask(CONTROL + "GetEnvironment")), DENIED),
    ("root sees the environment", lambda: keys(CONTROL + "GetEnvironment", {}), "environment"),
    ("Reload is declared and not there", lambda: ask(CONTROL + "Reload"), no_method(CONTROL + "Reload")),
]

REGISTER = [
    ("a name, a class and a leader are enough", lambda: register(), OK),
    *[(f"a machine without a {field} is refused", functools.partial(register, **{field: ABSENT}), invalid(field))
      for field in ("name", "class")],
    *[(f"a {field} that is null is refused", functools.partial(register, **{field: None}), invalid(field))
      for field in ("name", "class")],
    ("an unknown field is refused by name", lambda: register(x=1), invalid("x")),
    *[(f"the name {name!r} is refused", functools.partial(register, name=name), refused(name))
      for name in ("", ".host", ".hidden", "foo_bar", "foo..bar", "foo.", "-foo", "foo-", "a/b", "a b", "çé", "x" * 65, 5,
                   True, ["a"], {})],
    *[(f"the name {name!r} is fine", functools.partial(register, name=name), OK)
      for name in ("x", "1", "FOO", "foo.bar-baz", "a--b", "x" * 64, "127.0.0.1")],
    *[(f"the class {kind!r} is refused", functools.partial(register, **{"class": kind}), invalid("class"))
      for kind in ("host", "", "Container", "image", 1, True)],
    *[(f"the class {kind} is kept", functools.partial(kept, "class", **{"class": kind}), kind)
      for kind in ("container", "vm")],

    ("an id of 32 digits is kept", lambda: kept("id", id="0123456789abcdef0123456789abcdef"),
     "0123456789abcdef0123456789abcdef"),
    ("an id with dashes and capitals is kept without",
     lambda: kept("id", id="01234567-89AB-CDEF-0123-456789ABCDEF"), "0123456789abcdef0123456789abcdef"),
    ("an id of zeroes is no id", lambda: kept("id", id="0" * 32), "absent"),
    *[(f"the id {value!r} is refused", functools.partial(register, id=value), invalid("id"))
      for value in ("", "xyz", "0123456789abcdef", "0123456789abcdef0123456789abcdef0", "0123-456789abcdef0123456789abcdef",
                    5)],

    ("a service is kept as it is", lambda: kept("service", service=" my \"svc\" 東京 \\"), " my \"svc\" 東京 \\"),
    ("an empty service is none", lambda: kept("service", service=""), "absent"),
    ("a service that is a number is refused", lambda: register(service=5), invalid("service")),

    ("a leader is kept", lambda: kept("leader")["pid"] == leader("trial"), True),
    ("a leader may be a decimal string",
     lambda: (told := kept("leader", leader=str(leader("trial")))) and isinstance(told, dict), True),
    *[(f"the leader {value!r} is refused", functools.partial(register, leader=value), invalid("leader"))
      for value in (0, 1, -1, 1 << 31, 1 << 40, 1 << 70, 1.5, "", "abc", True, {}, [1])],
    ("a leader given as an object is refused",
     lambda: register(leader={"pid": leader("trial")}), invalid("leader")),
    ("a leader that is dead is refused", lambda: register(leader=dead_pid()), invalid("leader")),
    ("a leader that is a thread is refused", lambda: register(leader=thread_id()), invalid("leader")),
    ("a leader that is a zombie is accepted", lambda: register(leader=zombie_pid()), OK),
    ("a leader that is null is the caller", lambda: register(leader=None), OK),
    *[(f"{field} that is null is refused", functools.partial(register, **{field: None}), invalid(field))
      for field in ("id", "service", "leaderProcessId", "rootDirectory", "ifIndices", "vSockCid", "sshAddress",
                    "sshPrivateKeyPath", "controlAddress", "allocateUnit", "allowInteractiveAuthentication")],
    *[(f"{field} that is null is accepted", functools.partial(register, **{field: None}), OK)
      for field in ("supervisor", "supervisorProcessId")],
    ("leaderProcessId with a pidfdId that is null is refused",
     lambda: register(leader=ABSENT, leaderProcessId={"pid": leader("trial"), "pidfdId": None}),
     invalid("leaderProcessId")),
    ("a second leader in the unit of a machine is refused", second_in_unit, [OK, system(17, "EEXIST")]),
    ("of two wrong fields the declared one is told", lambda: register(x=1, name=5), invalid("name")),
    ("of a wrong type and a wrong value the type is told",
     lambda: register(rootDirectory="relative", sshAddress=5), invalid("sshAddress")),

    ("leaderProcessId alone names the leader",
     lambda: kept("leader", leader=ABSENT, leaderProcessId={"pid": leader("trial")})["pid"] == leader("trial"), True),
    ("leaderProcessId with the right identity is fine",
     lambda: register(leader=ABSENT, leaderProcessId={"pid": leader("trial"), "pidfdId": pidfd_id(leader("trial")),
                                                      "bootId": boot_id()}), OK),
    ("leaderProcessId with another pidfdId is refused",
     lambda: register(leader=ABSENT, leaderProcessId={"pid": leader("trial"), "pidfdId": 1}), invalid("leaderProcessId")),
    ("leaderProcessId with another bootId is refused",
     lambda: register(leader=ABSENT, leaderProcessId={"pid": leader("trial"), "bootId": "0" * 31 + "1"}),
     invalid("leaderProcessId")),
    ("leaderProcessId that is a number is refused",
     lambda: register(leader=ABSENT, leaderProcessId=leader("trial")), invalid("leaderProcessId")),
    ("leaderProcessId without a pid is refused", lambda: register(leader=ABSENT, leaderProcessId={}),
     invalid("leaderProcessId")),
    ("leaderProcessId with an unknown field is refused",
     lambda: register(leader=ABSENT, leaderProcessId={"pid": leader("trial"), "x": 1}), invalid("leaderProcessId")),
    ("leaderProcessId of a dead process is refused",
     lambda: register(leader=ABSENT, leaderProcessId={"pid": dead_pid()}), invalid("leaderProcessId")),
    ("leaderProcessId 1 is refused", lambda: register(leader=ABSENT, leaderProcessId={"pid": 1}),
     invalid("leaderProcessId")),
    ("leaderProcessId 0 is refused", lambda: register(leader=ABSENT, leaderProcessId={"pid": 0}),
     invalid("leaderProcessId")),
    ("leader and leaderProcessId may name the same process",
     lambda: register(leaderProcessId={"pid": leader("trial")}), OK),
    ("leader and leaderProcessId may not differ",
     lambda: register(leaderProcessId={"pid": leader("a")}), invalid("leaderProcessId")),

    *[(f"the root directory {path!r} is kept", functools.partial(kept, "rootDirectory", rootDirectory=path), path)
      for path in ("/", "/a b/çé\\x", "/nowhere/at/all")],
    *[(f"the root directory {path!r} is refused", functools.partial(register, rootDirectory=path), invalid("rootDirectory"))
      for path in ("", "relative", "/a/../b", "/a/./b", "/a//b", 5)],
    ("a root directory with a slash at its end is kept as it is",
     lambda: kept("rootDirectory", rootDirectory="/a/b/"), "/a/b/"),

    *[(f"the interface indices {value!r} are refused", functools.partial(register, ifIndices=value), invalid("ifIndices"))
      for value in ([0], [-1], [1 << 31], [1.5], ["x"], [1, 0], 1, "1", {}, [None])],
    *[(f"the interface indices {value!r} are fine", functools.partial(register, ifIndices=value), OK)
      for value in ([], [1], [1, 2, 3], [1, 1], [1.0], [(1 << 31) - 1])],

    *[(f"the vsock cid {value!r} is refused", functools.partial(register, vSockCid=value), invalid("vSockCid"))
      for value in (0, 1, 2, (1 << 32) - 1, 1 << 32, -1, 3.5, "abc", True)],
    *[(f"the vsock cid {value} is kept", functools.partial(kept, "vSockCid", vSockCid=value), value)
      for value in (3, (1 << 32) - 2)],
    ("a vsock cid may be a decimal string", lambda: kept("vSockCid", vSockCid="77"), 77),

    *[(f"the ssh address {value!r} is kept", functools.partial(kept, "sshAddress", sshAddress=value), value)
      for value in ("192.0.2.1", "vsock/3", "with blanks", "çé")],
    ("an ssh address with a control character is refused", lambda: register(sshAddress="a\nb"), invalid("sshAddress")),
    ("an ssh address that is a number is refused", lambda: register(sshAddress=5), invalid("sshAddress")),
    ("an ssh address with a raw DEL closes the connection", lambda: register(sshAddress="a\x7fb"), CLOSED),
    *[(f"the ssh key {path!r} is kept", functools.partial(kept, "sshPrivateKeyPath", sshPrivateKeyPath=path), path)
      for path in ("/k", "/a//b/../c", "/nowhere at all")],
    *[(f"the ssh key {path!r} is refused", functools.partial(register, sshPrivateKeyPath=path),
       invalid("sshPrivateKeyPath")) for path in ("", "relative", 5)],

    ("a control address is kept", lambda: kept("controlAddress", controlAddress="/run/c d"), "/run/c d"),
    *[(f"the control address {path!r} is refused", functools.partial(register, controlAddress=path),
       invalid("controlAddress")) for path in ("relative", "/a//b", "/a/../b", 5)],

    *[(f"allocateUnit {value!r} is refused", functools.partial(register, allocateUnit=value), invalid("allocateUnit"))
      for value in (1, "yes")],
    ("without allocateUnit the machine is in its leader's unit",
     lambda: kept("unit"), f"compliance-trial-{os.getpid()}.scope"),
    ("allowInteractiveAuthentication that is no boolean is refused",
     lambda: register(allowInteractiveAuthentication="yes"), invalid("allowInteractiveAuthentication")),
    ("a supervisor given is accepted", lambda: register(supervisor=leader("a")), OK),
    ("the caller that is not the leader is the supervisor",
     lambda: kept("supervisor")["pid"] == os.getpid(), True),
    ("registering for the owner is told by uid", lambda: kept("UID"), 0),
    ("the class is looked at after the form of every field",
     lambda: register(**{"class": "host"}, rootDirectory="relative"), invalid("rootDirectory")),
]

REGISTERED = [
    ("a container and a virtual machine are registered", register_both, [OK, OK]),
    ("a name that is taken is refused", lambda: ask(MACHINE + "Register", trial(name=A)), MACHINE_EXISTS),
    ("a leader that is taken is refused",
     lambda: ask(MACHINE + "Register", trial(leader=leader("a"))), system(17, "EEXIST")),
    ("a name that is taken tells before a leader that is taken",
     lambda: ask(MACHINE + "Register", trial(name=A, leader=leader("a"))), MACHINE_EXISTS),
    ("the leaders that were refused live on", lambda: [lives("a"), lives("trial")], [True, True]),

    ("a machine is found by its name", lambda: listed(name=A), A),
    ("a machine is found by its leader", lambda: by_pid(pid=leader("a")), A),
    ("a machine is found by name and leader", lambda: listed(name=A, pid={"pid": leader("a")}), A),
    ("a name and the leader of another find nothing",
     lambda: listed(name=A, pid={"pid": leader("vm")}), NO_SUCH_MACHINE),
    ("the host is found by its name", lambda: listed(name=".host"), ".host"),
    ("an unknown name finds nothing", lambda: listed(name="nope"), NO_SUCH_MACHINE),
    *[(f"the name {name!r} is refused in a lookup", lambda name=name: listed(name=name), refused(name))
      for name in ("", "foo_bar", None, 5, ".other")],
    ("the caller is in no machine", lambda: by_pid(pid=0), NO_SUCH_MACHINE),
    ("pid 1 is in no machine", lambda: by_pid(pid=1), NO_SUCH_MACHINE),
    ("a pid nobody has finds nothing", lambda: by_pid(pid=dead_pid()), NO_SUCH_MACHINE),
    ("a pid may be a decimal string within its object", lambda: by_pid(pid=str(leader("a"))), A),
    *[(f"the pid {value!r} is refused", lambda value=value: by_pid(pid=value), invalid("pid"))
      for value in (-1, 1 << 31, 1 << 40, 1 << 70, 1.5, None, "x")],
    ("a pid that is a bare number is refused", lambda: listed(pid=leader("a")), invalid("pid")),
    ("a pid object without a pid is refused", lambda: listed(pid={}), invalid("pid")),
    ("a pid object with an unknown field is refused", lambda: by_pid(pid=1, x=1), invalid("pid")),
    ("a pid object with a malformed bootId is refused", lambda: by_pid(pid=leader("a"), bootId="x"), invalid("pid")),
    ("a pid of another boot finds nothing", lambda: by_pid(pid=leader("a"), bootId="0" * 31 + "1"), NO_SUCH_MACHINE),
    ("a pid with its pidfdId is found", lambda: by_pid(pid=leader("a"), pidfdId=pidfd_id(leader("a"))), A),
    ("a pid with another pidfdId is found by its number", lambda: by_pid(pid=leader("a"), pidfdId=1), A),
    ("a pid with a pidfdId that is null is found", lambda: by_pid(pid=leader("a"), pidfdId=None), A),
    ("a pid with a bootId that is null is refused", lambda: by_pid(pid=leader("a"), bootId=None), invalid("pid")),
    ("a pid that is null is absent", lambda: listed(pid=None), EXPECTED_MORE),
    ("an unknown field is refused in a lookup by name", lambda: listed(name=A, x=1), invalid("x")),

    ("the host's fields come in this order",
     lambda: keys(MACHINE + "List", {"name": ".host"}), "name id class rootDirectory unit leader timestamp UID"),
    ("a container's fields come in this order",
     lambda: keys(MACHINE + "List", {"name": A}), "name class service unit leader supervisor timestamp UID"),
    ("a machine's fields come in this order",
     lambda: keys(MACHINE + "List", {"name": VM}),
     "name id class service rootDirectory unit leader supervisor timestamp vSockCid sshAddress sshPrivateKeyPath"
     " controlAddress UID"),
    ("the fields with metadata come in this order",
     lambda: keys(MACHINE + "List", {"name": A, "acquireMetadata": "graceful"}),
     "name class service unit leader supervisor timestamp OSRelease UIDShift UID"),
    ("a leader's fields come in this order",
     lambda: " ".join(fields(MACHINE + "List", {"name": A})["leader"]), "pid pidfdId bootId"),
    ("a timestamp's fields come in this order",
     lambda: " ".join(fields(MACHINE + "List", {"name": A})["timestamp"]), "realtime monotonic"),
    ("a machine with a unit of its own is in a scope named after it",
     lambda: fields(MACHINE + "List", {"name": VM})["unit"], r"machine-compliance\x2dvm.scope"),
    ("a machine without is in its leader's unit",
     lambda: fields(MACHINE + "List", {"name": A})["unit"], f"compliance-a-{os.getpid()}.scope"),
    ("the leader's identity is told",
     lambda: fields(MACHINE + "List", {"name": A})["leader"]
     == {"pid": leader("a"), "pidfdId": pidfd_id(leader("a")), "bootId": boot_id()}, True),

    ("neither name nor pid needs `more`", lambda: ask(MACHINE + "List", {}), EXPECTED_MORE),
    ("no parameters at all need `more`", lambda: ask(MACHINE + "List"), EXPECTED_MORE),
    ("parameters that are null need `more`", lambda: ask(MACHINE + "List", None), EXPECTED_MORE),
    ("one machine with `more` is one reply without `continues`",
     lambda: [sorted(reply) for reply in streamed(name=A)], [["parameters"]]),
    ("all machines are told with `more`",
     lambda: sorted(reply["parameters"]["name"] for reply in streamed()), [".host", A, VM]),
    ("all replies but the last continue",
     lambda: [reply.get("continues") for reply in streamed()], [True, True, None]),
    ("`continues` stands behind the parameters",
     lambda: exchange(message(MACHINE + "List", {}, more=True))[0].endswith(b'},"continues":true}'), True),
    *[(f"acquireMetadata {value!r} is refused",
       lambda value=value: listed(name=A, acquireMetadata=value), invalid("acquireMetadata"))
      for value in ("bad", "", None, True, 1)],
    ("acquireMetadata no adds nothing",
     lambda: keys(MACHINE + "List", {"name": A, "acquireMetadata": "no"}),
     "name class service unit leader supervisor timestamp UID"),
    ("a container on the host's network has no addresses to tell",
     lambda: listed(name=A, acquireMetadata="yes"), NO_PRIVATE_NETWORKING),
    ("a container's addresses are told",
     addresses, [OK, "name class unit leader supervisor timestamp addresses OSRelease UIDShift UID",
                 ["ifindex family address"], ["192.0.2.7", "2001:db8::7"]]),
    ("a virtual machine has no metadata to tell", lambda: listed(name=VM, acquireMetadata="yes"), NOT_AVAILABLE),
    ("a virtual machine is told gracefully without metadata",
     lambda: keys(MACHINE + "List", {"name": VM, "acquireMetadata": "graceful"})
     == keys(MACHINE + "List", {"name": VM}), True),
    ("a container's uids are not shifted",
     lambda: fields(MACHINE + "List", {"name": A, "acquireMetadata": "graceful"})["UIDShift"], 0),
    ("the host has an operating system",
     lambda: any(item.startswith("ID=") for item in
                 fields(MACHINE + "List", {"name": ".host", "acquireMetadata": "yes"})["OSRelease"]), True),
    ("a failure of metadata ends the list",
     lambda: ("error" in (replies := streamed(acquireMetadata="yes"))[-1], len(replies) <= 3), (True, True)),

    ("Kill needs a signal", lambda: ask(MACHINE + "Kill", {"name": A}), invalid("signal")),
    *[(f"the signal {value!r} is refused", functools.partial(ask, MACHINE + "Kill", {"name": A, "signal": value}),
       invalid("signal")) for value in (0, 65, -1, None, 1.5, "", "NOPE")],
    *[(f"the signal {value!r} is fine", functools.partial(ask, MACHINE + "Kill", {"name": "nope", "signal": value}),
       NO_SUCH_MACHINE) for value in (1, 64, "10")],
    ("a signal may be a name", lambda: ask(MACHINE + "Kill", {"name": "nope", "signal": "TERM"}), NO_SUCH_MACHINE),
    ("a wrong signal is told before an unknown name",
     lambda: ask(MACHINE + "Kill", {"name": "nope", "signal": 0}), invalid("signal")),
    ("a wrong whom is told before an unknown name",
     lambda: ask(MACHINE + "Kill", {"name": "nope", "signal": 18, "whom": "x"}), invalid("whom")),
    ("a wrong whom is told before a wrong signal",
     lambda: ask(MACHINE + "Kill", {"name": A, "signal": 0, "whom": "x"}), invalid("whom")),
    *[(f"the whom {value!r} is refused",
       functools.partial(ask, MACHINE + "Kill", {"name": A, "signal": 18, "whom": value}), invalid("whom"))
      for value in ("x", "", None, 1)],
    *[(f"the whom {value!r} is fine", functools.partial(ask, MACHINE + "Kill", {"name": A, "signal": 18, "whom": value}),
       OK) for value in ("leader", "all")],
    ("a supervisor can be signalled",
     lambda: ask(MACHINE + "Kill", {"name": A, "signal": 18, "whom": "supervisor"}), OK),
    ("all is the default", lambda: ask(MACHINE + "Kill", {"name": A, "signal": 18}), OK),
    ("an unknown machine cannot be signalled", lambda: ask(MACHINE + "Kill", {"name": "nope", "signal": 18}),
     NO_SUCH_MACHINE),
    ("the host is not signalled", lambda: ask(MACHINE + "Kill", {"name": ".host", "signal": 18}), system(95, "EOPNOTSUPP")),
    ("the host's leader is not signalled",
     lambda: ask(MACHINE + "Kill", {"name": ".host", "signal": 18, "whom": "leader"}), system(95, "EOPNOTSUPP")),
    ("Kill refuses an unknown field by name", lambda: ask(MACHINE + "Kill", {"name": A, "signal": 18, "x": 1}),
     invalid("x")),
]

OTHERS = [
    ("anybody may look a machine up", lambda: unprivileged(lambda: listed(name=A)), A),
    ("anybody may list the machines", lambda: unprivileged(lambda: len(streamed())), 3),
    ("metadata is not for anybody",
     lambda: unprivileged(lambda: listed(name=A, acquireMetadata="graceful")), CHALLENGED),
    *[(f"not anybody may {method.lower()} a machine",
       lambda method=method, extra=extra: unprivileged(lambda: ask(MACHINE + method, {"name": A, **extra})), CHALLENGED)
      for method, extra in (("Unregister", {}), ("Terminate", {}), ("Kill", {"signal": 18}))],
    *[(f"{method.lower()} tells anybody of an unknown machine",
       lambda method=method, extra=extra: unprivileged(lambda: ask(MACHINE + method, {"name": "nope", **extra})),
       NO_SUCH_MACHINE) for method, extra in (("Unregister", {}), ("Terminate", {}), ("Kill", {"signal": 18}))],
    ("not anybody may unregister the host",
     lambda: unprivileged(lambda: ask(MACHINE + "Unregister", {"name": ".host"})), CHALLENGED),
    ("not anybody may register a machine", lambda: unprivileged(lambda: ask(MACHINE + "Register", trial())), CHALLENGED),
    ("not anybody may have a unit made",
     lambda: unprivileged(lambda: ask(MACHINE + "Register", trial(allocateUnit=True))), CHALLENGED),
    ("not anybody learns from Register that a name is taken",
     lambda: unprivileged(lambda: ask(MACHINE + "Register", trial(name=A))), CHALLENGED),
    ("asking to be asked does not help without an agent",
     lambda: unprivileged(lambda: ask(MACHINE + "Unregister", {"name": A, "allowInteractiveAuthentication": True})),
     CHALLENGED),
    ("a wrong parameter is told before who may",
     lambda: unprivileged(lambda: ask(MACHINE + "Kill", {"name": A, "signal": 0})), invalid("signal")),
    ("an unknown field is told before who may",
     lambda: unprivileged(lambda: ask(MACHINE + "Terminate", {"name": A, "x": 1})), invalid("x")),
]

ENDING = [
    *[case for method in ("Unregister", "Terminate") for case in (
        (f"{method} without name and pid finds nothing", functools.partial(ask, MACHINE + method, {}), NO_SUCH_MACHINE),
        (f"{method} without parameters finds nothing", functools.partial(ask, MACHINE + method), NO_SUCH_MACHINE),
        (f"{method} of an unknown machine finds nothing", functools.partial(ask, MACHINE + method, {"name": "nope"}),
         NO_SUCH_MACHINE),
        *((f"{method} refuses the name {name!r}", functools.partial(ask, MACHINE + method, {"name": name}), refused(name))
          for name in ("", "foo_bar", None, 5)),
        (f"{method} refuses an unknown field by name", functools.partial(ask, MACHINE + method, {"name": A, "x": 1}),
         invalid("x")),
        *((f"{method} refuses allowInteractiveAuthentication {value!r}",
           functools.partial(ask, MACHINE + method, {"name": "nope", "allowInteractiveAuthentication": value}),
           invalid("allowInteractiveAuthentication")) for value in (1, "yes")),
    )],
    ("the host can be unregistered, to no effect",
     lambda: [ask(MACHINE + "Unregister", {"name": ".host"}), listed(name=".host")], [OK, ".host"]),
    ("the host is not terminated", lambda: ask(MACHINE + "Terminate", {"name": ".host"}), system(95, "EOPNOTSUPP")),
    ("a machine is unregistered by its leader", lambda: ask(MACHINE + "Unregister", {"pid": {"pid": leader("a")}}), OK),
    ("a machine that was unregistered is gone", lambda: wait_for(lambda: listed(name=A) == NO_SUCH_MACHINE), None),
    ("its leader lives on", lambda: lives("a"), True),
    ("a machine is terminated by its name", lambda: ask(MACHINE + "Terminate", {"name": VM}), OK),
    ("a machine that was terminated goes", lambda: wait_for(lambda: listed(name=VM) == NO_SUCH_MACHINE), None),
    ("its leader goes", lambda: wait_for(lambda: children_by_pid(leader("vm")).poll() is not None), None),
]


def children_by_pid(pid):
    return next(child for child in children if child.pid == pid)



# What differs on purpose: whole groups of cases that a flavour lacks, and single sentences with what is expected there.
# Every entry has its reason.
MISSING = {
    "stock257": {"control": "io.systemd.service came to machined after 257"},
    "stock262": {},
    "ours": {},
}
NOT_THERE = object()
DIFFERENCES = {
    "stock257": {
        "`upgrade` is tolerated": ("closed", "257 knows no `upgrade` flag"),
        "an empty reply is an empty object": (['{"parameters":{}}'], "257 spells empty parameters out"),
        "an error without fields has no parameters":
            (['{"error":"io.systemd.Machine.NoSuchMachine","parameters":{}}'], "257 spells empty parameters out"),
        "GetInfo lists the interfaces of machines and the generic ones":
            (["io.systemd.service"], "io.systemd.service came to machined after 257"),
        "io.systemd.service serves only what the contract has, in its words and order":
            (NOT_THERE, "io.systemd.service came to machined after 257"),
        "a control address is kept": (invalid("controlAddress"), "an unknown field in 257"),
        "a supervisor given is accepted": (invalid("supervisor"), "an unknown field in 257"),
        "supervisor that is null is accepted": (invalid("supervisor"), "an unknown field in 257"),
        "supervisorProcessId that is null is accepted": (invalid("supervisorProcessId"), "an unknown field in 257"),
        "the caller that is not the leader is the supervisor": (NOT_THERE, "257 has no supervisors"),
        "registering for the owner is told by uid": ("absent", "257 keeps no owner"),
        "a pid of another boot finds nothing": (A, "257 looks at the number only"),
        "a pid with a pidfdId that is null is found": (invalid("pid"), "257 takes null for no number"),
        "the host's fields come in this order":
            ("name id class rootDirectory unit leader timestamp", "257 keeps no owner"),
        "a container's fields come in this order":
            ("name class service unit leader timestamp", "257 keeps neither supervisor nor owner"),
        "a machine's fields come in this order":
            ("name id class service rootDirectory unit leader timestamp vSockCid sshAddress sshPrivateKeyPath",
             "257 keeps neither supervisor nor control address nor owner"),
        "the fields with metadata come in this order":
            ("name class service unit leader timestamp OSRelease UIDShift", "257 keeps neither supervisor nor owner"),
        "a container's addresses are told":
            ([OK, "name class unit leader timestamp addresses OSRelease UIDShift", ["ifindex family address"],
              ["192.0.2.7", "2001:db8::7"]], "257 keeps neither supervisor nor owner"),
        "acquireMetadata no adds nothing":
            ("name class service unit leader timestamp", "257 keeps neither supervisor nor owner"),
        "a signal may be a name": (invalid("signal"), "257 reads numbers only"),
        "a wrong whom is told before an unknown name": (NO_SUCH_MACHINE, "a string in 257, looked at late"),
        "a wrong whom is told before a wrong signal": (invalid("signal"), "a string in 257, looked at late"),
        "the whom '' is refused": (OK, "257 takes the empty string for all"),
        "a supervisor can be signalled": (invalid("whom"), "257 has no supervisors"),
        "metadata is not for anybody": (A, "257 asks nobody for metadata"),
    },
    "stock262": {},
    "ours": {
        "arrays nested two thousand deep are still read": ("closed", "128 levels are enough for any parameter"),
        "an ssh address with a raw DEL closes the connection":
            (invalid("sshAddress"), "a control character like any other"),
        "a leader that is a zombie is accepted": (invalid("leader"), "the dead do not register"),
    },
}


def expected_here(sentence, expected):
    return DIFFERENCES[flavour].get(sentence, (expected, None))[0]


GROUPS = {"framing": FRAMING, "generic": GENERIC, "control": CONTROLS, "register": REGISTER, "registered": REGISTERED,
          "others": OTHERS, "ending": ENDING}


def run(cases):
    sentences = [sentence for sentence, _, _ in cases]
    strays = [sentence for sentence in DIFFERENCES[flavour] if sentence not in sentences]
    assert not strays and len(set(sentences)) == len(sentences), strays
    passed = failed = 0
    for sentence, what, expected in cases:
        expected = expected_here(sentence, expected)
        if expected is NOT_THERE:
            continue
        signal.alarm(2 * DEADLINE)
        try:
            got = what()
        except Exception as error:  # A case that breaks is a case that failed, whatever it was.
            got = f"{type(error).__name__}: {error}"
        signal.alarm(0)
        if got == expected:
            passed += 1
            print(f"ok      {sentence}", flush=True)
        else:
            failed += 1
            print(f"FAILED  {sentence}\n        expected {expected!r}\n        got      {got!r}", flush=True)
    print(f"{passed} passed, {failed} failed")
    return failed


def on_alarm(_number, _frame):
    raise TimeoutError("no answer in time")


def main():
    signal.signal(signal.SIGALRM, on_alarm)
    # 257 has no socket unit.
    if flavour != "ours":
        subprocess.run(["systemctl", "start", "systemd-machined.service"], check=False)
    signal.alarm(DEADLINE)
    wait_for(lambda: pathlib.Path(SOCKET).exists())
    signal.alarm(0)
    try:
        return 1 if run([case for name, cases in GROUPS.items() if name not in MISSING[flavour] for case in cases]) else 0
    finally:
        for child in children:
            if child.poll() is None:
                child.kill()


if __name__ == "__main__":
    sys.exit(main())
