"""The daemon is killed at every step of what it does with systemd that anybody else can see."""

import hashlib
import os
import signal
import subprocess

import place
import processes
import records
import varlink
from place import is_active, run
from steps import Steps, needs_steps
from varlink import NO_SUCH_MACHINE, OK, ask, listed, register
from waiting import until

SCOPE = "machine-web.scope"


def links():
    """The links of units, and what they should be."""
    found = {name: os.readlink(f"{records.RECORDS}/{name}") for name in records.names() if name.startswith("unit:")}
    return found, {f"unit:{records.record(name)['SCOPE']}": name for name in listed()}


@needs_steps
class Crashes(place.Case):
    def sweep(self, begin, request, is_done, check):
        """Kills the daemon at each visible step after the request, one run for each, until it has done all of them.
        `check` is told whether the request had been answered."""
        steps = []
        for number in range(1, 100):
            subject = begin()
            pid = place.daemon()
            seen = []

            def decide(call, seen=seen, number=number):
                if not call.changes():
                    return None
                seen.append(str(call))
                return "kill" if len(seen) == number else None

            with Steps(pid) as traced:
                answered = request(subject)
                if not traced.run(decide, lambda answered=answered: answered() and is_done()):
                    break
            steps.append(seen[-1])
            place.next_daemon(pid)
            with self.subTest(step=f"{number}, {seen[-1]}"):
                try:
                    check(subject, answered())
                finally:
                    self.clear()
        print(f"# {len(steps)} steps: {steps}", flush=True)
        self.assertGreater(len(steps), 3)

    def clear(self):
        """Whatever was left."""
        for name in listed():
            ask("Unregister", {"name": name})
        run("systemctl", "stop", SCOPE, check=False)
        until(lambda: listed() == {} and not is_active(SCOPE), "the end of all")

    # With a scope.

    def varlink_register(self, leader):
        return self.varlink("Register", name="web", leader=leader.pid, allocateUnit=True, **{"class": "container"})

    def varlink(self, method, **parameters):
        client = varlink.Client()
        self.addCleanup(client.close)
        answer = varlink.asked(client, method, parameters)
        return lambda: answer() == OK

    def create(self, leader):
        command = ["busctl", "call", "org.freedesktop.machine1", "/org/freedesktop/machine1",
                   "org.freedesktop.machine1.Manager", "CreateMachine", "sayssusa(sv)", "web", "0", "", "container",
                   str(leader.pid), "", "0"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.addCleanup(process.communicate)
        return lambda: process.poll() == 0

    def is_there(self):
        record = records.record("web")
        return record is not None and "SCOPE_JOB" not in record

    @staticmethod
    def outcome():
        """Whether the machine is there, and its record, once list and record agree and no job is waited for; None before."""
        is_listed, record = "web" in listed(), records.record("web")
        if is_listed != (record is not None) or "SCOPE_JOB" in (record or ()):
            return None
        return is_listed, record

    def check_scope(self, leader, answered):
        """All of it is there, or nothing; and what is there ends."""
        self.assertTrue(processes.is_running(leader.pid))
        is_there, record = until(self.outcome, "the end of doubt")
        if answered:
            self.assertTrue(is_there, "it was answered")
        until(lambda: is_active(SCOPE) == is_there, f"the scope with its machine, or not at all: {is_there}")
        if is_there:
            self.assertEqual((record["SCOPE"], record.get("CGROUP")), (SCOPE, f"/machine.slice/{SCOPE}"))
            self.assert_in_order()
        else:
            self.assertEqual(register("web", leader.pid, allocateUnit=True), OK)
            until(self.is_there, "the machine")
        self.assertEqual(ask("Terminate", {"name": "web"}), OK)
        self.assert_ends(leader.pid)
        self.assert_gone()

    def assert_in_order(self):
        until(lambda: links()[0] == links()[1], "the links of units")
        groups = {hashlib.sha256(records.record(name)["CGROUP"].encode()).hexdigest()[:32]: name for name in listed()}
        until(lambda: records.group_index() == groups, f"the index of groups {groups}")
        self.assertEqual([name for name in records.names() if name.startswith(".#")], [])

    def assert_gone(self):
        until(lambda: listed() == {} and records.names() == [] and not is_active(SCOPE), "the end of the machine")
        until(lambda: records.group_index() == {}, "an empty index of groups")

    def test_a_machine_and_its_scope_are_there_both_or_neither(self):
        self.sweep(self.leader, self.varlink_register, self.is_there, self.check_scope)

    def test_a_machine_and_its_scope_are_there_both_or_neither_by_the_bus(self):
        self.sweep(self.leader, self.create, self.is_there, self.check_scope)

    def check_late(self, request):
        leader, pid = self.leader(), place.daemon()
        self.freeze()
        answered = request(leader)
        until(lambda: "web" in listed(), "the question to process 1")
        os.kill(pid, signal.SIGKILL)
        place.THAWED.touch()
        place.next_daemon(pid)
        self.check_scope(leader, answered())

    def test_a_scope_that_is_asked_for_by_the_dead_is_there_with_its_machine_or_not_at_all(self):
        self.check_late(self.varlink_register)

    def test_a_scope_that_is_asked_for_by_the_dead_is_there_with_its_machine_or_not_at_all_by_the_bus(self):
        self.check_late(self.create)

    def test_a_scope_of_somebody_else_makes_no_machine_of_what_the_dead_began(self):
        run("systemd-run", "--quiet", "--scope", f"--unit={SCOPE}", "sh", "-c", "sleep infinity >/dev/null 2>&1 & exit 0")
        self.addCleanup(run, "systemctl", "stop", SCOPE, check=False)
        leader, pid = self.leader(), place.daemon()
        self.freeze()
        self.varlink_register(leader)
        until(lambda: "web" in listed(), "the question to process 1")
        os.kill(pid, signal.SIGKILL)
        place.THAWED.touch()
        place.next_daemon(pid)
        until(lambda: listed() == {} and records.names() == [], "the end of doubt")
        self.assertTrue(is_active(SCOPE) and processes.is_running(leader.pid))

    def machine(self):
        leader = self.leader()
        self.assertEqual(register("web", leader.pid, allocateUnit=True), OK)
        until(self.is_there, "the machine")
        return leader

    def check_terminated(self, leader, answered):
        if not answered and "web" in listed():
            self.assertIn(ask("Terminate", {"name": "web"}), (OK, NO_SUCH_MACHINE))
        self.assert_ends(leader.pid)
        self.assert_gone()

    def test_a_machine_that_is_terminated_ends_whatever_becomes_of_the_daemon(self):
        self.sweep(self.machine, lambda _: self.varlink("Terminate", name="web"),
                   lambda: records.names() == [], self.check_terminated)

    def check_ended(self, leader, _):
        self.assert_gone()
        other = self.leader()
        self.assertEqual(register("web", other.pid, allocateUnit=True), OK)
        until(self.is_there, "the machine")
        other.kill()
        self.assert_gone()

    def test_a_leader_ends_whatever_becomes_of_the_daemon(self):
        def end(leader):
            leader.kill()
            return lambda: True
        self.sweep(self.machine, end, lambda: records.names() == [], self.check_ended)

    # In a unit of somebody else's.

    def check_registered(self, subject, answered):
        unit, pid = subject
        self.assertTrue(is_active(unit))
        is_there = "web" in listed()
        if answered:
            self.assertTrue(is_there)
        self.assert_in_order()
        if not is_there:
            self.assertEqual(register("web", pid), OK)
        self.assert_in_order()
        self.assertEqual(ask("Unregister", {"name": "web"}), OK)
        self.assert_gone()
        self.assertTrue(is_active(unit))
        run("systemctl", "stop", unit)

    def test_a_machine_in_a_service_is_there_wholly_or_not(self):
        self.sweep(self.service,
                   lambda subject: self.varlink("Register", name="web", leader=subject[1], **{"class": "container"}),
                   lambda: records.record("web") is not None, self.check_registered)

    def registered(self):
        subject = self.service()
        self.assertEqual(register("web", subject[1]), OK)
        return subject

    def check_unregistered(self, subject, answered):
        unit, pid = subject
        is_there = "web" in listed()
        self.assertFalse(answered and is_there)
        self.assert_in_order()
        if is_there:
            self.assertEqual(ask("Unregister", {"name": "web"}), OK)
        self.assert_gone()
        self.assertTrue(is_active(unit))
        run("systemctl", "stop", unit)

    def test_a_machine_in_a_service_is_unregistered_wholly_or_not(self):
        self.sweep(self.registered, lambda _: self.varlink("Unregister", name="web"),
                   lambda: records.names() == [], self.check_unregistered)


if __name__ == "__main__":
    place.main()
