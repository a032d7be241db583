"""What systemd's own test of containers without root says of the registry and of images, in words of our own. Runs as root, with
a bus of the user's session; the same body for the original (262) and for ours."""

import json
import os
import pathlib
import subprocess
import time

SOCKET = "/run/systemd/machine/io.systemd.Machine"
USER, UID = "testuser", 4711
HOME, RUNTIME = f"/home/{USER}", f"/run/user/{UID}"
IMAGES = f"{HOME}/.local/state/machines"
RULE = """polkit.addRule(function(action, subject) {
  if (action.id == "org.freedesktop.machine1.register-machine" && subject.user == "%s") return polkit.Result.YES;
});
""" % USER
NAME = "org.freedesktop.machine1"
MANAGER = (NAME, "/org/freedesktop/machine1", f"{NAME}.Manager")
ID = ["16", *map(str, range(16))]
TESTS = []


def test(function):
    TESTS.append(function)
    return function


def run(*command, user=None, code=0, timeout=60):
    if user:
        command = ["runuser", "-u", user, "--", "env", "-C", "/", f"XDG_RUNTIME_DIR={RUNTIME}", f"HOME={HOME}", *command]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout, check=False)
    if code is not None:
        failed = done.returncode != 0
        assert failed == (code != 0), f"{' '.join(command)}: exit {done.returncode}: {done.stdout}"
    return done.stdout


def fails(*command, user=None):
    return run(*command, user=user, code=1)


def machines():
    return run("machinectl", "list", "--no-legend").split()


def by_bus(name, kind, leader, ids=("0",)):
    return ("busctl", "call", *MANAGER, "RegisterMachine", "sayssus", name, *ids, "", kind, str(leader), "/")


def by_varlink(method, **parameters):
    return ("varlinkctl", "call", SOCKET, f"io.systemd.Machine.{method}", json.dumps(parameters))


def until(condition, what, deadline=30):
    end = time.monotonic() + deadline
    while not (found := condition()):
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.05)
    return found


def service(name, *command, options=("--service-type=exec",)):
    """The process of a service of the user's."""
    run("systemctl", "--user", "stop", "--quiet", name, user=USER, code=None)
    run("systemd-run", "--user", "--quiet", "--collect", f"--unit={name}", *options, *command, user=USER)
    return int(run("systemctl", "--user", "show", "--value", "--property=MainPID", name, user=USER))


def end(*names):
    for name in names:
        run("machinectl", "terminate", name, code=None)
    until(lambda: not set(names) & set(machines()), f"the end of {names}")


@test
def a_container_in_a_subgroup_of_a_users_service_is_the_users_and_ends_with_the_service():
    # As systemd-nspawn without root lays it out: it is beside its payload, and has the machine registered with the system.
    script = """import json, os, pathlib, socket, subprocess, sys
group = pathlib.Path("/sys/fs/cgroup" + pathlib.Path("/proc/self/cgroup").read_text().strip().partition("::")[2])
for name in "supervisor", "payload":
    (group / name).mkdir()
payload = subprocess.Popen(["sleep", "infinity"])
(group / "payload/cgroup.procs").write_text(str(payload.pid))
(group / "supervisor/cgroup.procs").write_text(str(os.getpid()))
with socket.socket(socket.AF_UNIX) as client:
    client.connect("%s")
    parameters = {"name": "zurps", "class": "container", "leader": payload.pid, "service": "systemd-nspawn", "rootDirectory": "/",
                  "allocateUnit": False}
    client.sendall(json.dumps({"method": "io.systemd.Machine.Register", "parameters": parameters}).encode() + bytes(1))
    if b"error" in client.recv(65536):
        sys.exit("not registered")
subprocess.run(["systemd-notify", "--ready"], check=True)
sys.exit(payload.wait() != 0)
""" % SOCKET
    service("zurps", "python3", "-c", script,
            options=("--service-type=notify", "--property=NotifyAccess=all", "--property=Delegate=yes", "--slice=machine.slice"))
    status = run("machinectl", "status", "--no-pager", "zurps")
    lines = [line.strip() for line in status.splitlines()]
    assert any(line.startswith("UID:") and str(UID) in line for line in lines), status
    assert any(line.startswith(f"Unit: user@{UID}.service") for line in lines), status
    assert any(line.startswith("Subgroup: machine.slice/zurps.service/payload") for line in lines), status
    run("machinectl", "terminate", "zurps")
    until(lambda: "zurps" not in machines(), "the end of the machine")
    until(lambda: run("systemctl", "--user", "is-active", "zurps", user=USER, code=None).strip() != "active", "the end of the service")
    assert run("systemctl", "is-active", f"user@{UID}.service").strip() == "active"


