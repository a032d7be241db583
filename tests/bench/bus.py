"""Figures of org.freedesktop.machine1. Both daemons own the same name, so they take turns under it, in one boot."""

import contextlib
import os
import pathlib
import signal
import statistics
import subprocess
import time

import world
from client import GET_INFO
from figures import MS, US, figure

UNIT = "systemd-machined.service"
DROP_IN = pathlib.Path(f"/run/systemd/system/{UNIT}.d/bench.conf")
# The daemon that makes the system calls of ours for a registration, and nothing else.
FLOOR = world.WORK / "floor"
# As many as all leaders of the largest measurement, and a little. The hard limit of the host may be lower.
LIMIT = 524288


class Taking(world.Service):
    """One of the daemons while it has the name."""

    def __init__(self, name):
        super().__init__(name, UNIT, f"/run/systemd/machine/{world.SOCKET}")
        network = "CapabilityBoundingSet=CAP_NET_ADMIN CAP_NET_BROADCAST"
        self.program, self.command = {
            "stock": ("/usr/lib/systemd/systemd-machined", []),
            "ours": (f"{world.BUILD}/machined", ["Type=notify", "ExecStart=", f"ExecStart={world.BUILD}/machined", network]),
            "in C": (f"{FLOOR}/floor", ["Type=dbus", "ExecStart=", f"ExecStart={FLOOR}/floor --bus {FLOOR}/bus", network,
                                        "PrivateNetwork=yes"]),
        }[name]

    def take(self, limit=LIMIT):
        """Puts this one into the unit that the bus starts."""
        DROP_IN.parent.mkdir(parents=True, exist_ok=True)
        lines = ["[Service]", f"LimitNOFILE={limit}", *self.command]
        DROP_IN.write_text("\n".join(lines) + "\n")
        world.run("systemctl", "daemon-reload")
        self.restart()
        found = os.readlink(f"/proc/{self.pid()}/exe")
        if found != self.program:
            raise RuntimeError(f"{found} runs instead of {self.program}")


