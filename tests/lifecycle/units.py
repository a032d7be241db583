"""Scopes, jobs and the units that machines run in."""

import collections
import contextlib
import hashlib
import os
import pathlib
import re
import signal
import subprocess
import tempfile

import place
import processes
import records
import varlink
from place import is_active, run, show
from subscribe import Follower
from varlink import MACHINE_EXISTS, OK, ask, listed, register
from waiting import until

DBUS = "dbus.service"


class Units(place.Case):
    def create(self, name, leader, **more):
        return register(name, leader.pid, allocateUnit=True, **more)

    def test_a_scope_has_the_properties_that_the_original_gives_it(self):
        leader = self.leader()
        self.assertEqual(self.create("my-vm", leader), OK)
        scope = "machine-my\\x2dvm.scope"
        until(lambda: is_active(scope), "the scope")
        values = show(scope, "Slice", "Description", "Delegate", "CollectMode", "TasksMax", "User", "ControlGroup")
        self.assertEqual(values, ["machine.slice", "Container my-vm", "yes", "inactive-or-failed", "16384", "",
                                  f"/machine.slice/{scope}"])
        with open(f"/proc/{leader.pid}/cgroup") as file:
            self.assertIn(f"0::/machine.slice/{scope}", file.read().splitlines())
        other = self.leader()
        self.assertEqual(self.create("real", other, **{"class": "vm"}), OK)
        self.assertEqual(show("machine-real.scope", "Description"), ["Virtual Machine real"])

    def test_what_systemd_does_not_know_keeps_no_machine_from_its_scope(self):
        leader = self.leader()
        def create(*properties):
            return run("busctl", "call", "org.freedesktop.machine1", "/org/freedesktop/machine1",
                       "org.freedesktop.machine1.Manager", "CreateMachine", "sayssusa(sv)", "web", "0", "", "container",
                       leader.pid, "", len(properties) // 3, *properties)
        self.assertIn("/org/freedesktop/machine1/machine/web", create("Bogus", "s", "x", "Slice", "s", "other.slice"))
        self.assertTrue(is_active("machine-web.scope"))
        self.assertEqual(ask("Terminate", {"name": "web"}), OK)
        self.assert_ends(leader.pid)
        until(lambda: listed() == {} and not is_active("machine-web.scope"), "the end of the machine")
        leader = self.leader()
        create("Slice", "s", "other.slice")
        self.assertEqual(show("machine-web.scope", "Slice"), ["other.slice"])

    def test_the_name_of_a_dead_machine_and_its_scope_are_free_at_once(self):
        for _ in range(30):
            leader = self.leader()
            self.assertEqual(self.create("web", leader), OK)
            until(lambda: "SCOPE_JOB" not in records.record("web"), "the end of the job")
            leader.kill()

    def test_the_job_of_a_scope_is_in_the_record_until_it_is_done(self):
        self.assertEqual(self.create("web", self.leader()), OK)
        record = until(lambda: records.record("web") if "SCOPE_JOB" not in records.record("web") else None,
                       "the end of the job")
        self.assertEqual(record["SCOPE"], "machine-web.scope")
        self.assertEqual(os.readlink("/run/systemd/machines/unit:machine-web.scope"), "web")

    def test_a_follower_is_told_of_the_unit_and_of_its_group_when_it_is_there(self):
        follower = Follower().snapshot()
        self.addCleanup(follower.close)
        # The machine is there before the unit, as long as process 1 does nothing.
        self.freeze()
        leader = self.leader()
        with varlink.Client(deadline=60) as client:
            client.send(varlink.message("Register", {"name": "web", "class": "container", "leader": leader.pid,
                                                     "allocateUnit": True}))
            follower.until(lambda machines: "web" in machines, "the machine")
            told = follower.machines["web"]
            self.assertEqual((told["state"], told["unit"], told.get("controlGroup")), ("opening", "machine-web.scope", None))
            place.THAWED.touch()
            self.assertEqual(varlink.verdict(client.receive()), OK)
        follower.until(lambda machines: machines["web"]["state"] == "running", "the end of the job")
        self.assertEqual(follower.machines["web"]["controlGroup"], "/machine.slice/machine-web.scope")
        self.assertEqual(ask("Terminate", {"name": "web"}), OK)
        follower.until(lambda machines: "web" not in machines, "the end of the machine")

    def test_the_group_of_a_scope_is_known_from_its_start_to_its_end(self):
        leader = self.leader()
        self.assertEqual(self.create("web", leader), OK)
        before = until(lambda: records.record("web") if "SCOPE_JOB" not in records.record("web") else None,
                       "the end of the job")
        self.assertEqual((before["CGROUP"], before.get("SUBGROUP")), ("/machine.slice/machine-web.scope", None))
        entry = hashlib.sha256(before["CGROUP"].encode()).hexdigest()[:32]
        self.assertEqual(records.group_index(), {entry: "web"})
        # As libvirt does it: the machine has all of its scope, wherever its leader is.
        below = pathlib.Path("/sys/fs/cgroup/machine.slice/machine-web.scope/libvirt")
        below.mkdir()
        (below / "cgroup.procs").write_text(str(leader.pid))
        run("systemctl", "stop", place.SERVICE)
        # An earlier version wrote none down.
        path = pathlib.Path("/run/systemd/machines/web")
        path.write_text("".join(line for line in path.read_text().splitlines(True) if not line.startswith("CGROUP=")))
        self.start()
        self.assertEqual(records.record("web"), before)
        self.assertEqual(ask("Terminate", {"name": "web"}), OK)
        self.assert_ends(leader.pid)
        until(lambda: records.names() == [] and records.group_index() == {}, "the end of the machine")

    def test_a_machine_whose_unit_was_never_started_ends_all_the_same(self):
        """What a daemon leaves behind that is killed before it asks for the scope."""
        leader = self.leader()
        self.assertEqual(self.create("web", leader), OK)
        until(lambda: "SCOPE_JOB" not in records.record("web"), "the end of the job")
        path = pathlib.Path("/run/systemd/machines/web")
        path.write_text("".join(line for line in path.read_text().splitlines(True) if not line.startswith("CGROUP="))
                        .replace("machine-web.scope", "machine-never.scope"))
        place.killed()
        self.assertEqual(list(listed()), ["web"])
        self.assertEqual(ask("Terminate", {"name": "web"}), OK)
        self.assert_ends(leader.pid)
        until(lambda: listed() == {} and records.names() == [], "the end of the machine")

    def test_a_unit_may_have_a_name_that_is_too_long_for_a_link(self):
        for length in 250, 251, 255:
            unit = "x" * (length - len(".service")) + ".service"
            run("systemd-run", "--quiet", "--service-type=exec", f"--unit={unit}", "sleep", "infinity")
            self.addCleanup(run, "systemctl", "stop", unit, check=False)
            pid = int(show(unit, "MainPID")[0])
            self.assertEqual(register("web", pid), OK, length)
            links = [name for name in records.names() if name.startswith("unit:")]
            self.assertEqual(links, [f"unit:{unit}"] if length == 250 else [])
            self.assertEqual(records.record("web")["SCOPE"], unit)
            run("systemctl", "restart", place.SERVICE)
            self.assertEqual(list(listed()), ["web"])
            self.assertEqual(ask("Terminate", {"name": "web"}), OK)
            self.assert_ends(pid)
            until(lambda: records.names() == [] and listed() == {}, "the end of the machine")

    def test_a_machine_is_terminated_with_its_scope(self):
        leader = self.leader()
        self.assertEqual(self.create("web", leader), OK)
        self.assertEqual(ask("Terminate", {"name": "web"}), OK)
        self.assert_ends(leader.pid)
        until(lambda: not is_active("machine-web.scope"), "the end of the scope")
        until(lambda: listed() == {} and records.names() == [], "the end of the machine")

    def test_hundreds_of_scopes_are_made_and_ended_at_once(self):
        """More than the answers that a bus lets a daemon wait for, which are 128."""
        leaders = {f"m{number}": self.leader() for number in range(300)}
        with contextlib.ExitStack() as stack:
            clients = {name: stack.enter_context(varlink.Client(deadline=60)) for name in leaders}
            for method, parameters in [
                ("Register", lambda leader: {"class": "container", "leader": leader.pid, "allocateUnit": True}),
                ("Kill", lambda _: {"signal": signal.SIGCONT}),
                ("Terminate", lambda _: {}),
            ]:
                for name, client in clients.items():
                    client.send(varlink.message(method, {"name": name, **parameters(leaders[name])}))
                verdicts = collections.Counter(varlink.verdict(client.receive()) for client in clients.values())
                self.assertEqual(verdicts, {OK: 300}, method)
        for leader in leaders.values():
            self.assert_ends(leader.pid)
        until(lambda: listed() == {}, "the end of all machines")

    def test_a_registration_that_fails_stops_nobodys_unit(self):
        unit, pid = self.service()
        self.assertEqual(register("one", pid), OK)
        self.assertEqual(register("two", pid), "io.systemd.System EEXIST")
        self.assertEqual(register("one", self.leader().pid), MACHINE_EXISTS)
        # A scope of that name that is somebody else's.
        run("systemd-run", "--quiet", "--scope", "--unit=machine-web.scope", "--property=Delegate=yes", "sh", "-c",
            "sleep infinity >/dev/null 2>&1 & exit 0")
        self.addCleanup(run, "systemctl", "stop", "machine-web.scope", check=False)
        leader = self.leader()
        self.assertEqual(self.create("web", leader), "io.systemd.System EEXIST")
        self.assertEqual(list(listed()), ["one"])
        self.assertEqual(records.names(), ["one", f"unit:{unit}"])
        self.assertTrue(is_active(unit) and is_active("machine-web.scope"))
        self.assertTrue(processes.is_running(leader.pid))

    def test_a_machine_in_a_group_of_a_service_survives_us_without_owning_the_service(self):
        unit, pid = self.service("exec sleep infinity", "--property=Delegate=yes")
        inner = self.nested(unit)
        self.assertEqual(register("inner", inner.pid), OK)
        before = records.record("inner")
        self.assertEqual((before["SCOPE"], before["SUBGROUP"]), (unit, "inner"))
        run("systemctl", "stop", place.SERVICE)
        self.start()
        self.assertEqual(records.record("inner"), before)
        self.assertEqual(ask("Terminate", {"name": "inner"}), OK)
        self.assert_ends(inner.pid)
        until(lambda: listed() == {}, "the end of the machine")
        self.assertTrue(is_active(unit) and processes.is_running(pid))

    def test_machines_of_one_unit_are_taken_in_from_records_that_name_no_groups(self):
        unit, _ = self.service("exec sleep infinity", "--property=Delegate=yes")
        for name in "one", "two":
            self.assertEqual(register(name, self.nested(unit, name).pid), OK)
        before = listed()
        run("systemctl", "stop", place.SERVICE)
        for name in before:
            path = f"{records.RECORDS}/{name}"
            # As the original writes them.
            with open(path) as file:
                lines = [line for line in file if not line.startswith(("SUBGROUP", "PIDNS", "CGROUP"))]
            with open(path, "w") as file:
                file.writelines(lines)
        self.start()
        self.assertEqual(listed(), before)
        self.assertEqual([records.record(name)["SUBGROUP"] for name in ("one", "two")], ["one", "two"])

    def test_a_dead_leader_found_at_the_start_costs_nobody_his_unit(self):
        unit, pid = self.service("sleep infinity & exec sleep infinity")
        self.assertEqual(register("web", pid), OK)
        child = self.child(pid)
        inner_unit, other = self.service()
        self.assertEqual(register("other", child), "io.systemd.System EEXIST")
        self.assertEqual(ask("Unregister", {"name": "web"}), OK)
        self.assertEqual(register("web", child), OK)
        run("systemctl", "stop", place.SERVICE)
        os.kill(child, signal.SIGKILL)
        self.start()
        # Its unit has other processes still.
        self.assertEqual(list(listed()), ["web"])
        self.assertTrue(is_active(unit) and is_active(inner_unit) and processes.is_running(other))
        run("systemctl", "stop", unit)
        until(lambda: listed() == {}, "the end of the machine")

    def test_all_processes_of_a_unit_get_the_signal(self):
        unit, pid = self.service("sleep infinity & wait", "--property=KillMode=mixed")
        self.assertEqual(register("web", pid), OK)
        child = self.child(pid)
        self.assertEqual(ask("Kill", {"name": "web", "whom": "leader", "signal": 18}), OK)
        self.assertEqual(ask("Kill", {"name": "web", "whom": "all", "signal": 9}), OK)
        self.assert_ends(pid)
        self.assert_ends(child)
        until(lambda: listed() == {}, "the end of the machine")

    def test_a_signal_for_a_machine_in_a_group_spares_the_rest_of_the_unit(self):
        unit, pid = self.service("exec sleep infinity", "--property=Delegate=yes")
        inner = self.nested(unit)
        beside = self.beside(inner)
        self.assertEqual(register("inner", inner.pid), OK)
        self.assertEqual(ask("Kill", {"name": "inner", "whom": "all", "signal": 9}), OK)
        self.assert_ends(inner.pid)
        # Since 258 systemd can tell a group below a unit.
        if place.SYSTEMD >= 258:
            self.assert_ends(beside.pid)
        else:
            self.assertTrue(processes.is_running(beside.pid))
        self.assertTrue(processes.is_running(pid) and is_active(unit))

    def test_jobs_are_followed_over_reload_and_re_execution(self):
        for number, verb in enumerate(("daemon-reload", "daemon-reexec", "daemon-reload")):
            name = f"m{number}"
            self.assertEqual(self.create(name, self.leader()), OK)
            run("systemctl", verb)
            self.assertEqual(self.create(f"after-{name}", self.leader()), OK)
            for each in (name, f"after-{name}"):
                until(lambda each=each: "SCOPE_JOB" not in records.record(each), f"the end of the job of {each}")
        self.assertEqual(len(listed()), 6)

    def test_a_job_of_an_earlier_run_is_followed_to_its_end(self):
        leader = self.leader()
        self.assertEqual(self.create("web", leader), OK)
        run("systemctl", "stop", place.SERVICE)
        path = f"{records.RECORDS}/web"
        with open(path, "a") as file:
            file.write("SCOPE_JOB=/org/freedesktop/systemd1/job/99999\n")
        self.start()
        until(lambda: "SCOPE_JOB" not in records.record("web"), "the end of the job")
        self.assertIn("web", listed())

    def test_a_frozen_bus_holds_up_nobody_but_who_wants_a_scope(self):
        waiting = self.leader()
        # dbus-broker is a child of the unit's main process.
        bus = pathlib.Path(f"/sys/fs/cgroup{show(DBUS, 'ControlGroup')[0]}/cgroup.procs").read_text().split()
        run("kill", "-STOP", *bus)
        self.addCleanup(run, "kill", "-CONT", *bus)
        with varlink.Client(deadline=30) as slow:
            slow.send(varlink.message("Register", {"name": "slow", "class": "container", "leader": waiting.pid,
                                                   "allocateUnit": True}))
            self.assert_served_while(slow, lambda: self.assertEqual(ask("List", {"name": ".host"}), OK), rounds=50, least=10)
            reply = slow.receive()
            self.assertEqual(reply["parameters"]["errnoName"], "ETIMEDOUT")
        self.assertEqual(listed(), {})
        self.assertEqual([name for name in records.names() if "slow" in name], [])
        run("kill", "-CONT", *bus)
        self.assertEqual(self.create("fast", self.leader()), OK)

    def test_a_frozen_process_1_holds_up_nobody_but_who_wants_a_scope(self):
        (_, pid), (_, later) = self.service(), self.service()
        self.assertEqual(register("before", pid), OK)
        one, other = self.leader(), self.leader()
        manager = ("busctl", "--timeout=40", "call", "org.freedesktop.machine1", "/org/freedesktop/machine1",
                   "org.freedesktop.machine1.Manager")
        self.freeze()
        with varlink.Client(deadline=30) as slow:
            slow.send(varlink.message("Register", {"name": "slow", "class": "container", "leader": one.pid,
                                                   "allocateUnit": True}))
            create = subprocess.Popen([*manager, "CreateMachine", "sayssusa(sv)", "create", "0", "", "container",
                                       str(other.pid), "", "0"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

            def serve():
                self.assertEqual(ask("List", {"name": ".host"}), OK)
                self.assertIn('"before"', run(*manager, "ListMachines"))
                self.assertIn("/before", run(*manager, "GetMachine", "s", "before"))
                self.assertIn("/before", run(*manager, "GetMachineByPID", "u", pid))
                self.assertEqual(register("later", later), OK)
                self.assertEqual(ask("Unregister", {"name": "later"}), OK)
                run(*manager, "RegisterMachine", "sayssus", "later", "0", "", "container", later, "")
                run(*manager, "UnregisterMachine", "s", "later")
                self.assertEqual(run("ps", "-o", "machine=", "-p", pid), "before")
                run("getent", "hosts", "before", check=False, timeout=20)
                self.assertEqual(ask("Kill", {"name": "before", "whom": "leader", "signal": 18}), OK)
            self.assert_served_while(slow, serve, rounds=10, least=1)
            # Who wants something of process 1 is told that it does not answer.
            self.assertEqual(slow.receive()["parameters"]["errnoName"], "ETIMEDOUT")
        self.assertEqual(create.communicate(timeout=60)[0].strip(), "Call failed: Connection timed out")
        self.assertEqual(list(listed()), ["before"])
        place.THAWED.touch()
        # What it is asked for then is done, whatever it was asked for before.
        leader = self.leader()
        until(lambda: self.create("after", leader) == OK, "the answer of process 1")
        until(lambda: "SCOPE_JOB" not in records.record("after"), "the end of the job")
        self.assertEqual(sorted(listed()), ["after", "before"])
        self.assertEqual(ask("Terminate", {"name": "before"}), OK)
        self.assert_ends(pid)

    def test_who_goes_away_before_the_answer_has_created_a_machine(self):
        self.freeze()
        create = subprocess.Popen(["busctl", "call", "org.freedesktop.machine1", "/org/freedesktop/machine1",
                                   "org.freedesktop.machine1.Manager", "CreateMachine", "sayssusa(sv)", "web", "0", "",
                                   "container", str(self.leader().pid), "", "0"])
        until(lambda: "web" in listed(), "the question to process 1")
        create.kill()
        create.wait()
        place.THAWED.touch()
        until(lambda: is_active("machine-web.scope"), "the scope")
        until(lambda: "SCOPE_JOB" not in records.record("web"), "the end of the job")
        self.assertEqual(list(listed()), ["web"])

    def test_a_scope_that_is_wanted_of_a_process_1_that_is_back_soon_is_made(self):
        self.freeze()
        with varlink.Client(deadline=30) as slow:
            leader = self.leader()
            slow.send(varlink.message("Register", {"name": "slow", "class": "container", "leader": leader.pid,
                                                   "allocateUnit": True}))
            until(lambda: "slow" in listed(), "the question to process 1")
            place.THAWED.touch()
            self.assertEqual(varlink.verdict(slow.receive()), OK)
        until(lambda: "SCOPE_JOB" not in records.record("slow"), "the end of the job")
        self.assertTrue(is_active("machine-slow.scope"))

    def asked_for(self, client, name, leader):
        """Registers a machine of whose scope process 1 says nothing."""
        client.send(varlink.message("Register", {"name": name, "class": "container", "leader": leader.pid,
                                                 "allocateUnit": True}))
        until(lambda: name in listed(), "the question to process 1")

    def test_a_machine_is_terminated_whose_scope_process_1_was_just_asked_for(self):
        self.freeze()
        leader = self.leader()
        with varlink.Client(deadline=30) as slow, varlink.Client(deadline=30) as other:
            self.asked_for(slow, "slow", leader)
            other.send(varlink.message("Terminate", {"name": "slow"}))
            # The others are served meanwhile, and it has not been answered.
            self.assertEqual(ask("List", {"name": "slow"}), OK)
            place.THAWED.touch()
            self.assertEqual([varlink.verdict(client.receive()) for client in (slow, other)], [OK, OK])
        self.assert_ends(leader.pid)
        until(lambda: listed() == {} and not is_active("machine-slow.scope"), "the end of the machine")

    def test_of_a_machine_that_goes_before_its_scope_is_there_nobody_hears(self):
        manager = "org.freedesktop.machine1.Manager"
        # Appended to, whatever is read: it is the same file for both.
        told = tempfile.TemporaryFile("a+")
        self.addCleanup(told.close)
        signals = subprocess.Popen(["dbus-monitor", "--system", f"type='signal',interface='{manager}'"], stdout=told)
        self.addCleanup(signals.wait)
        self.addCleanup(signals.kill)

        def heard():
            """The signals of this interface, each as its name and the machine that it is about."""
            told.seek(0)
            return re.findall(rf'interface={manager}; member=(\w+)\n +string "(\w+)"\n', told.read())

        def is_heard(name):
            run("busctl", "emit", "/", manager, name, "s", "test")
            return (name, "test") in heard()
        until(lambda: is_heard("Begin"), "a monitor that hears")
        first = self.leader()
        self.freeze()
        with varlink.Client(deadline=30) as slow:
            self.asked_for(slow, "slow", first)
            first.kill()
            until(lambda: "slow" not in listed(), "the end of the machine")
            place.THAWED.touch()
            slow.receive()
        self.assertEqual(self.create("last", self.leader()), OK)
        self.assertEqual(ask("Unregister", {"name": "last"}), OK)
        until(lambda: is_heard("End"), "all signals before this one")
        self.assertEqual([each for each in heard() if each[1] != "test"], [("MachineNew", "last"), ("MachineRemoved", "last")])

    def test_scopes_are_made_again_when_the_bus_was_restarted(self):
        run("systemctl", "restart", DBUS)
        self.assertEqual(self.create("web", self.leader()), OK)
        until(lambda: "SCOPE_JOB" not in records.record("web"), "the end of the job")


if __name__ == "__main__":
    place.main()
