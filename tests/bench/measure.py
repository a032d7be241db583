#!/usr/bin/env -S python3 -B
"""Measures both daemons and both NSS modules, inside a throw-away boot, and writes /out/figures.json."""

import argparse
import json
import os
import pathlib
import signal
import statistics
import subprocess
import time

import world
from attack import attack
from bus import bus
from client import GET_INFO
from figures import MS, US, figure, figures
from images import images
from inside import inside
from users import users

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--groups", default="lookup,dlopen,register,users,many,stopped,bus,inside,images,attack", help="which, separated by commas")
parser.add_argument("--rounds", type=int, default=7, help="how often everything is repeated")
parser.add_argument("--machines", type=int, default=1000, help="how many machines are many")
parser.add_argument("--dry-run", action="store_true", help="only look at the options")

# How long ours may give an answer on os-release again (docs: five seconds), and a little.
STALE = 5.5
# How long a lookup is waited for while the daemon is stopped.
PATIENCE = 3


def look_up(whom, kind, text, count):
    out = world.run(*world.seen_by(whom), world.WORK / "lookup", kind, text, count)
    median, high, found = out.split()
    return int(median) / 1e3, int(high) / 1e3, int(found)


def look_up_in_turns(rounds, kind, text, expected, counts):
    """Medians and 99th percentiles in microseconds, by whom was asked."""
    medians, highs = {whom: [] for whom in counts}, {whom: [] for whom in counts}
    for _ in range(rounds):
        for whom, count in counts.items():
            median, high, found = look_up(whom, kind, text, count)
            if max(found, 0) != expected:
                raise RuntimeError(f"{whom}: {text}: {found} found instead of {expected}")
            medians[whom].append(median)
            highs[whom].append(high)
    return medians, highs


def lookup(options, ours, stock):
    addresses = {"one": ["10.99.1.2/24"], "three": ["10.99.2.2/24", "fd99:2::2/64", "fd99:2::3/64"]}
    hosts = "127.0.0.1 localhost\n"
    clients = [daemon.client() for daemon in (ours, stock)]
    for number, (name, list_of) in enumerate(addresses.items(), 1):
        gates = [f"10.99.{number}.1/24", f"fd99:{number}::1/64"]
        pid, link = world.container(name, f"ve-{name}", list_of, gates)
        for client in clients:
            client.register(name, pid, [link])
        hosts += "".join(f"{address.split('/')[0]} {name}\n" for address in list_of)
    (world.WORK / "hosts").write_text(hosts)

    counts = {"ours": 4000, "files": 4000, "stock": 50}
    medians, highs = look_up_in_turns(options.rounds, "name", "one", 1, counts)
    figure("lookup", "machine with 1 address", "us", medians["ours"], medians["files"], "files", target=1.5)
    figure("lookup", "machine with 1 address, 99th percentile", "us", highs["ours"], highs["files"], "files")
    figure("lookup", "machine with 1 address", "us", medians["ours"], medians["stock"], target=0.01)
    medians, _ = look_up_in_turns(options.rounds, "name", "three", 3, {**counts, "ours": 2000, "files": 2000})
    figure("lookup", "machine with 3 addresses", "us", medians["ours"], medians["files"], "files", target=1.5)
    figure("lookup", "machine with 3 addresses", "us", medians["ours"], medians["stock"])
    medians, highs = look_up_in_turns(options.rounds, "name", "nobody", 0, {"ours": 6000, "stock": 6000})
    figure("lookup", "name of no machine", "us", medians["ours"], medians["stock"], target=1.1)
    figure("lookup", "name of no machine, 99th percentile", "us", highs["ours"], highs["stock"])
    medians, _ = look_up_in_turns(options.rounds, "address", "10.99.1.2", 1, {"ours": 4000, "files": 4000})
    figure("lookup", "name of an address (stock has none)", "us", medians["ours"], medians["files"], "files")
    for client in clients:
        for name in addresses:
            client.unregister(name)


def dlopen(options, *_):
    def load(module):
        return int(world.run(world.WORK / "load", module)) / 1e3
    times = {world.OUR_MODULE: [], world.STOCK_MODULE: []}
    for _ in range(options.rounds):
        turn = {module: [] for module in times}
        for _ in range(40):
            for module in times:
                turn[module].append(load(module))
        for module in times:
            times[module].append(statistics.median(turn[module]))
    figure("dlopen", "dlopen of the module", "us", *times.values(), target=0.5)


