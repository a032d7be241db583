"""Registering as users do it: a new connection for each call, and leaders that have their own user and network namespace and a
scope of their own. Over Varlink without a unit, side by side; over D-Bus one after the other under the one name."""

import itertools
import statistics
import subprocess

import world
from bus import DROP_IN, FLOOR, Crowd, Sleepers, Taking
from figures import US, figure

# How many calls a value is the median of.
BLOCK = 20


class Enroll:
    """The client, which starts the leaders too; they end with it."""

    def __init__(self):
        self.process = subprocess.Popen([world.WORK / "enroll"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, *words):
        self.process.stdin.write(" ".join(str(word) for word in words) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer or answer.startswith("error"):
            raise RuntimeError(f"{words}: {answer or 'the client ended'}")
        return [int(word) for word in answer.split()]

    def microseconds(self, *words):
        return self.ask(*words)[0] / 1e3

    def close(self):
        self.process.stdin.close()
        self.process.wait()


class Leaders(Sleepers):
    """Processes in scopes and namespaces of their own."""

    def __init__(self, client, count):
        self.pids = client.ask("leaders", count)
        self.place()


def blocks(values):
    return [statistics.median(values[start:start + BLOCK]) for start in range(0, len(values), BLOCK)]


def told(title, ours, stock, **more):
    figure("users", title, "us", blocks(ours), blocks(stock), **more)


def in_c():
    """A daemon that makes the system calls of ours for a Register, and nothing else; with a network, and so ids of networks, of
    its own."""
    place, unit = FLOOR, "bench-floor.service"
    world.run("systemd-run", "--quiet", f"--unit={unit}", "--property=PrivateNetwork=yes", "--property=LimitNOFILE=524288",
              place / "floor", place / "socket", place)
    world.wait_for("the start of the daemon in C", (place / "socket").exists)
    return world.Service("in C", unit, place / "socket")


def varlink(options, ours, stock):
    few, many = 100, options.machines
    floor = in_c()
    client = Enroll()
    leaders = Leaders(client, many + few)
    times, busy = ({daemon: [] for daemon in (ours, stock, floor)} for _ in range(2))

    def register(place, pid, *daemons):
        for daemon in daemons:
            before = world.processor_time(pids[daemon])
            times[daemon].append(client.microseconds("varlink", daemon.socket, f"user{place}", pid))
            busy[daemon].append((world.processor_time(pids[daemon]) - before) * US)

    for daemon in (ours, stock):
        daemon.restart()
    pids = {daemon: daemon.pid() for daemon in (ours, stock, floor)}
    orders = tuple(itertools.permutations((ours, stock, floor)))
    for place, pid in enumerate(leaders.pids[:many]):
        # Whoever comes first finds a process that nobody has asked about yet: they take turns.
        register(place, pid, *orders[place % len(orders)])
    first, last = slice(10, 10 + few), slice(many - few, many)
    for title, part in (("the 10th to the 110th", first), (f"the last {few} of {many}", last)):
        told(f"Register, {title}", times[ours][part], times[stock][part], target=1)
        told(f"Register, {title}, processor time", busy[ours][part], busy[stock][part], target=1)
        told(f"Register, {title}, processor time", busy[ours][part], busy[floor][part], whose="in C", target=1.3)
    figure("users", f"Register, the last {few} of {many} beside the 10th to the 110th", "us", blocks(times[ours][last]),
           blocks(times[ours][first]), "ours", target=1.1)

    world.run("systemctl", "stop", floor.unit)
    # Stock runs out of descriptors soon after a thousand.
    crowd = Crowd(9 * many)
    bare = ours.client()
    before = world.resident(pids[ours])
    for number, pid in enumerate(crowd.pids):
        bare.register(f"crowd{number}", pid)
    each = (world.resident(pids[ours]) - before) * 1024 / len(crowd.pids)
    figure("users", f"memory for each of {len(crowd.pids)} machines more", "B", [each], [], below=1200)
    for place, pid in enumerate(leaders.pids[many:], many):
        register(place, pid, ours)
    beyond = slice(many, many + few)
    figure("users", f"Register, {few} beyond {10 * many} beside the 10th to the 110th", "us", blocks(times[ours][beyond]),
           blocks(times[ours][first]), "ours", target=1.2)
    bare.close()
    crowd.end()
    client.close()
    for daemon in (ours, stock):
        daemon.restart()


def over_bus(options, daemons):
    few, many = 100, options.machines
    first, last = slice(10, 10 + few), slice(many - few, many)
    times = {}
    for daemon in daemons:
        daemon.take()
        client = Enroll()
        leaders = Leaders(client, many)
        times[daemon.name] = [client.microseconds("bus", f"user{place}", pid) for place, pid in enumerate(leaders.pids)]
        client.close()
    for title, part in (("the 10th to the 110th", first), (f"the last {few} of {many}", last)):
        told(f"RegisterMachine, {title}", times["ours"][part], times["stock"][part], target=1)
        told(f"RegisterMachine, {title}", times["ours"][part], times["in C"][part], whose="in C", target=1.3)


def users(options, *side_by_side):
    world.run("gcc", "-O2", "-o", world.WORK / "enroll", "/in/enroll.c", "-lsystemd")
    (FLOOR / "bus").mkdir(parents=True)
    world.run("gcc", "-O2", "-o", FLOOR / "floor", "/in/enroll_floor.c", "-lsystemd")
    varlink(options, *side_by_side)
    world.run("systemctl", "stop", "bench-machined.service")
    stock = Taking("stock")
    try:
        over_bus(options, (Taking("ours"), stock, Taking("in C")))
    finally:
        DROP_IN.unlink(missing_ok=True)
        world.run("systemctl", "daemon-reload")
        stock.restart()
        world.run("systemctl", "start", "bench-machined.service")
