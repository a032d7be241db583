"""Machines over D-Bus, on a host with systemd."""

import contextlib
import itertools
import os
import pathlib
import re
import signal
import socket
import subprocess
import time

import service
import standard
import wire
from service import (MACHINE, MANAGER, NAME, ROOT, Client, as_user, case, differs, path_of, same, wait_for)
from wire import Variant

bus = standard.bus
UNPRIVILEGED = 4711
started, numbers = [], iter(range(10000))


def sh(*command):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


class Leader:
    """A process in a service of its own."""

    def __init__(self, *command, properties=()):
        self.unit = f"leader{next(numbers)}.service"
        sh("systemd-run", "--quiet", "--service-type=exec", f"--unit={self.unit}", "--property=KillMode=mixed",
           *(f"--property={each}" for each in properties), *(command or ("sleep", "infinity")))
        self.pid = int(sh("systemctl", "show", "--property=MainPID", "--value", self.unit))
        started.append(self.unit)


def tidy():
    for name in bus.names() - {".host"}:
        bus.manager("UnregisterMachine", "s", name)
    wait_for(lambda: bus.names() == {".host"})
    if started:
        subprocess.run(["systemctl", "kill", "--signal=KILL", *started], check=False, stderr=subprocess.DEVNULL)
        subprocess.run(["systemctl", "stop", *started], check=False, stderr=subprocess.DEVNULL)
        subprocess.run(["systemctl", "reset-failed", *started], check=False, stderr=subprocess.DEVNULL)
        started.clear()


def no_machine(name):
    return f"machine1.NoSuchMachine: No machine '{name}' known"


NEWER = ("stock262", "ours")


@case()
def a_machine_is_registered_and_listed():
    leader = Leader()
    same(bus.register("My-1.x", leader.pid, id=b"0123456789abcdef", root="/r"), [path_of("My-1.x")])
    same(bus.manager("GetMachine", "s", "My-1.x"), [path_of("My-1.x")])
    same(bus.manager("GetMachineByPID", "u", leader.pid), [path_of("My-1.x")])
    rows = sorted(bus.manager("ListMachines")[0])
    same(rows, [(".host", "host", "", path_of(".host")), ("My-1.x", "container", "svc", path_of("My-1.x"))])
    assert "My_2d1_2ex" in standard.nodes(service.MACHINES)


@case()
def a_machine_has_the_properties_it_was_registered_with():
    leader, now = Leader(), time.time() * 1_000_000
    bus.register("web", leader.pid, id=b"0123456789abcdef", root="/r", member="RegisterMachineWithNetwork", interfaces=[1, 7])
    got = bus.all(path_of("web"), MACHINE)
    assert abs(got.pop("Timestamp") - now) < 60_000_000
    assert 0 < got.pop("TimestampMonotonic") < now
    newer = {}
    if service.flavour != "stock257":
        assert got["LeaderPIDFDId"] > 0 and got["SupervisorPIDFDId"] > 0
        assert got.pop("LeaderPIDFDId") != got.pop("SupervisorPIDFDId")
        newer = {"Subgroup": "", "Supervisor": os.getpid(), "UID": 0}
    same(got, {"Name": "web", "Id": b"0123456789abcdef", "Service": "svc", "Unit": leader.unit, "Leader": leader.pid,
               "Class": "container", "RootDirectory": "/r", "NetworkInterfaces": [1, 7], "VSockCID": 0xffffffff,
               "SSHAddress": "", "SSHPrivateKeyPath": "", "State": "running", **newer})
    same(bus.get(path_of("web"), MACHINE, "Scope"), leader.unit)


@case()
def the_host_is_a_machine():
    got = bus.all(path_of(".host"), MACHINE)
    assert 0 < got.pop("Timestamp") < time.time() * 1_000_000
    if service.flavour != "stock257":
        assert got.pop("LeaderPIDFDId") > 0
        same((got.pop("Supervisor"), got.pop("SupervisorPIDFDId"), got.pop("Subgroup"), got.pop("UID")), (0, 0, "", 0))
    assert got.pop("VSockCID") in (1, 0xffffffff)
    identity = bytes.fromhex(pathlib.Path("/etc/machine-id").read_text().strip())
    # The original calculates it from the other one, and is a microsecond off at times.
    assert got.pop("TimestampMonotonic") in differs(ours=(0,), others=(0, 1))
    same(got, {"Name": ".host", "Id": identity, "Service": "", "Unit": "-.slice", "Leader": 1,
               "Class": "host", "RootDirectory": "/", "NetworkInterfaces": [], "SSHAddress": "", "SSHPrivateKeyPath": "",
               "State": "running"})
    same(bus.manager("GetMachine", "s", ".host"), [path_of(".host")])
    for member in ("TerminateMachine", "KillMachine"):
        arguments = ("s", ".host") if member == "TerminateMachine" else ("ssi", ".host", "leader", 18)
        same(bus.manager(member, *arguments), "NotSupported: Operation not supported")
    same(bus.machine(".host", "Terminate"), "NotSupported: Operation not supported")
    same(bus.manager("UnregisterMachine", "s", ".host"), [])
    same(bus.names(), {".host"})


