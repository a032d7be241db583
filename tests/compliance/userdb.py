#!/usr/bin/env -S python3 -B
"""What a client of /run/systemd/userdb/io.systemd.Machine may rely on, byte by byte.

One body of cases for the original and for ours: each is a sentence, what to ask, and what must come back, as measured on
stock systemd 262. Where stock 257 or ours differ stands in DIFFERENCES, with the reason. Needs root, a running systemd
and python's standard library.
"""

import argparse
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

SOCKET = "/run/systemd/userdb/io.systemd.Machine"
MACHINED = "/run/systemd/machine/io.systemd.Machine"
USERDB = "io.systemd.UserDatabase."
SERVICE = "org.varlink.service."
CONTRACT = pathlib.Path(__file__).resolve().parent / "contract"
DEADLINE = 30
NAME, FIRST, COUNT = "udbtest", 700_000_000, 65536
ABSENT = object()

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--flavour", choices=("stock257", "stock262", "ours"), default="ours",
                    help="whose provider is running (default: ours)")
flavour = parser.parse_args().flavour


def exchange(path, method, parameters, **flags):
    """The raw replies to a call, the last one being the one that promises no other."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(DEADLINE)
        connection.connect(path)
        connection.sendall(json.dumps({"method": method, "parameters": parameters, **flags}).encode() + b"\0")
        rest, replies = b"", []
        while not replies or json.loads(replies[-1]).get("continues"):
            piece = connection.recv(1 << 16)
            if not piece:
                return [*replies, b'{"error":"closed"}']
            *whole, rest = (rest + piece).split(b"\0")
            replies += whole
        return replies


def ask(method, more=False, **parameters):
    """The one reply, as text; 257 writes empty parameters out."""
    given = {"service": "io.systemd.Machine", **parameters}
    given = {name: value for name, value in given.items() if value is not ABSENT}
    replies = [json.loads(raw) for raw in exchange(SOCKET, USERDB + method, given, **({"more": True} if more else {}))]
    for reply in replies:
        if reply.get("parameters") == {}:
            del reply["parameters"]
    texts = [json.dumps(reply, separators=(",", ":"), ensure_ascii=False) for reply in replies]
    return texts[0] if len(texts) == 1 else texts


def user(**parameters):
    return lambda: ask("GetUserRecord", **parameters)


def group(**parameters):
    return lambda: ask("GetGroupRecord", **parameters)


def memberships(**parameters):
    return lambda: ask("GetMemberships", **parameters)


def error(name):
    return f'{{"error":"{USERDB}{name}"}}'


def invalid(parameter):
    return f'{{"error":"{SERVICE}InvalidParameter","parameters":{{"parameter":"{parameter}"}}}}'


def user_record(inside):
    return (f'{{"parameters":{{"record":{{"userName":"vu-{NAME}-{inside}","uid":{FIRST + inside},"gid":65534,'
            f'"realName":"UID {inside} of Container {NAME}","homeDirectory":"/","shell":"/usr/sbin/nologin","locked":true,'
            '"service":"io.systemd.Machine","disposition":"container"}}}')


def group_record(inside):
    return (f'{{"parameters":{{"record":{{"groupName":"vg-{NAME}-{inside}","gid":{FIRST + inside},'
            f'"description":"GID {inside} of Container {NAME}","service":"io.systemd.Machine","disposition":"container"}}}}}}')


NO_RECORD, CONFLICT = error("NoRecordFound"), error("ConflictingRecordFound")
NO_ENUMERATION, BAD_SERVICE, NON_MATCHING = error("EnumerationNotSupported"), error("BadService"), error("NonMatchingRecordFound")


def each(values, what):
    """What all of these get, or a list where they differ."""
    told = {str(value)[:20]: what(value) for value in values}
    return next(iter(told.values())) if len(set(told.values())) == 1 else told


NO_IDS = [-1, 65535, 2 ** 32 - 1, 2 ** 32, 1.5, str(FIRST), True, None, [], {}]
NO_NAMES = ["", "1000", "99999999999", "-5", "a:b", "a/b", "a\nb", ".", "..", " a", "a ", "a\x7fb", 5, None, []]
NOBODYS_NAMES = ["root", f"vu-{NAME}-00", f"vu-{NAME}-65535", f"vu-{NAME}-65536", f"vg-{NAME}-0", "vu-none-0", f"vu-{NAME}",
                 "vu--0", "a b", "é", "-a", "x" * 300, "0x10", "\u0085", "@"]
FILTERS = {"uidMin": FIRST, "uidMax": FIRST, "fuzzyNames": ["x"], "dispositionMask": ["container"], "uuid": "0" * 32}

CASES = [
    ("a user is found by id", user(uid=FIRST + 5), user_record(5)),
    ("a user is found by name", user(userName=f"vu-{NAME}-0"), user_record(0)),
    ("a user is found by both", user(uid=FIRST, userName=f"vu-{NAME}-0"), user_record(0)),
    ("more changes nothing for one user", user(uid=FIRST, more=True), user_record(0)),
    ("a whole number is a number", user(uid=float(FIRST)), user_record(0)),
    ("the last user is found", user(uid=FIRST + 65534), user_record(65534)),
    ("a group is found by id", group(gid=FIRST + 5), group_record(5)),
    ("a group is found by name", group(groupName=f"vg-{NAME}-0"), group_record(0)),
    ("a group is found by both", group(gid=FIRST, groupName=f"vg-{NAME}-0"), group_record(0)),
    ("id and name of two conflict", user(uid=FIRST, userName=f"vu-{NAME}-1"), CONFLICT),
    ("an id with the name of another kind conflicts", user(uid=FIRST, userName="root"), CONFLICT),
    ("an id of nobody with a name is nobody's", user(uid=5, userName=f"vu-{NAME}-1"), NO_RECORD),
    ("groups conflict too", group(gid=FIRST, groupName=f"vg-{NAME}-1"), CONFLICT),
    ("ids of the host and of nobody are not found",
     lambda: each([0, 5, 65534, FIRST - 1, FIRST + COUNT, 2 ** 32 - 2], lambda uid: ask("GetUserRecord", uid=uid)), NO_RECORD),
    ("an id that is none inside", user(uid=FIRST + 65535),
     '{"error":"io.systemd.System","parameters":{"origin":"linux","errno":22,"errnoName":"EINVAL"}}'),
    ("names of others are not found",
     lambda: each(NOBODYS_NAMES, lambda name: ask("GetUserRecord", userName=name)), NO_RECORD),
    ("what is no uid is refused", lambda: each(NO_IDS, lambda uid: ask("GetUserRecord", uid=uid)), invalid("uid")),
    ("what is no gid is refused", lambda: each(NO_IDS, lambda gid: ask("GetGroupRecord", gid=gid)), invalid("gid")),
    ("what is no user name is refused",
     lambda: each(NO_NAMES, lambda name: ask("GetUserRecord", userName=name)), invalid("userName")),
    ("what is no group name is refused",
     lambda: each(NO_NAMES, lambda name: ask("GetGroupRecord", groupName=name)), invalid("groupName")),
    ("nothing is enumerated", user(), NO_ENUMERATION),
    ("nothing is enumerated with more", user(more=True), NO_ENUMERATION),
    ("no groups are enumerated", group(more=True), NO_ENUMERATION),
    ("another service is a bad one",
     lambda: each(["", "x", "io.systemd.machine"], lambda service: ask("GetUserRecord", service=service, uid=FIRST)), BAD_SERVICE),
    ("no service is refused",
     lambda: each([ABSENT, None, 5], lambda service: ask("GetUserRecord", service=service, uid=FIRST)), invalid("service")),
    ("a bad parameter counts before the service", user(service="x", uid=-1), invalid("uid")),
    ("an unknown parameter is refused", user(bogus=1), invalid("bogus")),
    ("a gid is no parameter of a user", user(uid=FIRST, gid=5), invalid("gid")),
    ("nobody is a member of anything",
     lambda: each([{}, {"userName": f"vu-{NAME}-0"}, {"groupName": f"vg-{NAME}-0"}, {"more": True}],
                  lambda parameters: ask("GetMemberships", **parameters)), NO_RECORD),
    ("memberships are of this service", memberships(service="x"), BAD_SERVICE),
    ("memberships of no names are refused",
     lambda: each(["12", "a/b", None], lambda name: ask("GetMemberships", userName=name)), invalid("userName")),
    ("a condition that the user meets",
     lambda: {name: ask("GetUserRecord", uid=FIRST, **{name: value}) for name, value in FILTERS.items()},
     {name: invalid(name) for name in FILTERS}),
    ("a condition that it does not meet", user(uid=FIRST, uidMax=5), invalid("uidMax")),
    ("a search among few", user(uidMin=FIRST, uidMax=FIRST, more=True), invalid("uidMin")),
    ("its interfaces", lambda: json.loads(exchange(SOCKET, SERVICE + "GetInfo", {})[0])["parameters"]["interfaces"],
     ["io.systemd", "io.systemd.UserDatabase", "org.varlink.service"]),
    ("its description", lambda: described("io.systemd.UserDatabase"), None),
    ("the machines are elsewhere", lambda: json.loads(exchange(SOCKET, "io.systemd.Machine.List", {})[0])["error"],
     SERVICE + "MethodNotFound"),
    ("after the end of the machine there is nobody", lambda: after_the_end(), [NO_RECORD, NO_RECORD]),
]

# By flavour: sentences for which it gives another answer, with the reason.
DIFFERENCES = {
    "stock257": {
        "an id that is none inside": ('{"error":"io.systemd.System","parameters":{"errno":22}}', "origin and name came later"),
    },
    "stock262": {},
    "ours": {
        "an id that is none inside": (NO_RECORD, "an id that nobody can have is nobody's"),
        "a condition that the user meets": (
            {name: NON_MATCHING if name == "fuzzyNames" else user_record(0) for name in FILTERS},
            "conditions are served; nobody is called x"),
        "a condition that it does not meet": (NON_MATCHING, "conditions are served"),
        "a search among few": (user_record(0), "conditions are served"),
    },
}


def members(text):
    """The members of an interface description, comments stripped, one string each."""
    stripped = "\n".join(line for line in text.splitlines() if not line.strip().startswith("#"))
    return [member.strip() for member in stripped.split("\n\n") if member.strip()]


def described(interface):
    reply = json.loads(exchange(SOCKET, SERVICE + "GetInterfaceDescription", {"interface": interface})[0])
    version = "257" if flavour == "stock257" else "262"
    expected = members((CONTRACT / version / f"{interface}.varlink").read_text())
    told = members(reply["parameters"]["description"])
    return None if told == expected else [member for member in told if member not in expected] or "members are missing"


leader = None


def wait_for(condition):
    while not condition():
        time.sleep(0.02)  # The alarm around every case is the deadline.


def register():
    """A process with ids of its own, in a scope of its own."""
    global leader
    leader = subprocess.Popen(["systemd-run", "--quiet", "--scope", f"--unit=userdb-{os.getpid()}",
                               "unshare", "--user", "sleep", "infinity"])
    wait_for(lambda: pathlib.Path(f"/proc/{leader.pid}/comm").read_text() == "sleep\n")
    for kind in "uid_map", "gid_map":
        pathlib.Path(f"/proc/{leader.pid}/{kind}").write_text(f"0 {FIRST} {COUNT}\n")
    raw = exchange(MACHINED, "io.systemd.Machine.Register", {"name": NAME, "class": "container", "leader": leader.pid})
    assert b'"error"' not in raw[0], raw


def after_the_end():
    leader.kill()
    leader.wait()
    # The original answers with an error until it has noticed.
    wait_for(lambda: ask("GetUserRecord", uid=FIRST) == NO_RECORD)
    wait_for(lambda: ask("GetUserRecord", userName=f"vu-{NAME}-0") == NO_RECORD)
    return [ask("GetUserRecord", uid=FIRST), ask("GetUserRecord", userName=f"vu-{NAME}-0")]


def run():
    sentences = [sentence for sentence, _, _ in CASES]
    strays = [sentence for sentence in DIFFERENCES[flavour] if sentence not in sentences]
    assert not strays and len(set(sentences)) == len(sentences), strays
    passed = failed = 0
    for sentence, what, expected in CASES:
        expected = DIFFERENCES[flavour].get(sentence, (expected, None))[0]
        signal.alarm(2 * DEADLINE)
        try:
            got = what()
        except Exception as broken:  # A case that breaks is a case that failed, whatever it was.
            got = f"{type(broken).__name__}: {broken}"
        signal.alarm(0)
        if got == expected:
            passed += 1
            print(f"ok      {sentence}", flush=True)
        else:
            failed += 1
            print(f"FAILED  {sentence}\n        expected {expected!r}\n        got      {got!r}", flush=True)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


def on_alarm(_number, _frame):
    raise TimeoutError("no answer in time")


def main():
    signal.signal(signal.SIGALRM, on_alarm)
    signal.alarm(DEADLINE)
    wait_for(lambda: pathlib.Path(SOCKET).exists() and pathlib.Path(MACHINED).exists())
    register()
    signal.alarm(0)
    try:
        return run()
    finally:
        leader.kill()


if __name__ == "__main__":
    sys.exit(main())
