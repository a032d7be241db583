"""Machines on a host whose control groups are version 1, where the kernel tells nobody that one is empty: systemd's word counts."""

import os
import pathlib
import signal
import time

import place
import processes
import records
from place import is_active, run, show
from varlink import NO_SUCH_MACHINE, OK, ask, listed, register
from waiting import until

HIERARCHY = pathlib.Path("/sys/fs/cgroup/systemd")


def state(name):
    return run("busctl", "get-property", "org.freedesktop.machine1", f"/org/freedesktop/machine1/machine/{name}",
               "org.freedesktop.machine1.Machine", "State").removeprefix("s ").strip('"')


def join(pid, unit):
    """Puts a process into the group of a unit."""
    (HIERARCHY / show(unit, "ControlGroup")[0].lstrip("/") / "cgroup.procs").write_text(str(pid))


class Version1(place.Case):
    def setUp(self):
        super().setUp()
        self.assertFalse(any(line.split()[2] == "cgroup2" for line in open("/proc/mounts")), "it is not version 1 alone")

    def orphan(self):
        """A child of process 1, which alone is told then when it ends: there is nobody else to tell it of a group."""
        pid = int(run("sh", "-c", "setsid sleep infinity >/dev/null 2>&1 & echo $!"))
        self.addCleanup(self.kill, pid)
        until(lambda: open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[1] == "1", "the end of its parent")
        return pid

    @staticmethod
    def kill(pid):
        if processes.is_running(pid):
            os.kill(pid, signal.SIGKILL)
            until(lambda: not processes.is_running(pid), f"the end of process {pid}")

    def left_over(self):
        """A machine with a scope, whose leader is dead, and the process that is left over of it."""
        leader, rest = self.orphan(), self.orphan()
        self.assertEqual(register("web", leader, allocateUnit=True), OK)
        until(lambda: "SCOPE_JOB" not in records.record("web"), "the end of the job")
        join(rest, "machine-web.scope")
        self.kill(leader)
        until(lambda: state("web") == "closing", "the end of the leader")
        return rest

    def assert_goes(self):
        until(lambda: "web" not in listed() and records.record("web") is None, "the end of the machine")
        self.assertEqual(ask("Terminate", {"name": "web"}), NO_SUCH_MACHINE)
        until(lambda: not is_active("machine-web.scope"), "the end of the scope")

    def test_it_goes_when_systemd_says_that_its_unit_has_gone(self):
        rest = self.left_over()
        self.assertIn("web", listed())
        self.assertEqual(records.index(), {})
        self.kill(rest)
        self.assert_goes()

    def test_it_is_there_over_a_restart_and_over_a_kill(self):
        rest = self.left_over()
        for restart in place.killed, lambda: run("systemctl", "restart", place.SERVICE):
            restart()
            self.assertEqual(state("web"), "closing")
            self.assertTrue(processes.is_running(rest))
        self.kill(rest)
        self.assert_goes()

    def test_one_that_ends_while_nobody_watches_is_gone_at_the_start(self):
        rest = self.left_over()
        run("systemctl", "stop", place.SERVICE)
        self.kill(rest)
        until(lambda: not is_active("machine-web.scope"), "the end of the scope")
        self.start()
        self.assert_goes()

    def test_it_is_ended_by_its_name(self):
        rest = self.left_over()
        self.assertEqual(ask("Terminate", {"name": "web"}), OK)
        self.assert_ends(rest)
        self.assert_goes()

    def test_what_is_left_of_a_service_goes_with_that(self):
        unit, main = self.service("sleep infinity & exec sleep infinity")
        leader = self.child(main)
        self.assertEqual(register("web", leader), OK)
        os.kill(leader, signal.SIGKILL)
        until(lambda: state("web") == "closing", "the end of the leader")
        run("systemctl", "stop", unit)
        self.assert_goes()

    def test_nobody_looks_again_and_again_meanwhile(self):
        self.left_over()
        def turns():
            with open(f"/proc/{place.daemon()}/status") as file:
                return next(int(line.split()[1]) for line in file if line.startswith("voluntary_ctxt_switches"))
        # What was begun may go on a little.
        until(lambda: (turns(), time.sleep(1))[0] == turns(), "a second without a turn")


if __name__ == "__main__":
    place.main()
