#!/usr/bin/env python3
"""Registers machines in every way there is with the stock daemon of a booted root, and keeps what it recorded.

Runs inside the lab (golden.sh starts it there). Leaves in /out/golden, for each machine NAME, the record as the daemon
wrote it (NAME), and what clients are told of it (NAME.json); and in links.txt the symlinks beside the records.
"""

import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import time

RECORDS = pathlib.Path("/run/systemd/machines")
OUT = pathlib.Path("/out/golden")
SOCKET = "/run/systemd/machine/io.systemd.Machine"
TEMPLATE = "/usr/share/machine-template"
VERSION = int(subprocess.check_output(["systemctl", "--version"], text=True).split()[1])

how = {}
children = []


def wait_for(condition, what):
    deadline = time.monotonic() + 30
    while not condition():
        if time.monotonic() > deadline:
            sys.exit(f"waited 30 s in vain for {what}")
        time.sleep(0.05)


def call(method, parameters):
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(30)
        connection.connect(SOCKET)
        connection.sendall(json.dumps({"method": method, "parameters": parameters}).encode() + b"\0")
        reply = b""
        while not reply.endswith(b"\0"):
            reply += connection.recv(65536)
    return json.loads(reply[:-1])


def leader(label):
    """A process with a scope of its own: a unit hosts one machine only."""
    child = subprocess.Popen(["systemd-run", "--quiet", "--scope", f"--unit={label}", "sleep", "infinity"])
    children.append(child)
    wait_for(lambda: pathlib.Path(f"/proc/{child.pid}/comm").read_text() == "sleep\n", label)
    return child.pid


def varlink(name, **parameters):
    parameters = {"name": name, "class": "container", "leader": leader(f"leader-of-{name}"), **parameters}
    if VERSION < 258:
        parameters.pop("controlAddress", None)
    reply = call("io.systemd.Machine.Register", parameters)
    if "error" in reply:
        sys.exit(f"{name}: {reply}")
    how[name] = {"varlink": parameters}


def dbus(method, name, signature, *arguments):
    command = ["busctl", "call", "org.freedesktop.machine1", "/org/freedesktop/machine1",
               "org.freedesktop.machine1.Manager", method, signature, name, *map(str, arguments)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    how[name] = {"dbus": command[5:]}


def tree(path):
    shutil.copytree(TEMPLATE, path, symlinks=True)
    return path


def nspawn(name, *options):
    command = ["systemd-nspawn", "--quiet", "-D", tree(f"/var/tmp/{name}"), "-M", name, *options]
    children.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL))
    wait_for((RECORDS / name).exists, name)
    how[name] = {"command": " ".join(command)}


def cgroup(pid):
    """The v2 group, as PID 1 of the lab names it; the host may show v1 groups beside."""
    lines = pathlib.Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    return next(line.removeprefix("0::") for line in lines if line.startswith("0::"))


def properties(name):
    path = json.loads(subprocess.check_output(
        ["busctl", "--json=short", "call", "org.freedesktop.machine1", "/org/freedesktop/machine1",
         "org.freedesktop.machine1.Manager", "GetMachine", "s", name]))["data"][0]
    return json.loads(subprocess.check_output(
        ["busctl", "--json=short", "call", "org.freedesktop.machine1", path,
         "org.freedesktop.DBus.Properties", "GetAll", "s", "org.freedesktop.machine1.Machine"]))["data"][0]


