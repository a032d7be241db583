"""What a user does with machines of the user's own, by the tools that everybody has. Runs as that user."""

import json
import os
import pathlib
import subprocess
import sys
import time
import traceback

RUNTIME = os.environ["XDG_RUNTIME_DIR"]
RECORDS = f"{RUNTIME}/systemd/machines"
OWN, SYSTEMS = f"{RUNTIME}/systemd/machine/io.systemd.Machine", "/run/systemd/machine/io.systemd.Machine"
IS_STOCK, HAS_BUS = "--stock" in sys.argv, "--bus" in sys.argv
TESTS = []


# machinectl knows users' machines since systemd 258.
HAS_MACHINECTL = os.path.exists("/usr/lib/systemd/user/systemd-machined.service")


def test(is_run=True):
    """A test; one that is not run here is not told either."""
    def add(function):
        if is_run:
            TESTS.append(function)
        return function
    return add


def run(*command, code=0):
    """What a command prints; its exit code has to be this one, or any if that is None."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60, check=False)
    assert code is None or done.returncode == code, f"{' '.join(command)}: exit {done.returncode}: {done.stdout}"
    return done.stdout


def until(condition, what, deadline=20):
    end = time.monotonic() + deadline
    while not (found := condition()):
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.05)
    return found


def call(method, code=0, socket=OWN, **parameters):
    return run("varlinkctl", "call", "--json=short", socket, f"io.systemd.Machine.{method}", json.dumps(parameters), code=code)


def listed(name):
    return json.loads(call("List", name=name))


def property_of(unit, name):
    return run("systemctl", "--user", "show", "--value", f"--property={name}", unit).strip()


class Leader:
    """A process in a unit of the user's systemd."""

    def __init__(self, unit):
        run("systemctl", "--user", "stop", "--quiet", unit, code=None)
        run("systemd-run", "--user", "--quiet", f"--unit={unit}", "--collect", "--service-type=exec", "sleep", "infinity")
        self.unit = f"{unit}.service"
        self.pid = int(property_of(self.unit, "MainPID"))

    def is_running(self):
        return os.path.exists(f"/proc/{self.pid}")


def register_by_bus(name, leader):
    run("busctl", "--user", "call", "org.freedesktop.machine1", "/org/freedesktop/machine1",
        "org.freedesktop.machine1.Manager", "RegisterMachine", "sayssus", name, "0", "lab", "container",
        str(leader.pid), "")


def gone(name):
    until(lambda: not os.path.exists(f"{RECORDS}/{name}"), f"the end of {name}")


@test()
def a_machine_has_the_users_unit_and_ends_with_it():
    leader = Leader("leader")
    if HAS_BUS:
        register_by_bus("web", leader)
    else:
        call("Register", name="web", **{"class": "container"}, leader=leader.pid)
    assert listed("web")["unit"] == leader.unit, listed("web")
    assert f"SCOPE={leader.unit}\n" in pathlib.Path(f"{RECORDS}/web").read_text()
    assert os.path.exists(f"{RECORDS}/unit:{leader.unit}")
    call("Terminate", name="web")
    until(lambda: not leader.is_running(), "the end of the leader")
    gone("web")


# Over Varlink the original takes that of the system, user@UID.service.
@test(not IS_STOCK)
def both_interfaces_tell_the_same_unit():
    leader = Leader("leader")
    call("Register", name="web", **{"class": "container"}, leader=leader.pid)
    assert listed("web")["unit"] == leader.unit
    call("Unregister", name="web")
    gone("web")
    assert leader.is_running()


