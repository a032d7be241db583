"""Who may do what with which machine of the system's daemon, as a table of (caller, owner, leader, action) and verdict.
Runs as root; the same table holds for the original (262) and for ours."""

import json
import os
import pathlib
import subprocess
import time

SOCKET = "/run/systemd/machine/io.systemd.Machine"
RECORDS = "/run/systemd/machines"
USER, UID = "testuser", 4711
INSIDE = f"{USER} as root of a user namespace"
RUNTIME = f"/run/user/{UID}"
# What polkit says without a password to any user: as it says yes to whoever is at the console.
RULE = """polkit.addRule(function(action, subject) {
  if (action.id == "org.freedesktop.machine1.register-machine" && subject.user == "%s") return polkit.Result.YES;
});
""" % USER
# As varlinkctl tells them: those of the service in words.
OK, PASSWORD, DENIED = "ok", "io.systemd.InteractiveAuthenticationRequired", "Permission denied"
INVALID, EXISTS = "Invalid argument", "io.systemd.Machine.MachineExists"


def run(*command, user=None):
    become = []
    if user:
        become = ["runuser", "-u", USER if user == INSIDE else user, "--", "env", "-C", "/"]
    if user == INSIDE:
        become += ["unshare", "--user", "--map-root-user", "--"]
    return subprocess.run([*become, *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60,
                          check=False)


def verdict(caller, method, parameters):
    done = run("varlinkctl", "call", "--json=short", SOCKET, f"io.systemd.Machine.{method}", json.dumps(parameters),
               user=None if caller == "root" else caller)
    if done.returncode == 0:
        return OK
    line = done.stdout.splitlines()[0] if done.stdout else f"exit {done.returncode}"
    return line.split("failed: ", 1)[-1].split("call: ", 1)[-1]


class Leader:
    """A process of the user's, or of root's, in a unit of that user's systemd."""

    number = 0

    def __init__(self, owner, *command):
        Leader.number += 1
        unit = f"table-{os.getpid()}-{Leader.number}"
        user = USER if owner == USER else None
        env = ["env", f"XDG_RUNTIME_DIR={RUNTIME}"] if user else []
        scope = ["--user"] if user else []
        command = command or ("sleep", "infinity")
        done = run(*env, "systemd-run", *scope, "--quiet", "--collect", "--service-type=exec", f"--unit={unit}", *command, user=user)
        assert done.returncode == 0, done.stdout
        show = run(*env, "systemctl", *scope, "show", "--value", "--property=MainPID", unit, user=user)
        self.pid = int(show.stdout)
        assert self.pid, unit
        deadline = time.monotonic() + 20
        if "unshare" in command:
            own = os.readlink("/proc/self/ns/user")
            while os.readlink(f"/proc/{self.pid}/ns/user") == own:
                assert time.monotonic() < deadline, "no user namespace"
                time.sleep(0.02)

    @classmethod
    def mapped(cls):
        """One in a user namespace of the user's with ids that are not the user's, as of /etc/subuid."""
        go = f"/tmp/table-{os.getpid()}-{Leader.number}"
        script = f"while [ ! -e {go} ]; do sleep 0.02; done; exec setpriv --reuid=5 --regid=5 --clear-groups sleep infinity"
        leader = cls(USER, "unshare", "--user", "--keep-caps", "sh", "-c", script)
        for kind in "uid", "gid":
            pathlib.Path(f"/proc/{leader.pid}/{kind}_map").write_text("0 300000 10\n")
        pathlib.Path(go).touch()
        deadline = time.monotonic() + 20
        while os.stat(f"/proc/{leader.pid}").st_uid != 300005:
            assert time.monotonic() < deadline, "no ids of the namespace"
            time.sleep(0.02)
        os.unlink(go)
        return leader

    def is_running(self):
        try:
            return pathlib.Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        except FileNotFoundError:
            return False


def tell(is_right, about):
    print("ok" if is_right else "FAILED", about, flush=True)


def row(about, expected, caller, method, **parameters):
    told = verdict(caller, method, parameters)
    tell(told == expected, f"{about}: {told}")


def register(about, expected, caller, name, leader, **more):
    row(about, expected, caller, "Register", **{"name": name, "class": "container", "leader": leader.pid, **more})


def main():
    mine, roots = Leader(USER), Leader("root")
    inside = Leader(USER, "unshare", "--user", "--map-root-user", "sleep", "infinity")

    register("a user registers a process of its own", OK, USER, "a", mine)
    record = pathlib.Path(f"{RECORDS}/a").read_text()
    has_both = f"UID={UID}\n" in record and f"SCOPE=user@{UID}.service\n" in record
    tell(has_both, "its record has the user and the unit of the user's systemd")
    tell(not os.path.lexists(f"{RECORDS}/unit:user@{UID}.service"), "which is not the machine's alone")
    register("and one in a user namespace of its own", OK, USER, "b", inside)
    mapped = Leader.mapped()
    register("and one that has ids of a namespace of the user's", OK, USER, "m", mapped)
    register("which is not another user's to register", PASSWORD, "nobody", "n", mapped)
    register("a virtual machine is as a container", OK, USER, "v", Leader(USER), **{"class": "vm"})
    register("mkosi's call", OK, USER, "mkosi", Leader(USER), **{"class": "vm", "service": "mkosi", "rootDirectory": "/tmp", "vSockCid": 4711,
                                                                 "sshAddress": "vsock/4711", "sshPrivateKeyPath": "/tmp/key"})
    register("as root of a user namespace a user is the same user", OK, INSIDE, "u", Leader(USER))
    register("and no root", DENIED, INSIDE, "c", roots)
    register("but not one of root's", DENIED, USER, "c", roots)
    register("nor with a unit", PASSWORD, USER, "e", Leader(USER), allocateUnit=True)
    register("nor the host", INVALID, USER, "f", Leader(USER), **{"class": "host"})
    register("nor by a name that is taken", EXISTS, USER, "a", Leader(USER))
    register("another user, whom polkit does not know, none", PASSWORD, "nobody", "g", Leader(USER))
    register("root any", OK, "root", "r", roots)

    row("everybody may see it", OK, "nobody", "List", name="a")
    for method, more in ("Kill", {"whom": "leader", "signal": 10}), ("Terminate", {}), ("Unregister", {}):
        row(f"{method} by another user", PASSWORD, "nobody", method, name="a", **more)
        row(f"{method} of root's by a user", PASSWORD, USER, method, name="r", **more)
        row(f"{method} of root's by the root of a user namespace", PASSWORD, INSIDE, method, name="r", **more)
    row("a shell of the host's by way of a machine", DENIED, USER, "Open", name="a", mode="shell")
    row("a terminal, too", DENIED, USER, "Open", name="a", mode="tty")
    row("another user's", PASSWORD, "nobody", "Open", name="b", mode="tty")
    row("its metadata to the owner", PASSWORD, USER, "List", name="a", acquireMetadata="yes")
    row("its root directory to the owner", PASSWORD, USER, "OpenRootDirectory", name="b")
    row("a mount by the owner", PASSWORD, USER, "BindMount", name="b", source="/tmp")
    row("a root directory, by the root of a user namespace", PASSWORD, INSIDE, "OpenRootDirectory", name="m")
    for name in "m", "v", "u", "mkosi":
        row(f"the owner unregisters {name}", OK, INSIDE if name == "m" else USER, "Unregister", name=name)
    row("the owner unregisters it", OK, USER, "Unregister", name="b")
    row("and kills it", OK, USER, "Kill", name="a", whom="leader", signal=9)
    deadline = time.monotonic() + 20
    while mine.is_running():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    row("root ends root's", OK, "root", "Terminate", name="r")
    manager = run("systemctl", "is-active", f"user@{UID}.service").stdout.strip()
    tell(manager == "active", "the user's systemd runs on")


rules = pathlib.Path("/etc/polkit-1/rules.d/10-table.rules")
rules.write_text(RULE)
run("systemctl", "reset-failed", "polkit")
run("systemctl", "restart", "polkit")
try:
    main()
except Exception as error:  # noqa: B902
    tell(False, f"the table to its end: {error!r}")
finally:
    rules.unlink()
    run("systemctl", "reset-failed", "polkit")
    run("systemctl", "restart", "polkit")
