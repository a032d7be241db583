"""Domains of libvirt, with qemu and LXC, and control groups with controllers: on a host with a kernel of its own."""

import pathlib

import bus
from domain import DomainCase, machine_of
from machines import image, remove_image
from scene import PATIENCE, Case, is_running, out, record, refused, run, unit_property, until

CONTAINER = """<domain type='lxc'>
  <name>box</name><memory unit='MiB'>64</memory><vcpu>1</vcpu>
  <os><type>exe</type><init>/usr/sbin/init</init></os>
  <devices>
    <emulator>/usr/lib/libvirt/libvirt_lxc</emulator>
    <filesystem type='mount'><source dir='{root}'/><target dir='/'/></filesystem>
    <console type='pty'/>
  </devices>
</domain>
"""
GROUPS = pathlib.Path("/sys/fs/cgroup")


class Libvirt(DomainCase):
    def test_a_domain_is_a_machine_while_it_runs(self):
        name = self.create()
        told = bus.properties(name)
        self.assertRegex(name, r"^qemu-\d+-guest$")
        self.assertEqual((told["Class"], told["Service"], told["State"]), ("vm", "libvirt-qemu", "running"))
        self.assertIn("qemu-system", pathlib.Path(f"/proc/{told['Leader']}/cmdline").read_text())
        self.assertEqual(out("virsh", "domuuid", "guest", deadline=PATIENCE).strip().replace("-", ""), bytes(told["Id"]).hex())
        self.assertEqual(unit_property(told["Unit"], "Slice"), "machine.slice")
        self.assertEqual(unit_property(told["Unit"], "Description"), f"Virtual Machine {name}")
        self.assertEqual(bus.call("GetMachineByPID", "u", str(told["Leader"])), [bus.object_path(name)])
        self.assertRegex(out("ps", "-o", "machine:64=", "-p", told["Leader"]), rf"^{name}$")
        out("virsh", "destroy", "guest", deadline=PATIENCE)
        self.assert_gone(name, PATIENCE)
        self.assertFalse(is_running(told["Leader"]))
        self.assertIn("failed to get domain", refused("virsh", "destroy", "guest", deadline=PATIENCE))

    def test_libvirt_has_the_controllers_of_the_scope(self):
        name = self.create()
        group = GROUPS / unit_property(bus.properties(name)["Unit"], "ControlGroup").lstrip("/")
        self.assertEqual((group / "pids.max").read_text().strip(), "16384")
        # libvirt makes groups of its own below the scope that it was given.
        self.assertTrue((group / "libvirt").is_dir())
        self.assertIn("memory", (group / "cgroup.controllers").read_text().split())

    def test_a_domain_that_is_terminated_as_a_machine_is_gone(self):
        name = self.create()
        leader = int(record(name)["LEADER"])
        out("machinectl", "terminate", name)
        self.assert_gone(name, PATIENCE)
        until(lambda: not is_running(leader), "the emulator ends", PATIENCE)
        until(lambda: "guest" not in out("virsh", "list", "--name", deadline=PATIENCE), "libvirt knows", PATIENCE)

    def test_a_domain_survives_a_restart_of_the_daemon(self):
        name = self.create()
        before = bus.properties(name)
        out("systemctl", "restart", "dbus-org.freedesktop.machine1.service", deadline=PATIENCE)
        self.assertEqual(bus.properties(name), before)
        out("virsh", "destroy", "guest", deadline=PATIENCE)
        self.assert_gone(name, PATIENCE)


class Container(Case):
    """By libvirt's LXC driver, which registers by itself, too."""

    def virsh(self, *words):
        return run("virsh", "--connect", "lxc:///", *words, deadline=PATIENCE)

    def create(self):
        root = image("box")
        self.addCleanup(remove_image, "box")
        file = pathlib.Path("/run/system-test-box.xml")
        file.write_text(CONTAINER.format(root=root))
        self.addCleanup(file.unlink)
        self.addCleanup(self.virsh, "destroy", "box")
        created = self.virsh("create", file)
        self.assertEqual(created.returncode, 0, created.stderr)
        return until(lambda: machine_of("box"), "the machine is registered")

    def test_a_container_of_libvirt_is_a_machine_while_it_runs(self):
        name = self.create()
        told = bus.properties(name)
        self.assertRegex(name, r"^lxc-\d+-box$")
        self.assertEqual((told["Class"], told["Service"], told["State"]), ("container", "libvirt-lxc", "running"))
        self.assertEqual(self.virsh("domuuid", "box").stdout.strip().replace("-", ""), bytes(told["Id"]).hex())
        self.assertEqual(unit_property(told["Unit"], "Slice"), "machine.slice")
        self.assertRegex(out("ps", "-o", "machine:64=", "-p", told["Leader"]), rf"^{name}$")
        self.assertEqual(self.virsh("destroy", "box").returncode, 0)
        self.assert_gone(name, PATIENCE)

    def test_a_container_of_libvirt_that_is_terminated_as_a_machine_is_gone(self):
        name = self.create()
        out("machinectl", "terminate", name)
        self.assert_gone(name, PATIENCE)
        until(lambda: "box" not in self.virsh("list", "--name").stdout, "libvirt knows", PATIENCE)
