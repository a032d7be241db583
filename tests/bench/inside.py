"""Figures of what is done inside containers: terminals, shells, copies. As in bus.py, both daemons take turns under one name."""

import os
import pathlib
import shutil
import statistics
import sys
import threading
import time

import world
from bus import Bus, Taking, give_back
from client import GET_INFO
from figures import MS, US, figure

FILES, SPARSE = 10_000, 1 << 30
# Below /var/tmp, which is no overlay: what is compared is the copying.
PLACE = pathlib.Path("/var/tmp/inside")


class Spent:
    """What has been run on behalf of a machine, by the daemon, by the processes that it starts in its own service, and by those that
    it starts in the machine's group."""

    def __init__(self, daemon, name):
        top = pathlib.Path("/sys/fs/cgroup")
        self.service = top / world.run("systemctl", "show", "--property=ControlGroup", "--value", daemon.unit).strip()[1:]
        unit = world.run("machinectl", "show", "--property=Unit", "--value", name).strip()
        self.machine = top / world.run("systemctl", "show", "--property=ControlGroup", "--value", unit).strip()[1:]

    @staticmethod
    def of(group):
        with open(group / "cpu.stat", encoding="ascii") as file:
            return int(file.readline().split()[1])

    def now(self):
        """In microseconds. What the container itself and its supervisor run is the same for both daemons, and left out."""
        its_own = sum(self.of(self.machine / part) for part in ("payload", "supervisor"))
        return self.of(self.service) + self.of(self.machine) - its_own


def terminals(options, daemons, real):
    """Bare ones, and those with a shell, in a container that boots a Debian."""
    count = 40
    for member, title in ("pty", "OpenMachinePTY"), ("shell", "OpenMachineShell"):
        times, busy = ({daemon.name: [] for daemon in daemons} for _ in range(2))
        for _ in range(options.rounds):
            for daemon in daemons:
                daemon.take()
                bus, spent = Bus(), Spent(daemon, real)
                for _ in range(5):
                    bus.ask(member, real)
                before = spent.now()
                turn = [bus.ask(member, real)[0] * US for _ in range(count)]
                # What it still does after the last reply counts too.
                time.sleep(0.05)
                busy[daemon.name].append((spent.now() - before) / count)
                times[daemon.name].append(statistics.median(turn))
                bus.close()
        figure("inside", f"processor time of {title}", "us", busy["ours"], busy["stock"], target=1)
        figure("inside", f"{title} on a kept connection", "us", times["ours"], times["stock"], target=1)


class Others(threading.Thread):
    """Another client, that asks for something trivial every few milliseconds until it is told to end."""

    def __init__(self, daemon, name):
        super().__init__()
        self.bus, self.varlink = Bus(), daemon.client()
        self.name_of_machine, self.is_over, self.times = name, threading.Event(), []
        self.bus.ask("get", name)

    def run(self):
        while not self.is_over.wait(0.002):
            self.times.append(self.varlink.exchange(GET_INFO)[1] * MS)
            self.times.append(self.bus.ask("get", self.name_of_machine)[0] * MS)

    def end(self):
        self.is_over.set()
        self.join()
        self.bus.close()
        self.varlink.close()
        return self.times


def flush():
    """What others have written, so that it is not counted for whoever writes next."""
    os.sync()


def many_files():
    """10,000 small files in 100 directories, and 1 GB with data in a few places."""
    tree = PLACE / "tree"
    for directory in range(100):
        (tree / str(directory)).mkdir(parents=True)
        for number in range(FILES // 100):
            (tree / str(directory) / str(number)).write_bytes(os.urandom(100 + 37 * number))
    sparse = PLACE / "sparse"
    with sparse.open("wb") as file:
        for at in range(0, SPARSE, SPARSE // 16):
            file.seek(at)
            file.write(os.urandom(1 << 20))
        file.truncate(SPARSE)
    return {"10,000 small files": tree, "1 GB with holes": sparse}


def copies(options, daemons, box):
    """Into a container, beside cp(1) between the same places."""
    # Not /tmp, which is memory.
    inside = box.directory / "root"
    for title, source in many_files().items():
        times, latencies, plain = {daemon.name: [] for daemon in daemons}, {daemon.name: [] for daemon in daemons}, []
        for number in range(options.rounds):
            began = time.perf_counter()
            world.run("cp", "-a", "--reflink=auto", source, inside / "copy")
            plain.append((time.perf_counter() - began) * MS)
            remove(inside / "copy")
            for daemon in daemons:
                daemon.take()
                bus = Bus()
                bus.ask("get", box.name)
                times[daemon.name].append(bus.ask("copy", box.name, source, "/root/copy")[0] * MS)
                remove(inside / "copy")
                # Again, beside somebody else, whose calls would cost the copy time.
                others = Others(daemon, box.name)
                others.start()
                try:
                    bus.ask("copy", box.name, source, "/root/copy")
                finally:
                    told = others.end()
                latencies[daemon.name].append(statistics.quantiles(told, n=100)[98] if len(told) > 1 else max(told, default=0))
                bus.close()
                if number == 0 and world.run("diff", "-rq", source, inside / "copy"):
                    raise RuntimeError(f"{daemon.name}: the copy is none")
                remove(inside / "copy")
        figure("inside", f"copy of {title}", "ms", times["ours"], times["stock"], target=1)
        figure("inside", f"copy of {title}", "ms", times["ours"], plain, whose="cp -a", target=1.3)
        figure("inside", f"p99 of other calls during a copy of {title}", "ms", latencies["ours"], latencies["stock"], below=5)


def remove(path):
    world.run("rm", "-rf", path)
    flush()


def inside(options, *_):
    world.run("gcc", "-O2", "-o", world.WORK / "bus", "/in/bus.c", "-lsystemd")
    world.run("systemctl", "stop", "bench-machined.service")
    # The containers of the system test, with more time to start.
    os.environ["DEADLINE"] = "60"
    sys.path.insert(0, "/system")
    import machines
    PLACE.mkdir()
    ours, stock = daemons = Taking("ours"), Taking("stock")
    started = []
    try:
        stock.take()
        real = machines.Debian()
        started.append(real)
        terminals(options, daemons, real.name)
        stock.take()
        machines.IMAGES = PLACE
        box = machines.Container("box")
        started.append(box)
        copies(options, daemons, box)
    finally:
        stock.take()
        for container in reversed(started):
            container.end()
        give_back(stock)
        shutil.rmtree(PLACE, ignore_errors=True)