@case()
def names_that_no_machine_has_are_unknown():
    for name in ("nope", "a_b", "", "self", "x" * 70, "a..b", "é"):
        same(bus.manager("GetMachine", "s", name), no_machine(name))
    for member in ("TerminateMachine", "UnregisterMachine", "GetMachineAddresses", "GetMachineSSHInfo",
                   "GetMachineOSRelease", "GetMachineUIDShift"):
        same(bus.manager(member, "s", "nope"), no_machine("nope"), member)


@case()
def the_root_directory_of_a_container_is_opened_for_who_may_manage_it():
    root = template("root1", "ID=inside\n")
    bus.register("web", Leader("/usr/bin/sleep", "infinity", properties=[f"RootDirectory={root}"]).pid)
    bus.register("vm1", Leader().pid, kind="vm")

    def opened(client, path, interface, member, *arguments):
        reply = client.reply(client.send(NAME, path, interface, member, *arguments))
        (descriptor,) = reply.fds
        try:
            assert sorted(os.listdir(descriptor)), "it can be listed"
            return os.fstat(descriptor).st_ino
        finally:
            os.close(descriptor)
    for name, inode in (("web", os.stat(root).st_ino), (".host", os.stat("/").st_ino)):
        same(opened(bus, ROOT, MANAGER, "OpenMachineRootDirectory", "s", name), inode)
        same(opened(bus, path_of(name), MACHINE, "OpenRootDirectory"), inode)
    none = "NotSupported: Opening the root directory is only supported on container machines."
    same(bus.manager("OpenMachineRootDirectory", "s", "vm1"), none)
    same(bus.machine("vm1", "OpenRootDirectory"), none)
    same(bus.manager("OpenMachineRootDirectory", "s", "nope"), no_machine("nope"))
    for name in ("web", "vm1", ".host"):
        got = as_user(UNPRIVILEGED, lambda client, name=name: client.manager("OpenMachineRootDirectory", "s", name))
        assert got.startswith("InteractiveAuthorizationRequired: "), got


@case()
def processes_that_are_in_no_machine_are_unknown():
    for pid in (0, 1, 2, os.getpid(), 0x7fffffff, 999999):
        same(bus.manager("GetMachineByPID", "u", pid),
             f"machine1.NoMachineForPID: PID {pid} does not belong to any known machine")
    for pid in (0x80000000, 0xffffffff):
        same(bus.manager("GetMachineByPID", "u", pid), "InvalidArgs: Invalid argument")


def refused(name, why):
    # Ours says which rule a name breaks.
    return "Invalid machine name" + differs(ours=f": machine name '{name}': {why}", others="")


@case()
def what_is_wrong_with_a_registration_is_said_in_order():
    leader = Leader().pid
    for expected, arguments in (
            (refused("a_b", "'_' is not allowed (try 'a-b')"), dict(name="a_b", id=b"x", leader=0)),
            (refused("", "it is empty (try 'machine')"), dict(name="")),
            (refused("x" * 65, f"it has more than 64 bytes (try '{'x' * 64}')"), dict(name="x" * 65)),
            ("Invalid machine ID parameter", dict(id=b"12", kind="nope")),
            ("Invalid machine class parameter", dict(id=bytes(16), kind="nope")),
            ("Invalid machine class parameter", dict(kind="host", leader=1)),
            ("Invalid leader PID", dict(kind="", leader=1)),
            ("Invalid leader PID", dict(leader=1, root="x")),
            ("Root directory must be empty or an absolute path", dict(root="x"))):
        same(bus.register(**{"name": "web", "leader": leader, **arguments}), f"InvalidArgs: {expected}")
    for index in (0, -1):
        same(bus.register("web", leader, member="RegisterMachineWithNetwork", interfaces=[3, index], kind="nope"),
             f"InvalidArgs: Invalid network interface index {index}")
    same(bus.names(), {".host"})


@case()
def a_root_directory_may_have_detours():
    leader = Leader().pid
    for root in ("/../x", "//x", "", "/"):
        same(bus.register("web", leader, root=root), [path_of("web")])
        same(bus.get(path_of("web"), MACHINE, "RootDirectory"), root)
        bus.manager("UnregisterMachine", "s", "web")
        wait_for(lambda: bus.names() == {".host"})


