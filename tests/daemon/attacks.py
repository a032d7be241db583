"""Users who want to harm others, eight at a time: how long root and another user wait for an answer meanwhile, beside a bare
echo server that answers them in the same run."""

import contextlib
import os
import pathlib
import pwd
import select
import signal
import subprocess
import time
import unittest
from shutil import which

import attackers
import ownbus
import varlink
import wire
import world
from attackers import Attack, Crowd, call, percentile
from waiting import until

ECHO = "/run/echo"
USERDB = os.environ.get("USERDB_MACHINED")
USERDB_SOCKET = "/run/systemd/userdb/io.systemd.Machine"
OTHER_UID = 3999
SECONDS = 2.0
# How long root and others may wait at the 99th percentile: so long, or so many times as long as for the echo server.
ROOT, OTHERS, TIMES = 0.050, 0.250, 1.3
PATIENCE = 20
MS = 1000
# How often an attack is tried: what everybody waits now and then because others want the machine, nobody waits each time.
TRIES = 5


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
                told[whom] = max(taken[whom]["ours"]), ours, max(allowed(limit), TIMES * echo)
            return told
        self.assert_often_enough(attempt)

    def assert_beside(self, name, attack, callers=1):
        """The same where the queue of the socket itself is what is fought for, which is the kernel's and knows no root: beside
        the echo server attacked in the same way."""
        def attempt(allowed):
            ours, echo = {}, {}
            for path, taken in (self.path, ours), (ECHO, echo):
                with attack(path):
                    for whom, uid in ("root", 0), ("another user", OTHER_UID):
                        place = {"it": (path, self.message)}
                        many = lambda: attackers.latencies_of_many(callers, place, SECONDS, PATIENCE)  # noqa: B023, E731
                        taken[whom] = varlink.as_user(uid, many)["it"]
            told = {}
            for whom, limit in ("root", ROOT), ("another user", OTHERS):
                worst, bound = percentile(ours[whom], 0.99), percentile(echo[whom], 0.99)
                print(f"# {name}: {whom}: p99 {worst * MS:.1f} ms, echo server attacked in the same way {bound * MS:.1f} ms, "
                      f"{len(ours[whom])} calls")
                told[whom] = max(ours[whom]), worst, max(allowed(limit), TIMES * bound)
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
        # A call takes long, the echo server's too.
        self.assert_beside("coming and going", lambda path: Attack(lambda: attackers.churn(path)), callers=16)

    def test_idle_connections_of_many_users(self):
        """More than there are places; and yet a new user gets in. What they cost is bounded, and given back."""
        before = self.machined.rss()
        self.assert_beside("idle connections", lambda path: Attack(lambda: attackers.idle(path), users=36, lead=3))
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


class WithBus(Attacked):
    # The bus lets in whom the host knows.
    known = [user.pw_uid for user in pwd.getpwall() if user.pw_uid not in (0, 65534)][:8]

    def begin(self):
        ownbus.start(self)
        super().begin()
        ownbus.await_name("org.freedesktop.machine1")


@unittest.skipUnless(which("dbus-daemon"), "needs dbus-daemon")
class OverTheBus(WithBus):
    names = {"ours": "org.freedesktop.machine1", "bus": "org.freedesktop.DBus", "echo": "org.example.Echo"}

    def begin(self):
        super().begin()
        ownbus.serve(self, self.names["echo"], ("",))

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

    def turns(self):
        """What calls of ours, of the bus's own and of the echo service take, in turns."""
        taken = {whom: [] for whom in self.names}
        with wire.Bus() as bus:
            end = time.monotonic() + 2 * SECONDS
            while (now := time.monotonic()) < end or (len(taken["ours"]) < 300 and now < end + 4 * SECONDS):
                for whom, name in self.names.items():
                    began = time.perf_counter()
                    bus.call(name, "/org/freedesktop/DBus", "org.freedesktop.DBus.Peer", "Ping")
                    taken[whom].append(time.perf_counter() - began)
        return taken

    def test_calls_over_the_bus(self):
        """Beside a service that only echoes, and the bus's own answers: a call to a service passes the bus twice, and one of the
        bus's own once."""
        for number in range(20):
            self.register(f"m{number}", self.leader())

        late = {"root": 0, "another user": 65534}

        def attempt(_):
            told = {}
            with Attack(self.flood, uids=self.known):
                for whom, uid in list(late.items()):
                    taken = varlink.as_user(uid, self.turns)
                    ours, bus, echo = (percentile(taken[key], 0.99) for key in self.names)
                    print(f"# over the bus: {whom}: p99 {ours * MS:.1f} ms, the echo service {echo * MS:.1f} ms, "
                          f"the bus itself {bus * MS:.1f} ms, {len(taken['ours'])} calls")
                    told[whom] = max(taken["ours"]), ours, TIMES * echo
                    if ours < TIMES * echo:
                        del late[whom]
            return told
        self.assert_often_enough(attempt)


@unittest.skipUnless(which("dbus-daemon"), "needs dbus-daemon")
class WithMutePolkit(WithBus):
    """Users whose agents never answer: polkit does not, while they do not."""

    def begin(self):
        super().begin()
        self.asked = ownbus.serve(self, ownbus.POLKIT)

    def test_calls_that_polkit_is_asked_about(self):
        self.register("web", self.leader())
        kill = call("io.systemd.Machine.Kill", {"name": "web", "whom": "leader", "signal": 15})
        self.assert_fair("polkit storm", self.crowd(kill))
        self.assertTrue(select.select([self.asked], [], [], 0)[0], "polkit was not asked")


if __name__ == "__main__":
    world.main()
