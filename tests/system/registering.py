"""Registrars other than systemd's: one like libvirt with python3-dbus, one by busctl."""

import os
import pathlib
import signal
import sys

import dbus

import bus
from scene import DEADLINE, Case, is_running, out, record, run, unit_property, until

NO_SUCH_MACHINE = "org.freedesktop.machine1.NoSuchMachine"
UUID = bytes(range(1, 17))


class Registrar:
    """What libvirt's virsystemd.c does, and what others do."""

    def __init__(self):
        self.connection = dbus.SystemBus(private=True)
        self.manager = dbus.Interface(self.connection.get_object(bus.SERVICE, bus.PATH, introspect=False), bus.MANAGER)

    def call(self, method, *arguments):
        return getattr(self.manager, method)(*arguments, timeout=DEADLINE)

    def get(self, path, name):
        properties = dbus.Interface(self.connection.get_object(bus.SERVICE, path, introspect=False),
                                    "org.freedesktop.DBus.Properties")
        return properties.Get(bus.MACHINE, name, timeout=DEADLINE)

    def error(self, method, *arguments):
        """The name of the error that a method answers with."""
        try:
            returned = self.call(method, *arguments)
        except dbus.DBusException as error:
            return error.get_dbus_name()
        raise AssertionError(f"{method} succeeded: {returned}")


def machine(name, leader, service="libvirt-qemu", of_class="vm", root=""):
    return (name, dbus.ByteArray(UUID), service, of_class, dbus.UInt32(leader), root)


def scope(**more):
    properties = {"Slice": "machine.slice", "After": dbus.Array(["libvirtd.service"], "s"),
                  "Before": dbus.Array(["virt-guest-shutdown.target"], "s"), **more}
    return dbus.Array([dbus.Struct((key, value), signature="sv") for key, value in properties.items()], "(sv)")


NO_INTERFACES = dbus.Array([], "i")