@case()
def a_leader_has_to_live():
    gone = subprocess.Popen(["true"])
    gone.wait()
    for pid, shown in ((gone.pid, gone.pid), (0x80000000, -0x80000000), (0xffffffff, -1)):
        same(bus.register("web", pid), f"UnixProcessIdUnknown: Failed to pin process {shown}: No such process")
    same(bus.register("web", Leader().pid, kind=""), "NotSupported: Operation not supported")


@case()
def a_leader_has_to_be_in_a_unit():
    # A thread of the kernel's, where there is one to be seen.
    threads = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if pathlib.Path(f"/proc/{pid}/cgroup").read_text().strip().endswith("::/"):
                threads.append(pid)
    if threads:
        same(bus.register("web", int(threads[0])),
             f"System.Error.ENXIO: Failed to determine unit of process {threads[0]} : No such device or address")


@case()
def a_name_and_a_leader_are_taken_once():
    leader, other = Leader().pid, Leader().pid
    same(bus.register("web", leader), [path_of("web")])
    same(bus.register("web", other), "machine1.MachineExists: Machine 'web' already exists")
    same(bus.register("web", other, kind=""), "machine1.MachineExists: Machine 'web' already exists")
    same(bus.register("other", leader), "FileExists: File exists")
    # The original stops the unit that it could not take, which is that of the first machine.
    if service.flavour == "ours":
        same(bus.manager("GetMachine", "s", "web"), [path_of("web")])
        assert pathlib.Path(f"/proc/{leader}").exists(), "a failed registration stops nobody"


@case()
def what_is_not_known_of_a_virtual_machine_is_not_supported():
    bus.register("vm1", Leader().pid, kind="vm")
    for member, text in (("GetMachineAddresses", "Requesting IP address data is only supported on container machines."),
                         ("GetMachineOSRelease", "Requesting OS release data is only supported on container machines."),
                         ("GetMachineUIDShift", "UID/GID shift may only be determined for container machines.")):
        same(bus.manager(member, "s", "vm1"), f"NotSupported: {text}")
        same(bus.machine("vm1", member.replace("Machine", "")), f"NotSupported: {text}")
    for name in ("vm1", ".host"):
        same(bus.manager("GetMachineSSHInfo", "s", name), "FileNotFound: No such file or directory")
        for member in ("MapFromMachineUser", "MapFromMachineGroup"):
            same(bus.manager(member, "su", name, 0), "InvalidArgs: Not supported for non-container machines.")


@case()
def a_machine_in_the_hosts_network_has_no_addresses_of_its_own():
    bus.register("web", Leader().pid)
    expected = "machine1.NoPrivateNetworking: Machine web does not use private networking"
    same(bus.manager("GetMachineAddresses", "s", "web"), expected)
    same(bus.machine("web", "GetAddresses"), expected)


@case()
def addresses_come_in_the_order_of_family_scope_interface_and_bytes():
    leader = Leader(properties=["PrivateNetwork=yes"]).pid

    def ip(*words):
        sh("nsenter", f"--target={leader}", "--net", "ip", *words)
    ip("link", "add", "one", "index", "10", "type", "veth", "peer", "name", "two", "index", "20")
    for link, addresses in (("two", ("10.0.0.1/24", "fd00::2/64")), ("one", ("10.0.0.9/24", "10.0.0.10/24", "fe80::9/64"))):
        ip("link", "set", link, "addrgenmode", "none")
        ip("link", "set", link, "up")
        for address in addresses:
            ip("address", "add", address, "dev", link, *(("nodad",) if ":" in address else ()))
    ip("address", "add", "169.254.0.1/16", "dev", "one", "scope", "link")
    bus.register("web", leader)
    expected = [(2, "10.0.0.9"), (2, "10.0.0.10"), (2, "10.0.0.1"), (2, "169.254.0.1"), (10, "fd00::2"), (10, "fe80::9")]

    def got():
        pairs = bus.manager("GetMachineAddresses", "s", "web")[0]
        return [(family, socket.inet_ntop(family, address)) for family, address in pairs]
    same(got(), expected)
    same(bus.machine("web", "GetAddresses"), bus.manager("GetMachineAddresses", "s", "web"))
    ip("address", "del", "10.0.0.10/24", "dev", "one")
    wait_for(lambda: got() == [pair for pair in expected if pair[1] != "10.0.0.10"])
    same(bus.manager("GetMachineAddresses", "s", ".host"), [[]])


def template(name, release):
    root = pathlib.Path("/var/tmp") / name
    sh("cp", "--archive", "/usr/share/machine-template", str(root))
    for file in ("etc/os-release", "usr/lib/os-release"):
        (root / file).unlink()
    if release is not None:
        (root / "etc/os-release").write_text(release)
    return str(root)


