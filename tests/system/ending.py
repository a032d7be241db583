"""Ending machines: terminate, kill, poweroff, reboot, and machines that end by themselves."""

import bus
from machines import Container, shared
from scene import PATIENCE, Case, end, is_running, out, record, refused, run, until, unit_property


class Ending(Case):
    def box(self, *options, **more):
        box = Container("box", *options, **more)
        self.addCleanup(box.end)
        return box

    def test_terminate_ends_the_machine_and_its_unit(self):
        box = self.box()
        leader, unit = box.leader, bus.properties("box")["Unit"]
        out("machinectl", "terminate", "box")
        self.assert_gone("box")
        until(lambda: not is_running(leader), "the leader ends")
        until(lambda: unit_property(unit, "ActiveState") != "active", "the unit ends")
        until(lambda: box.process.poll() is not None, "systemd-nspawn ends")

    def test_several_are_terminated_at_once(self):
        self.box()
        other = Container("other")
        self.addCleanup(other.end)
        out("machinectl", "terminate", "box", "other")
        self.assert_gone("box")
        self.assert_gone("other")

    def test_kill_reaches_the_leader_alone_or_all_of_it(self):
        wait = "while :; do sleep 0.1; done"
        box = self.box(payload=(
            "sh", "-c", f"trap 'echo >/leader' USR1; (trap 'echo >/child' USR1; echo >/ready; {wait}) & {wait}"), init=())
        leader, child = box.directory / "leader", box.directory / "child"
        until((box.directory / "ready").exists, "both wait")
        out("machinectl", "kill", "--kill-whom=leader", "--signal=SIGUSR1", "box")
        until(leader.exists, "the leader hears it")
        self.assertFalse(child.exists())
        out("machinectl", "kill", "--kill-whom=all", "--signal=SIGUSR1", "box")
        until(child.exists, "the child hears it too")
        child.unlink()
        out("machinectl", "kill", "--signal=USR1", "box")
        until(child.exists, "all is what is meant if nothing is said")
        self.assertEqual(bus.properties("box")["State"], "running")

    def test_kill_of_the_leader_by_force_ends_the_machine(self):
        box = self.box()
        leader = box.leader
        out("machinectl", "kill", "--kill-whom=leader", "--signal=KILL", "box")
        self.assert_gone("box")
        self.assertFalse(is_running(leader))
        until(lambda: box.process.poll() is not None, "systemd-nspawn ends")

    def test_kill_without_options_ends_the_machine(self):
        self.box()
        out("machinectl", "kill", "--signal=SIGKILL", "box")
        self.assert_gone("box")

    def test_kill_of_something_else_is_refused(self):
        self.box()
        self.assertIn("Invalid kill parameter", bus.error("KillMachine", "ssi", "box", "everything", "15"))
        self.assertIn("signal", bus.error("KillMachine", "ssi", "box", "all", "0").lower())
        self.assertIn("signal", bus.error("KillMachine", "ssi", "box", "all", "65").lower())
        self.assertEqual(bus.properties("box")["State"], "running")

    def test_the_host_is_not_ended(self):
        for verb in ("terminate", "kill"):
            refused("machinectl", verb, ".host")
        self.assertIn(".host", bus.machines())

    def test_a_machine_whose_payload_ends_is_gone(self):
        box = self.box(payload=("sh", "-c", "until [ -e /end ]; do sleep 0.05; done"))
        (box.directory / "end").touch()
        self.assert_gone("box")
        until(lambda: box.process.poll() is not None, "systemd-nspawn ends")
        self.assertEqual(run("getent", "hosts", "box").returncode, 2)

    def test_a_machine_whose_nspawn_is_killed_stays_until_it_ends(self):
        box = self.box()
        # Until then it dies with it.
        until(lambda: "sleep infinity" in out("systemd-cgls", "--machine=box"), "the payload runs")
        end(box.process)
        self.assertEqual(bus.properties("box")["State"], "running")
        self.assertTrue(is_running(box.leader))
        out("machinectl", "kill", "--signal=SIGKILL", "box")
        self.assert_gone("box")

    def test_a_name_is_free_again_at_once(self):
        for _ in range(3):
            box = Container("again")
            box.end()
        self.assertNotIn("again", bus.machines())


class Debian(Case):
    def test_reboot_gives_the_machine_a_new_leader(self):
        real = shared.real
        before = record("real")
        out("machinectl", "reboot", "real")
        until(lambda: record("real").get("LEADER") not in (None, before["LEADER"]), "it is there again", PATIENCE)
        real.wait_until_up()
        self.assertEqual(record("real")["SCOPE"], before["SCOPE"])
        self.assertFalse(is_running(int(before["LEADER"])))

    def test_z_poweroff_ends_the_machine_in_good_order(self):
        real = shared.real
        out("machinectl", "poweroff", "real")
        self.assert_gone("real", PATIENCE)
        until(lambda: unit_property(real.unit, "ActiveState") == "inactive", "the service ends", PATIENCE)
        self.assertEqual(unit_property(real.unit, "Result"), "success")
        shared.forget("real")