class Bus:
    """A connection to the bus that is kept; times are in seconds."""

    def __init__(self):
        self.process = subprocess.Popen([world.WORK / "bus"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def send(self, *words):
        self.process.stdin.write(" ".join(str(word) for word in words) + "\n")
        self.process.stdin.flush()

    def receive(self):
        words = self.process.stdout.readline().split()
        if not words or words[0] == "error":
            raise RuntimeError(" ".join(words) or "the client ended")
        return int(words[0]) / 1e9, *(int(word) for word in words[1:])

    def ask(self, *words):
        self.send(*words)
        return self.receive()

    def close(self):
        self.process.stdin.close()
        self.process.wait()


class Sleepers:
    """Processes that sleep, each in a scope of its own."""

    def __init__(self, count):
        null = os.open("/dev/null", os.O_RDWR)
        self.pids = [
            os.posix_spawn("/usr/bin/sleep", ["sleep", "infinity"], {},
                           file_actions=[(os.POSIX_SPAWN_DUP2, null, end) for end in range(3)])
            for _ in range(count)
        ]
        os.close(null)
        self.place()

    def place(self):
        import dbus
        manager = dbus.Interface(
            dbus.SystemBus().get_object("org.freedesktop.systemd1", "/org/freedesktop/systemd1", introspect=False),
            "org.freedesktop.systemd1.Manager")
        for pid in self.pids:
            pids = dbus.Array([dbus.UInt32(pid)], "u")
            properties = dbus.Array([("PIDs", pids), ("CollectMode", "inactive-or-failed"), ("Slice", "bench.slice")], "(sv)")
            manager.StartTransientUnit(f"bench-{pid}.scope", "fail", properties, dbus.Array([], "(sa(sv))"))
        for pid in self.pids:
            group = pathlib.Path(f"/proc/{pid}/cgroup")
            world.wait_for(f"the scope of {pid}", lambda group=group: ".scope" in group.read_text())

    def end(self):
        """Ends them all at once."""
        for pid in self.pids:
            os.kill(pid, signal.SIGKILL)
        for pid in self.pids:
            os.waitpid(pid, 0)
        self.pids = []


class Crowd(Sleepers):
    """Processes that sleep, each in a group of its own below one service: too many for scopes."""

    unit = "bench-crowd.service"

    def place(self):
        world.run("systemd-run", "--quiet", f"--unit={self.unit}", "--property=Delegate=yes", "sleep", "infinity")
        top = pathlib.Path("/sys/fs/cgroup") / world.run(
            "systemctl", "show", "--property=ControlGroup", "--value", self.unit).strip().lstrip("/")
        for pid in self.pids:
            group = top / f"m{pid}"
            group.mkdir()
            (group / "cgroup.procs").write_text(str(pid))

    def end(self):
        super().end()
        world.run("systemctl", "stop", self.unit)


def register(options, daemons):
    count, first = 50, 30_000
    times, busy = ({daemon.name: [] for daemon in daemons} for _ in range(2))
    for _ in range(options.rounds):
        for daemon in daemons:
            daemon.take()
            leaders = world.leaders(first, count)
            first += count
            bus, pid = Bus(), daemon.pid()
            for _ in range(50):
                bus.ask("get", ".host")
            before = world.processor_time(pid)
            turn = [bus.ask("register", f"new{leader}", leader)[0] for leader, _ in leaders]
            # What it still does after the last reply counts too.
            time.sleep(0.02)
            times[daemon.name].append(statistics.median(turn) * US)
            busy[daemon.name].append((world.processor_time(pid) - before) * US / count)
            for leader, _ in leaders:
                bus.ask("unregister", f"new{leader}")
            bus.close()
            world.end_leaders()
    figure("bus", "processor time of RegisterMachine", "us", busy["ours"], busy["stock"], target=0.5)
    figure("bus", "RegisterMachine on a kept connection", "us", times["ours"], times["stock"], target=1)


def slowest_while_listing(daemon, name):
    """The slowest of other calls, over the bus and over Varlink, while a client lists all machines gracefully."""
    bus, client = Bus(), daemon.client()
    bus.ask("get", name)
    child = os.fork()
    if child == 0:
        try:
            daemon.client().list_all()
            os._exit(0)
        finally:
            os._exit(1)
    bus.send("slowest", name)
    slowest = 0
    while True:
        slowest = max(slowest, client.exchange(GET_INFO)[1])
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            break
    bus.send("get", name)
    over_bus = bus.receive()[0]
    bus.receive()
    bus.close()
    client.close()
    if status:
        raise RuntimeError("the list failed")
    return max(slowest, over_bus)


def first_answer_after_restart(daemon, name):
    """Restarts it, and asks for a machine over the bus. Returns how long that took from the command on, from the start
    of the new process on, and from the moment on in which the command was done."""
    began = time.monotonic()
    daemon.restart()
    bus = Bus()
    done = time.monotonic()
    bus.ask("get", name)
    answered = time.monotonic()
    bus.close()
    started = world.run("systemctl", "show", "--property=ExecMainStartTimestampMonotonic", "--value", daemon.unit)
    return answered - began, answered - int(started) / 1e6, answered - done


def many(options, daemons):
    count = options.machines
    leaders = world.leaders(50_000, count)
    lists, tables, slow, restarts, starts, answers = ({daemon.name: [] for daemon in daemons} for _ in range(6))
    last = f"m{count - 1}"
    for daemon in daemons:
        daemon.take()
        bus = Bus()
        for number, (leader, _) in enumerate(leaders):
            bus.ask("register", f"m{number}", leader)
        # The first ones make room, in the daemon, the bus and the client.
        for turn in range(5 + 10 * options.rounds):
            took, listed = bus.ask("list")
            if listed != count + 1:
                raise RuntimeError(f"{daemon.name} listed {listed}")
            if turn >= 5:
                lists[daemon.name].append(took * MS)
        for _ in range(min(options.rounds, 5)):
            began = time.perf_counter()
            printed = world.run("machinectl", "--no-pager", "--no-legend", "list")
            tables[daemon.name].append((time.perf_counter() - began) * MS)
            if printed.count("\n") != count:
                raise RuntimeError(f"{daemon.name}: machinectl listed {printed.count(chr(10))}")
        for _ in range(min(options.rounds, 5)):
            slow[daemon.name].append(slowest_while_listing(daemon, last) * MS)
        bus.close()
        for _ in range(min(options.rounds, 5)):
            for taken, seconds in zip((restarts, starts, answers), first_answer_after_restart(daemon, last)):
                taken[daemon.name].append(seconds * MS)
        bus = Bus()
        for number in range(count):
            bus.ask("unregister", f"m{number}")
        bus.close()
    figure("bus", f"ListMachines of {count}", "ms", lists["ours"], lists["stock"], target=1)
    figure("bus", f"machinectl list of {count}", "ms", tables["ours"], tables["stock"], below=200)
    figure("bus", f"slowest other call while {count} are listed gracefully", "ms", slow["ours"], slow["stock"], below=5)
    figure("bus", f"restart with {count} until the first answer", "ms", restarts["ours"], restarts["stock"], target=0.25)
    figure("bus", f"start with {count} until the first answer", "ms", starts["ours"], starts["stock"], target=0.25)
    figure("bus", f"first answer after a restart with {count}", "ms", answers["ours"], answers["stock"], target=0.25)
    world.end_leaders()


def deaths(daemons, count):
    times = {daemon.name: [] for daemon in daemons}
    for daemon in daemons:
        daemon.take()
        sleepers = Sleepers(count)
        bus = Bus()
        for number, pid in enumerate(sleepers.pids):
            bus.ask("register", f"m{number}", pid)
        if bus.ask("list")[1] != count + 1:
            raise RuntimeError(f"{daemon.name} has not registered {count}")
        began = time.perf_counter()
        sleepers.end()
        with contextlib.suppress(TimeoutError):
            world.wait_for("the end of all", lambda bus=bus: bus.ask("list")[1] == 1, 120)
        times[daemon.name].append(time.perf_counter() - began)
        bus.close()
    figure("bus", f"{count} leaders killed, until the list is empty", "s", times["ours"], times["stock"], below=2)


def limits(ours, count):
    """How many machines ours takes, and what happens at the limit of descriptors."""
    ours.take()
    sleepers = Crowd(count)
    bus = Bus()
    began = time.perf_counter()
    for number, pid in enumerate(sleepers.pids):
        bus.ask("register", f"m{number}", pid)
    took = time.perf_counter() - began
    listed = bus.ask("list")[1] - 1
    figure("bus", f"RegisterMachine of {count}, each", "us", [took * US / count], [])
    figure("bus", f"of {count} machines, registered", "machines", [listed], [], least=count)
    for number in range(count):
        bus.ask("unregister", f"m{number}")
    bus.close()

    # A limit that it meets soon.
    ours.take(limit="300:300")
    bus, told, taken = Bus(), "", 0
    for number, pid in enumerate(sleepers.pids[:1000]):
        try:
            bus.ask("register", f"m{number}", pid)
            taken += 1
        except RuntimeError as error:
            told = str(error)
            break
    listed = bus.ask("list")[1] - 1
    print(f"bus: with 300 descriptors {taken} machines were registered, {listed} are listed, and then: {told}", flush=True)
    if told not in ("error System.Error.EMFILE", "error org.freedesktop.DBus.Error.LimitsExceeded") or listed != taken:
        raise RuntimeError("the limit of descriptors is not told, or hurts others")
    bus.close()
    sleepers.end()


def give_back(stock):
    """The name to the original, and ours to the other groups."""
    DROP_IN.unlink(missing_ok=True)
    world.run("systemctl", "daemon-reload")
    stock.restart()
    world.run("systemctl", "start", "bench-machined.service")


def bus(options, *_):
    world.run("gcc", "-O2", "-o", world.WORK / "bus", "/in/bus.c", "-lsystemd")
    # The one that the other groups compare stays out of the way.
    world.run("systemctl", "stop", "bench-machined.service")
    ours, stock = Taking("ours"), Taking("stock")
    daemons = (ours, stock)
    try:
        register(options, daemons)
        many(options, daemons)
        deaths(daemons, options.machines * 5)
        limits(ours, max(options.machines * 10, 1000))
    finally:
        give_back(stock)