@case()
def the_os_of_a_container_is_what_its_files_say():
    root = template("os1", 'ID=one\n# a comment\nPRETTY_NAME="An OS"\nID=two\nQUOTED=\'$x\'\n')
    bus.register("web", Leader("/usr/bin/sleep", "infinity", properties=[f"RootDirectory={root}"]).pid)
    expected = {"ID": "two", "PRETTY_NAME": "An OS", "QUOTED": "$x"}
    same(bus.manager("GetMachineOSRelease", "s", "web"), [expected])
    same(bus.machine("web", "GetOSRelease"), [expected])
    own = bus.manager("GetMachineOSRelease", "s", ".host")[0]
    same(own["ID"], "debian")
    missing = template("os2", None)
    bus.register("bare", Leader("/usr/bin/sleep", "infinity", properties=[f"RootDirectory={missing}"]).pid)
    same(bus.manager("GetMachineOSRelease", "s", "bare"),
         "FileNotFound: Failed to get OS release: No such file or directory")


def mapped(*ranges):
    """A leader with these maps for users and groups: inside, outside, count."""
    maps = [option for inside, outside, count in ranges
            for option in (f"--map-users={inside}:{outside}:{count}", f"--map-groups={inside}:{outside}:{count}")]
    leader = Leader("unshare", "--user", *maps, "sleep", "infinity").pid
    wait_for(lambda: pathlib.Path(f"/proc/{leader}/comm").read_text() == "sleep\n")
    return leader


@case()
def users_and_groups_are_translated_both_ways():
    bus.register("web", mapped((0, 500000, 65536)))
    same(bus.manager("GetMachineUIDShift", "s", "web"), [500000])
    same(bus.machine("web", "GetUIDShift"), [500000])
    for kind, word, code in (("User", "user", "UID"), ("Group", "group", "GID")):
        def of(name, inside, kind=kind):
            return bus.manager(f"MapFromMachine{kind}", "su", name, inside)

        def to(outside, kind=kind):
            return bus.manager(f"MapToMachine{kind}", "u", outside)
        same(of("web", 0), [500000])
        same(of("web", 65534), [565534])
        # One name for both kinds.
        same(of("web", 70000), f"machine1.NoSuchUserMapping: Machine 'web' has no matching {word} mappings.")
        same(of("nope", 0), no_machine("nope"))
        for none in (65535, 0xffffffff):
            same(of("nope", none), f"InvalidArgs: Invalid {word} ID {none}")
            same(to(none), f"InvalidArgs: Invalid {word} ID {none}")
        same(to(501000), ["web", path_of("web"), 1000])
        same(to(565535), "InvalidArgs: Invalid argument")
        same(to(65534), f"machine1.NoSuch{kind}Mapping: {kind} 65534 belongs to host {code} range")
        same(to(65536), f"machine1.NoSuch{kind}Mapping: No matching {word} mapping for 65536.")


@case()
def a_map_of_several_ranges_is_no_shift():
    bus.register("web", mapped((0, 600000, 1000), (1000, 700000, 64536)))
    same(bus.manager("GetMachineUIDShift", "s", "web"),
         "NotSupported: Machine web uses a complex UID/GID mapping, cannot determine shift")
    same(bus.manager("MapFromMachineUser", "su", "web", 1001), [700001])
    same(bus.manager("MapToMachineUser", "u", 700001), ["web", path_of("web"), 1001])


@case()
def a_machine_without_a_user_namespace_has_the_hosts_ids():
    bus.register("web", Leader().pid)
    same(bus.manager("GetMachineUIDShift", "s", "web"), [0])
    same(bus.manager("MapFromMachineUser", "su", "web", 1000), [1000])
    same(bus.manager("MapToMachineUser", "u", 70000), "machine1.NoSuchUserMapping: No matching user mapping for 70000.")
    same(bus.manager("GetMachineUIDShift", "s", ".host"), [0])


@case()
def what_is_wrong_with_a_kill_is_said_before_anything_is_killed():
    bus.register("web", Leader().pid)
    for whom, number, expected in (("nope", 0, "Invalid kill parameter 'nope'"), ("leader", 0, "Invalid signal 0"),
                                   ("", 65, "Invalid signal 65"), ("all", -1, "Invalid signal -1")):
        same(bus.manager("KillMachine", "ssi", "web", whom, number), f"InvalidArgs: {expected}")
        same(bus.machine("web", "Kill", "si", whom, number), f"InvalidArgs: {expected}")
        same(bus.manager("KillMachine", "ssi", "nope", whom, number), no_machine("nope"))


