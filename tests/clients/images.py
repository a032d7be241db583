"""Images for clients that others wrote, without systemd: python-varlink and gdbus."""

import json
import os
import pathlib
import subprocess
import sys

import world
from machine1 import WithBus

POOL = pathlib.Path("/var/lib/machines")


class Images(WithBus):
    def setUp(self):
        super().setUp()
        POOL.mkdir(parents=True, exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", POOL], check=True)
        self.addCleanup(subprocess.run, ["umount", "--lazy", POOL], check=True)
        (POOL / "tree/etc").mkdir(parents=True)
        (POOL / "tree/etc/hostname").write_text("box\n")
        (POOL / "disk.raw").write_bytes(b"x" * 4096)

    def gdbus(self, method, *arguments, path="/org/freedesktop/machine1"):
        ended = subprocess.run(
            ["gdbus", "call", "--address", "unix:path=/run/dbus/system_bus_socket", "--dest", "org.freedesktop.machine1",
             "--object-path", path, "--method", f"org.freedesktop.{method}", *arguments],
            capture_output=True, text=True, timeout=30, check=False)
        return ended.stdout.strip() or ended.stderr.strip()

    def test_gdbus_lists_describes_and_changes_images(self):
        self.start_both()
        listed = self.gdbus("machine1.Manager.ListImages")
        self.assertIn("('tree', 'directory', false, ", listed)
        self.assertIn("'/org/freedesktop/machine1/image/tree'", listed)
        tree = self.gdbus("machine1.Manager.GetImage", "tree")
        self.assertEqual(tree, "(objectpath '/org/freedesktop/machine1/image/tree',)")
        path = "/org/freedesktop/machine1/image/tree"
        everything = self.gdbus("DBus.Properties.GetAll", "org.freedesktop.machine1.Image", path=path)
        self.assertIn("'Path': <'/var/lib/machines/tree'>", everything)
        self.assertEqual(self.gdbus("machine1.Image.GetHostname", path=path), "('box',)")
        self.assertEqual(self.gdbus("machine1.Image.Clone", "copy", "false", path=path), "()")
        self.assertEqual((POOL / "copy/etc/hostname").read_text(), "box\n")
        self.assertEqual(self.gdbus("machine1.Manager.RenameImage", "copy", "other"), "()")
        self.assertEqual(self.gdbus("machine1.Manager.RemoveImage", "other"), "()")
        self.assertIn("machine1.NoSuchImage", self.gdbus("machine1.Manager.GetImage", "other"))
        shown = subprocess.run(["gdbus", "introspect", "--address", "unix:path=/run/dbus/system_bus_socket", "--dest",
                                "org.freedesktop.machine1", "--object-path", path], capture_output=True, text=True, timeout=30, check=True)
        self.assertIn("interface org.freedesktop.machine1.Image {", shown.stdout)

    def test_python_varlink_lists_describes_and_changes_images(self):
        self.start()
        program = pathlib.Path(__file__).with_name("python_varlink.py")
        environment = {**os.environ, "PYTHONPATH": os.environ["CLIENTS"]}
        ended = subprocess.run([sys.executable, "-P", program], capture_output=True, text=True, timeout=60, env=environment, check=False)
        self.assertEqual(ended.returncode, 0, ended.stderr)
        told = json.loads(ended.stdout)
        self.assertEqual(told["names"], [".host", "disk", "tree"])
        self.assertEqual((told["tree"]["type"], told["tree"]["hostname"]), ("directory", "box"))
        self.assertEqual(told["other"], str(POOL / "other"))
        self.assertEqual(told["error"], "io.systemd.MachineImage.NoSuchImage")
        self.assertEqual(sorted(os.listdir(POOL)), ["disk.raw", "tree"])


if __name__ == "__main__":
    world.main()
