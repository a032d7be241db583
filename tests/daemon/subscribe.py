"""Clients that follow what machines there are."""

import json
import os
import select
import signal
import tempfile
import time

import users
import world
from varlink import INVALID, OK, Client, ask, listed, message, verdict
from waiting import DEADLINE, until

SUBSCRIBE = "io.mymachines.Registry.Subscribe"
# The long check has ten thousand and a hundred.
MACHINES = int(os.environ.get("MACHINES", "300"))
SUBSCRIBERS = int(os.environ.get("SUBSCRIBERS", "20"))


class Follower:
    """A client of the stream, and what it makes of it."""

    def __init__(self, **parameters):
        self.client = Client(deadline=60)
        self.machines, self.instance, self.sequence, self.ready = {}, None, 0, False
        self.largest = 0
        self.client.send(message(SUBSCRIBE, parameters, more=True))

    def close(self):
        self.client.close()

    def take(self):
        """Takes in one reply, and finds fault with it."""
        reply = self.client.receive()
        assert reply and "error" not in reply and reply["continues"], reply
        told = reply["parameters"]
        assert self.instance in (None, told["instance"])
        assert told["sequence"] == self.sequence + 1, (told["sequence"], self.sequence)
        assert told["ready"] or not self.ready
        assert len(told["changes"]) <= 64
        self.instance, self.sequence, self.ready = told["instance"], told["sequence"], told["ready"]
        self.largest = max(self.largest, len(told["changes"]))
        for change in told["changes"]:
            kind, name, machine = change["kind"], change["name"], change.get("machine")
            assert (name in self.machines) == (kind != "new"), change
            if kind == "removed":
                assert machine is None
                del self.machines[name]
            else:
                assert machine["name"] == name
                self.machines[name] = machine
        return told["changes"]

    def snapshot(self):
        while not self.ready:
            self.take()
        return self

    def until(self, condition, what):
        """Takes in what comes until condition(machines) is true."""
        end = time.monotonic() + DEADLINE
        while not condition(self.machines):
            assert time.monotonic() < end, f"{what} was not told; there are {list(self.machines)[:9]}"
            if self.client.messages or select.select([self.client.socket], [], [], 0.1)[0]:
                self.take()


def deliver(followers, marker, count):
    """Receives for all of them, without a look at what it is, until each has got so many times the bytes of `marker`: what is
    timed is the daemon's work, and not the reading of JSON in a test. What was received is taken in later."""
    with select.epoll() as poll:
        waiting = {}
        for follower in followers:
            follower.client.socket.setblocking(False)
            poll.register(follower.client.socket, select.EPOLLIN)
            waiting[follower.client.socket.fileno()] = [follower, [follower.client.rest], b"", count]
        end = time.monotonic() + DEADLINE
        while waiting:
            assert time.monotonic() < end, f"{len(waiting)} of {len(followers)} were not told all"
            for fd, _ in poll.poll(1):
                follower, chunks, border, missing = waiting[fd]
                chunk = follower.client.socket.recv(1 << 20)
                assert chunk, "the daemon has closed a connection"
                chunks.append(chunk)
                missing -= (border + chunk).count(marker)
                waiting[fd][2:] = (border + chunk)[1 - len(marker):], missing
                if missing <= 0:
                    poll.unregister(fd)
                    *whole, follower.client.rest = b"".join(chunks).split(b"\0")
                    follower.client.messages += whole
                    follower.client.socket.settimeout(60)
                    del waiting[fd]


class Lister:
    """A process that calls List again and again meanwhile: how long each call took, and for how long the daemon worked meanwhile,
    both sorted."""

    def __init__(self, daemon):
        self.daemon = daemon

    def worked(self):
        """The processor time of the daemon's event loop, in seconds."""
        with open(f"/proc/{self.daemon.pid}/schedstat") as file:
            return int(file.read().split()[0]) / 1e9

    def __enter__(self):
        reader, self.writer = os.pipe()
        self.report = tempfile.TemporaryFile("w+")
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.close(self.writer)
                took = []
                while not took or not select.select([reader], [], [], 0)[0]:
                    start, worked = time.monotonic(), self.worked()
                    assert ask("List", {"name": ".host"}) == OK
                    took.append((time.monotonic() - start, self.worked() - worked))
                json.dump(took, self.report)
                self.report.flush()
                os._exit(0)
            finally:
                os._exit(1)
        os.close(reader)
        return self

    def __exit__(self, *_):
        os.close(self.writer)
        assert os.waitpid(self.pid, 0)[1] == 0, "List failed"
        self.report.seek(0)
        self.took, self.waited_for = map(sorted, zip(*json.load(self.report)))
        self.report.close()