def counting():
    """A leader and a process beside it, that count the signals they get."""
    script = "trap 'echo leader >>$1' USR1; (trap 'echo other >>$1' USR1; while :; do sleep 0.05; done) & " \
             "while :; do sleep 0.05; done"
    log = pathlib.Path(f"/run/count{next(numbers)}")
    log.write_text("")
    leader = Leader("bash", "-c", script, "bash", str(log))
    group = sh("systemctl", "show", "--property=ControlGroup", "--value", leader.unit)
    # Both shells, and what each waits for.
    wait_for(lambda: len(pathlib.Path(f"/sys/fs/cgroup{group}/cgroup.procs").read_text().split()) >= 4)
    return leader, log


@case()
def a_signal_goes_to_the_leader_or_to_all():
    leader, log = counting()
    bus.register("web", leader.pid)
    same(bus.manager("KillMachine", "ssi", "web", "leader", signal.SIGUSR1), [])
    wait_for(lambda: log.read_text() == "leader\n")
    same(bus.machine("web", "Kill", "si", "", signal.SIGCONT), [])
    same(bus.manager("KillMachine", "ssi", "web", "leader", 64), [])


@case(*NEWER)
def a_signal_goes_to_the_supervisor():
    got = []
    before = signal.signal(signal.SIGUSR1, lambda *_: got.append(True))
    try:
        bus.register("web", Leader().pid)
        same(bus.manager("KillMachine", "ssi", "web", "supervisor", signal.SIGUSR1), [])
        wait_for(lambda: got)
    finally:
        signal.signal(signal.SIGUSR1, before)


@case()
def signals_come_before_the_answer_to_whoever_caused_them():
    with Client() as client:
        client.match(f"type='signal',sender='{NAME}'")
        leader = Leader().pid

        def until_reply(serial):
            heard = []
            while True:
                got = client.next()
                if got.type == wire.SIGNAL and got.fields[wire.INTERFACE] == MANAGER:
                    same(got.fields[wire.PATH], ROOT)
                    heard.append((got.fields[wire.MEMBER], *got.body))
                if got.fields.get(wire.REPLY_SERIAL) == serial:
                    return heard
        serial = client.send(NAME, ROOT, MANAGER, "RegisterMachine", "sayssus", "My-1.x", b"", "", "container", leader, "")
        same(until_reply(serial), [("MachineNew", "My-1.x", path_of("My-1.x"))])
        serial = client.send(NAME, ROOT, MANAGER, "UnregisterMachine", "s", "My-1.x")
        same(until_reply(serial), [("MachineRemoved", "My-1.x", path_of("My-1.x"))])
        wait_for(lambda: bus.names() == {".host"})
        serial = client.send(NAME, ROOT, MANAGER, "RegisterMachine", "sayssus", "a_b", b"", "", "container", leader, "")
        same(until_reply(serial), [])


@case()
def a_machine_that_dies_is_removed_and_says_so():
    with Client() as client:
        client.match(f"type='signal',sender='{NAME}'")
        leader = Leader()
        bus.register("web", leader.pid)
        same(client.signals(), [("MachineNew", "web", path_of("web"))])
        sh("systemctl", "kill", "--signal=KILL", leader.unit)
        wait_for(lambda: bus.names() == {".host"})
        same(client.signals(), [("MachineRemoved", "web", path_of("web"))])
        same(bus.manager("GetMachine", "s", "web"), no_machine("web"))
        same(bus.get(path_of("web"), MACHINE, "Name"), f"UnknownObject: Unknown object '{path_of('web')}'.")


@case()
def a_machine_is_terminated_with_its_unit():
    leader = Leader()
    bus.register("web", leader.pid)
    same(bus.manager("TerminateMachine", "s", "web"), [])
    wait_for(lambda: bus.names() == {".host"})
    wait_for(lambda: subprocess.run(["systemctl", "is-active", "--quiet", leader.unit], check=False).returncode != 0)
    again = Leader()
    bus.register("web", again.pid)
    same(bus.machine("web", "Terminate"), [])
    wait_for(lambda: bus.names() == {".host"})


@case()
def a_machine_that_takes_its_time_to_end_is_closing():
    leader = Leader("bash", "-c", "trap '' TERM; touch /run/stubborn; while :; do sleep 0.1; done")
    wait_for(lambda: os.path.exists("/run/stubborn"))
    bus.register("web", leader.pid)
    same(bus.get(path_of("web"), MACHINE, "State"), "running")
    same(bus.manager("TerminateMachine", "s", "web"), [])
    same(bus.get(path_of("web"), MACHINE, "State"), "closing")
    sh("systemctl", "kill", "--signal=KILL", leader.unit)


@case()
def a_machine_that_is_unregistered_goes_on():
    leader = Leader()
    bus.register("web", leader.pid)
    same(bus.manager("UnregisterMachine", "s", "web"), [])
    wait_for(lambda: bus.names() == {".host"})
    assert pathlib.Path(f"/proc/{leader.pid}").exists()


