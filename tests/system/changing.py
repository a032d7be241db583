"""Images: copied, renamed, made read-only, limited and removed, in the pool and in pools on file systems of their own."""

import json
import os
import pathlib
import shutil

import bus
from images import INVALID, POOL, UNKNOWN, ImageCase, listed, make_loop_devices, shown, told
from machines import Container
from scene import OURS, SYSTEMD, out, refused, run

# File systems that were made outside, by kind; see run.sh.
POOLS = pathlib.Path("/pools")


def told_of_pool(member):
    (value,) = bus.call("Get", "ss", bus.MANAGER, member, interface="org.freedesktop.DBus.Properties")
    return value["data"]


def names():
    return sorted(entry.name for entry in POOL.iterdir() if entry.name != "lost+found")


class Changing(ImageCase):
    def mount(self, kind):
        """A file system on a loop device, in the place of the pool."""
        if not (POOLS / kind).exists():
            self.skipTest(f"there is no mkfs.{kind} where the test was started")
        make_loop_devices()
        file = pathlib.Path(f"/var/tmp/pool.{kind}")
        out("cp", "--sparse=always", POOLS / kind, file)
        self.addCleanup(file.unlink)
        out("mount", "-o", "loop", file, POOL)
        self.addCleanup(out, "umount", POOL)

    def assert_changes(self, kind):
        """What goes for the image `tree`, which is of this type."""
        out("machinectl", "clone", "tree", "copy")
        self.assertEqual((POOL / "copy/etc/hostname").read_text(), "box\n")
        self.assertEqual((POOL / "copy.nspawn").read_text(), "[Exec]\n")
        self.assertEqual((shown("copy")["Type"], shown("copy")["ReadOnly"]), (kind, "no"))
        out("machinectl", "--read-only", "clone", "tree", "fixed")
        self.assertEqual((shown("fixed")["Type"], shown("fixed")["ReadOnly"]), (kind, "yes"))
        self.assertNotEqual(run("touch", POOL / "fixed/new").returncode, 0)
        self.assertIn("exists", refused("machinectl", "clone", "tree", "copy"))
        out("machinectl", "rename", "copy", "other")
        self.assertEqual((POOL / "other.nspawn").read_text(), "[Exec]\n")
        self.assertIn("File exists", refused("machinectl", "rename", "other", "fixed"))
        self.assertIn("invalid", refused("machinectl", "rename", "other", "a/b"))
        for value in "yes", "no":
            out("machinectl", "read-only", "other", value)
            self.assertEqual(shown("other")["ReadOnly"], value)
        out("machinectl", "remove", "other", "fixed")
        self.assertEqual(names(), ["tree", "tree.nspawn"])
        self.assertIn("No image 'other' known", refused("machinectl", "remove", "other"))
        self.assertIn("Read-only file system", refused("machinectl", "remove", ".host"))

    def assert_cleaned(self):
        """What is hidden goes first, and then all."""
        (POOL / "none.raw").touch()
        (POOL / ".aside").mkdir()
        out("machinectl", "clean")
        self.assertEqual(names(), ["none.raw", "tree", "tree.nspawn"])
        out("machinectl", "clean", "--all")
        self.assertEqual(names(), [])

    def test_images_are_changed_on_ext4(self):
        self.mount("ext4")
        (POOL / "tree/etc").mkdir(parents=True)
        (POOL / "tree/etc/hostname").write_text("box\n")
        (POOL / "tree.nspawn").write_text("[Exec]\n")
        self.assert_changes("directory")
        self.assertIn("not supported", refused("machinectl", "set-limit", "tree", "1G"))
        self.assertIn("Quota is only supported on btrfs", refused("machinectl", "set-limit", "1G"))
        self.assert_cleaned()

    def test_images_are_changed_on_btrfs(self):
        self.mount("btrfs")
        # What is copied to a btrfs becomes a subvolume.
        source = pathlib.Path("/etc/machines/source")
        (source / "etc").mkdir(parents=True)
        self.addCleanup(shutil.rmtree, source, ignore_errors=True)
        (source / "etc/hostname").write_text("box\n")
        out("machinectl", "clone", "source", "tree")
        shutil.rmtree(source)
        (POOL / "tree.nspawn").write_text("[Exec]\n")
        self.assert_changes("subvolume")
        out("machinectl", "set-limit", "100M")
        self.assertEqual(told_of_pool("PoolLimit"), 100 << 20)
        self.assertLess(told_of_pool("PoolUsage"), 100 << 20)
        out("machinectl", "set-limit", "tree", "10M")
        self.assertEqual(told("tree", "Limit"), 10 << 20)
        self.assertLess(told("tree", "Usage"), 10 << 20)
        out("machinectl", "set-limit", "tree", "-")
        self.assertEqual(told("tree", "Limit"), UNKNOWN)
        self.assert_cleaned()

    def test_the_pool_is_limited_and_cleaned_by_varlink(self):
        if not OURS and SYSTEMD < 262:
            self.skipTest("the original has that since 258")
        self.mount("btrfs")
        socket, interface = "/run/systemd/machine/io.systemd.MachineImage", "io.systemd.MachineImage."
        out("varlinkctl", "call", socket, f"{interface}SetPoolLimit", json.dumps({"limit": 50 << 20}))
        self.assertEqual(told_of_pool("PoolLimit"), 50 << 20)
        for name in "one", "two", ".aside", ".other":
            (POOL / name).mkdir()
        for mode, expected in ("hidden", {".aside", ".other"}), ("all", {"one", "two"}):
            told = out("varlinkctl", "call", "--more", "--json=short", socket, f"{interface}CleanPool", json.dumps({"mode": mode}))
            replies = [json.loads(line) for line in told.replace("\x1e", "").splitlines() if line]
            self.assertEqual({reply["name"] for reply in replies}, expected)
        self.assertEqual(names(), [])
        self.assertRegex(refused("varlinkctl", "call", socket, f"{interface}CleanPool", json.dumps({"mode": "all"})),
                         "ExpectedMore|called without 'more' flag")

    def test_a_copy_of_a_disk_on_btrfs_takes_no_room(self):
        self.mount("btrfs")
        (POOL / "disk.raw").write_bytes(os.urandom(1 << 20) * 48)

        def used():
            os.sync()
            there = os.statvfs(POOL)
            return (there.f_blocks - there.f_bfree) * there.f_frsize

        before = used()
        out("machinectl", "clone", "disk", "copy")
        out("cmp", POOL / "disk.raw", POOL / "copy.raw")
        self.assertLess(used() - before, 16 << 20)

    def test_a_container_that_runs_is_not_changed(self):
        box = Container("box")
        self.addCleanup(box.end)
        for command in ("remove", "box"), ("rename", "box", "other"), ("read-only", "box", "yes"):
            self.assertIn("busy", refused("machinectl", *command).lower(), command)
            # What failed has not made anybody forget it.
            self.assertEqual((told("box", "Name"), shown("box")["Path"], listed()["box"][0]), ("box", str(POOL / "box"), "directory"))
        self.assertTrue((POOL / "box").is_dir())

    def test_raw_images_are_copied_and_made_read_only(self):
        self.disk("disk").write_bytes(b"a disk" * 1000)
        out("machinectl", "clone", "disk", "copy")
        copy = POOL / "copy.raw"
        self.addCleanup(copy.unlink, missing_ok=True)
        self.assertEqual(copy.read_bytes(), b"a disk" * 1000)
        out("machinectl", "read-only", "copy")
        self.assertEqual(copy.stat().st_mode & 0o777, 0o444)
        self.assertEqual(shown("copy")["ReadOnly"], "yes")
        out("machinectl", "remove", "copy")
        self.assertFalse(copy.exists())

    def test_images_are_changed_by_varlink(self):
        self.tree("tree")
        socket, interface = "/run/systemd/machine/io.systemd.MachineImage", "io.systemd.MachineImage."

        def call(method, **parameters):
            out("varlinkctl", "call", socket, interface + method, json.dumps(parameters))

        def error(method, **parameters):
            return refused("varlinkctl", "call", socket, interface + method, json.dumps(parameters))

        for name in "one", "two":
            self.addCleanup(shutil.rmtree, POOL / name, ignore_errors=True)
        call("Clone", name="tree", newName="one")
        call("Update", name="one", newName="two")
        self.assertFalse((POOL / "one").exists())
        self.assertIn("NoSuchImage", error("Update", name="one", readOnly=True))
        self.assertIn('"errno":17', error("Clone", name="tree", newName="two"))
        self.assertRegex(error("Clone", name="tree", newName="a/b"), INVALID)
        call("Remove", name="two")
        self.assertIn("NoSuchImage", error("Remove", name="two"))

    def test_only_root_changes_images_where_nobody_can_be_asked(self):
        self.tree("tree")
        someone = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
        for method, *arguments in (("RemoveImage", "s", "tree"), ("RenameImage", "ss", "tree", "other"),
                                   ("CloneImage", "ssb", "tree", "other", "false"),
                                   ("MarkImageReadOnly", "sb", "tree", "true"), ("SetImageLimit", "st", "tree", "1000"),
                                   ("SetPoolLimit", "t", "1000"), ("CleanPool", "s", "all")):
            said = refused(*someone, "busctl", "call", "--allow-interactive-authorization=no", bus.SERVICE, bus.PATH,
                           bus.MANAGER, method, *arguments)
            self.assertRegex(said.lower(), "authentication required|access denied|permission denied", method)
        socket, interface = "/run/systemd/machine/io.systemd.MachineImage", "io.systemd.MachineImage."
        for method, parameters in (("Remove", {"name": "tree"}), ("Clone", {"name": "tree", "newName": "other"}),
                                   ("Update", {"name": "tree", "readOnly": True})):
            said = refused(*someone, "varlinkctl", "call", socket, interface + method, json.dumps(parameters))
            self.assertRegex(said, "InteractiveAuthenticationRequired|PermissionDenied", method)
        self.assertEqual((shown("tree")["ReadOnly"], (POOL / "other").exists()), ("no", False))
