"""Images: what could be started, looked at with machinectl, busctl and varlinkctl."""

import json
import os
import pathlib
import re
import shutil
import signal
import stat

import bus
from scene import OURS, PATIENCE, SYSTEMD, Case, out, refused, run, unit_property, until

POOL = pathlib.Path("/var/lib/machines")
IMAGE = "org.freedesktop.machine1.Image"
UNKNOWN = 2**64 - 1
# What varlinkctl says of a parameter that is not valid: 262 in other words than 257.
INVALID = "InvalidParameter|Invalid argument\n"


def listed(*options):
    """The images that machinectl lists: their columns by name."""
    lines = out("machinectl", "list-images", "--no-legend", *options).splitlines()
    return {words[0]: words[1:] for words in map(str.split, lines)}


def shown(name):
    return dict(line.split("=", 1) for line in out("machinectl", "show-image", name).splitlines())


def shown_machine(name):
    return dict(line.split("=", 1) for line in out("machinectl", "show", name).splitlines())


def catches(pid, number):
    """Whether a process has a handler for a signal."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"SigCgt:\s*(\w+)", status)[1], 16) >> (number - 1) & 1


def told(name, member, interface=IMAGE):
    """A property of an image's object."""
    (value,) = bus.call("Get", "ss", interface, member, path=f"{bus.PATH}/image/{name}",
                        interface="org.freedesktop.DBus.Properties")
    return value["data"]


def asked(method, signature="", *arguments):
    return out("busctl", "call", bus.SERVICE, "/org/freedesktop/machine1", bus.MANAGER, method, signature, *arguments).strip()


def varlink(parameters, more=False):
    socket = "/run/systemd/machine/io.systemd.MachineImage"
    options = ["--more"] if more else []
    text = out("varlinkctl", "call", "--json=short", *options, socket, "io.systemd.MachineImage.List", json.dumps(parameters))
    return [json.loads(line) for line in text.replace("\x1e", "").splitlines() if line]


def make_loop_devices():
    """More of them than one: another boot on the same host may use the first."""
    for number in range(16):
        path = pathlib.Path(f"/dev/loop{number}")
        # The host's, shown here, may have been replaced there since: nobody may write to what is left.
        if path.exists() and path.stat().st_nlink == 0:
            out("umount", path)
            path.unlink()
        if not path.exists():
            os.mknod(path, stat.S_IFBLK | 0o600, os.makedev(7, number))


# It ends when it is told to.
INIT = """
#include <signal.h>
#include <unistd.h>
static void end(int number) { _exit(number == 0); }
int main(void) { signal(SIGRTMIN + 3, end); for (;;) pause(); }
"""


class ImageCase(Case):
    def tree(self, name, where=POOL, **files):
        """An image that is a directory, with files in its /etc."""
        root = where / name
        (root / "etc").mkdir(parents=True)
        self.addCleanup(shutil.rmtree, root)
        for file, text in files.items():
            (root / "etc" / file.replace("_", "-")).write_text(text)
        return root

    def disk(self, name, size=1 << 20, mode=0o644):
        path = POOL / f"{name}.raw"
        with path.open("wb") as file:
            file.truncate(size)
        self.addCleanup(path.unlink)
        path.chmod(mode)
        return path