def outsider():
    """A process beside this one, in no unit of its own."""
    # Whose parent is process 1, which reaps it.
    pid = int(sh("sh", "-c", "sleep infinity >/dev/null 2>&1 & echo $!"))
    outsiders.append(pid)
    return pid


outsiders = []


@case()
def a_machine_is_created_with_a_scope_before_it_is_answered():
    with Client() as client:
        client.match(f"type='signal',sender='{NAME}'")
        leader = outsider()
        same(client.register("my-web", leader, member="CreateMachine",
                             properties=[("Description", Variant("s", "Mine")), ("CPUWeight", Variant("t", 77))]),
             [path_of("my-web")])
        unit = r"machine-my\x2dweb.scope"
        same(sh("systemctl", "show", "--property=ActiveState", "--value", unit), "active")
        same(sh("systemctl", "show", "--property=Description", "--value", unit), "Mine")
        same(sh("systemctl", "show", "--property=CPUWeight", "--value", unit), "77")
        assert unit.encode() in pathlib.Path(f"/proc/{leader}/cgroup").read_bytes()
        same(client.signals(), [("MachineNew", "my-web", path_of("my-web"))])
        got = bus.all(path_of("my-web"), MACHINE)
        same((got["Unit"], got["State"], got["Leader"]), (unit, "running", leader))
        same(bus.manager("TerminateMachine", "s", "my-web"), [])
        wait_for(lambda: bus.names() == {".host"})


@case()
def a_machine_is_created_with_its_network():
    same(bus.register("net", outsider(), member="CreateMachineWithNetwork", interfaces=[1], properties=[]), [path_of("net")])
    same(bus.get(path_of("net"), MACHINE, "NetworkInterfaces"), [1])
    bus.manager("TerminateMachine", "s", "net")


@case()
def a_scope_that_is_there_already_is_the_service_managers_error():
    outsiders.append(int(sh("sh", "-c", "systemd-run --quiet --scope --unit=machine-taken.scope sleep infinity "
                            ">/dev/null 2>&1 & echo $!")))
    wait_for(lambda: sh("systemctl", "show", "--property=ActiveState", "--value", "machine-taken.scope") == "active")
    same(bus.register("taken", outsider(), member="CreateMachine", properties=[]),
         "systemd1.UnitExists: Unit machine-taken.scope was already loaded or has a fragment file.")
    wait_for(lambda: bus.names() == {".host"})


SELF = """
import sys, time, pathlib
sys.path.insert(0, sys.argv[1])
from service import *
while not pathlib.Path(sys.argv[2] + ".go").exists(): time.sleep(0.02)
client = Client()
told = [client.get(MACHINES + "/self", MACHINE, "Name"), client.manager("GetMachineByPID", "u", 0)]
pathlib.Path(sys.argv[2] + ".new").write_text(repr(told))
pathlib.Path(sys.argv[2] + ".new").rename(sys.argv[2])
time.sleep(1000)
"""


@case()
def a_process_finds_its_own_machine():
    file = f"/run/self{next(numbers)}"
    leader = Leader("python3", "-B", "-c", SELF, os.path.dirname(os.path.abspath(__file__)), file).pid
    bus.register("my-web", leader)
    pathlib.Path(f"{file}.go").touch()
    wait_for(lambda: os.path.exists(file))
    same(pathlib.Path(file).read_text(), repr(["my-web", [path_of("my-web")]]))
    same(bus.get(f"{service.MACHINES}/self", MACHINE, "Name"), f"UnknownObject: Unknown object '{service.MACHINES}/self'.")
    same(bus.ask(f"{service.MACHINES}/self", service.INTROSPECTABLE, "Introspect"),
         f"UnknownObject: Unknown object '{service.MACHINES}/self'.")


def ex(name, *properties, fds=(), member="RegisterMachineEx"):
    more = ([],) if member == "CreateMachineEx" else ()
    return bus.manager(member, "sa(sv)" + "a(sv)" * len(more), name, list(properties), *more, fds=fds)


CONTAINER = ("Class", Variant("s", "container"))