@test(not IS_STOCK)
def a_scope_is_made_by_the_users_systemd_and_stopped_by_it():
    leader = Leader("leader")
    call("Register", name="my-web", **{"class": "container"}, leader=leader.pid, allocateUnit=True)
    unit = listed("my-web")["unit"]
    assert unit == "machine-my\\x2dweb.scope", unit
    until(lambda: property_of(unit, "ActiveState") == "active", "the scope")
    assert property_of(unit, "Slice") == "machine.slice"
    group = pathlib.Path(f"/proc/{leader.pid}/cgroup").read_text()
    assert f"/machine.slice/{unit}" in group, group
    call("Terminate", name="my-web")
    until(lambda: not leader.is_running(), "the end of the leader")
    gone("my-web")
    until(lambda: property_of(unit, "ActiveState") == "inactive", "the end of the scope")


@test(HAS_BUS and HAS_MACHINECTL)
def machinectl_lists_tells_and_terminates():
    leader = Leader("leader")
    register_by_bus("web", leader)
    assert "web" in run("machinectl", "--user", "list", "--no-legend")
    status = run("machinectl", "--user", "status", "--no-pager", "web")
    assert f"Leader: {leader.pid} (sleep)" in status and leader.unit in status, status
    assert ".host" not in run("machinectl", "--user", "list", "--all", "--no-legend")
    run("machinectl", "--user", "terminate", "web")
    until(lambda: not leader.is_running(), "the end of the leader")
    gone("web")


@test()
def a_machine_is_there_again_when_the_service_was_restarted():
    leader = Leader("leader")
    if HAS_BUS:
        register_by_bus("web", leader)
    else:
        call("Register", name="web", **{"class": "container"}, leader=leader.pid)
    run("systemctl", "--user", "restart", "systemd-machined.service" if IS_STOCK else "machined.service")
    assert listed("web")["leader"]["pid"] == leader.pid
    call("Unregister", name="web")
    gone("web")


@test()
def sockets_and_links_are_where_clients_look():
    directory, registry = os.path.dirname(OWN), f"{RUNTIME}/varlink/registry"
    assert os.stat(OWN).st_mode & 0o777 == 0o600
    for path in (f"{directory}/io.systemd.MachineImage", f"{registry}/io.systemd.Machine", f"{registry}/io.systemd.MachineImage"):
        assert os.path.realpath(path) == OWN, path
    info = json.loads(run("varlinkctl", "info", "--json=short", OWN))
    assert {"io.systemd.Machine", "io.systemd.MachineImage"} <= set(info["interfaces"]), info


@test()
def the_calls_of_mkosi_and_of_systemd_nspawn_are_taken():
    leader = Leader("vm")
    details = {"service": "mkosi", "rootDirectory": "/tmp", "vSockCid": 4711, "sshAddress": "vsock/4711", "sshPrivateKeyPath": "/tmp/key"}
    call("Register", name="debian", **{"class": "vm"}, leader=leader.pid, **details)
    found = listed("debian")
    assert {key: found[key] for key in details} == details and found["class"] == "vm", found
    call("Unregister", name="debian")
    gone("debian")
    call("Register", name="spawned", **{"class": "container"}, leader=leader.pid, service="systemd-nspawn", rootDirectory="/tmp",
         id="0123456789abcdef0123456789abcdef", allocateUnit=False, allowInteractiveAuthentication=False)
    assert listed("spawned")["service"] == "systemd-nspawn"
    call("Unregister", name="spawned")
    gone("spawned")


@test()
def the_host_is_no_machine_of_a_users():
    assert "NoSuchMachine" in call("List", code=None, name=".host")


@test()
def the_system_instance_wants_an_administrator():
    leader = Leader("leader")
    told = call("Register", code=None, socket=SYSTEMS, name="theirs", **{"class": "container"}, leader=leader.pid)
    assert "io.systemd.InteractiveAuthenticationRequired" in told or "PermissionDenied" in told, told
    assert not os.path.exists("/run/systemd/machines/theirs")


for number, function in enumerate(TESTS):
    name = function.__name__.replace("_", " ")
    try:
        function()
        print(f"ok {name}", flush=True)
    except Exception:  # noqa: B902
        print(f"FAILED {name}", flush=True)
        traceback.print_exc(file=sys.stdout)