@test
def a_process_of_roots_is_no_machine_of_a_users():
    leader = run("systemctl", "show", "--property=MainPID", "--value", "systemd-logind.service").strip()
    fails(*by_bus("shouldnotwork1", "container", leader, ID), user=USER)
    assert "shouldnotwork1" not in machines()


@test
def the_users_systemd_is_a_machine_and_nobody_has_a_shell_in_it():
    leader = run("systemctl", "show", "--property=MainPID", "--value", f"user@{UID}.service").strip()
    run(*by_bus("shouldnotwork2", "container", leader, ID), user=USER)
    for login in "shouldnotwork2", "root@shouldnotwork2", "0@shouldnotwork2", f"{USER}@shouldnotwork2":
        fails("machinectl", "shell", login, "/usr/bin/id", "-u", user=USER)
    run("machinectl", "show", "shouldnotwork2")
    run("busctl", "call", *MANAGER, "UnregisterMachine", "s", "shouldnotwork2")


@test
def a_service_of_the_users_is_a_machine_without_a_shell_of_the_hosts():
    leader = service("sleep", "sleep", "infinity")
    run(*by_varlink("Register", **{"name": "shouldnotwork3", "class": "container"}, leader=leader), user=USER)
    fails(*by_varlink("Open", name="shouldnotwork3", mode="shell", user="root", path="/usr/bin/bash",
                      args=["bash", "-c", "touch /shouldnotwork; sleep 20"]), user=USER)
    assert not os.path.exists("/shouldnotwork")
    run("busctl", "call", *MANAGER, "UnregisterMachine", "s", "shouldnotwork3")
    run("systemctl", "--user", "stop", "sleep", user=USER)


@test
def nobody_registers_the_host():
    leader = service("sleep", "sleep", "infinity")
    for number, user in enumerate((None, USER)):
        fails(*by_varlink("Register", **{"name": f"host{number}", "class": "host"}, leader=leader), user=user)
        fails(*by_bus(f"bushost{number}", "host", 0), user=user)
    assert not [name for name in machines() if "host" in name and not name.startswith(".")], machines()
    run("systemctl", "--user", "stop", "sleep", user=USER)


@test
def a_file_of_roots_is_not_read_by_way_of_a_machine():
    secret = pathlib.Path("/tmp/secret")
    secret.write_text("FOO=bar\n")
    secret.chmod(0o600)
    leader = service("exfiltrate", "unshare", "--map-root-user", "--user", "--mount", "bash", "-c",
                     "mount --bind /tmp/secret /usr/lib/os-release; systemd-notify --ready; exec sleep infinity",
                     options=("--service-type=notify", "--property=NotifyAccess=all"))
    run(*by_varlink("Register", **{"name": "exfiltrate", "class": "container"}, leader=leader), user=USER)
    told = run(*by_varlink("List", name="exfiltrate", acquireMetadata="graceful"), user=USER, code=None)
    assert "FOO" not in told and '"name"' not in told, told
    run("systemctl", "--user", "stop", "exfiltrate", user=USER)
    secret.unlink()
    until(lambda: "exfiltrate" not in machines(), "the end of the machine")