@case(*NEWER)
def a_machine_is_registered_by_its_properties():
    leader = Leader().pid
    fd = os.pidfd_open(leader)
    same(ex("ex", ("Class", Variant("s", "vm")), CONTAINER, ("LeaderPIDFD", Variant("h", 0)), ("Service", Variant("s", "ss")),
            ("VSockCID", Variant("u", 77)), ("SSHAddress", Variant("s", "addr")), ("SSHPrivateKeyPath", Variant("s", "/key")),
            ("RootDirectory", Variant("s", "/r")), ("NetworkInterfaces", Variant("ai", [1, 7])),
            ("Id", Variant("ay", b"0123456789abcdef")), fds=[fd]), [path_of("ex")])
    got = bus.all(path_of("ex"), MACHINE)
    same([got[name] for name in ("Class", "Leader", "LeaderPIDFDId", "Service", "VSockCID", "SSHAddress",
                                 "SSHPrivateKeyPath", "RootDirectory", "NetworkInterfaces", "Id")],
         ["container", leader, os.fstat(fd).st_ino, "ss", 77, "addr", "/key", "/r", [1, 7], b"0123456789abcdef"])
    same(bus.machine("ex", "GetSSHInfo"), ["addr", "/key"])
    same(bus.manager("GetMachineSSHInfo", "s", "ex"), ["addr", "/key"])
    os.close(fd)


@case(*NEWER)
def a_machine_is_created_by_its_properties():
    fd = os.pidfd_open(outsider())
    same(ex("ex", CONTAINER, ("LeaderPIDFD", Variant("h", 0)), member="CreateMachineEx", fds=[fd]), [path_of("ex")])
    same(bus.get(path_of("ex"), MACHINE, "Unit"), "machine-ex.scope")
    bus.manager("TerminateMachine", "s", "ex")
    os.close(fd)


@case(*NEWER)
def what_is_wrong_with_a_property_is_said():
    for expected, name, value in (
            ("InvalidArgs: Unknown property 'Nope'", "Nope", Variant("s", "x")),
            ("System.Error.ENXIO: No such device or address", "Class", Variant("u", 1)),
            ("InvalidArgs: Invalid machine class parameter", "Class", Variant("s", "nope")),
            ("InvalidArgs: Invalid machine class parameter", "Class", Variant("s", "host")),
            ("InvalidArgs: Invalid machine ID parameter", "Id", Variant("ay", b"1")),
            ("InvalidArgs: Root directory must be empty or an absolute path", "RootDirectory", Variant("s", "x")),
            ("InvalidArgs: Invalid network interface index 0", "NetworkInterfaces", Variant("ai", [0])),
            ("InvalidArgs: JSON field 'vSockCid' is not a regular VSOCK CID.", "VSockCID", Variant("u", 2)),
            ("InvalidArgs: JSON field 'vSockCid' is not a regular VSOCK CID.", "VSockCID", Variant("u", 0xffffffff))):
        same(ex("web", (name, value)), expected)
        same(ex("a_b", (name, value)), "InvalidArgs: " + refused("a_b", "'_' is not allowed (try 'a-b')"))
    with open("/dev/null") as file:
        got = ex("web", CONTAINER, ("LeaderPIDFD", Variant("h", 0)), fds=[file.fileno()])
    same(re.sub("[0-9]+", "N", got), "System.Error.ENOTTY: Failed to parse PIDFD N: Inappropriate ioctl for device")
    # Some are looked at as they come, and the others when all are there.
    wrong = {"id": ("Id", Variant("ay", b"1")), "class": ("Class", Variant("s", "nope")),
             "root": ("RootDirectory", Variant("s", "x")), "leader": ("LeaderPID", Variant("u", 1)),
             "interfaces": ("NetworkInterfaces", Variant("ai", [0])), "cid": ("VSockCID", Variant("u", 2)),
             "unknown": ("Nope", Variant("s", "x")), "type": ("Service", Variant("u", 1))}
    alone = {name: ex("web", value) for name, value in wrong.items()}
    at_once, later = ("id", "interfaces", "cid", "unknown", "type"), ("class", "root", "leader")
    for one, other in itertools.permutations(wrong, 2):
        first = min(one, other, key=lambda name: (name in later, later.index(name) if name in later else 0))
        if one in at_once:
            first = one
        same(ex("web", wrong[one], wrong[other]), alone[first], (one, other))


@case(*NEWER)
def what_is_said_of_a_leader_has_to_fit_together():
    leader = Leader().pid
    fd = os.pidfd_open(leader)
    inode = os.fstat(fd).st_ino
    pid, pidfd, number = (lambda pid: ("LeaderPID", Variant("u", pid))), ("LeaderPIDFD", Variant("h", 0)), \
        (lambda number: ("LeaderPIDFDID", Variant("t", number)))
    both = "InvalidArgs: Both LeaderPID and LeaderPIDFDID must be specified to identify the leader process by PIDFDID"
    same(ex("web", CONTAINER, pid(leader)), both)
    same(ex("web", CONTAINER, pid(1)), both)
    same(ex("web", CONTAINER, number(inode)), both)
    same(ex("web", CONTAINER, pid(leader), number(inode + 1)),
         f"UnixProcessIdUnknown: Failed to pin process {leader} by PIDFDID {inode + 1}: No such process")
    same(ex("web", CONTAINER, pidfd, pid(leader + 1), fds=[fd]),
         "InvalidArgs: LeaderPID and LeaderPIDFD refer to different processes")
    same(ex("web", CONTAINER, pidfd, number(inode + 1), fds=[fd]),
         "InvalidArgs: LeaderPIDFDID does not match the inode number of LeaderPIDFD")
    same(ex("web", CONTAINER, pid(leader), number(inode)), [path_of("web")])
    same(bus.get(path_of("web"), MACHINE, "Leader"), leader)
    os.close(fd)
    init = os.pidfd_open(1)
    for said, fds in ([pid(1), number(os.fstat(init).st_ino)], []), ([pidfd], [init]):
        for member in "RegisterMachineEx", "CreateMachineEx":
            same(ex("host", CONTAINER, *said, fds=fds, member=member), "InvalidArgs: Invalid leader PID", (said, member))
    os.close(init)