class Registering(Case):
    def setUp(self):
        self.asked_to_end = []
        before = signal.signal(signal.SIGTERM, lambda *_: self.asked_to_end.append(self.id()))
        self.addCleanup(signal.signal, signal.SIGTERM, before)
        self.registrar = Registrar()
        self.addCleanup(self.registrar.connection.close)

    def leader(self):
        """A process in the unit of this test."""
        return self.start("sleep", "infinity").pid

    def service(self, name):
        """A process in a service of its own."""
        unit = f"system-test-{name}.service"
        self.addCleanup(run, "systemctl", "stop", unit)
        out("systemd-run", "--quiet", f"--unit={unit}", "--service-type=exec", "sleep", "infinity")
        return int(unit_property(unit, "MainPID")), unit

    def test_a_virtual_machine_like_libvirts(self):
        name, leader = "qemu-1-guest", self.leader()
        path = self.registrar.call("CreateMachineWithNetwork", *machine(name, leader), NO_INTERFACES, scope())
        unit = r"machine-qemu\x2d1\x2dguest.scope"
        self.assertEqual(path, bus.object_path(name))
        # The scope is there when the reply is: libvirt goes on to its groups at once.
        self.assertEqual(unit_property(unit, "ActiveState"), "active")
        self.assertIn(unit, pathlib.Path(f"/proc/{leader}/cgroup").read_text())
        self.assertEqual(unit_property(unit, "Description"), f"Virtual Machine {name}")
        self.assertIn("libvirtd.service", unit_property(unit, "After"))
        self.assertIn("virt-guest-shutdown.target", unit_property(unit, "Before"))
        self.assertEqual(unit_property(unit, "CollectMode"), "inactive-or-failed")
        found = self.registrar.call("GetMachineByPID", dbus.UInt32(leader))
        self.assertEqual(self.registrar.get(found, "Name"), name)
        self.assertEqual(self.registrar.get(found, "Unit"), unit)
        self.assertEqual(self.registrar.get(found, "Class"), "vm")
        self.assertEqual(bytes(self.registrar.get(found, "Id")), UUID)
        self.assertRegex(out("machinectl", "--no-legend", "list"), rf"(?m)^{name}\s+vm\s+libvirt-qemu\s")
        self.assertEqual(record(name)["CLASS"], "vm")
        self.registrar.call("TerminateMachine", name)
        self.assert_gone(name)
        until(lambda: not is_running(leader), "the leader ends")
        # What libvirt takes for success.
        self.assertEqual(self.registrar.error("TerminateMachine", name), NO_SUCH_MACHINE)
        self.assertEqual(self.registrar.error("GetMachine", name), NO_SUCH_MACHINE)
        self.assertEqual(self.registrar.error("GetMachineByPID", dbus.UInt32(leader)),
                         "org.freedesktop.machine1.NoMachineForPID")

    def test_a_virtual_machine_without_a_network(self):
        leader = self.leader()
        self.registrar.call("CreateMachine", *machine("alone", leader), scope(TasksMax=dbus.UInt64(77)))
        unit = bus.properties("alone")["Unit"]
        # The caller's properties are the last, and win.
        self.assertEqual(unit_property(unit, "TasksMax"), "77")
        self.assertEqual(bus.error("GetMachineAddresses", "s", "alone"),
                         "Call failed: Requesting IP address data is only supported on container machines.")
        bus.error("GetMachineOSRelease", "s", "alone")
        self.registrar.call("KillMachine", "alone", "leader", dbus.Int32(9))
        self.assert_gone("alone")

    def test_a_registrar_is_left_alone_when_its_machine_ends_or_is_refused(self):
        self.registrar.call("CreateMachine", *machine("guest", self.leader()), scope())
        self.registrar.call("KillMachine", "guest", "leader", dbus.Int32(9))
        self.assert_gone("guest")
        # By another name: the scope of the first may take a moment longer than the machine.
        leader = self.leader()
        self.registrar.call("CreateMachine", *machine("guest2", leader), scope())
        self.registrar.error("CreateMachine", *machine("other", leader), scope())
        self.registrar.call("TerminateMachine", "guest2")
        self.assert_gone("guest2")
        self.assertEqual(self.asked_to_end, [])

    def test_a_machine_in_the_unit_of_its_leader(self):
        leader, unit = self.service("vm")
        self.registrar.call("RegisterMachine", *machine("vm", leader))
        self.assertEqual(bus.properties("vm")["Unit"], unit)
        self.registrar.call("UnregisterMachine", "vm")
        self.assert_gone("vm")
        self.assertTrue(is_running(leader))
        self.assertEqual(unit_property(unit, "ActiveState"), "active")

    def test_a_machine_whose_leader_is_the_caller(self):
        # In a unit of its own: whatever happens to the machine must not happen to this test.
        unit = "system-test-self.service"
        self.addCleanup(run, "systemctl", "reset-failed", unit)
        told = out("systemd-run", "--quiet", "--wait", "--pipe", f"--unit={unit}", sys.executable, "-B", __file__)
        self.assertEqual(told.split(), ["True", "self", unit, "[1]"])
        self.assert_gone("self")

    def test_a_machine_that_is_not_registered_right(self):
        leader, _ = self.service("vm")
        invalid, exists = "org.freedesktop.DBus.Error.InvalidArgs", "org.freedesktop.machine1.MachineExists"
        cases = [
            (invalid, machine("under_score", leader)),
            (invalid, machine("", leader)),
            (invalid, machine(".host", leader)),
            (invalid, machine("vm", leader, of_class="host")),
            (invalid, machine("vm", leader, of_class="boat")),
            (invalid, machine("vm", 1)),
            (invalid, machine("vm", leader, root="relative/path")),
            (invalid, ("vm", dbus.ByteArray(b"short"), "", "vm", dbus.UInt32(leader), "")),
        ]
        for expected, arguments in cases:
            with self.subTest(arguments=arguments):
                self.assertEqual(self.registrar.error("RegisterMachine", *arguments), expected)
        self.assertEqual(self.registrar.error("RegisterMachineWithNetwork", *machine("vm", leader), dbus.Array([0], "i")), invalid)
        dead = self.start("true")
        dead.wait(DEADLINE)
        self.assertEqual(self.registrar.error("RegisterMachine", *machine("vm", dead.pid)),
                         "org.freedesktop.DBus.Error.UnixProcessIdUnknown")
        self.registrar.call("RegisterMachine", *machine("vm", leader))
        self.assertEqual(self.registrar.error("RegisterMachine", *machine("vm", leader)), exists)
        self.registrar.call("UnregisterMachine", "vm")
        self.assert_gone("vm")

    def test_a_leader_that_is_registered_already_is_refused_and_its_unit_lives(self):
        leader, unit = self.service("vm")
        self.registrar.call("RegisterMachine", *machine("vm", leader))
        # By a process that may end: the newer one ends the caller.
        self.assertRegex(bus.error("RegisterMachine", "sayssus", "vm2", "0", "", "vm", str(leader), ""), "exists")
        # Who was refused has had time to do harm when another call was answered.
        out("busctl", "call", "org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.DBus.Peer", "Ping")
        until(lambda: "vm2" not in bus.machines(), "the refused one is gone")
        self.assertTrue(is_running(leader))
        self.assertEqual(unit_property(unit, "ActiveState"), "active")
        self.registrar.call("UnregisterMachine", "vm")

    def test_a_scope_that_is_there_already_is_told(self):
        squatter = self.start("systemd-run", "--quiet", "--scope", "--unit=machine-squat.scope", "sleep", "infinity")
        until(lambda: unit_property("machine-squat.scope", "ActiveState") == "active", "the scope is there")
        self.assertEqual(self.registrar.error("CreateMachine", *machine("squat", self.leader()), scope()),
                         "org.freedesktop.systemd1.UnitExists")
        self.assertIsNone(squatter.poll())
        until(lambda: "squat" not in bus.machines(), "the refused one is gone")

    def test_a_method_that_is_not_there_is_unknown(self):
        self.assertEqual(self.registrar.error("CreateMachineOfGold", "vm"), "org.freedesktop.DBus.Error.UnknownMethod")

    def test_somebody_else_may_look_and_not_touch(self):
        leader, _ = self.service("vm")
        self.registrar.call("RegisterMachine", *machine("vm", leader, of_class="container"))
        other = ["setpriv", "--reuid=4711", "--regid=4711", "--clear-groups"]
        self.assertIn("vm", out(*other, "machinectl", "--no-legend", "list"))
        self.assertIn(f"Leader={leader}", out(*other, "machinectl", "show", "vm"))
        for verb in ("terminate", "kill"):
            ended = run(*other, "machinectl", "--no-ask-password", verb, "vm")
            self.assertNotEqual(ended.returncode, 0)
            self.assertRegex(ended.stderr, "(?i)access denied|authentication|not permitted|authorization")
        refused = run(*other, "busctl", "call", bus.SERVICE, bus.PATH, bus.MANAGER, "RegisterMachine", "sayssus", "mine", "0", "",
                      "container", leader, "")
        self.assertNotEqual(refused.returncode, 0)
        self.assertTrue(is_running(leader))
        self.registrar.call("UnregisterMachine", "vm")


def register_oneself():
    registrar = Registrar()
    path = registrar.call("RegisterMachineWithNetwork", *machine("self", 0, of_class="container"), dbus.Array([1], "i"))
    print(registrar.get(path, "Leader") == os.getpid())
    # The object of whoever asks.
    print(registrar.get(f"{bus.PATH}/machine/self", "Name"))
    print(registrar.get(path, "Unit"))
    print([int(index) for index in registrar.get(path, "NetworkInterfaces")])
    registrar.call("UnregisterMachine", "self")


if __name__ == "__main__":
    register_oneself()
