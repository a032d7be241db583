"""The signals, the journal, and a daemon that is restarted, killed and stopped under running machines."""

import os
import signal

import bus
from machines import Container
from scene import PATIENCE, Case, daemon_pid, is_running, out, record, run, unit_property, until

UNIT = "dbus-org.freedesktop.machine1.service"
STARTED, ENDED = "24d8d4452573402496068381a6312df2", "58432bd3bace477cb514b56381b8a758"


class Surviving(Case):
    def box(self, name="box", *options):
        box = Container(name, *options)
        self.addCleanup(box.end)
        return box

    def entries(self, message, name):
        out("journalctl", "--sync")
        found = out("journalctl", "--quiet", "--output=cat", "--output-fields=NAME,LEADER,MESSAGE,PRIORITY",
                    f"MESSAGE_ID={message}", f"NAME={name}", "--output=json").splitlines()
        return found

    def test_signals_tell_of_the_beginning_and_the_end(self):
        monitor = bus.Monitor(self)
        box = self.box()
        monitor.hears("MachineNew", "box", bus.object_path("box"))
        out("machinectl", "terminate", "box")
        monitor.hears("MachineRemoved", "box", bus.object_path("box"))
        until(lambda: box.process.poll() is not None, "systemd-nspawn ends")
        self.assertEqual([name for name, *_ in monitor.heard()], ["MachineNew", "MachineRemoved"])

    def test_the_journal_tells_of_the_beginning_and_the_end(self):
        box = self.box("journal")
        leader = box.leader
        until(lambda: any(f'"LEADER":"{leader}"' in entry and "New machine journal." in entry
                          for entry in self.entries(STARTED, "journal")), "the entry of the beginning")
        out("machinectl", "terminate", "journal")
        until(lambda: any(f'"LEADER":"{leader}"' in entry and "Machine journal terminated." in entry
                          for entry in self.entries(ENDED, "journal")), "the entry of the end")

    def assert_kept(self, box, how):
        """A machine is the same one after something that happens to the daemon, and other clients are served."""
        before, old = bus.properties(box.name), daemon_pid()
        how(old)
        self.assertEqual(bus.properties(box.name), before)
        until(lambda: daemon_pid() not in (0, old), "there is a new daemon")
        self.assertIn(box.name, bus.machines())
        self.assertIn(box.name, out("machinectl", "--no-legend", "list"))
        self.assertTrue(is_running(box.leader))
        self.assertEqual(int(record(box.name)["LEADER"]), before["Leader"])

    def test_a_machine_survives_a_restart_of_the_daemon(self):
        box = self.box("box", "--network-veth")
        monitor = bus.Monitor(self)
        self.assert_kept(box, lambda _: out("systemctl", "restart", UNIT, deadline=PATIENCE))
        monitor.hears("MachineNew", "box", bus.object_path("box"))
        self.assertNotIn("MachineRemoved", [name for name, *_ in monitor.heard()])
        # And ends afterwards, as if nothing had been.
        out("machinectl", "terminate", "box")
        self.assert_gone("box")

    def test_a_machine_survives_the_daemon_being_killed(self):
        def kill(pid):
            os.kill(pid, signal.SIGKILL)
            until(lambda: not is_running(pid), "the daemon ends")
            self.assertEqual(run("ps", "-o", "machine=", "-p", str(box.leader)).stdout.strip(), "box")
        box = self.box()
        self.assert_kept(box, kill)

    def test_a_machine_that_ends_while_there_is_no_daemon_is_gone(self):
        box = self.box("box", "--network-veth")
        box.network(["10.99.3.2/24"], ["10.99.3.1/24"])
        until(lambda: run("getent", "ahostsv4", "box").returncode == 0, "its name resolves")
        stop_all()
        self.addCleanup(run, "systemctl", "start", UNIT)
        leader = box.leader
        os.kill(leader, signal.SIGKILL)
        until(lambda: not is_running(leader), "the leader ends")
        until(lambda: box.process.poll() is not None, "systemd-nspawn ends")
        out("systemctl", "start", UNIT)
        self.assert_gone("box")

    def test_a_call_over_the_bus_starts_the_daemon(self):
        box = self.box()
        stop_all()
        self.assertEqual(unit_property(UNIT, "ActiveState"), "inactive")
        self.assertEqual(bus.call("GetMachine", "s", "box"), [bus.object_path("box")])
        self.assertNotEqual(daemon_pid(), 0)
        # It may answer before it says that it is ready.
        until(lambda: unit_property(UNIT, "ActiveState") == "active", "it is active")

    def test_a_machine_survives_a_reload_of_the_service_manager(self):
        box = self.box()
        before = bus.properties("box")
        out("systemctl", "daemon-reload", deadline=PATIENCE)
        self.assertEqual(bus.properties("box"), before)
        out("systemctl", "daemon-reexec", deadline=PATIENCE)
        self.assertEqual(bus.properties("box"), before)
        self.assertTrue(is_running(box.leader))
        out("machinectl", "terminate", "box")
        self.assert_gone("box")


def stop_all():
    """Stops the daemon, and what would start it again by itself."""
    sockets = [word for word in out("systemctl", "show", "--property=TriggeredBy", "--value", UNIT).split()]
    out("systemctl", "stop", *sockets, UNIT, deadline=PATIENCE)
    until(lambda: daemon_pid() == 0, "the daemon ends")