def register_all():
    os.makedirs("/var/tmp/a b/çé 東京", exist_ok=True)
    links = [int(pathlib.Path(f"/sys/class/net/{link}/ifindex").read_text()) for link in ("lo",)]
    for number in range(3):
        subprocess.run(["ip", "link", "add", f"golden{number}", "type", "veth", "peer", f"nedlog{number}"], check=True)
        links.append(int(pathlib.Path(f"/sys/class/net/golden{number}/ifindex").read_text()))

    # What nspawn registers by itself.
    nspawn("nspawn-plain", "--register=yes", "sleep", "infinity")
    nspawn("nspawn-userns-veth", "-U", "--network-veth", "--boot")
    nspawn("nspawn-userns-pick", "--private-users=pick", "--private-network", "sleep", "infinity")
    tree("/var/lib/machines/nspawn-service")
    subprocess.run(["machinectl", "start", "nspawn-service"], check=True)
    wait_for((RECORDS / "nspawn-service").exists, "nspawn-service")
    how["nspawn-service"] = {"command": "machinectl start nspawn-service"}
    subprocess.run(["systemd-run", "--quiet", "--unit=keep-unit-host", "systemd-nspawn", "--quiet", "--keep-unit", "-D",
                    tree("/var/tmp/nspawn-keep-unit"), "-M", "nspawn-keep-unit", "sleep", "infinity"], check=True)
    wait_for((RECORDS / "nspawn-keep-unit").exists, "nspawn-keep-unit")
    how["nspawn-keep-unit"] = {"command": "systemd-nspawn --keep-unit in a service"}

    # One field at a time over Varlink.
    varlink("bare")
    varlink("bare-allocated", allocateUnit=True)
    varlink("a.name-with.dashes--twice", allocateUnit=True)
    varlink("vm", **{"class": "vm"}, vSockCid=4242, sshAddress="vsock/4242", sshPrivateKeyPath="/var/lib/keys/id_ed25519")
    varlink("vm-allocated", **{"class": "vm"}, vSockCid=3, allocateUnit=True)
    varlink("vm-control", **{"class": "vm"}, controlAddress="/run/vm control/socket")
    varlink("id", id="0123456789abcdef0123456789abcdef")
    varlink("id-dashes", id="01234567-89AB-cdef-0123-456789abcdef")
    varlink("interface", ifIndices=[links[0]])
    varlink("interfaces", ifIndices=links)
    varlink("interfaces-none", ifIndices=[])
    varlink("service-blanks", service="my  service ")
    varlink("service-quotes", service="it's \"quoted\"")
    varlink("service-shell", service="$HOME `id` \\ # ;")
    varlink("service-utf8", service="dîner 東京")
    varlink("service-newline", service="one\ntwo\tthree")
    varlink("root-blanks", rootDirectory="/var/tmp/a b")
    varlink("root-utf8", rootDirectory="/var/tmp/a b/çé 東京")
    varlink("root-backslash", rootDirectory="/var/tmp/a\\b\\x20c")
    varlink("root-quotes", rootDirectory="/var/tmp/'single' \"double\" $x")
    varlink("root-slash", rootDirectory="/")
    varlink("ssh-blanks", sshAddress="host with blanks", sshPrivateKeyPath="/a b/key 'x'")
    varlink("everything", id="fedcba98-7654-3210-fedc-ba9876543210", service="lab service", **{"class": "vm"},
            rootDirectory="/var/tmp/a b", ifIndices=links, vSockCid=4294967294, sshAddress="192.0.2.1",
            sshPrivateKeyPath="/k", controlAddress="/run/control", allocateUnit=True)
    varlink("x" * 63)

    # The bus.
    none = ["0"]
    dbus("RegisterMachine", "bus-bare", "sayssus", *none, "", "container", leader("leader-of-bus-bare"), "")
    dbus("RegisterMachine", "bus-full", "sayssus", "16", *range(16), "bus service", "vm", leader("leader-of-bus-full"),
         "/var/tmp/a b")
    dbus("RegisterMachineWithNetwork", "bus-network", "sayssusai", *none, "svc", "container",
         leader("leader-of-bus-network"), "", len(links), *links)
    dbus("CreateMachine", "bus-created", "sayssusa(sv)", *none, "svc", "container", leader("leader-of-bus-created"),
         "/srv", "0")
    dbus("CreateMachineWithNetwork", "bus-created-network", "sayssusaia(sv)", *none, "", "vm",
         leader("leader-of-bus-created-network"), "", len(links), *links, "0")


def its_own_leader():
    """Without a leader the caller becomes it, and there is no supervisor."""
    request = {"method": "io.systemd.Machine.Register", "parameters": {"name": "own-leader", "class": "container"}}
    program = (f"import socket, time; s = socket.socket(socket.AF_UNIX); s.connect({SOCKET!r}); "
               f"s.sendall({json.dumps(request).encode()!r} + b'\\0'); s.recv(4096); time.sleep(1e6)")
    children.append(subprocess.Popen(["systemd-run", "--quiet", "--scope", "python3", "-c", program]))
    wait_for((RECORDS / "own-leader").exists, "own-leader")
    how["own-leader"] = {"varlink": request["parameters"]}


def keep():
    OUT.mkdir(parents=True)
    links = []
    for entry in sorted(RECORDS.iterdir()):
        if entry.is_symlink():
            links.append(f"{entry.name} -> {os.readlink(entry)}\n")
            continue
        name = entry.name
        shutil.copyfile(entry, OUT / name)
        listed = call("io.systemd.Machine.List", {"name": name}).get("parameters")
        told = {
            "registered": how.get(name),
            "leaderCgroup": cgroup(listed["leader"]["pid"]),
            "list": listed,
            "listGraceful": call("io.systemd.Machine.List", {"name": name, "acquireMetadata": "graceful"}).get("parameters"),
            "properties": properties(name),
            "show": subprocess.check_output(["machinectl", "show", name], text=True).splitlines(),
        }
        (OUT / f"{name}.json").write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n")
    (OUT / "links.txt").write_text("".join(links))
    missing = set(how) - {entry.name for entry in RECORDS.iterdir()}
    if missing:
        sys.exit(f"no record of {sorted(missing)}")


register_all()
its_own_leader()
# machined saves from its event loop: a scope's job may still be pending when the reply is out.
wait_for(lambda: not any("SCOPE_JOB=" in entry.read_text() for entry in RECORDS.iterdir() if not entry.is_symlink()),
         "the scopes' jobs")
keep()