@test
def images_of_the_users_are_listed_shown_cloned_renamed_and_removed():
    for name in "zurps", "kurps":
        os.makedirs(f"{IMAGES}/{name}/usr/lib")
        pathlib.Path(f"{IMAGES}/{name}/usr/lib/os-release").write_text("ID=lab\nPRETTY_NAME=Lab\n")
    subprocess.run(["chown", "-R", f"{USER}:{USER}", f"{HOME}/.local"], check=True)
    control = lambda *words, **more: run("machinectl", "--user", "--no-pager", *words, user=USER, **more)
    names = lambda: [line.split()[0] for line in control("list-images", "--no-legend").splitlines() if line]
    assert names() == ["kurps", "zurps"], names()
    for name in names():
        assert "Lab" in control("image-status", name)
        assert f"Path={IMAGES}/{name}" in control("show-image", name)
    control("clone", "zurps", "wumms")
    assert names() == ["kurps", "wumms", "zurps"]
    assert os.stat(f"{IMAGES}/wumms/usr/lib/os-release").st_uid == UID
    control("image-status", "wumms")
    control("rename", "wumms", "wamms")
    assert names() == ["kurps", "wamms", "zurps"]
    control("show-image", "wamms")
    for name in "zurps", "kurps", "wamms":
        control("remove", name)
    assert names() == [] and os.listdir(IMAGES) == [], os.listdir(IMAGES)
    # The system's are others, and those of the other directories count too.
    os.makedirs("/var/lib/machines/systems/usr", exist_ok=True)
    for place in f"{RUNTIME}/machines", f"{HOME}/.local/lib/machines":
        run("mkdir", "-p", f"{place}/{place.split('/')[1]}/usr", user=USER)
    assert names() == ["home", "run"], names()
    control("remove", "home", "run")
    assert names() == []


@test
def systemd_nspawn_without_root_registers_with_both():
    """Where what it needs runs here: the services that give it ids and mounts."""
    for needed in "nsresourced", "mountfsd":
        run("systemctl", "start", f"systemd-{needed}.socket", code=None)
    run("mkdir", "-p", f"{HOME}/.local/state/machines", user=USER)
    run("cp", "-a", "/usr/share/machine-template", f"{IMAGES}/spawned")
    told = run("systemd-dissect", "--shift", f"{IMAGES}/spawned", "foreign", code=None)
    spawned = service("spawner", "systemd-nspawn", "--quiet", "--directory", f"{IMAGES}/spawned", "--machine=spawned",
                      "--private-users=managed", "/usr/sbin/init", options=("--property=Delegate=yes", "--property=RemainAfterExit=yes"))
    end = time.monotonic() + 20
    state = lambda: run("systemctl", "--user", "show", "--value", "--property=SubState", "spawner", user=USER, code=None).strip()
    while "spawned" not in machines() and state() == "running" and time.monotonic() < end:
        time.sleep(0.1)
    said = run("journalctl", "--no-pager", "--output=cat", f"_PID={spawned}", code=None)
    is_here = "spawned" in machines()
    own = json.loads(run("varlinkctl", "call", "--json=short", f"{RUNTIME}/systemd/machine/io.systemd.Machine",
                         "io.systemd.Machine.List", json.dumps({"name": "spawned"}), user=USER)) if is_here else {}
    run("systemctl", "--user", "stop", "spawner", user=USER, code=None)
    run("rm", "-rf", f"{IMAGES}/spawned")
    if not is_here:
        raise NotHere(f"systemd-nspawn without root does not run here: {(said or told).strip()[-300:]}")
    assert own["name"] == "spawned", own
    until(lambda: "spawned" not in machines(), "the end of the machine")


class NotHere(Exception):
    """What cannot be tried on this host."""


rules = pathlib.Path("/etc/polkit-1/rules.d/10-without-root.rules")
rules.write_text(RULE)
# However often others have restarted it just now.
run("systemctl", "reset-failed", "polkit")
run("systemctl", "restart", "polkit")
for function in TESTS:
    about = function.__name__.replace("_", " ")
    try:
        function()
        print(f"ok {about}", flush=True)
    except NotHere as reason:
        print(f"not here: {reason}", flush=True)
    except Exception as error:  # noqa: B902
        print(f"FAILED {about}: {error!r}", flush=True)
rules.unlink()
run("systemctl", "reset-failed", "polkit")
run("systemctl", "restart", "polkit")
