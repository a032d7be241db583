"""What a user plants where root's programs, and another user's, may look. Runs as root, with ours installed."""

import json
import os
import pathlib
import shutil
import socket
import subprocess

USER, UID, OTHER = "testuser", 4711, "nobody"
RUNTIME = f"/run/user/{UID}"
RECORDS, DERIVED = f"{RUNTIME}/systemd/machines", f"{RUNTIME}/machined"
OWN = f"{RUNTIME}/systemd/machine/io.systemd.Machine"


def run(*command, user=None, timeout=20):
    """What a command prints, and how it ends; it may not take longer."""
    if user:
        command = ["runuser", "-u", user, "--", "env", "-C", "/", f"XDG_RUNTIME_DIR={RUNTIME}", *command]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout, check=False)
    return done.returncode, done.stdout


def tell(is_right, about, said=""):
    print("ok" if is_right else "FAILED", about if is_right else f"{about}: {said!r}", flush=True)


def as_the_user(path):
    os.chown(path, UID, UID, follow_symlinks=False)


def plant(name, make):
    path = f"{RECORDS}/{name}"
    make(path)
    as_the_user(path)


def bind(path):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)


def record(name, leader, address):
    text = f"NAME={name}\nCLASS=container\nLEADER={leader}\nUIDMAP=0:0:4294967295\nADDRESSES={address}\n"
    plant(name, lambda path: pathlib.Path(path).write_text(text))


PROGRAMS = {
    "machinectl": ("machinectl", "--no-pager", "list"),
    "mymachines": ("mymachines", "list"),
    "the doctor": ("mymachines", "doctor"),
    "getent": ("getent", "hosts", "fifo"),
    "userdbctl": ("userdbctl", "--no-pager", "user", "vu-planted-1"),
    "loginctl": ("loginctl", "--no-pager", "user-status", USER),
    "ps": ("ps", "-eo", "machine,comm"),
    "nobody's varlinkctl": ("varlinkctl", "call", "/run/systemd/machine/io.systemd.Machine", "io.systemd.Machine.List", '{"name":"fifo"}'),
}


def main():
    sleeper = subprocess.Popen(["sleep", "infinity"], user=UID, group=UID, extra_groups=[])
    os.makedirs(RECORDS, exist_ok=True)
    plant("fifo", os.mkfifo)
    plant("link", lambda path: os.symlink("/etc/shadow", path))
    plant("loop", lambda path: os.symlink("loop", path))
    plant("directory", os.mkdir)
    plant("socket", bind)
    plant("zero", lambda path: os.symlink("/dev/zero", path))
    plant("large", lambda path: pathlib.Path(path).write_bytes(b"#" * (1 << 20)))
    record("planted", sleeper.pid, "10.66.0.1")
    record("debian.org", sleeper.pid, "10.66.0.2")
    record("lab", sleeper.pid, "10.66.0.3")

    for name, command in PROGRAMS.items():
        try:
            _, said = run(*command)
            tell("planted" not in said or name == "userdbctl", f"{name} of root's is not held up, and sees nothing of it", said)
        except subprocess.TimeoutExpired:
            tell(False, f"{name} of root's is held up")
    for name in "planted", "debian.org":
        tell(run("getent", "hosts", name)[0] == 2, f"root does not resolve {name}")
        tell(run("getent", "hosts", name, user=OTHER)[0] == 2, f"nor does another user {name}")
        code, said = run("getent", "hosts", name, user=USER)
        tell(code == 0 and "10.66.0." in said, f"the user does {name}", said)
    tell(run("getent", "hosts", "fifo", user=USER)[0] == 2, "the user's own FIFO holds the user up no more")
    tell(run("getent", "passwd", "vu-planted-0", user=USER)[0] == 2, "and a map of all ids makes no users of the host's")
    # The name of the host is the host's.
    _, said = run("getent", "hosts", "lab", user=OTHER)
    tell("10.66" not in said, "the name of the host is another user's nowhere", said)

    # In a user namespace the user is root, and a directory of root's is not the user's all the same.
    inside = ("unshare", "--user", "--map-root-user", "--", "getent", "hosts", "planted")
    tell(run(*inside, user=USER)[0] == 2, "who is root in a user namespace has the registry of nobody")
    inside = ("unshare", "--user", "--map-root-user", "--", "varlinkctl", "call", OWN, "io.systemd.Machine.List", '{"name":"x"}')
    tell("NoSuchMachine" in run(*inside, user=USER)[1], "but is the same user to that one's own daemon")
    before = set(os.listdir("/run/systemd/machines"))
    asked = json.dumps({"name": "inside", "class": "container", "leader": 1})
    inside = ("unshare", "--user", "--map-root-user", "--", "varlinkctl", "call", "/run/systemd/machine/io.systemd.Machine",
              "io.systemd.Machine.Register", asked)
    code, said = run(*inside, user=USER)
    tell(code != 0 and set(os.listdir("/run/systemd/machines")) == before, "and no root to the system's", said)
    for path in (OWN, RECORDS):
        tell(run("ls", path, user=OTHER)[0] != 0, f"another user does not come near {os.path.basename(path)}")

    # A file system that does not answer, in the place of the records: a FUSE that nobody serves.
    code, said = run("runuser", "-u", USER, "--", "env", "-C", "/", "true")
    for entry in os.listdir(RECORDS):
        path = f"{RECORDS}/{entry}"
        shutil.rmtree(path) if os.path.isdir(path) and not os.path.islink(path) else os.unlink(path)
    fuse = os.open("/dev/fuse", os.O_RDWR) if os.path.exists("/dev/fuse") else -1
    options = f"fd={fuse},rootmode=40755,user_id={UID},group_id={UID},allow_other"
    mounted = fuse >= 0 and mount("hangs", RECORDS, "fuse", options)
    if not mounted:
        print("not here: there is no FUSE", flush=True)
    else:
        for name, command in PROGRAMS.items():
            try:
                run(*command)
                tell(True, f"{name} of root's does not wait for a file system of a user's")
            except subprocess.TimeoutExpired:
                tell(False, f"{name} of root's waits for a file system of a user's")
        tell(run("getent", "hosts", "planted", user=OTHER)[0] == 2, "nor does another user")
        os.close(fuse)
        subprocess.run(["umount", "--lazy", RECORDS], check=False)
    sleeper.kill()


def mount(source, target, kind, options):
    import ctypes  # noqa: PLC0415
    libc = ctypes.CDLL(None, use_errno=True)
    return libc.mount(source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(6), options.encode()) == 0


try:
    main()
except Exception as error:  # noqa: B902
    tell(False, "what a user plants, to its end", repr(error))
