"""Who finds a machine of a user's own daemon: that user's programs, by names, addresses, ids and processes. Runs as root."""

import json
import os
import pathlib
import subprocess
import time

USER, UID, OTHER = "testuser", 4711, "nobody"
RUNTIME = f"/run/user/{UID}"
OWN = f"{RUNTIME}/systemd/machine/io.systemd.Machine"
PS = "/tmp/machine-ps"


def run(*command, user=None, timeout=30):
    if user:
        command = ["runuser", "-u", user, "--", "env", "-C", "/", f"XDG_RUNTIME_DIR={RUNTIME}", *command]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout, check=False)
    return done.returncode, done.stdout


def tell(is_right, about, said=""):
    print("ok" if is_right else "FAILED", about if is_right else f"{about}: {said!r}", flush=True)


def until(condition, deadline=20):
    end = time.monotonic() + deadline
    while not (found := condition()) and time.monotonic() < end:
        time.sleep(0.05)
    return found


def must(*command, **more):
    code, said = run(*command, **more)
    assert code == 0, f"{' '.join(command)}: {said}"
    return said


def call(method, **parameters):
    return run("varlinkctl", "call", "--json=short", OWN, f"io.systemd.Machine.{method}", json.dumps(parameters), user=USER)


def main():
    must("gcc", "-o", PS, "/src/libmachine/examples/machine-ps.c", "-I/usr/local/include", "-L/usr/local/lib", "-lmachine",
         "-Wl,-rpath,/usr/local/lib")
    unit = "rootless"
    must("systemd-run", "--user", "--quiet", "--collect", "--service-type=exec", f"--unit={unit}", "unshare", "--user", "--map-root-user",
         "--net", "sleep", "infinity", user=USER)
    leader = int(must("systemctl", "--user", "show", "--value", "--property=MainPID", unit, user=USER))
    assert until(lambda: pathlib.Path(f"/proc/{leader}/comm").read_text() == "sleep\n")
    # As networkd makes it, for a container of a user's.
    inside = ("nsenter", "--target", str(leader), "--net", "ip")
    must("ip", "link", "add", "host0", "type", "veth", "peer", "name", "inner0", "netns", str(leader))
    must("ip", "address", "add", "10.9.3.1/24", "dev", "host0")
    must("ip", "link", "set", "host0", "up")
    must(*inside, "address", "add", "10.9.3.2/24", "dev", "inner0")
    must(*inside, "link", "set", "inner0", "up")
    index = int(pathlib.Path("/sys/class/net/host0/ifindex").read_text())
    code, said = call("Register", **{"name": "Mine", "class": "container", "ifIndices": [index]}, leader=leader)
    tell(code == 0, "a container of a user's is registered with the user's own daemon", said)

    found = until(lambda: "10.9.3.2" in run("getent", "ahosts", "Mine", user=USER)[1])
    tell(found, "its name resolves for that user's programs", run("getent", "ahosts", "Mine", user=USER)[1])
    tell(run("getent", "hosts", "mine", user=USER)[0] == 0, "in small letters, too")
    tell("Mine" in run("getent", "hosts", "10.9.3.2", user=USER)[1], "its address has its name")
    for user, who in (None, "root"), (OTHER, "another user"):
        tell(run("getent", "hosts", "Mine", user=user)[0] == 2, f"{who} does not resolve it")
        tell("Mine" not in run("getent", "hosts", "10.9.3.2", user=user)[1], f"nor is the address anybody's for {who}")
        tell(" Mine " not in run(PS, user=user)[1], f"nor does machine-ps of {who} name it")
        tell("Mine" not in run("mymachines", "list", user=user)[1], f"nor is it in {who}'s list of the system's machines")
    lines = run(PS, user=USER)[1].splitlines()
    tell(any(line.split()[:2] == [str(leader), "Mine"] for line in lines), "machine-ps of that user names its processes", lines)
    tell(" Mine" in run("mymachines", "whois", "--no-legend", "--pid", str(leader), user=USER)[1], "and so does mymachines whois")
    tell("Mine" in run("mymachines", "list", user=USER)[1], "mymachines list has it for that user")
    tell("10.9.3.2" in run("mymachines", "resolve", "mine", user=USER)[1], "and mymachines resolve has its address")
    tell(not os.path.exists("/run/systemd/machines/Mine"), "the system's registry has nothing of it")
    tell(run("userdbctl", "--no-pager", "user", "vu-Mine-0")[0] != 0, "nor has userdb")
    # A set-uid program acts as another.
    must("install", "--mode=4755", "--owner=root", "/usr/bin/getent", "/usr/local/bin/getent-as-root")
    tell(run("getent-as-root", "hosts", "Mine", user=USER)[0] == 2, "a set-uid program that the user starts does not resolve it")

    # The daemon is not asked.
    daemon = must("systemctl", "--user", "show", "--value", "--property=MainPID", "machined", user=USER).strip()
    os.kill(int(daemon), 19)
    tell("10.9.3.2" in run("getent", "ahosts", "Mine", user=USER, timeout=5)[1], "it resolves while the daemon is frozen")
    os.kill(int(daemon), 18)
    must("systemctl", "--user", "stop", unit, user=USER)
    gone = until(lambda: run("getent", "hosts", "Mine", user=USER)[0] == 2)
    tell(gone, "and no more once its first process has ended")


try:
    main()
except Exception as error:  # noqa: B902
    tell(False, "lookups of a user's own machines, to the end", repr(error))