@case("stock257")
def what_came_later_is_unknown():
    same(ex("web"), f"UnknownMethod: Unknown method RegisterMachineEx or interface {MANAGER}.")


@case()
def the_log_is_roots_to_change():
    denied = "AccessDenied: Access to org.freedesktop.LogControl1.LogLevel() not permitted."
    for value in ("debug", "nope"):
        same(as_user(UNPRIVILEGED, lambda client, value=value: client.set(
            service.LOG, service.LOG_CONTROL, "LogLevel", Variant("s", value))), denied)
    same(as_user(UNPRIVILEGED, lambda client: client.set(
        service.LOG, service.LOG_CONTROL, "SyslogIdentifier", Variant("s", "x"))),
        "PropertyReadOnly: Property 'SyslogIdentifier' is not writable.")


@case()
def systemctl_reads_and_changes_where_the_log_goes_and_how_much():
    unit = differs(ours="machined.service", others="systemd-machined.service")
    for verb, change, path in (("service-log-level", "debug", "LogLevel"), ("service-log-target", "console", "LogTarget")):
        before = sh("systemctl", verb, unit)
        same(before, bus.get(service.LOG, service.LOG_CONTROL, path))
        sh("systemctl", verb, unit, change)
        same(sh("systemctl", verb, unit), change)
        sh("systemctl", verb, unit, before)
        same(bus.get(service.LOG, service.LOG_CONTROL, path), before)


@case()
def who_is_neither_root_nor_owner_has_to_authenticate():
    bus.register("web", Leader().pid)
    challenge = "InteractiveAuthorizationRequired: " + differs(
        stock262="Access denied as the requested operation requires interactive authentication. However, interactive "
                 "authentication has not been enabled by the calling program.",
        others="Interactive authentication required.")
    calls = [(path_of("web"), MACHINE, "Terminate"), (ROOT, MANAGER, "UnregisterMachine", "s", "web"),
             (ROOT, MANAGER, "TerminateMachine", "s", ".host"),
             (ROOT, MANAGER, "KillMachine", "ssi", "web", "leader", 18)]
    if service.flavour != "stock257":
        calls += [(ROOT, MANAGER, "GetMachineOSRelease", "s", "web"),
                  (ROOT, MANAGER, "RegisterMachineEx", "sa(sv)", "mine", [])]
    for call in calls:
        same(as_user(UNPRIVILEGED, lambda client, call=call: client.ask(*call)), challenge, call)
    same(bus.names(), {".host", "web"})


@case()
def everybody_may_ask_what_machines_there_are():
    bus.register("web", Leader().pid)
    same(as_user(UNPRIVILEGED, lambda client: sorted(client.names())), "['.host', 'web']")
    same(as_user(UNPRIVILEGED, lambda client: client.get(path_of("web"), MACHINE, "Class")), "container")
    same(as_user(UNPRIVILEGED, lambda client: client.machine("web", "GetUIDShift")), "[0]")
    for call in (lambda client: client.manager("TerminateMachine", "s", "nope"),
                 lambda client: client.manager("KillMachine", "ssi", "nope", "x", 99)):
        same(as_user(UNPRIVILEGED, call), no_machine("nope"))
    same(as_user(UNPRIVILEGED, lambda client: client.machine("web", "Kill", "si", "x", 9)),
         "InvalidArgs: Invalid kill parameter 'x'")


@case()
def a_daemon_that_is_started_again_tells_of_all_machines():
    bus.register("web", Leader().pid)
    with Client() as client:
        client.match(f"type='signal',sender='{NAME}'")
        sh("systemctl", "restart", differs(ours="machined", others="systemd-machined"))
        heard = []
        wait_for(lambda: heard.extend(client.signals()) or heard)
        same(heard, [("MachineNew", "web", path_of("web"))])
        same(bus.names(), {".host", "web"})


def tidy_all():
    tidy()
    for pid in outsiders:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    outsiders.clear()