class Subscribing(world.Case):
    run_options = "mode=755,size=1g,nr_inodes=400000"

    def setUp(self):
        super().setUp()
        self.start()

    def follow(self, **parameters):
        follower = Follower(**parameters)
        self.addCleanup(follower.close)
        return follower

    def assert_as_listed(self, follower):
        def same():
            there = listed()
            fields = [field for field in ("class", "service", "id", "leader", "unit", "subgroup")
                      if any(field in machine for machine in there.values())]
            expected = {name: [machine.get(field) for field in fields] for name, machine in there.items()}
            while follower.client.messages or select.select([follower.client.socket], [], [], 0)[0]:
                follower.take()
            return {name: [machine.get(field) for field in fields]
                    for name, machine in follower.machines.items()} == expected
        until(same, "what List tells")

    def test_a_follower_is_told_what_is_there_and_then_what_changes(self):
        self.register("one", self.leader(), service="lab")
        follower = self.follow().snapshot()
        self.assertEqual(follower.machines["one"]["service"], "lab")
        self.assertEqual(follower.machines["one"]["state"], "running")
        self.assertTrue(follower.machines["one"]["isPublic"])
        second = self.leader()
        self.register("two", second)
        follower.until(lambda machines: "two" in machines, "a new machine")
        self.assert_as_listed(follower)
        second.kill()
        follower.until(lambda machines: "two" not in machines, "the end of its leader")
        self.assertEqual(ask("Unregister", {"name": "one"}), OK)
        follower.until(lambda machines: not machines, "the end of a machine")

    def test_a_follower_of_nothing_is_told_so_at_once(self):
        follower = self.follow()
        self.assertEqual((follower.take(), follower.ready), ([], True))

    @world.needs_root
    def test_changes_of_addresses_are_told(self):
        container = self.container("10.1.0.2/24")
        self.register("web", container)
        follower = self.follow().snapshot()
        follower.until(lambda machines: machines["web"].get("addresses") == ["10.1.0.2"], "its address")
        container.add("10.1.0.3/24")
        follower.until(lambda machines: "10.1.0.3" in machines["web"]["addresses"], "an address more")
        # The other one goes with the first of its network.
        container.remove("10.1.0.2/24")
        follower.until(lambda machines: not machines["web"]["addresses"], "no address")

    @world.needs_root
    def test_maps_that_come_late_are_told(self):
        leader = self.leader(users.unmapped)
        self.register("late", leader)
        follower = self.follow().snapshot()
        self.assertIsNone(follower.machines["late"].get("uidMap"))
        users.write_map(leader, [(0, 100000, 10)], [(0, 300000, 10)])
        lines = lambda outside: [{"inside": 0, "outside": outside, "count": 10}]
        follower.until(lambda machines: (machines["late"].get("uidMap"), machines["late"].get("gidMap")) ==
                       (lines(100000), lines(300000)), "its maps")

    @world.needs_root
    @world.needs_cgroup
    def test_a_state_that_changes_is_told(self):
        def forks_when_told():
            signal.signal(signal.SIGUSR1, lambda *_: os.fork())
            # What is left is told to end.
            signal.signal(signal.SIGTERM, signal.SIG_IGN)

        leader = self.leader(forks_when_told)
        self.register("web", leader, allocateUnit=True)
        follower = self.follow().snapshot()
        self.assertEqual(follower.machines["web"]["state"], "running")
        group = f"{world.CGROUP}{follower.machines['web']['controlGroup']}/cgroup.procs"
        left = lambda: [int(pid) for pid in open(group).read().split() if int(pid) != leader.pid]
        leader.tell(signal.SIGUSR1)
        child, = until(left, "a child in its group")
        leader.kill()
        follower.until(lambda machines: machines["web"]["state"] == "closing", "the end of its leader")
        self.assert_as_listed(follower)
        os.kill(child, signal.SIGKILL)
        follower.until(lambda machines: not machines, "the end of its group")

    def test_only_what_is_wanted_is_told(self):
        follower, vms = self.follow(names=["b", "none"]), self.follow(**{"class": "vm"})
        for name, kind in ("a", "container"), ("b", "container"), ("c", "vm"):
            self.register(name, self.leader(), **{"class": kind})
        follower.until(lambda machines: "b" in machines, "b")
        vms.until(lambda machines: "c" in machines, "c")
        self.assertEqual((set(follower.machines), set(vms.machines)), ({"b"}, {"c"}))

    def test_what_makes_no_sense_is_refused(self):
        for parameters, field in ({"names": ["a/b"]}, "names"), ({"names": ["n"] * 1025}, "names"), \
                ({"class": "host"}, "class"), ({"fields": []}, "fields"), ({"names": 1}, "names"):
            with Client() as client:
                client.send(message(SUBSCRIBE, parameters, more=True))
                self.assertEqual(verdict(client.receive()), f"{INVALID} {field}")
        self.assertEqual(ask(SUBSCRIBE), "org.varlink.service.ExpectedMore")

    def test_a_new_run_is_another_instance(self):
        self.register("web", self.leader())
        first = self.follow().snapshot()
        self.restart()
        with self.assertRaises(AssertionError):
            first.take()
        second = self.follow().snapshot()
        self.assertEqual(set(second.machines), {"web"})
        self.assertNotEqual(first.instance, second.instance)

    def test_crowds_are_told_all_and_one_who_sleeps_harms_nobody(self):
        """With figures: snapshot, burst, List meanwhile."""
        leaders = [self.leader() for _ in range(MACHINES)]
        with Client(60) as client:
            for number, leader in enumerate(leaders):
                told = client.call("Register", {"name": f"m{number}", "class": "container", "leader": leader.pid})
                self.assertEqual(verdict(told), OK)
        cpu, before = self.machined.cpu(), time.monotonic()
        first = self.follow()
        deliver([first], b'"ready":true', 1)
        took, took_cpu = time.monotonic() - before, self.machined.cpu() - cpu
        first.snapshot()
        self.assertEqual((len(first.machines), first.largest), (MACHINES, 64))
        followers = [self.follow().snapshot() for _ in range(SUBSCRIBERS - 1)]
        sleeper, memory = followers.pop(), self.machined.rss()

        # Everything changes: what was there goes, and comes again.
        burst = min(MACHINES, 1000)
        with Lister(self.machined) as lister:
            with Client(60) as client:
                for number in range(burst):
                    self.assertEqual(client.ask("Unregister", {"name": f"m{number}"}), OK)
                cpu, before = self.machined.cpu(), time.monotonic()
                for number in range(burst):
                    parameters = {"name": f"m{number}", "class": "container", "leader": leaders[number].pid}
                    self.assertEqual(client.ask("Register", {**parameters, "service": "again"}), OK)
                registered = time.monotonic() - before
            deliver([first, *followers], b'"service":"again"', burst)
            told, told_cpu = time.monotonic() - before, self.machined.cpu() - cpu
        for follower in [first, *followers]:
            while follower.client.messages:
                follower.take()
            self.assertEqual(len(follower.machines), MACHINES)
            self.assertEqual({follower.machines[f"m{number}"].get("service") for number in range(burst)}, {"again"})
        # It is told the last state when it wakes up.
        sleeper.until(lambda machines: len(machines) == MACHINES and all(
            machines[f"m{number}"].get("service") == "again" for number in range(burst)), "the last state")
        self.assert_as_listed(sleeper)
        self.assertLess(self.machined.rss() - memory, 20 << 10)
        slowest = lister.took
        self.assertTrue(slowest)
        print(f"{MACHINES} machines, {SUBSCRIBERS} subscribers: snapshot {took * 1000:.0f} ms ({took_cpu * 1000:.0f} ms "
              f"of the daemon's processor time); {burst} registered again in "
              f"{registered * 1000:.0f} ms, all told after {told * 1000:.0f} ms ({told_cpu * 1000:.0f} ms of it); {len(slowest)} calls of List meanwhile, "
              f"median {slowest[len(slowest) // 2] * 1000:.1f} ms, 99 of 100 within {slowest[len(slowest) * 99 // 100] * 1000:.1f} ms, "
              f"slowest {slowest[-1] * 1000:.1f} ms, in which the daemon worked for at most "
              f"{lister.waited_for[-1] * 1000:.1f} ms", flush=True)


if __name__ == "__main__":
    world.main()
