"""The two daemons of the measurement and the machines they know, inside a boot that is thrown away.

The stock daemon is where it always is, and alone on the bus. Ours runs at the same time as a service that sees
directories of its own in the place of /run/systemd/machine, /run/systemd/machines and /run/machined, so that every
measurement can go from one to the other and back. A process that is to see ours gets the same directories, our module and its own nsswitch.conf, in a
mount namespace of its own.
"""

import os
import pathlib
import re
import shutil
import signal
import subprocess
import time

from client import Client

BUILD = pathlib.Path("/build")
WORK = pathlib.Path("/run/bench")
SOCKET = "io.systemd.Machine"
OUR_MODULE = BUILD / "libnss_mymachines.so.2"
# Not on the host, which only looks at the options.
STOCK_MODULE = next(pathlib.Path("/usr/lib").glob("*/libnss_mymachines.so.2"), None)
# What ours keeps where, and what it sees there.
PLACES = {"machine": "/run/systemd/machine", "machines": "/run/systemd/machines", "machined": "/run/machined"}


def run(*command, **options):
    return subprocess.run([str(word) for word in command], check=True, stdout=subprocess.PIPE, text=True, **options).stdout


def wait_for(what, condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not happen within {seconds} s")
        time.sleep(0.01)


def resident(pid):
    """Resident memory in kB, as the kernel means it: 1024 bytes."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"^VmRSS:\s+(\d+) kB", status, re.M)[1])


def processor_time(pid):
    """The seconds a process of one thread has run."""
    return int(pathlib.Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


class Service:
    """A daemon that systemd runs."""

    def __init__(self, name, unit, socket):
        self.name, self.unit, self.socket = name, unit, str(socket)

    def pid(self):
        return int(run("systemctl", "show", "--property=MainPID", "--value", self.unit))

    def client(self, deadline=120):
        return Client(self.socket, deadline)

    def restart(self):
        # Nobody counts how often.
        subprocess.run(["systemctl", "reset-failed", self.unit], check=False, stderr=subprocess.DEVNULL)
        run("systemctl", "restart", self.unit)


class Embedded:
    """Our daemon where there is no systemd and no bus: with an empty /run of its own."""

    name = "ours, embedded"

    def __init__(self):
        self.process = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "sh", "-euc",
             "mount -t tmpfs tmpfs /run; exec /build/machined"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.socket = f"/proc/{self.process.pid}/root/run/systemd/machine/{SOCKET}"
        wait_for("the start without systemd", self.answers)

    def answers(self):
        # Before the new /run is there, the path leads to the daemon of the host.
        command = pathlib.Path(f"/proc/{self.process.pid}/comm").read_text().strip()
        return command == "machined" and os.path.exists(self.socket)

    def client(self, deadline=120):
        return Client(self.socket, deadline)

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()


def start():
    """Starts both daemons; returns ours and the original's."""
    shutil.rmtree(WORK, ignore_errors=True)
    for place in PLACES:
        (WORK / place).mkdir(parents=True)
    (WORK / "nsswitch-mymachines").write_text("passwd: files\ngroup: files\nhosts: mymachines\n")
    (WORK / "nsswitch-files").write_text("passwd: files\ngroup: files\nhosts: files\n")
    units = pathlib.Path("/run/systemd/system")
    binds = "".join(f"BindPaths={WORK / place}:{at}\n" for place, at in PLACES.items())
    (units / "bench-machined.service").write_text(
        f"[Service]\nType=notify\nExecStart={BUILD}/machined --bus=no\nLimitNOFILE=524288\n{binds}")
    # One machine each: an address, and nothing but a process that waits.
    (units / "bench-leader@.service").write_text(
        "[Service]\nType=exec\nSlice=bench.slice\n"
        "ExecStart=/usr/bin/unshare --net /bin/sh -euc 'ip link set lo up; ip address add %i/32 dev lo; "
        "exec sleep infinity'\n")
    run("systemctl", "daemon-reload")
    run("systemctl", "start", "systemd-machined.service", "bench-machined.service")
    for name in ("lookup", "load"):
        run("gcc", "-O2", "-o", WORK / name, f"/in/{name}.c")
    return (Service("ours", "bench-machined.service", WORK / "machine" / SOCKET),
            Service("stock", "systemd-machined.service", f"/run/systemd/machine/{SOCKET}"))


def leaders(first, count):
    """Starts that many processes, each in a unit and a network namespace of its own, with one address; returns their
    pids and addresses."""
    addresses = [f"10.77.{number // 250}.{number % 250 + 1}" for number in range(first, first + count)]
    units = [f"bench-leader@{address}.service" for address in addresses]
    for start in range(0, count, 100):
        run("systemctl", "start", *units[start:start + 100])
    pids = [int(line) for line in run("systemctl", "show", "--property=MainPID", "--value", *units).split()]
    for pid in pids:
        wait_for(f"the start of process {pid}",
                 lambda pid=pid: pathlib.Path(f"/proc/{pid}/comm").read_text() == "sleep\n")
    return list(zip(pids, addresses))


def end_leaders():
    """Ends all that leaders() started."""
    run("systemctl", "stop", "bench.slice")


def container(name, link, addresses, host_address):
    """Starts a process in a network namespace with a veth and these addresses, none of the kernel's own making;
    returns its pid and the index of the host's end."""
    run("systemd-run", "--quiet", f"--unit=bench-{name}", "unshare", "--net", "sleep", "infinity")
    pid = int(run("systemctl", "show", "--property=MainPID", "--value", f"bench-{name}"))
    wait_for(f"the network of {name}",
             lambda: pathlib.Path(f"/proc/{pid}/comm").read_text() == "sleep\n")
    run("ip", "link", "add", link, "type", "veth", "peer", "name", "host0", "netns", pid)
    run("ip", "link", "set", link, "addrgenmode", "none", "up")
    for address in host_address:
        run("ip", "address", "add", address, "dev", link, *(["nodad"] if ":" in address else []))
    inside = ["nsenter", "-t", pid, "-n", "ip"]
    run(*inside, "link", "set", "host0", "addrgenmode", "none", "up")
    for address in addresses:
        run(*inside, "address", "add", address, "dev", "host0", *(["nodad"] if ":" in address else []))
    return pid, int(pathlib.Path(f"/sys/class/net/{link}/ifindex").read_text())


def seen_by(whom):
    """The start of a command line that shows one of three worlds to a program: `ours`, `stock` or `files`."""
    binds = [(WORK / ("nsswitch-files" if whom == "files" else "nsswitch-mymachines"), "/etc/nsswitch.conf")]
    if whom == "files":
        binds.append((WORK / "hosts", "/etc/hosts"))
    if whom == "ours":
        binds += [(OUR_MODULE, STOCK_MODULE), *((WORK / place, at) for place, at in PLACES.items())]
    mounts = "".join(f"mount --bind {source} {at}; " for source, at in binds)
    if whom == "ours":
        # As where there was never another one.
        mounts = "mkdir -p /run/machined; " + mounts
    return ["unshare", "--mount", "--propagation", "private", "sh", "-euc", mounts + 'exec "$@"', "sh"]
