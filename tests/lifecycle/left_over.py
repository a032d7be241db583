"""Machines whose leader has ended while others live in their unit: listed as closing, and to be ended by name."""

import os
import pathlib
import signal
import subprocess

import place
import processes
import records
import varlink
from place import is_active, run, show
from polkit import RULES, rules
from varlink import MACHINE_EXISTS, NO_SUCH_MACHINE, OK, ask, as_user, listed, register
from waiting import until

MANAGER = "org.freedesktop.machine1", "/org/freedesktop/machine1", "org.freedesktop.machine1.Manager"
ALICE = 1000
# Two who have an entry in /etc/passwd everywhere.
KNOWN, OTHER = 1, 2


def state(name):
    return run("busctl", "get-property", "org.freedesktop.machine1", f"/org/freedesktop/machine1/machine/{name}",
               "org.freedesktop.machine1.Machine", "State").removeprefix("s ").strip('"')


def join(process, unit):
    """Puts a process into the group of a unit."""
    group = pathlib.Path("/sys/fs/cgroup") / show(unit, "ControlGroup")[0].lstrip("/")
    (group / "cgroup.procs").write_text(str(process.pid))


def resolves(name):
    return subprocess.run(["getent", "-s", "mymachines", "hosts", name], stdout=subprocess.DEVNULL,
                          check=False).returncode == 0