def keep_busy(client, seconds=0.002):
    """Calls what is trivial for a while; returns the seconds each took. Others (the journal, the bus) finish meanwhile
    what the last measurement left them to do, and neither side falls asleep."""
    calls = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        calls.append(client.exchange(GET_INFO)[1])
    return calls


def register(options, ours, stock):
    count = 50
    embedded = world.Embedded()
    clients = {daemon.name: daemon.client() for daemon in (ours, stock, embedded)}
    pids = {ours.name: ours.pid(), stock.name: stock.pid(), embedded.name: embedded.process.pid}
    times, alone, trivial, busy = ({name: [] for name in clients} for _ in range(4))
    next_leader = 10_000

    def leaders_for_all():
        # Leaders that none of them has seen before.
        nonlocal next_leader
        first = next_leader
        next_leader += count * len(clients)
        return {name: world.leaders(first + place * count, count) for place, name in enumerate(clients)}

    def unregister(leaders):
        for name, client in clients.items():
            for leader, _ in leaders[name]:
                client.unregister(f"new{leader}")
        world.end_leaders()

    for _ in range(options.rounds):
        # One after another, as whoever starts many machines does; the daemons take turns.
        leaders = leaders_for_all()
        for name, client in clients.items():
            calls = keep_busy(client)
            before = world.processor_time(pids[name])
            turn = [client.register(f"new{leader}", leader) for leader, _ in leaders[name]]
            time.sleep(0.001)
            times[name].append(statistics.median(turn) * US)
            busy[name].append((world.processor_time(pids[name]) - before) * US / count)
            trivial[name].append(statistics.median(calls) * US)
        unregister(leaders)
        # Each alone, after the other daemons had the processor.
        leaders = leaders_for_all()
        turn = {name: [] for name in clients}
        for place in range(count):
            for name, client in clients.items():
                keep_busy(client)
                leader = leaders[name][place][0]
                turn[name].append(client.register(f"new{leader}", leader))
        for name in clients:
            alone[name].append(statistics.median(turn[name]) * US)
        unregister(leaders)
    figure("register", "Register, ours without systemd", "us", times[embedded.name], times["stock"], target=0.5)
    figure("register", "Register", "us", times["ours"], times["stock"])
    figure("register", "Register alone, ours without systemd", "us", alone[embedded.name], alone["stock"])
    figure("register", "Register alone", "us", alone["ours"], alone["stock"])
    figure("register", "processor time of Register", "us", busy["ours"], busy["stock"])
    figure("register", "processor time of Register, ours without systemd", "us", busy[embedded.name], busy["stock"])
    figure("register", "GetInfo", "us", trivial["ours"], trivial["stock"])
    embedded.end()


def megabytes(daemon):
    return world.resident(daemon.pid()) * 1024 / 1e6


def slowest_while_listing(daemon):
    """The slowest of the trivial calls, one after the other, while another client lists all machines."""
    client = daemon.client()
    client.exchange(GET_INFO)
    child = os.fork()
    if child == 0:
        try:
            daemon.client().list_all()
            os._exit(0)
        finally:
            os._exit(1)
    slowest, count = 0, 0
    while True:
        slowest = max(slowest, client.exchange(GET_INFO)[1])
        count += 1
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            if status:
                raise RuntimeError("the list failed")
            client.close()
            return slowest


def first_answer_after_restart(daemon, name):
    start = time.perf_counter()
    daemon.restart()
    client = daemon.client()
    client.list_one(name)
    took = time.perf_counter() - start
    client.close()
    return took


