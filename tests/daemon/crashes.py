"""The daemon is killed at every step that anybody else can see, and starts again: nothing is there by half.

Without systemd; tests/lifecycle/crashes.py has what it does with it."""

import contextlib
import errno
import os
import pathlib
import signal

import machine1
import processes
import records
import varlink
import world
from steps import Steps, needs_steps
from varlink import OK, ask, listed, register
from waiting import until

GROUPS = f"{world.CGROUP}/machines"
DIRECTORIES = [records.RECORDS, records.DERIVED,
               *(f"{records.DERIVED}/{name}" for name in ("addresses", "cgroups", "leaders", "uids", "gids", "aliases", "names"))]
CLONE_NEWUSER = 0x10000000
GRACE = "0.1"
NO_REPLY = "org.freedesktop.DBus.Error.NoReply"
CONTAINER = {"class": "container"}


def deaf():
    """A body that SIGTERM does not end."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def groups():
    """Those that were made for machines."""
    with contextlib.suppress(FileNotFoundError):
        return [entry for entry in os.listdir(GROUPS) if os.path.isdir(f"{GROUPS}/{entry}")]
    return []


@needs_steps
class Swept(machine1.WithBus):
    """Beside the machine that something is done to, there is another one, which shares an address with it."""

    def begin(self, *more):
        self.setUp()
        if "bus" in more:
            self.start_bus()
        self.start("--grace", GRACE)
        if "bus" in more:
            self.wait_for_name()
        processes.batch(["link add br0 type bridge", "link set br0 up"])
        self.addCleanup(processes.host, "link delete br0")
        self.other = self.bridged("10.9.0.1/32", "10.9.0.9/32")
        self.register("other", self.other)

    def end(self):
        """Of one run of the daemon and of all that was started for it."""
        self.doCleanups()
        for group in groups():
            def is_gone(path=f"{GROUPS}/{group}"):
                with contextlib.suppress(OSError):
                    os.rmdir(path)
                return not os.path.exists(path)
            until(is_gone, "the end of what nobody minds any more")

    def bridged(self, *addresses):
        """A container that may have the same address as another one, which the host reaches at both."""
        return self.container(*addresses, bridge="br0")

    def disturbed(self, begin, request, is_done, check, disturb="kill", among=lambda call: call.changes()):
        """Kills the daemon at each step after the request, one run for each, until it has done all of them. `check` is told
        of each what was begun and whether the request had been answered."""
        steps = []
        for number in range(1, 100):
            subject = begin()
            seen = []

            def decide(call, seen=seen, number=number):
                if among(call):
                    seen.append(str(call))
                    return disturb if len(seen) == number else None
                return None

            with Steps(self.machined.pid) as traced:
                told = request(subject)
                killed = traced.run(decide, lambda told=told: told() is not None and is_done(subject))
            is_over = len(seen) < number
            if not is_over:
                steps.append(seen[number - 1])
                with self.subTest(step=f"{number}, {steps[-1]}"):
                    self.after(killed, subject, told, check)
            self.end()
            if is_over:
                break
        print(f"# {len(steps)} steps: {steps}", flush=True)
        self.assertGreater(len(steps), 2)

    def after(self, killed, subject, told, check):
        if not killed:
            self.assert_in_order()
        self.machined.kill()
        self.start("--grace", GRACE)
        check(subject, told())
        self.assert_in_order()

    def assert_in_order(self):
        self.assertIn("other", listed())
        self.assert_addresses("other", "10.9.0.1", "10.9.0.9")

        def is_consistent():
            with contextlib.suppress(AssertionError):
                self.assert_consistent()
                return True
            return False
        until(is_consistent, "order")
        entries = [entry for directory in DIRECTORIES for entry in os.listdir(directory)]
        self.assertEqual([entry for entry in entries if entry.startswith(".#")], [])

    # What is asked.

    def varlink(self, method, **parameters):
        client = varlink.Client()
        self.addCleanup(client.close)
        return varlink.asked(client, method, parameters)

    def dbus(self, member, signature, *body):
        client = self.client()
        serial = client.send(machine1.NAME, machine1.ROOT, machine1.MANAGER, member, signature, *body)
        told = []

        def answer():
            if not told:
                with contextlib.suppress(TimeoutError):
                    try:
                        client.reply(serial, 0.001)
                        told.append(OK)
                    except machine1.wire.Failed as failed:
                        # The bus answers for a daemon that is no more. Whatever else failed would be waited for in vain.
                        if failed.name != NO_REPLY:
                            raise
            return told[0] if told else None
        return answer

    # What must be.

    def check_registered(self, leader, told, **more):
        """All of it or nothing, and what is there can go and come again."""
        self.assertTrue(processes.is_running(leader.pid))
        before = records.record("web")
        self.assertEqual("web" in listed(), before is not None)
        if told == OK:
            self.assertIsNotNone(before, "it was answered")
        if before is not None:
            self.assertEqual(ask("Unregister", {"name": "web"}), OK)
            self.assertTrue(processes.is_running(leader.pid))
        self.assertEqual(register("web", leader.pid, **more), OK)
        self.assert_in_order()
        if before is not None:
            def lasting(record):
                """The keys, but for who asks."""
                return {key for key in record if not key.startswith("SUPERVISOR")}
            self.assertEqual(lasting(before), lasting(records.record("web")))
        self.assertEqual(ask("Terminate", {"name": "web"}), OK)
        until(lambda: not processes.is_running(leader.pid) and list(listed()) == ["other"], "the end of the machine")
        # At the next start at the latest, what an interrupted registration left is gone.
        self.machined.kill()
        self.start("--grace", GRACE)
        until(lambda: groups() == [], "the end of the groups")

    def group_of_two(self, *bodies):
        """A machine with a group of its own, in which there is another process beside the leader."""
        self.begin()
        leader, rest = (self.leader(body) for body in bodies)
        self.register("web", leader, allocateUnit=True)
        pathlib.Path(f"{GROUPS}/web/cgroup.procs").write_text(str(rest.pid))
        return leader, rest


class Killed(Swept):
    def test_a_machine_is_registered_wholly_or_not(self):
        def begin():
            self.begin()
            return self.bridged("10.1.0.1/32", "fd00::1/128", "10.9.0.1/32")
        more = {"ifIndices": [1], "sshAddress": "vsock/3", "vSockCid": 5}
        self.disturbed(begin, lambda box: self.varlink("Register", name="web", leader=box.pid, **CONTAINER, **more),
                       lambda _: True, lambda box, told: self.check_registered(box, told, **more))

    @world.needs_cgroup
    def test_a_machine_is_registered_wholly_or_not_with_a_group(self):
        def begin():
            self.begin()
            return self.leader()
        self.disturbed(begin, lambda leader: self.varlink("Register", name="web", leader=leader.pid, allocateUnit=True,
                                                          **CONTAINER),
                       lambda _: True, lambda leader, told: self.check_registered(leader, told, allocateUnit=True))

    @world.needs_cgroup
    def test_a_machine_is_created_wholly_or_not_by_the_bus(self):
        def begin():
            self.begin("bus")
            return self.leader()
        self.disturbed(begin, lambda leader: self.dbus("CreateMachine", "sayssusa(sv)", "web", b"", "svc", "container",
                                                       leader.pid, "", []),
                       lambda _: True,
                       lambda leader, told: self.check_registered(leader, told, allocateUnit=True, service="svc"))

    def test_a_machine_is_unregistered_wholly_or_not(self):
        for by_bus in False, True:
            def begin(by_bus=by_bus):
                self.begin(*(["bus"] if by_bus else []))
                box = self.bridged("10.1.0.1/32", "10.9.0.1/32")
                self.register("web", box)
                return box

            def request(_, by_bus=by_bus):
                return self.dbus("UnregisterMachine", "s", "web") if by_bus else self.varlink("Unregister", name="web")

            def check(box, told):
                self.assertTrue(processes.is_running(box.pid))
                if told == OK:
                    self.assertNotIn("web", listed())
                self.assertIn(ask("Unregister", {"name": "web"}), (OK, varlink.NO_SUCH_MACHINE))
                self.assertEqual(register("web", box.pid), OK)
            self.disturbed(begin, request, lambda _: True, check)

    def check_gone(self, both, _):
        until(lambda: not any(processes.is_running(process.pid) for process in both), "the end of both")
        until(lambda: list(listed()) == ["other"] and groups() == [], "the end of the machine")
        # And the name is free.
        leader = self.leader()
        self.assertEqual(register("web", leader.pid, allocateUnit=True), OK)
        self.assertEqual(groups(), ["web"])
        self.assertEqual(ask("Terminate", {"name": "web"}), OK)
        until(lambda: groups() == [], "the end of the group")

    @world.needs_cgroup
    def test_what_a_leader_leaves_in_its_group_ends(self):
        def request(both):
            both[0].tell(signal.SIGKILL)
            return lambda: OK
        self.disturbed(lambda: self.group_of_two(None, deaf), request, lambda _: groups() == [], self.check_gone)

    @world.needs_cgroup
    def test_a_machine_that_is_told_to_end_ends(self):
        def check(both, told):
            if told is None and "web" in listed():
                self.assertIn(ask("Terminate", {"name": "web"}), (OK, varlink.NO_SUCH_MACHINE))
            self.check_gone(both, told)
        self.disturbed(lambda: self.group_of_two(deaf, deaf), lambda _: self.varlink("Terminate", name="web"),
                       lambda _: groups() == [] and records.record("web") is None, check)

    def test_addresses_change_wholly_or_not(self):
        def begin():
            self.begin()
            box = self.bridged("10.1.0.1/32", "10.1.0.2/32")
            self.register("web", box)
            return box

        def request(box):
            box.add("10.1.0.3/32")
            box.remove("10.1.0.1/32")
            return lambda: OK

        def are_known(_=None):
            return sorted(records.addresses("web") or []) == ["10.1.0.2", "10.1.0.3"]

        def check(*_):
            until(are_known, "the addresses")
            self.assertIn("web", listed())
        self.disturbed(begin, request, are_known, check)

    def test_id_maps_that_come_late_are_known_wholly_or_not(self):
        def begin():
            self.begin()
            leader = self.leader(lambda: processes.checked(processes.LIBC.unshare(CLONE_NEWUSER)))
            self.register("web", leader)
            return leader

        def request(leader):
            for kind in "uid_map", "gid_map":
                if kind == "gid_map":
                    with contextlib.suppress(OSError):
                        pathlib.Path(f"/proc/{leader.pid}/setgroups").write_text("deny")
                pathlib.Path(f"/proc/{leader.pid}/{kind}").write_text("0 200000 65536\n" if world.IS_ROOT else "0 0 1\n")
            return lambda: OK

        def are_known(_=None):
            return {"UIDMAP", "GIDMAP"} <= set(records.record("web"))
        self.disturbed(begin, request, are_known, lambda *_: until(are_known, "the maps"))


class Starting(Swept):
    """A daemon that is followed from its first step on."""

    def begin_held(self):
        """The next run of the daemon, which waits for `release`."""
        fifo = "/run/held"
        os.mkfifo(fifo)
        self.held = os.open(fifo, os.O_RDWR)
        self.addCleanup(os.close, self.held)
        self.start("--grace", GRACE, ready=False, prefix=["sh", "-c", 'read -r _ <"$0"; exec "$@"', fifo])

    def release(self, _=None):
        os.write(self.held, b"\n")
        notify, told = self.machined.notify, []
        notify.setblocking(False)

        def answer():
            # Not there yet, or not any more.
            with contextlib.suppress(OSError):
                told.append(notify.recv(4096).strip())
            return OK if b"READY=1" in told else None
        return answer

    @world.needs_cgroup
    def test_a_start_finds_what_an_interrupted_one_left(self):
        def begin():
            both = self.group_of_two(None, deaf)
            self.box = self.bridged("10.1.0.1/32", "10.9.0.1/32")
            self.register("box", self.box)
            self.machined.kill()
            both[0].kill()
            self.box.add("10.1.0.2/32")
            self.box.remove("10.9.0.1/32")
            for name in ".#box", ".#new":
                pathlib.Path(f"{records.RECORDS}/{name}").write_text("half")
            os.symlink("gone", f"{records.INDEX}/0a090909")
            os.symlink("box", f"{records.DERIVED}/uids/.#0003")
            os.unlink(f"{records.INDEX}/0a010001")
            self.begin_held()
            return both

        def is_done(_):
            return groups() == [] and records.index() == {"10.9.0.9": "other", "10.9.0.1": "other", "10.1.0.1": "box",
                                                          "10.1.0.2": "box"}

        def check(both, _):
            until(lambda: not processes.is_running(both[1].pid) and groups() == [], "the end of what a dead leader left")
            until(lambda: sorted(listed()) == ["box", "other"], "the end of its machine")
            self.assert_addresses("box", "10.1.0.1", "10.1.0.2")
            self.assertTrue(processes.is_running(self.box.pid))
        # The directories are there.
        self.disturbed(begin, self.release, is_done, check, among=lambda call: call.changes() and call.name != "mkdirat")

    def test_a_daemon_that_cannot_open_a_record_for_want_of_descriptors_does_not_begin_without_it(self):
        self.begin()
        self.register("web", self.leader())
        self.machined.kill()
        self.begin_held()
        failed = []

        def decide(call):
            if call.name == "openat" and not failed and call.text(1) == "web":
                failed.append(call)
                return errno.EMFILE
            return None
        with Steps(self.machined.pid) as traced:
            told = self.release()
            self.assertRaisesRegex(AssertionError, "ended by itself", traced.run, decide, lambda: told() is not None)
        self.assertTrue(failed)
        self.start()
        self.assertEqual(sorted(listed()), ["other", "web"])


class Failing(Swept):
    """A call fails, once, and the daemon goes on."""

    def test_a_machine_whose_record_could_not_be_removed_does_not_come_back(self):
        def begin():
            self.begin()
            box = self.bridged("10.1.0.1/32", "10.9.0.1/32")
            self.register("web", box)
            return box

        def check(_, told):
            if told == OK:
                self.assertNotIn("web", listed())
            else:
                # What could not be made to last was not done.
                self.assertEqual(told, "io.systemd.System EIO")
                self.assertIn("web", listed())
        self.disturbed(begin, lambda _: self.varlink("Unregister", name="web"), lambda _: True, check, disturb=errno.EIO,
                       among=lambda call: call.name in ("unlinkat", "symlinkat", "renameat", "renameat2"))


if __name__ == "__main__":
    world.main()