class Images(ImageCase):
    def test_images_are_listed_with_their_type_and_what_they_take(self):
        self.tree("tree")
        self.tree(".aside")
        self.tree("a_b")
        self.disk("disk", mode=0o444)
        (POOL / "file").write_text("no image")
        self.addCleanup((POOL / "file").unlink)
        images = listed()
        self.assertEqual((images["tree"][:2], images["a_b"][0]), (["directory", "no"], "directory"))
        self.assertEqual(images["disk"][:2], ["raw", "yes"])
        self.assertFalse({"file", ".aside", ".host"} & images.keys())
        self.assertLessEqual({"tree", ".aside", ".host"}, listed("--all").keys())

    def test_an_image_is_shown_with_all_its_properties(self):
        root, disk = self.tree("tree"), self.disk("disk", 3 << 20)
        tree = shown("tree")
        self.assertEqual((tree["Name"], tree["Path"], tree["Type"], tree["ReadOnly"]), ("tree", str(root), "directory", "no"))
        self.assertEqual((told("tree", "Usage"), told("disk", "Limit")), (UNKNOWN, 3 << 20))
        made = told("tree", "CreationTimestamp")
        self.assertLess(abs(made / 1e6 - os.stat(root).st_ctime), 2)
        changed = told("disk", "ModificationTimestamp")
        self.assertEqual(changed, os.stat(disk).st_mtime_ns // 1000)

    def test_what_is_inside_a_directory_is_told(self):
        self.tree("tree", hostname="# who\nbox\n", machine_id="0123456789abcdef0123456789abcdef\n",
                  machine_info="DEPLOYMENT=test\n", os_release='PRETTY_NAME="An OS"\nID=an\n')
        status = out("machinectl", "image-status", "tree")
        self.assertIn("An OS", status)
        self.assertIn("box", status)
        self.assertEqual(asked("GetImageHostname", "s", "tree"), 's "box"')
        self.assertEqual(asked("GetImageMachineID", "s", "tree"),
                         "ay 16 1 35 69 103 137 171 205 239 1 35 69 103 137 171 205 239")
        self.assertEqual(asked("GetImageMachineInfo", "s", "tree"), 'a{ss} 1 "DEPLOYMENT" "test"')
        self.assertIn('"ID" "an"', asked("GetImageOSRelease", "s", "tree"))
        [image] = varlink({"name": "tree", "acquireMetadata": "yes"})
        self.assertEqual((image["hostname"], image["machineId"]), ("box", "0123456789abcdef0123456789abcdef"))
        self.assertEqual((image["machineInfo"], image["type"], image["class"]), (["DEPLOYMENT=test"], "directory", "machine"))
        self.assertIn("ID=an", image["OSRelease"])

    def system(self, disk, init=False):
        """Makes a file a disk with an operating system that has no programs, or one that does nothing."""
        root = pathlib.Path("/var/tmp/disk-root")
        (root / "etc").mkdir(parents=True)
        self.addCleanup(shutil.rmtree, root)
        (root / "etc/hostname").write_text("box\n")
        (root / "etc/machine-id").write_text("0123456789abcdef0123456789abcdef\n")
        (root / "etc/os-release").write_text("ID=an\n")
        if init:
            (root / "sbin").mkdir()
            (root / "usr").mkdir()
            program = root / "init.c"
            program.write_text(INIT)
            out("gcc", "-static", "-o", root / "sbin/init", program)
        out("mkfs.ext4", "-q", "-d", root, disk)

    def test_what_is_inside_a_disk_is_told(self):
        make_loop_devices()
        disk = self.disk("disk", 16 << 20)
        self.system(disk)
        self.assertEqual(asked("GetImageHostname", "s", "disk"), 's "box"')
        [image] = varlink({"name": "disk", "acquireMetadata": "yes"})
        self.assertEqual((image["hostname"], image["machineId"]), ("box", "0123456789abcdef0123456789abcdef"))
        self.assertEqual(image["OSRelease"], ["ID=an"])
        disk.write_bytes(b"XFSB" + bytes(1 << 20))
        refused("busctl", "call", bus.SERVICE, bus.PATH, bus.MANAGER, "GetImageHostname", "s", "disk")

    def test_a_block_device_is_an_image_by_a_link_and_by_a_node_of_its_own(self):
        make_loop_devices()
        file, size = pathlib.Path("/var/tmp/block-device"), 16 << 20
        with file.open("wb") as disk:
            disk.truncate(size)
        self.addCleanup(file.unlink)
        self.system(file, init=True)
        device = pathlib.Path(out("losetup", "--find").strip())
        # What the device itself keeps, whatever it is attached to, and may have from before.
        out("blockdev", "--setrw", device)
        self.addCleanup(run, "blockdev", "--setrw", device)
        out("losetup", device, file)
        self.addCleanup(out, "losetup", "--detach", device)
        link, node = POOL / "linked", POOL / "node"
        for path in link, node, POOL / "other":
            self.addCleanup(path.unlink, missing_ok=True)
        link.symlink_to(device)
        os.mknod(node, stat.S_IFBLK | 0o600, device.stat().st_rdev)
        for name in "linked", "node":
            self.assertEqual(listed()[name][:2], ["block", "no"], name)
            image = shown(name)
            self.assertEqual((image["Type"], image["ReadOnly"]), ("block", "no"))
            # The original tells since 258 what a link leads to.
            self.assertIn(image["Path"], (str(POOL / name), str(device)) if SYSTEMD > 257 and not OURS else (str(POOL / name),))
            for member in "Usage", "UsageExclusive", "Limit", "LimitExclusive":
                self.assertEqual(told(name, member), size, member)
            status = out("machinectl", "image-status", name)
            self.assertIn("Type: block", status)
            self.assertIn("box", status)
            self.assertEqual(asked("GetImageHostname", "s", name), 's "box"')
            self.assertIn('"ID" "an"', asked("GetImageOSRelease", "s", name))
        for value, flag in ("yes", "1"), ("no", "0"):
            out("machinectl", "read-only", "linked", value)
            self.assertEqual(out("blockdev", "--getro", device).strip(), flag)
            self.assertEqual({shown(name)["ReadOnly"] for name in ("linked", "node")}, {value})
        self.assertIn("not supported", refused("machinectl", "clone", "linked", "copy").lower())
        self.assertIn("not supported", refused("machinectl", "set-limit", "linked", "1G").lower())
        # It runs, and is in use meanwhile.
        unit = "systemd-nspawn@node.service"
        self.addCleanup(run, "systemctl", "reset-failed", unit)
        self.addCleanup(run, "systemctl", "stop", unit, deadline=PATIENCE)
        out("machinectl", "start", "node", deadline=PATIENCE)
        machine = shown_machine("node")
        self.assertEqual(machine["Unit"], unit)
        for command in ("remove", "node"), ("rename", "node", "other"), ("read-only", "linked", "yes"):
            self.assertIn("busy", refused("machinectl", *command).lower(), command)
        until(lambda: catches(machine["Leader"], signal.SIGRTMIN + 3), "its init listens")
        out("machinectl", "terminate", "node")
        until(lambda: unit_property(unit, "ActiveState") in ("failed", "inactive"), "the end of the unit")
        out("machinectl", "rename", "node", "other")
        self.assertEqual(((POOL / "other").is_block_device(), node.exists()), (True, False))
        out("machinectl", "remove", "other")
        self.assertEqual(((POOL / "other").exists(), device.is_block_device()), (False, True))

    def test_a_link_to_a_block_device_is_renamed_and_removed_and_not_the_device(self):
        make_loop_devices()
        file = self.disk("backing")
        device = pathlib.Path(out("losetup", "--find", "--show", file).strip())
        self.addCleanup(out, "losetup", "--detach", device)
        for name in "linked", "other":
            self.addCleanup((POOL / name).unlink, missing_ok=True)
        (POOL / "linked").symlink_to(device)
        out("machinectl", "rename", "linked", "other")
        self.assertEqual((os.readlink(POOL / "other"), (POOL / "linked").is_symlink()), (str(device), False))
        out("machinectl", "remove", "other")
        self.assertEqual(((POOL / "other").is_symlink(), device.is_block_device()), (False, True))

    def test_an_image_that_says_nothing_is_told_as_one(self):
        self.tree("tree")
        self.assertEqual(asked("GetImageHostname", "s", "tree"), 's ""')
        self.assertEqual(asked("GetImageMachineID", "s", "tree"), "ay 0")
        self.assertEqual(asked("GetImageMachineInfo", "s", "tree"), "a{ss} 0")
        [image] = varlink({"name": "tree", "acquireMetadata": "yes"})
        self.assertFalse({"hostname", "machineId", "machineInfo", "OSRelease"} & image.keys())

    def test_the_first_image_of_a_name_is_found_and_the_vendors_cannot_be_changed(self):
        vendors = pathlib.Path("/usr/lib/machines")
        first = self.tree("tree")
        self.tree("tree", vendors)
        self.tree("vendors", vendors)
        self.assertEqual(shown("tree")["Path"], str(first))
        self.assertEqual(shown("vendors")["ReadOnly"], "yes")

    def test_the_newest_version_is_the_image(self):
        versions = self.tree("tree.v")
        for version in "tree_9", "tree_10":
            (versions / version).mkdir()
        self.assertEqual(shown("tree")["Path"], f"{POOL}/tree.v/tree_10")
        self.assertEqual(listed()["tree"][0], "directory")

    def test_an_unknown_image_is_told(self):
        for verb in ("image-status", "show-image"):
            self.assertIn("No image 'nothing' known", refused("machinectl", verb, "nothing"))
        self.assertIn("No image 'a/b' known", refused("machinectl", "show-image", "a/b"))
        self.assertIn("is invalid", refused("busctl", "call", bus.SERVICE, "/org/freedesktop/machine1", bus.MANAGER,
                                            "GetImageHostname", "s", "a/b"))
        self.assertIn("Unknown object", refused("busctl", "get-property", bus.SERVICE,
                                                "/org/freedesktop/machine1/image/nothing", IMAGE, "Name"))

    def test_the_host_is_an_image_too(self):
        host = shown(".host")
        self.assertEqual((host["Name"], host["Path"]), (".host", "/"))
        self.assertIn("/org/freedesktop/machine1/image/_2ehost",
                      out("busctl", "tree", "--list", bus.SERVICE).split())

    def test_images_are_listed_by_varlink(self):
        self.tree("tree")
        self.disk("disk", 4096)
        images = {image["name"]: image for image in varlink({}, more=True)}
        self.assertEqual((images["tree"]["path"], images["tree"]["readOnly"]), (str(POOL / "tree"), False))
        self.assertEqual((images["disk"]["type"], images["disk"]["limit"]), ("raw", 4096))
        self.assertFalse({"usage", "limit", "modificationTimestamp"} & images["tree"].keys())
        self.assertLessEqual({"modificationTimestamp", "usage", "usageExclusive"}, images["disk"].keys())
        socket = "/run/systemd/machine/io.systemd.Machine"
        method = "io.systemd.MachineImage.List"
        for name, error in (("nothing", "NoSuchImage"), ("a/b", INVALID)):
            self.assertRegex(refused("varlinkctl", "call", socket, method, json.dumps({"name": name})), error)
        self.assertRegex(refused("varlinkctl", "call", socket, method, "{}"), "ExpectedMore|called without 'more' flag")

    def test_an_image_is_enabled_and_disabled_by_name(self):
        self.tree("tree")
        unit = "systemd-nspawn@tree.service"
        self.addCleanup(run, "systemctl", "disable", unit)
        out("machinectl", "enable", "tree")
        self.assertEqual(unit_property(unit, "UnitFileState"), "enabled")
        out("machinectl", "disable", "tree")
        self.assertEqual(unit_property(unit, "UnitFileState"), "disabled")
        for verb in "start", "enable":
            self.assertNotEqual(run("machinectl", verb, "nothing", deadline=PATIENCE).returncode, 0, verb)
            self.assertIn("nothing", run("machinectl", verb, "nothing").stderr)

    def test_an_image_that_somebody_writes_to_is_not_read(self):
        self.tree("tree", hostname="box\n")
        lock = POOL / ".#tree.lck"
        holder = self.start("python3", "-c", HOLDER, lock)
        self.addCleanup(lock.unlink, missing_ok=True)
        holder_says = pathlib.Path(f"{lock}.held")
        until(holder_says.exists, "the lock is held")
        self.addCleanup(holder_says.unlink)
        self.assertIn("Device or resource busy", refused("busctl", "call", bus.SERVICE, "/org/freedesktop/machine1",
                                                         bus.MANAGER, "GetImageHostname", "s", "tree"))

    def test_a_fifo_in_an_image_holds_up_nobody(self):
        root = self.tree("tree", os_release="ID=an\n")
        self.tree("other", hostname="box\n")
        os.mkfifo(root / "etc/hostname")
        # Where the daemon hangs it is of no use to the tests behind this one.
        self.addCleanup(run, "systemctl", "restart", "systemd-machined.service", deadline=PATIENCE)
        self.addCleanup(run, "systemctl", "kill", "--signal=KILL", "systemd-machined.service")

        def answer(*words):
            return out("busctl", "--timeout=15", "call", bus.SERVICE, bus.PATH, bus.MANAGER, *words).strip()

        self.assertEqual(answer("GetImageHostname", "s", "tree"), 's ""')
        self.assertIn('"ID" "an"', answer("GetImageOSRelease", "s", "tree"))
        self.assertEqual(answer("GetImageHostname", "s", "other"), 's "box"')
        self.assertIn(".host", answer("ListMachines"))


# Takes an image for itself as systemd-nspawn does: the lock of an open file description.
HOLDER = """
import fcntl, pathlib, struct, sys, time
file = open(sys.argv[1], "w")
fcntl.fcntl(file, 37, struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 0, 0, 0))
pathlib.Path(sys.argv[1] + ".held").touch()
time.sleep(1000)
"""