def many(options, ours, stock):
    count = options.machines
    daemons = (ours, stock)

    def memory(title, **more):
        figure("many", f"resident memory, {title}", "MB", [megabytes(ours)], [megabytes(stock)], **more)

    for daemon in daemons:
        daemon.restart()
        daemon.client().exchange(GET_INFO)
    memory("idle", below=5)

    leaders = world.leaders(0, count)
    for daemon in daemons:
        client = daemon.client()
        for number, (leader, _) in enumerate(leaders):
            client.register(f"m{number}", leader)
        client.close()
    memory(f"{count} machines", below=7)

    clients = {daemon: daemon.client(600) for daemon in daemons}

    def list_all(daemon):
        machines, took = clients[daemon].list_all()
        # The host is one of them.
        full = [machine for machine in machines if machine.get("addresses") and machine.get("OSRelease")]
        if len(machines) != count + 1 or len(full) < count:
            raise RuntimeError(f"{daemon.name} listed {len(machines)}, {len(full)} of them with addresses and release")
        return took

    first = {daemon: list_all(daemon) for daemon in daemons}
    figure("many", f"the first List of {count} with metadata", "ms", [first[ours] * MS], [first[stock] * MS])
    memory(f"{count} machines, after the first List", below=7)
    time.sleep(10)
    memory(f"{count} machines, 10 s later", below=7)

    cold, warm, original = [], [], []
    for _ in range(options.rounds):
        time.sleep(STALE)
        cold.append(list_all(ours) * MS)
        warm.append(statistics.median(list_all(ours) for _ in range(3)) * MS)
        original.append(list_all(stock) * MS)
    figure("many", f"List of {count} with metadata", "ms", warm, original, target=0.02)
    figure("many", f"List of {count} with metadata, nothing cached", "ms", cold, original)
    memory(f"{count} machines, after many Lists", below=7)

    rounds = min(options.rounds, 5)
    slowest = {daemon: [] for daemon in daemons}
    for _ in range(rounds):
        time.sleep(STALE)
        for daemon in daemons:
            slowest[daemon].append(slowest_while_listing(daemon) * MS)
    figure("many", f"slowest GetInfo while {count} are listed", "ms", *slowest.values())

    for client in clients.values():
        client.close()
    restarts = {daemon: [] for daemon in daemons}
    for _ in range(rounds):
        for daemon in daemons:
            restarts[daemon].append(first_answer_after_restart(daemon, f"m{count - 1}") * MS)
    figure("many", f"restart with {count} until the first answer", "ms", *restarts.values())
    memory(f"{count} machines, after a restart", below=7)

    clients = {daemon: daemon.client(600) for daemon in daemons}
    after = {daemon: list_all(daemon) * MS for daemon in daemons}
    figure("many", f"the first List of {count} after a restart", "ms", [after[ours]], [after[stock]])
    for client in clients.values():
        for number in range(count):
            client.unregister(f"m{number}")


def stopped(options, ours, stock):
    (leader, address), = world.leaders(20_000, 1)
    for daemon in (ours, stock):
        daemon.client().register("still", leader)
    times = {ours: [], stock: []}
    bound = False
    for daemon in times:
        pid = daemon.pid()
        os.kill(pid, signal.SIGSTOP)
        try:
            for _ in range(min(options.rounds, 3)):
                command = [str(word) for word in (*world.seen_by(daemon.name), world.WORK / "lookup", "name", "still", 1)]
                try:
                    done = subprocess.run(command, check=True, timeout=PATIENCE, stdout=subprocess.PIPE, text=True)
                    median, _, found = done.stdout.split()
                    if found != "1":
                        raise RuntimeError(f"{daemon.name}: {found}")
                    times[daemon].append(int(median) / 1e3)
                except subprocess.TimeoutExpired:
                    bound = bound or daemon is stock
                    times[daemon].append(PATIENCE * US)
        finally:
            os.kill(pid, signal.SIGCONT)
    figure("stopped", "machine with 1 address, the daemon stopped", "us", times[ours], times[stock], at_least=bound)
    for daemon in (ours, stock):
        daemon.client().unregister("still")


GROUPS = {group.__name__: group for group in (lookup, dlopen, register, users, many, stopped, bus, inside, images, attack)}


def main():
    options = parser.parse_args()
    groups = options.groups.split(",")
    for group in groups:
        if group not in GROUPS:
            parser.error(f"no such group: {group}; there are {', '.join(GROUPS)}")
    if options.rounds < 1 or not 1 <= options.machines <= 8000:
        parser.error("at least one round, and 1 to 8000 machines")
    if options.dry_run:
        return
    daemons = world.start()
    for group in groups:
        start = time.monotonic()
        GROUPS[group](options, *daemons)
        print(f"{group} took {time.monotonic() - start:.0f} s", flush=True)
    conditions = {
        "systemd": world.run("systemctl", "--version").split("\n")[0],
        "libc": world.run("getconf", "GNU_LIBC_VERSION").strip(),
        "kernel": os.uname().release,
        "processors": os.cpu_count(),
        "rounds": options.rounds,
        "load": os.getloadavg()[0],
    }
    pathlib.Path("/out/figures.json").write_text(json.dumps({"conditions": conditions, "figures": figures}, indent=1))


if __name__ == "__main__":
    main()