class LeftOver(place.Case):
    def left_over(self, name="web", **more):
        """A machine with a scope, whose leader is dead, and the process that is left over of it."""
        leader, rest = self.leader(), self.leader()
        self.assertEqual(register(name, leader.pid, allocateUnit=True, **more), OK)
        scope = f"machine-{name}.scope"
        until(lambda: "SCOPE_JOB" not in records.record(name), "the end of the job")
        join(rest, scope)
        leader.kill()
        return scope, rest

    def of_service(self, name="web"):
        """A machine registered in a service that was there before, whose leader is dead; the service and its main process."""
        unit, main = self.service("sleep 100000 & exec sleep infinity")
        leader = place.Case.child(main)
        self.assertEqual(register(name, leader), OK)
        os.kill(leader, 9)
        until(lambda: not processes.is_running(leader), "the end of the leader")
        return unit, main

    def assert_gone(self, name="web"):
        until(lambda: name not in listed() and records.record(name) is None, "the end of the machine")
        self.assertEqual(ask("Terminate", {"name": name}), NO_SUCH_MACHINE)

    def test_what_is_left_over_is_listed_as_closing_and_resolves_nowhere(self):
        leader, rest = self.leader(), self.leader()
        self.assertEqual(register("web", leader.pid, allocateUnit=True), OK)
        until(lambda: "SCOPE_JOB" not in records.record("web"), "the end of the job")
        self.assertEqual(state("web"), "running")
        join(rest, "machine-web.scope")
        leader.kill()
        self.assertIn("web", listed())
        self.assertEqual(state("web"), "closing")
        self.assertIn('"web"', run("busctl", "call", *MANAGER, "ListMachines"))
        self.assertFalse(resolves("web"))
        self.assertEqual(records.index(), {})
        # It is still whose processes these are.
        self.assertIn("/web", run("busctl", "call", *MANAGER, "GetMachineByPID", "u", rest.pid))
        self.assertTrue(processes.is_running(rest.pid), "nothing was done to it")

    def test_it_is_ended_by_its_name(self):
        scope, rest = self.left_over()
        self.assertEqual(ask("Kill", {"name": "web", "whom": "leader", "signal": 9}), "io.systemd.System ESRCH")
        self.assertEqual(ask("Terminate", {"name": "web"}), OK)
        self.assert_ends(rest.pid)
        self.assert_gone()
        until(lambda: not is_active(scope), "the end of the scope")

    def test_kill_reaches_it(self):
        scope, rest = self.left_over()
        self.assertEqual(ask("Kill", {"name": "web", "whom": "all", "signal": 9}), OK)
        self.assert_ends(rest.pid)
        self.assert_gone()
        until(lambda: not is_active(scope), "the end of the scope")

    def test_it_goes_when_its_unit_is_empty(self):
        _, rest = self.left_over()
        self.assertIn("web", listed())
        rest.kill()
        self.assert_gone()

    def test_it_is_there_over_a_restart_and_over_a_kill(self):
        _, rest = self.left_over()
        for restart in place.killed, lambda: run("systemctl", "restart", place.SERVICE):
            restart()
            self.assertEqual(state("web"), "closing")
            self.assertIn("web", listed())
            self.assertTrue(processes.is_running(rest.pid))
        run("systemctl", "stop", place.SERVICE)
        rest.kill()
        self.start()
        self.assert_gone()

    def test_who_died_while_nobody_watched_leaves_something_over_too(self):
        leader, rest = self.leader(), self.leader()
        self.assertEqual(register("web", leader.pid, allocateUnit=True), OK)
        until(lambda: "SCOPE_JOB" not in records.record("web"), "the end of the job")
        join(rest, "machine-web.scope")
        run("systemctl", "stop", place.SERVICE)
        leader.kill()
        self.start()
        self.assertEqual(state("web"), "closing")
        self.assertEqual(ask("Unregister", {"name": "web"}), OK)
        self.assertNotIn("web", listed())
        self.assertTrue(processes.is_running(rest.pid), "what runs goes on")

    def test_a_scope_that_a_new_machine_needs_is_ended_first(self):
        """As libvirt starts a domain again whose qemu died."""
        for restarted in False, True:
            with self.subTest(restarted=restarted):
                scope, rest = self.left_over()
                if restarted:
                    place.killed()
                leader = self.leader()
                self.assertIn("/web", run("busctl", "call", *MANAGER, "CreateMachineWithNetwork", "sayssusaia(sv)", "web", "0",
                                          "libvirt-qemu", "vm", leader.pid, "", "0", "1", "Slice", "s", "machine.slice"))
                self.assert_ends(rest.pid)
                self.assertEqual((is_active(scope), state("web")), (True, "running"))
                with open(f"/proc/{leader.pid}/cgroup") as file:
                    self.assertIn(f"/{scope}", file.read())
                self.assertEqual(ask("Terminate", {"name": "web"}), OK)
                self.assert_gone()

    def test_what_does_not_end_by_itself_is_killed_for_the_next_one(self):
        run("mkdir", "-p", f"/run/systemd/system/{place.SERVICE}.d")
        drop_in = pathlib.Path(f"/run/systemd/system/{place.SERVICE}.d/grace.conf")
        command = show(place.SERVICE, "ExecStart")[0]
        path = command.split("path=")[1].split(" ;")[0]
        drop_in.write_text(f"[Service]\nExecStart=\nExecStart={path} --grace 0.5\n")
        self.addCleanup(run, "systemctl", "daemon-reload")
        self.addCleanup(drop_in.unlink)
        run("systemctl", "daemon-reload")
        run("systemctl", "restart", place.SERVICE)
        leader, rest = self.leader(), processes.Process(lambda: signal.signal(signal.SIGTERM, signal.SIG_IGN))
        self.addCleanup(rest.kill)
        self.assertEqual(register("web", leader.pid, allocateUnit=True), OK)
        until(lambda: "SCOPE_JOB" not in records.record("web"), "the end of the job")
        join(rest, "machine-web.scope")
        leader.kill()
        heir = self.leader()
        self.assertEqual(register("web", heir.pid, allocateUnit=True), OK)
        until(lambda: state("web") == "running", "the start of the new scope")
        self.assertFalse(processes.is_running(rest.pid))

    def test_a_service_that_was_there_before_is_never_ended_for_a_new_machine(self):
        unit, main = self.of_service()
        self.assertEqual(state("web"), "closing")
        # In its scope, and in the same service.
        heir = self.leader()
        self.assertEqual(register("web", heir.pid, allocateUnit=True), OK)
        self.assertTrue(processes.is_running(main) and is_active(unit))
        self.assertEqual(ask("Unregister", {"name": "web"}), OK)
        self.assertEqual(register("other", main), OK)
        self.assertTrue(processes.is_running(main) and is_active(unit))

    def test_a_user_signals_no_process_of_others_in_a_subgroup(self):
        """As with a delegated group of a shared unit, into which root put a process of its own."""
        unit, main = self.service()
        def alice():
            os.setgroups([])
            os.setresgid(ALICE, ALICE, ALICE)
            os.setresuid(ALICE, ALICE, ALICE)
        group = pathlib.Path("/sys/fs/cgroup") / show(unit, "ControlGroup")[0].lstrip("/") / "delegated"
        group.mkdir()
        hers, also_hers, roots = processes.Process(alice), processes.Process(alice), self.leader()
        for process in hers, also_hers:
            self.addCleanup(process.kill)
        for process in hers, also_hers, roots:
            (group / "cgroup.procs").write_text(str(process.pid))
        self.addCleanup(RULES.unlink, missing_ok=True)
        rules('return id == "register-machine" ? polkit.Result.YES : undefined;')
        self.assertEqual(as_user(ALICE, lambda: register("web", hers.pid)), OK)
        def kill():
            return ask("Kill", {"name": "web", "whom": "all", "signal": 9})
        self.assertEqual(as_user(ALICE, kill), OK)
        self.assert_ends(hers.pid)
        self.assertTrue(processes.is_running(roots.pid) and processes.is_running(also_hers.pid), "the leader alone")
        # What is wholly hers is hers to end.
        roots.kill()
        until(lambda: "web" not in listed(), "the end of the machine")
        third = processes.Process(alice)
        self.addCleanup(third.kill)
        (group / "cgroup.procs").write_text(str(third.pid))
        self.assertEqual(as_user(ALICE, lambda: register("web", third.pid)), OK)
        self.assertEqual(as_user(ALICE, kill), OK)
        self.assert_ends(third.pid)
        self.assert_ends(also_hers.pid)
        self.assertTrue(processes.is_running(main))

    def test_a_short_lived_registrar_leaves_a_machine_until_it_is_unregistered(self):
        unit, main = self.of_service()
        self.assertEqual(state("web"), "closing")
        self.assertEqual(ask("Unregister", {"name": "web"}), OK)
        self.assertEqual(ask("Unregister", {"name": "web"}), NO_SUCH_MACHINE)
        self.assertTrue(processes.is_running(main) and is_active(unit))

    def test_who_asks_right_after_a_machine_was_terminated_does_not_find_it(self):
        """As go-systemd's test does, which asks again each second."""
        found = 0
        for _ in range(10):
            leader = self.leader()
            run("busctl", "call", *MANAGER, "CreateMachine", "sayssusa(sv)", "web", "0", "", "container", leader.pid, "", "0")
            run("busctl", "call", *MANAGER, "TerminateMachine", "s", "web")
            is_there = lambda: "/web" in run("busctl", "call", *MANAGER, "GetMachine", "s", "web", check=False)
            if is_there():
                found += 1
                until(lambda: not is_there(), "the end of the machine")  # noqa: B023
        self.assertLess(found, 8, "it found most of them")

    def test_a_machine_that_has_ended_is_known_no_more_from_that_moment_on(self):
        """Whoever asks first, and in whichever way, is not told of it."""
        for number in range(20):
            name = f"web{number}"
            leader = self.leader()
            run("busctl", "call", *MANAGER, "CreateMachine", "sayssusa(sv)", name, "0", "", "container", leader.pid, "", "0")
            until(lambda: "SCOPE_JOB" not in records.record(name), "the end of the job")  # noqa: B023
            with varlink.Client() as client:
                os.kill(leader.pid, signal.SIGKILL)
                until(lambda: not processes.is_running(leader.pid), "the end of the leader")  # noqa: B023
                if number % 2:
                    self.assertEqual(client.ask("List", {"name": name}), NO_SUCH_MACHINE)
            self.assertIn("No machine", run("busctl", "call", *MANAGER, "GetMachine", "s", name, check=False))

    def test_with_a_subgroup_a_machine_goes_with_its_leader(self):
        unit, main = self.service()
        leader = self.nested(unit)
        beside = self.beside(leader)
        self.assertEqual(register("web", leader.pid), OK)
        leader.kill()
        self.assertNotIn("web", listed())
        self.assertTrue(processes.is_running(main) and processes.is_running(beside.pid))

    def test_the_name_is_free_for_whoever_could_end_it_and_for_nobody_else(self):
        self.left_over()
        self.addCleanup(RULES.unlink, missing_ok=True)
        rules("return polkit.Result.YES;")
        self.assertEqual(as_user(ALICE, lambda: register("web", os.getpid(), allocateUnit=True)), MACHINE_EXISTS)
        self.assertEqual(state("web"), "closing")
        self.assertEqual(register("web", self.leader().pid, allocateUnit=True), OK)

    def of_known(self):
        """A process of a user's with an entry in /etc/passwd, as some systemd wants it for a scope, in no group of anybody's."""
        def body():
            os.setgroups([])
            os.setresgid(KNOWN, KNOWN, KNOWN)
            os.setresuid(KNOWN, KNOWN, KNOWN)
        process = processes.Process(body)
        self.addCleanup(process.kill)
        return process

    def test_no_users_scope_keeps_a_name_from_everybody(self):
        """Of a machine that runs, of one that the user unregistered, and of one whose leader has ended."""
        self.addCleanup(RULES.unlink, missing_ok=True)
        rules("return polkit.Result.YES;")
        scope = "machine-web.scope"
        for how in "running", "unregistered", "ended":
            with self.subTest(how=how):
                users, rest = self.of_known(), self.of_known()
                self.assertEqual(as_user(KNOWN, lambda: register("web", users.pid, allocateUnit=True)), OK)  # noqa: B023
                until(lambda: "SCOPE_JOB" not in records.record("web"), "the end of the job")
                join(rest, scope)
                if how == "unregistered":
                    self.assertEqual(as_user(KNOWN, lambda: ask("Unregister", {"name": "web"})), OK)
                if how == "ended":
                    users.kill()
                    until(lambda: state("web") == "closing", "the end of the leader")
                # Another user has to wait.
                self.assertEqual(as_user(OTHER, lambda: register("web", os.getpid(), allocateUnit=True)),
                                 "io.systemd.System EEXIST" if how == "unregistered" else MACHINE_EXISTS)
                self.assertTrue(processes.is_running(rest.pid))
                leader = self.leader()
                self.assertEqual(register("web", leader.pid, allocateUnit=True), OK)
                until(lambda: "SCOPE_JOB" not in records.record("web"), "the end of the job")
                self.assert_ends(rest.pid)
                self.assertEqual((records.record("web").get("UID", "0"), state("web")), ("0", "running"))
                with open(f"/proc/{leader.pid}/cgroup") as file:
                    self.assertIn(f"/{scope}", file.read())
                self.assertEqual(ask("Terminate", {"name": "web"}), OK)
                self.assert_gone()
                until(lambda: not is_active(scope), "the end of the scope")

    def test_a_scope_that_is_somebody_elses_is_told_and_lives(self):
        """Root's own by the name of a machine's."""
        scope = "machine-web.scope"
        squatter = subprocess.Popen(["systemd-run", "--quiet", "--scope", f"--unit={scope}", "sleep", "infinity"])
        self.addCleanup(squatter.wait)
        self.addCleanup(run, "systemctl", "stop", scope, check=False)
        until(lambda: is_active(scope), "the scope")
        leader = self.leader()
        self.assertEqual(register("web", leader.pid, allocateUnit=True), "io.systemd.System EEXIST")
        self.assertNotIn("web", listed())
        self.assertIsNone(records.record("web"))
        self.assertTrue(is_active(scope) and squatter.poll() is None and processes.is_running(leader.pid))

    def test_a_machine_that_is_registered_anew_from_inside_its_scope_is_not_ended(self):
        _, rest = self.left_over()
        self.assertEqual(register("web", rest.pid, allocateUnit=True), "io.systemd.System EEXIST")
        self.assertTrue(processes.is_running(rest.pid))


if __name__ == "__main__":
    place.main()
