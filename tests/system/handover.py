#!/usr/bin/env -S python3 -B
"""One daemon takes over from the other while machines run. Prints one line per test, and counts."""

import argparse
import os
import pathlib
import sys
import unittest

TOP = pathlib.Path(__file__).resolve().parent.parent.parent
OURS, STOCK = pathlib.Path("/usr/local/sbin/machined"), pathlib.Path("/usr/lib/systemd/systemd-machined")
# What docs/install.md says.
COMMANDS = {
    "ours": "systemctl enable machined && systemctl restart machined",
    "stock": "systemctl disable machined && systemctl stop machined",
}
# One unit with three names.
NAMES = ("systemd-machined.service", "dbus-org.freedesktop.machine1.service")
# What may be another one with another daemon: the newer has more properties than the older, and VSOCK_CID is kept by one.
KEPT = ("Name", "Id", "Timestamp", "TimestampMonotonic", "Service", "Unit", "Leader", "Class", "RootDirectory",
        "NetworkInterfaces", "State")

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--to", choices=("ours", "stock"), required=True, help="which daemon takes over")
options = parser.parse_args()
os.environ["FLAVOUR"] = options.to

import dbus  # noqa: E402

import bus  # noqa: E402
import registering  # noqa: E402
import scene  # noqa: E402
from machines import Container, shared  # noqa: E402
from scene import PATIENCE, Case, daemon_pid, is_running, out, record, run, unit_property, until  # noqa: E402


def kept(name):
    told = bus.properties(name)
    return {key: told[key] for key in KEPT}


class Handover(Case):
    @classmethod
    def setUpClass(cls):
        """Machines of all kinds, registered with the one that has to go."""
        shared.start_web()
        cls.kept_unit = Container("kept", "--keep-unit", prefix=(
            "systemd-run", "--quiet", "--wait", "--collect", "--unit=system-test-kept", "--property=Delegate=yes"))
        out("systemd-run", "--quiet", "--unit=system-test-guest", "--service-type=exec", "sleep", "infinity")
        cls.guest = int(unit_property("system-test-guest.service", "MainPID"))
        registrar = registering.Registrar()
        registrar.call("CreateMachineWithNetwork", *registering.machine("guest", cls.guest), dbus.Array([1], "i"),
                       registering.scope())
        registrar.connection.close()
        cls.names = ("web", "kept", "guest")
        cls.before = {name: kept(name) for name in cls.names}
        cls.old = daemon_pid()
        if options.to == "ours":
            out(TOP / "scripts/install.sh", "install", deadline=PATIENCE, PREFIX="/usr/local")
        out("sh", "-c", COMMANDS[options.to], deadline=PATIENCE)
        # The next call starts it, where it does not run yet.
        bus.machines()

    @classmethod
    def tearDownClass(cls):
        run("machinectl", "kill", "--signal=SIGKILL", "guest")
        run("systemctl", "stop", "system-test-guest.service")
        cls.kept_unit.end()
        shared.end()

    def test_1_the_other_daemon_is_in_charge(self):
        pids = {name: int(unit_property(name, "MainPID")) for name in NAMES}
        self.assertEqual(len(set(pids.values())), 1, pids)
        pid = daemon_pid()
        self.assertNotIn(pid, (0, self.old))
        self.assertFalse(is_running(self.old))
        self.assertEqual(os.readlink(f"/proc/{pid}/exe"), str(OURS if options.to == "ours" else STOCK))
        owner = out("busctl", "--json=short", "status", bus.SERVICE)
        self.assertIn(str(pid), owner)

    def test_2_no_machine_is_lost(self):
        self.assertEqual(sorted(bus.machines()), sorted([*self.names, ".host"]))
        for name in self.names:
            with self.subTest(name):
                self.assertEqual(kept(name), self.before[name])
                self.assertEqual(int(record(name)["LEADER"]), self.before[name]["Leader"])
                self.assertTrue(is_running(self.before[name]["Leader"]))

    def test_3_names_resolve_with_either_module(self):
        # What the loader finds first, and the module of the packages whatever it finds.
        stock = str(next(pathlib.Path("/usr/lib").glob("*/libnss_mymachines.so.2")).parent)
        until(lambda: "10.99.1.2" in run("getent", "ahostsv4", "web", LD_LIBRARY_PATH=stock).stdout, "the stock module resolves it")
        if options.to == "ours":
            until(lambda: "10.99.1.2" in run("getent", "ahostsv4", "web").stdout, "ours resolves it")
        else:
            # The original's records have no addresses: ours does not know, and says so at once.
            self.assertEqual(run("getent", "ahostsv4", "web", deadline=4).returncode, 2)
        # Whatever wrote the records, a pid leads to its machine.
        self.assertEqual(out("ps", "-o", "machine=", "-p", self.before["web"]["Leader"]).strip(), "web")

    def test_4_processes_are_found(self):
        listed = out("ps", "-eo", "machine=,pid=").splitlines()
        whose = {int(pid): machine for machine, pid in (line.split() for line in listed)}
        for name in self.names:
            self.assertEqual(whose[self.before[name]["Leader"]], name)
            found = bus.call("GetMachineByPID", "u", str(self.before[name]["Leader"]))
            self.assertEqual(found, [bus.object_path(name)])

    def test_5_both_sockets_and_the_bus_answer(self):
        socket = "/run/systemd/machine/io.systemd.Machine"
        self.assertIn('"guest"', out("varlinkctl", "--json=short", "call", socket, "io.systemd.Machine.List", '{"name":"guest"}'))
        self.assertIn("guest", out("machinectl", "--no-legend", "list"))

    def test_6_a_restart_keeps_the_daemon_in_charge(self):
        before = os.readlink(f"/proc/{daemon_pid()}/exe")
        for unit in NAMES:
            out("systemctl", "restart", unit, deadline=PATIENCE)
            self.assertEqual(os.readlink(f"/proc/{daemon_pid()}/exe"), before)
        self.assertEqual({name: kept(name) for name in self.names}, self.before)

    def test_7_machines_end_as_if_nothing_had_been(self):
        out("machinectl", "terminate", "guest")
        self.assert_gone("guest")
        until(lambda: not is_running(self.guest), "the leader ends")
        self.assertTrue(is_running(self.before["web"]["Leader"]))
        out("machinectl", "terminate", "web")
        self.assert_gone("web")


def main():
    report = scene.Report({})
    unittest.defaultTestLoader.loadTestsFromTestCase(Handover).run(report)
    print(f"{report.passed} passed, {report.failed} failed, {report.skipped} skipped")
    sys.exit(report.failed != 0)


if __name__ == "__main__":
    main()
