"""systemd-nspawn and its service, registering in all the ways they have."""

import pathlib
import re

import bus
from machines import IMAGES, Container, image, remove_image
from scene import FLAVOUR, PATIENCE, SYSTEMD, Case, out, record, run, until, unit_property


class Spawning(Case):
    def box(self, *options, **more):
        box = Container("box", *options, **more)
        self.addCleanup(box.end)
        return box

    def told(self):
        return bus.properties("box")

    def test_a_container_gets_a_scope_of_its_own(self):
        box = self.box()
        told = self.told()
        # The newer one makes its scope itself.
        self.assertEqual(told["Unit"], "machine-box.scope" if SYSTEMD < 258 else "box.scope")
        self.assertEqual(unit_property(told["Unit"], "Slice"), "machine.slice")
        self.assertEqual(unit_property(told["Unit"], "Delegate"), "yes")
        self.assertEqual(unit_property(told["Unit"], "DevicePolicy"), "closed")
        self.assertEqual((told["Class"], told["Service"]), ("container", "systemd-nspawn"))
        self.assertEqual(told["RootDirectory"], str(IMAGES / "box"))
        self.assertEqual(told["NetworkInterfaces"], [])
        self.assertIn(str(box.leader), out("systemd-cgls", "--unit", told["Unit"]))
        if SYSTEMD < 258:
            self.assertEqual(unit_property(told["Unit"], "Description"), "Container box")
            self.assertEqual(unit_property(told["Unit"], "TasksMax"), "16384")

    def test_a_container_in_a_slice_and_with_properties_of_its_own(self):
        self.box("--slice=test-system.slice", "--property=TasksMax=123", "--property=Description=Mine",
                 "--kill-signal=SIGTERM")
        unit = self.told()["Unit"]
        self.assertEqual(unit_property(unit, "Slice"), "test-system.slice")
        self.assertEqual(unit_property(unit, "TasksMax"), "123")
        self.assertEqual(unit_property(unit, "KillMode"), "mixed")

    def test_a_container_that_keeps_the_unit_it_is_in(self):
        self.addCleanup(run, "systemctl", "reset-failed", "system-test-box.service")
        self.box("--keep-unit", prefix=("systemd-run", "--quiet", "--wait", "--unit=system-test-box", "--property=Delegate=yes"))
        self.assertEqual(self.told()["Unit"], "system-test-box.service")
        if FLAVOUR != "stock262":
            self.assertRegex(out("ps", "-eo", "machine=,comm="), r"(?m)^box\s+systemd-nspawn$")
        out("machinectl", "terminate", "box")
        self.assert_gone("box")
        until(lambda: unit_property("system-test-box.service", "ActiveState") != "active", "the service ends")

    def test_a_container_that_does_not_register(self):
        box = self.box("--register=no", registers=False)
        until(lambda: unit_property("box.scope", "ActiveState") == "active", "the scope is there")
        self.assertNotIn("box", bus.machines())
        self.assertEqual(record("box"), {})
        out("systemctl", "stop", "box.scope")
        until(lambda: box.process.poll() is not None, "systemd-nspawn ends")

    def test_a_container_that_registers_by_option(self):
        self.box("--register=yes")
        self.assertIn("box", bus.machines())

    def test_a_container_with_users_of_its_own(self):
        box = self.box("--private-users=pick", "--private-users-ownership=auto")
        (shift,) = bus.call("GetMachineUIDShift", "s", "box")
        first = int(pathlib.Path(f"/proc/{box.leader}/uid_map").read_text().split()[1])
        self.assertEqual(shift, first)
        self.assertGreaterEqual(shift, 65536)
        self.assertEqual(bus.call("MapToMachineUser", "u", str(shift)), ["box", bus.object_path("box"), 0])

    def test_a_container_without_users_of_its_own(self):
        self.box()
        self.assertEqual(bus.call("GetMachineUIDShift", "s", "box"), [0])

    def test_a_container_with_a_network_of_its_own(self):
        box = self.box("--network-veth")
        index = int(pathlib.Path("/sys/class/net/ve-box/ifindex").read_text())
        self.assertEqual(self.told()["NetworkInterfaces"], [index])
        self.assertEqual(bus.call("GetMachineAddresses", "s", "box"), [[]])
        self.assertEqual(run("getent", "ahosts", "box").returncode, 2)
        box.network(["10.99.2.2/24"], ["10.99.2.1/24"])
        until(lambda: run("getent", "ahostsv4", "box").stdout.startswith("10.99.2.2"), "its name resolves")

    def test_a_container_with_a_network_of_its_own_and_no_link(self):
        self.box("--private-network")
        self.assertEqual(self.told()["NetworkInterfaces"], [])
        self.assertEqual(bus.call("GetMachineAddresses", "s", "box"), [[]])

    def test_a_container_in_the_network_of_the_host(self):
        self.box()
        self.assertIn("private network", bus.error("GetMachineAddresses", "s", "box"))
        self.assertNotEqual(run("getent", "ahosts", "box").returncode, 0)

    def test_a_container_whose_name_is_taken_is_refused_and_hurts_nobody(self):
        box = self.box()
        before = self.told()
        image("twin")
        self.addCleanup(remove_image, "twin")
        twin = run("systemd-nspawn", "--quiet", "--console=pipe", f"--directory={IMAGES / 'twin'}", "--machine=box",
                   "--as-pid2", "true")
        self.assertNotEqual(twin.returncode, 0)
        self.assertEqual(self.told(), before)
        self.assertIsNone(box.process.poll())
        self.assertEqual(unit_property(before["Unit"], "ActiveState"), "active")

    def test_a_container_of_the_service(self):
        image("box")
        self.addCleanup(remove_image, "box")
        unit = "systemd-nspawn@box.service"
        self.addCleanup(run, "systemctl", "reset-failed", unit)
        self.addCleanup(run, "systemctl", "stop", unit, deadline=PATIENCE)
        out("systemctl", "start", unit, deadline=PATIENCE)
        told = self.told()
        self.assertEqual((told["Unit"], told["Service"]), (unit, "systemd-nspawn"))
        self.assertEqual(unit_property(unit, "Slice"), "machine.slice")
        # The service gives it users and a network of its own.
        self.assertEqual(len(told["NetworkInterfaces"]), 1)
        self.assertGreater(bus.call("GetMachineUIDShift", "s", "box")[0], 65535)
        # The newer one has no link from the unit to the machine here.
        if FLAVOUR != "stock262":
            until(lambda: re.search(r"(?m)^box\s+sleep$", out("ps", "-eo", "machine=,comm=")), "ps knows its processes")
        until(lambda: "sleep" in out("systemd-cgls", "--machine=box"), "systemd-cgls knows its processes")
        # Its init is a sleep, which cannot be asked to end.
        out("machinectl", "kill", "--kill-whom=leader", "--signal=SIGKILL", "box")
        self.assert_gone("box")
        until(lambda: unit_property(unit, "ActiveState") in ("inactive", "failed"), "the service ends")

    def test_a_container_that_machinectl_starts(self):
        image("box")
        self.addCleanup(remove_image, "box")
        unit = "systemd-nspawn@box.service"
        self.addCleanup(run, "systemctl", "reset-failed", unit)
        self.addCleanup(run, "systemctl", "kill", "--signal=SIGKILL", unit)
        out("machinectl", "start", "box", deadline=PATIENCE)
        self.assertEqual(self.told()["Unit"], unit)
        until(lambda: "sleep" in out("systemd-cgls", "--machine=box"), "it has started")
        out("machinectl", "kill", "--kill-whom=leader", "--signal=SIGKILL", "box")
        self.assert_gone("box")
        until(lambda: unit_property(unit, "ActiveState") in ("inactive", "failed"), "the service ends")

    def test_a_container_whose_scope_is_stopped(self):
        box = self.box()
        out("systemctl", "stop", self.told()["Unit"])
        self.assert_gone("box")
        until(lambda: box.process.poll() is not None, "systemd-nspawn ends")

    def test_a_container_whose_name_has_a_dash_and_a_dot(self):
        name = "box-1.a--b"
        box = Container(name)
        self.addCleanup(box.end)
        told = bus.properties(name)
        self.assertEqual(told["Unit"], r"machine-box\x2d1.a\x2d\x2db.scope" if SYSTEMD < 258 else "box-1.a--b.scope")
        self.assertEqual(bus.call("GetMachine", "s", name), ["/org/freedesktop/machine1/machine/box_2d1_2ea_2d_2db"])
        self.assertRegex(out("machinectl", "--no-legend", "list"), r"(?m)^box-1\.a--b\s")
        self.assertIn(name, out("ps", "-eo", "machine:20=,comm="))
        self.assertIn("sleep", out("systemd-cgls", f"--machine={name}"))
