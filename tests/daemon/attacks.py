"""Users who want to harm others, eight at a time: how long root and another user wait for an answer meanwhile, beside a bare
echo server that answers them in the same run."""

import contextlib
import operator
import os
import pathlib
import pwd
import signal
import subprocess
import time
import unittest
from shutil import which

import attackers
import varlink
import wire
import world
from attackers import Attack, Crowd, call, percentile
from waiting import listens, until

ECHO = "/run/echo"
USERDB = os.environ.get("USERDB_MACHINED")
USERDB_SOCKET = "/run/systemd/userdb/io.systemd.Machine"
BUS = "/run/dbus/system_bus_socket"
OTHER_UID = 3999
CONFIGURATION = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path=%s</listen>
  <policy context="default"><allow user="*"/>
    <allow own="*"/><allow send_destination="*"/><allow receive_sender="*"/></policy>
</busconfig>
"""
SECONDS = 2.0
# How long root and others may wait at the 99th percentile: so long, or so many times as long as for the echo server.
ROOT, OTHERS, TIMES = 0.050, 0.250, 1.3
PATIENCE = 20
MS = 1000
# How often an attack is tried: what everybody waits now and then because others want the machine, nobody waits each time.
TRIES = 3


@world.needs_root
class Attacked(world.Case):
    program, path, message = world.MACHINED, varlink.SOCKET, attackers.HOST

    def setUp(self):
        super().setUp()
        self.begin()
        echo = attackers.echo_server(ECHO)
        self.addCleanup(os.waitpid, echo, 0)
        self.addCleanup(os.kill, echo, signal.SIGKILL)

    def begin(self):
        self.machined = world.Daemon(program=self.program)
        self.addCleanup(self.machined.close)

    def measure(self, uid):
        places = {"ours": (self.path, self.message), "echo": (ECHO, b"x\0")}
        return varlink.as_user(uid, lambda: attackers.latencies(places, SECONDS, PATIENCE))

    def assert_often_enough(self, attempt):
        """attempt() tells of some users what they waited at most, at the percentile, and what they may wait, by the limit that
        it is given; in one try none of them waits too long. Who gets half a processor because somebody who is no attacker wants
        it, too, may need twice as long."""
        for number in range(1, TRIES + 1):
            before = attackers.slowness()
            told = attempt(lambda limit: limit * before)  # noqa: B023
            after = attackers.slowness()
            self.assertEqual(self.machined.process.poll(), None)
            late = {whom: (waited, bound) for whom, (most, waited, bound) in told.items() if waited >= bound}
            for whom, (most, *_) in told.items():
                self.assertLess(most, PATIENCE, f"{whom} is not answered")
            if not late:
                return
            print(f"# too late in try {number}: {late}; a second of processor time took {before:.1f} and {after:.1f} s")
        self.assertEqual(late, {}, "waits too long, and what would have been in time")

    def assert_fair(self, name, attack):
        """Nobody waits much longer than a limit while the attack goes on, and all are answered. What the machine itself has
        everybody wait, now that the attackers want its processors, tells the echo server."""
        quiet = percentile(self.measure(0)["ours"], 0.99)

        def attempt(allowed):
            with attack:
                taken = {whom: self.measure(uid) for whom, uid in (("root", 0), ("another user", OTHER_UID))}
            told = {}
            for whom, limit in ("root", ROOT), ("another user", OTHERS):
                ours, echo = (percentile(taken[whom][key], 0.99) for key in ("ours", "echo"))
                print(f"# {name}: {whom}: p99 {ours * MS:.1f} ms (quiet {quiet * MS:.1f}), echo server {echo * MS:.1f} ms, "
                      f"{len(taken[whom]['ours'])} calls")
                told[whom] = max(taken[whom]["ours"]), ours, allowed(limit) + TIMES * echo
            return told
        self.assert_often_enough(attempt)

    def assert_beside(self, name, attack, may_wait, share=0.99, limits=(ROOT, OTHERS)):
        """The same where the queue of the socket itself is what is fought for, which is the kernel's and knows no root: beside
        the echo server attacked in the same way. `may_wait` says how long by a limit and by what the echo server needs."""
        def attempt(allowed):
            ours, echo = {}, {}
            for path, taken in (self.path, ours), (ECHO, echo):
                with attack(path):
                    for whom, uid in ("root", 0), ("another user", OTHER_UID):
                        place = {"it": (path, self.message)}
                        taken[whom] = varlink.as_user(uid, lambda: attackers.latencies(place, SECONDS, PATIENCE))["it"]  # noqa: B023
            told = {}
            for whom, limit in zip(("root", "another user"), limits):
                worst, bound = percentile(ours[whom], 0.99), percentile(echo[whom], 0.99)
                print(f"# {name}: {whom}: p99 {worst * MS:.1f} ms, echo server attacked in the same way {bound * MS:.1f} ms, "
                      f"{len(ours[whom])} calls")
                told[whom] = max(ours[whom]), percentile(ours[whom], share), may_wait(allowed(limit), TIMES * bound)
            return told
        self.assert_often_enough(attempt)

    def crowd(self, data, **more):
        return Attack(lambda: Crowd(self.path, data, **more).run())


class OverVarlink(Attacked):
    def test_messages_of_many_values(self):
        heavy = call("io.systemd.Machine.List", {"name": [0] * 8000}, oneway=True)
        self.assert_fair("many values", self.crowd(heavy * 3))

    def test_cheap_calls_without_a_pause(self):
        self.assert_fair("cheap calls", self.crowd(attackers.HOST * 50))

    def test_processes_that_are_hard_to_find(self):
        self.register("web", self.leader())
        last, first = attackers.deep(300)
        self.addCleanup(os.waitpid, first, 0)
        self.addCleanup(os.killpg, first, signal.SIGKILL)
        self.assert_fair("deep processes", self.crowd(call("io.systemd.Machine.List", {"pid": {"pid": last}}) * 20))

    def test_clients_that_read_nothing(self):
        before = self.machined.rss()
        description = call("org.varlink.service.GetInterfaceDescription", {"interface": "io.systemd.Machine"})
        self.assert_fair("deaf clients", self.crowd(description * 50, reads=False))
        peak = self.machined.peak() - before
        print(f"# deaf clients cost {peak} KiB")
        self.assertLess(peak, 64 << 10)
        # What they took is given back.
        until(lambda: self.machined.count_fds() < 60, "the end of their connections")
        until(lambda: self.machined.rss() - before < 16 << 10, "the end of what they took")

    def test_halves_of_messages(self):
        before = self.machined.rss()
        half = call("io.systemd.Machine.List", {"name": "x" * 100_000})[:-2]
        self.assert_fair("half messages", self.crowd(half, reads=False))
        peak = self.machined.peak() - before
        print(f"# half messages cost {peak} KiB")
        self.assertLess(peak, 64 << 10)

    def test_connections_that_come_and_go(self):
        # A place in the queue is luck, and a call takes seconds, the echo server's too: of a handful it is the middle one.
        self.assert_beside("coming and going", lambda path: Attack(lambda: attackers.churn(path)), max, share=0.5)

    def test_idle_connections_of_many_users(self):
        """More than there are places; and yet a new user gets in. What they cost is bounded, and given back."""
        before = self.machined.rss()
        # The echo server keeps them all, and so has nobody who comes back.
        self.assert_beside("idle connections", lambda path: Attack(lambda: attackers.idle(path), users=36, lead=3),
                           operator.add, limits=(OTHERS, OTHERS))
        peak = self.machined.peak() - before
        print(f"# idle connections cost {peak} KiB")
        self.assertLess(peak, 64 << 10)
        until(lambda: self.machined.count_fds() < 60, "the end of their connections")
        until(lambda: self.machined.rss() - before < 8 << 10, "the end of what they took")
        print(f"# idle connections left {self.machined.rss() - before} KiB")

    def test_a_range_of_ids_counts_as_its_owner(self):
        """One user who has ten thousand uids has no more places than any other."""
        pathlib.Path("/run/subuid").write_text(f"{OTHER_UID}:200000:10000\n")
        if not os.path.exists("/etc/subuid"):
            self.skipTest("there is no /etc/subuid to put another one over")
        subprocess.run(["mount", "--bind", "/run/subuid", "/etc/subuid"], check=True)
        self.addCleanup(subprocess.run, ["umount", "/etc/subuid"], check=True)
        with Attack(lambda: attackers.idle(self.path), users=4, first=200_000, lead=2):
            connections = self.machined.count_fds() // 2
            self.assertLessEqual(connections, attackers.PER_USER + 20)
            self.assertGreater(connections, attackers.PER_USER - 20)


@unittest.skipUnless(USERDB, "needs USERDB_MACHINED")
class OverUserdb(Attacked):
    program, path = USERDB, USERDB_SOCKET
    message = call("io.systemd.UserDatabase.GetMemberships", {"service": "io.systemd.Machine"})

    def begin(self):
        for directory in ("/run/systemd/machines", *(f"/run/machined/{kind}" for kind in ("uids", "gids", "aliases"))):
            os.makedirs(directory, mode=0o755, exist_ok=True)
        super().begin()

    def test_searches(self):
        leader = os.getpid()
        with open("/run/systemd/machines/web", "w") as record:
            record.write(f"NAME=web\nCLASS=container\nLEADER={leader}\nUIDMAP=0:100000:65536\n")
        for page in "0001", "0002":
            os.symlink("100000:65536:0:web;", f"/run/machined/uids/{page}")
        search = call("io.systemd.UserDatabase.GetUserRecord",
                      {"service": "io.systemd.Machine", "uidMin": 100_000, "uidMax": 101_023}, more=True)
        self.assert_fair("searches", self.crowd(search * 20))
        self.assert_fair("searches that nobody reads", self.crowd(search * 20, reads=False))


@unittest.skipUnless(which("dbus-daemon"), "needs dbus-daemon")
class OverTheBus(Attacked):
    def begin(self):
        os.makedirs("/run/dbus", exist_ok=True)
        pathlib.Path("/run/bus.conf").write_text(CONFIGURATION % BUS)
        bus = subprocess.Popen(["dbus-daemon", "--nofork", "--config-file=/run/bus.conf"], stderr=subprocess.DEVNULL)
        self.addCleanup(bus.wait)
        self.addCleanup(bus.kill)
        until(lambda: listens(BUS), "the bus")
        super().begin()
        with wire.Bus() as bus:
            until(lambda: bus.bus("NameHasOwner", "s", "org.freedesktop.machine1")[0], "the name")

    @staticmethod
    def flood():
        """Calls over some connections, as many as the bus takes, and reads what comes."""
        with contextlib.ExitStack() as stack:
            buses = [stack.enter_context(wire.Bus()) for _ in range(8)]
            while True:
                for bus in buses:
                    serials = [bus.send("org.freedesktop.machine1", "/org/freedesktop/machine1",
                                        "org.freedesktop.machine1.Manager", "ListMachines") for _ in range(16)]
                    for serial in serials:
                        bus.reply(serial)

    @staticmethod
    def turns():
        """What calls of ours and of the bus's own take, in turns."""
        taken = {"ours": [], "bus": []}
        with wire.Bus() as bus:
            end = time.monotonic() + SECONDS
            while time.monotonic() < end:
                for whom, name in ("ours", "org.freedesktop.machine1"), ("bus", "org.freedesktop.DBus"):
                    began = time.perf_counter()
                    bus.call(name, "/org/freedesktop/DBus", "org.freedesktop.DBus.Peer", "Ping")
                    taken[whom].append(time.perf_counter() - began)
        return taken

    def test_calls_over_the_bus(self):
        """All are answered. How long that takes is told beside the bus's own answers: there are no turns by user here."""
        for number in range(20):
            self.register(f"m{number}", self.leader())
        quiet = varlink.as_user(0, self.turns)
        ours, bus = (percentile(quiet[key], 0.5) for key in ("ours", "bus"))
        # A call passes the bus twice, and one of the bus's own once.
        quiet = ours / bus
        # The bus lets in whom the host knows.
        known = [user.pw_uid for user in pwd.getpwall() if user.pw_uid not in (0, 65534)][:8]
        with Attack(self.flood, uids=known):
            for whom, uid in ("root", 0), ("another user", 65534):
                taken = varlink.as_user(uid, self.turns)
                ours, bus = (percentile(taken[key], 0.99) for key in ("ours", "bus"))
                print(f"# over the bus: {whom}: p99 {ours * MS:.1f} ms, the bus itself {bus * MS:.1f} ms, "
                      f"{len(taken['ours'])} calls; quiet {quiet:.1f} times as long as the bus")
                with self.subTest(whom):
                    self.assertLess(max(taken["ours"]), PATIENCE, "not answered")


if __name__ == "__main__":
    world.main()
