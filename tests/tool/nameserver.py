"""Name servers of Debian's, and what they answer: BIND and Knot with a zone for names and one for addresses, and a key for both."""

import os
import shutil
import socket
import struct
import subprocess
import tempfile

from waiting import until

ADDRESS = "10.0.0.1"
ZONE, REVERSE = "containers.example", "9.10.in-addr.arpa"
REVERSE6 = "8.b.d.0.1.0.0.2.ip6.arpa"
SECRET = "c2VjcmV0IG9mIHRoZSBmbGVldCwgMzIgYnl0ZXMgbG9uZyE="
OTHER = "YW5vdGhlciBzZWNyZXQsIGFsc28gMzIgYnl0ZXMgbG9uZyE="
KINDS = {"A": 1, "PTR": 12, "TXT": 16, "AAAA": 28}
HEADER = """$TTL 60
@ SOA ns.{zone}. root.{zone}. 1 60 60 600 1
@ NS ns.{zone}.
"""


def key(name="fleet", secret=SECRET):
    return f'key "{name}" {{ algorithm hmac-sha256; secret "{secret}"; }};\n'


class Server:
    """A server, which may be ended and started again, with what it had."""

    program = None
    # How long it rests after an update of a zone, and how late it may be all the same, in seconds.
    rest = late = 0

    def __init__(self, refuses=()):
        self.directory = tempfile.mkdtemp(prefix="names.")
        # Not a disk, which may be busy with something else.
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", self.directory], check=True)
        self.write("key", key())
        for zone in ZONE, REVERSE, REVERSE6:
            more = f"ns A {ADDRESS}\nwww A 10.9.0.1\n" if zone == ZONE else ""
            self.write(zone, HEADER.format(zone=ZONE) + more)
        # A copy has no profile of AppArmor, which knows only the directories of a server of the host's.
        self.copy = shutil.copy(shutil.which(self.program, path=f"{os.environ['PATH']}:/usr/sbin"), self.directory)
        self.configure(refuses)
        self.process = None
        self.start()

    def write(self, name, text):
        path = f"{self.directory}/{name}"
        with open(path, "w") as file:
            file.write(text)
        return path

    def start(self):
        with open(f"{self.directory}/log", "a") as log:
            self.process = subprocess.Popen(self.command(), stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        until(lambda: self.process.poll() is not None or query(f"ns.{ZONE}") == [ADDRESS], "the name server")
        assert self.process.poll() is None, open(f"{self.directory}/log").read()

    def kill(self):
        self.process.kill()
        self.process.wait()

    def close(self):
        if not os.path.exists(self.directory):
            return
        self.kill()
        subprocess.run(["umount", "--lazy", self.directory], check=True)
        os.rmdir(self.directory)


class Bind(Server):
    program = "named"

    def command(self):
        return [self.copy, "-g", "-c", f"{self.directory}/named.conf"]

    def configure(self, refuses):
        zones = "".join(
            f'zone "{zone}" {{ type primary; file "{zone}"; '
            f'{"" if zone in refuses else "allow-update { key fleet; };"} allow-transfer {{ key fleet; }}; }};\n'
            for zone in (ZONE, REVERSE, REVERSE6))
        self.write("named.conf", f"""
include "{self.directory}/key";
options {{ directory "{self.directory}"; listen-on {{ {ADDRESS}; }}; listen-on-v6 {{ none; }}; recursion no;
  pid-file none; session-keyfile none; dnssec-validation no; }};
controls {{}};
{zones}""")


class Knot(Server):
    program = "knotd"
    # With Knot 3.2 an update waits until the next second, whoever sends it, where it comes while the server still has to do with
    # the one before; on a machine that is busy with other things that may be for long.
    rest, late = 0.5, 1

    def command(self):
        return [self.copy, "-c", f"{self.directory}/knot.conf"]

    def configure(self, refuses):
        zones = "".join(f"  - domain: {zone}\n    file: {zone}\n    acl: {'reads' if zone in refuses else 'writes'}\n"
                        for zone in (ZONE, REVERSE, REVERSE6))
        self.write("knot.conf", f"""
server:
  rundir: {self.directory}
  listen: {ADDRESS}@53
log:
  - target: stderr
    any: info
database:
  storage: {self.directory}
key:
  - id: fleet
    algorithm: hmac-sha256
    secret: {SECRET}
acl:
  - id: writes
    key: fleet
    action: [transfer, update]
  - id: reads
    key: fleet
    action: transfer
template:
  - id: default
    storage: {self.directory}
zone:
{zones}""")


def query(name, kind="A"):
    """What the server answers, sorted; None if there is no such name, or no answer."""
    question = b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"
    message = struct.pack(">6H", 4711, 0, 1, 0, 0, 0) + question + struct.pack(">2H", KINDS[kind], 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.settimeout(1)
        try:
            asking.connect((ADDRESS, 53))
            asking.send(message)
            reply = asking.recv(65535)
        except OSError:
            return None
    number, flags, _, answers, _, _ = struct.unpack_from(">6H", reply)
    assert number == 4711
    if flags & 15:
        return None
    found, at = [], len(message)
    for _ in range(answers):
        at = after_name(reply, at)
        this, _, _, length = struct.unpack_from(">2HIH", reply, at)
        at += 10
        if this == KINDS[kind]:
            data = reply[at:at + length]
            if this == KINDS["A"]:
                found.append(socket.inet_ntop(socket.AF_INET, data))
            elif this == KINDS["AAAA"]:
                found.append(socket.inet_ntop(socket.AF_INET6, data))
            elif this == KINDS["TXT"]:
                found.append(data[1:].decode())
            else:
                found.append(name_at(reply, at))
        at += length
    return sorted(found)


def after_name(reply, at):
    while reply[at]:
        if reply[at] >= 192:
            return at + 2
        at += reply[at] + 1
    return at + 1


def name_at(reply, at):
    labels = []
    while reply[at]:
        if reply[at] >= 192:
            at = (reply[at] & 63) << 8 | reply[at + 1]
            continue
        labels.append(reply[at + 1:at + 1 + reply[at]].decode())
        at += reply[at] + 1
    return ".".join(labels)


def leads_to(address):
    """The name that the server says an IPv4 address has."""
    found = query(".".join(reversed(address.split("."))) + ".in-addr.arpa", "PTR")
    return found[0] if found else None


def transfer(key_file, zone=ZONE):
    """A whole zone: name, type and data of each record, without those of the zone itself."""
    done = subprocess.run(["dig", "-r", "-k", key_file, f"@{ADDRESS}", "+noall", "+answer", zone, "AXFR"],
                          capture_output=True, text=True, timeout=30, check=True)
    records = (line.split(None, 4) for line in done.stdout.splitlines() if line and line[0] != ";")
    return {(name.rstrip("."), kind, data) for name, _, _, kind, data in records if kind not in ("SOA", "NS")}
