"""Copies between the host and containers, with and without a user namespace."""

import os
import pathlib
import shutil
import socket
import stat

from changing import POOLS
from images import make_loop_devices
from machines import SCRATCH, Container
from scene import OURS, SYSTEMD, Case, out, refused, run, until

BUS = ["busctl", "call", "org.freedesktop.machine1", "/org/freedesktop/machine1", "org.freedesktop.machine1.Manager"]
LONG_AGO = 1_000_000_000


class Body:
    """What holds in both kinds of containers."""

    OPTIONS = ()
    SHIFT = 0

    @classmethod
    def setUpClass(cls):
        SCRATCH.mkdir(exist_ok=True)
        cls.box = Container(cls.NAME, *cls.OPTIONS)
        cls.addClassCleanup(cls.box.end)
        # For who is in no mount namespace of the container's.
        cls.inside = pathlib.Path(f"/proc/{cls.box.leader}/root")

    def setUp(self):
        self.place = SCRATCH / "copied"
        shutil.rmtree(self.place, ignore_errors=True)
        self.place.mkdir(parents=True)
        self.addCleanup(shutil.rmtree, self.place, ignore_errors=True)
        out("find", self.inside / "tmp", "-mindepth", "1", "-delete")

    def into(self, *words):
        return out("machinectl", "copy-to", *words[:-2], self.NAME, *words[-2:])

    def not_into(self, *words):
        return refused("machinectl", "copy-to", *words[:-2], self.NAME, *words[-2:])

    def tree(self):
        """A directory with something of each kind."""
        source = self.place / "tree"
        (source / "deeper").mkdir(parents=True)
        (source / "text").write_text("a\n")
        os.link(source / "text", source / "deeper/same")
        os.symlink("text", source / "link")
        os.symlink("/nowhere", source / "dangling")
        os.mkfifo(source / "fifo", 0o640)
        os.mknod(source / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(source / "socket"))
        (source / "program").write_bytes(b"x" * 100_000)
        os.chown(source / "deeper", 1000, 1001)
        os.chmod(source / "deeper", 0o2750)
        os.chmod(source / "program", 0o4755)
        for path in source / "text", source / "deeper", source / "link":
            os.utime(path, (LONG_AGO, LONG_AGO), follow_symlinks=False)
        return source

    @staticmethod
    def seen(top, owners=True):
        """What is said of each entry."""
        said = {}
        for path in (top, *top.rglob("*")):
            found = path.lstat()
            what = [oct(found.st_mode), found.st_rdev, found.st_mtime_ns, found.st_size if path.is_file() else None]
            if path.is_symlink():
                what.append(os.readlink(path))
            elif path.is_file():
                what.append(path.read_bytes())
            said[str(path.relative_to(top))] = (*what, *((found.st_uid, found.st_gid) if owners else ()))
        return said

    def test_a_tree_arrives_with_all_that_belongs_to_it_and_comes_back(self):
        source, copy = self.tree(), self.inside / "tmp/copy"
        self.into(source, "/tmp/copy")
        self.assertEqual(self.seen(copy, owners=not self.SHIFT), self.seen(source, owners=not self.SHIFT))
        self.assertEqual((copy / "text").stat().st_ino, (copy / "deeper/same").stat().st_ino)
        if self.SHIFT:
            owners = {(path.lstat().st_uid, path.lstat().st_gid) for path in (copy, *copy.rglob("*"))}
            self.assertEqual(owners, {(self.SHIFT, self.SHIFT)})
        back = self.place / "back"
        out("machinectl", "copy-from", self.NAME, "/tmp/copy", back)
        self.assertEqual(self.seen(back, owners=not self.SHIFT), self.seen(source, owners=not self.SHIFT))
        if self.SHIFT:
            self.assertEqual({(path.lstat().st_uid, path.lstat().st_gid) for path in (back, *back.rglob("*"))}, {(0, 0)})

    def test_a_directory_is_merged_and_what_is_there_is_left_unless_by_force(self):
        source, copy = self.tree(), self.inside / "tmp/copy"
        self.into(source, "/tmp/copy")
        (copy / "mine").write_text("stays")
        (source / "text").write_text("changed\n")
        (source / "new").write_text("new")
        self.into(source, "/tmp/copy")
        self.assertEqual(((copy / "text").read_text(), (copy / "new").read_text()), ("a\n", "new"))
        self.into("--force", source, "/tmp/copy")
        self.assertEqual((copy / "text").read_text(), "changed\n")
        self.assertEqual((copy / "deeper/same").stat().st_ino, (copy / "text").stat().st_ino)
        self.assertEqual((copy / "mine").read_text(), "stays")
        self.assertEqual(sorted(path.name for path in copy.iterdir()), sorted([*os.listdir(source), "mine"]))

    def test_a_file_is_replaced_by_force_alone_and_a_directory_never(self):
        source = self.tree()
        self.into(source / "text", "/tmp/file")
        self.assertIn("File exists", self.not_into(source / "text", "/tmp/file"))
        (source / "text").write_text("changed\n")
        self.into("--force", source / "text", "/tmp/file")
        self.assertEqual((self.inside / "tmp/file").read_text(), "changed\n")
        self.into("--force", source / "link", "/tmp/file")
        self.assertEqual(os.readlink(self.inside / "tmp/file"), "text")
        self.into("--force", source / "null", "/tmp/file")
        self.into("--force", source / "text", "/tmp/file")
        self.into(source / "deeper", "/tmp/deeper")
        for words in (), ("--force",):
            self.assertIn("Not a directory", self.not_into(*words, source / "deeper", "/tmp/file"))
            self.assertIn("File exists", self.not_into(*words, source / "text", "/tmp/deeper"))
        self.assertEqual(sorted(os.listdir(self.inside / "tmp")), ["deeper", "file"])

    def test_a_link_in_the_container_does_not_lead_out_of_it(self):
        source = self.tree()
        os.symlink("/etc", self.inside / "tmp/etc")
        self.into(source / "text", "/tmp/etc/copied-in")
        self.assertTrue((self.inside / "etc/copied-in").exists())
        self.assertFalse(os.path.exists("/etc/copied-in"))
        (self.inside / "etc/copied-in").unlink()
        os.symlink("real", self.inside / "tmp/to-real")
        (self.inside / "tmp/real").mkdir()
        self.assertIn("Not a directory", self.not_into(source / "deeper", "/tmp/to-real"))

    def test_holes_stay_holes(self):
        source = self.place / "sparse"
        with source.open("wb") as file:
            for at in (10 << 20, 50 << 20):
                file.seek(at)
                file.write(b"x" * 5000)
            file.truncate(200 << 20)
        self.into(source, "/tmp/sparse")
        copy = self.inside / "tmp/sparse"
        out("cmp", source, copy, deadline=60)
        # The original fills those in the middle.
        if OURS:
            self.assertLess(copy.stat().st_blocks * 512, 1 << 20)

    def test_what_has_no_size_is_copied_all_the_same(self):
        self.into("/proc/version", "/tmp/version")
        self.assertEqual((self.inside / "tmp/version").read_text(), pathlib.Path("/proc/version").read_text())
        out("machinectl", "copy-from", self.NAME, "/proc/version", self.place / "version")
        self.assertEqual((self.place / "version").read_text(), pathlib.Path("/proc/version").read_text())

    def test_attributes_come_along(self):
        source = self.tree()
        os.setxattr(source / "text", "user.colour", b"red")
        os.setxattr(source, "user.colour", b"green")
        self.into(source, "/tmp/copy")
        out("machinectl", "copy-from", self.NAME, "/tmp/copy", self.place / "back")
        self.assertEqual(os.getxattr(self.inside / "tmp/copy", "user.colour"), b"green")
        if OURS:
            self.assertEqual(os.getxattr(self.place / "back/text", "user.colour"), b"red")

    def test_access_control_lists_come_along_where_their_ids_mean_the_same(self):
        if not OURS:
            self.skipTest("the original keeps none")
        source = self.tree()
        # Version 2; owner rwx, user 1234 r, group r, mask r, others nothing.
        entries = [(1, 6, 0xFFFFFFFF), (2, 4, 1234), (4, 4, 0xFFFFFFFF), (16, 4, 0xFFFFFFFF), (32, 0, 0xFFFFFFFF)]
        acl = (2).to_bytes(4, "little") + b"".join(
            tag.to_bytes(2, "little") + mode.to_bytes(2, "little") + who.to_bytes(4, "little") for tag, mode, who in entries)
        os.setxattr(source / "text", "system.posix_acl_access", acl)
        self.into(source / "text", "/tmp/text")
        copied = "system.posix_acl_access" in os.listxattr(self.inside / "tmp/text")
        self.assertEqual(copied, not self.SHIFT)
        if self.SHIFT:
            until(lambda: "without the access control lists" in out(
                "journalctl", "--unit", "systemd-machined.service", "--boot", "--lines=20", "--output=cat"), "a line in the journal")

    def test_capabilities_of_files_come_along_where_their_ids_mean_the_same(self):
        if not OURS:
            self.skipTest("the original keeps none")
        source = self.tree() / "program"
        # Version 2, effective: CAP_NET_RAW, linux/capability.h.
        os.setxattr(source, "security.capability", b"".join(
            number.to_bytes(4, "little") for number in (0x02000001, 1 << 13, 0, 0, 0)))
        self.into(source, "/tmp/program")
        copied = "security.capability" in os.listxattr(self.inside / "tmp/program")
        self.assertEqual(copied, not self.SHIFT)

    def test_what_cannot_be_copied_is_said_and_changes_nothing(self):
        source = self.tree()
        for words in (self.place / "missing", "/tmp/x"), (source / "text", "/missing/x"), ("/missing/x", "/tmp/x"):
            said = self.not_into(*words)
            self.assertIn("No such file or directory", said)
            if OURS:
                self.assertIn("missing", said)
        self.assertIn("No such file", refused("machinectl", "copy-from", self.NAME, "/tmp/missing", self.place / "x"))
        self.assertIn("No such file", refused("machinectl", "copy-from", self.NAME, "/tmp", "/missing/x"))
        for words in ("/", "/tmp/x"), (source / "text", "/"):
            self.assertIn("Cannot assign requested address", self.not_into(*words))
        self.assertEqual(os.listdir(self.inside / "tmp"), [])

    def test_the_calls_of_the_bus_copy_and_refuse(self):
        source = self.tree() / "text"
        call = lambda method, signature, *words: [*BUS, method, signature, *words]
        out(*call("CopyToMachine", "sss", self.NAME, source, "/tmp/one"))
        self.assertIn("File exists", refused(*call("CopyToMachine", "sss", self.NAME, source, "/tmp/one")))
        out(*call("CopyToMachineWithFlags", "ssst", self.NAME, source, "/tmp/one", "1"))
        self.assertIn("Invalid argument", refused(*call("CopyToMachineWithFlags", "ssst", self.NAME, source, "/tmp/two", "2")))
        out(*call("CopyFromMachine", "sss", self.NAME, "/tmp/one", self.place / "two"))
        out(*call("CopyFromMachineWithFlags", "ssst", self.NAME, "/tmp/one", self.place / "two", "1"))
        path = out(*call("GetMachine", "s", self.NAME)).split('"')[1]
        object_ = ["busctl", "call", "org.freedesktop.machine1", path, "org.freedesktop.machine1.Machine"]
        out(*object_, "CopyTo", "ss", source, "/tmp/three")
        out(*object_, "CopyToWithFlags", "sst", source, "/tmp/three", "1")
        out(*object_, "CopyFrom", "ss", "/tmp/three", self.place / "three")
        out(*object_, "CopyFromWithFlags", "sst", "/tmp/three", self.place / "three", "1")
        self.assertIn("absolute", refused(*call("CopyToMachine", "sss", self.NAME, "text", "/tmp/x")))
        self.assertIn("absolute", refused(*call("CopyToMachine", "sss", self.NAME, source, "x")))
        self.assertIn("No machine 'nobody' known", refused(*call("CopyToMachine", "sss", "nobody", source, "/tmp/x")))
        self.assertRegex(refused(
            "setpriv", "--reuid=daemon", "--regid=daemon", "--clear-groups", *call("CopyToMachine", "sss", self.NAME, source, "/tmp/x")), "nteractive authentication")
        self.assertEqual(sorted(os.listdir(self.inside / "tmp")), ["one", "three"])

    def test_the_calls_of_varlink_copy_and_refuse(self):
        if not OURS and SYSTEMD < 262:
            self.skipTest("the original has these since 262")
        source = self.tree() / "text"
        call = lambda method, text: run("varlinkctl", "call", "/run/systemd/machine/io.systemd.Machine",
                                        f"io.systemd.Machine.{method}", text)
        to = lambda extra="": call("CopyTo", f'{{"name":"{self.NAME}","source":"{source}","destination":"/tmp/v"{extra}}}')
        self.assertEqual(to().returncode, 0)
        # As the varlinkctl of 257 says it, and of 262.
        self.assertRegex(to().stderr, "io.systemd.System|File exists")
        self.assertEqual(to(',"replace":true').returncode, 0)
        back = call("CopyFrom", f'{{"name":"{self.NAME}","source":"/tmp/v","destination":"{self.place}/v"}}')
        self.assertEqual((back.returncode, (self.place / "v").read_text()), (0, "a\n"))
        self.assertIn("NoSuchMachine", call("CopyTo", f'{{"name":"nobody","source":"{source}"}}').stderr)
        self.assertIn("NotSupported", call("CopyTo", f'{{"name":".host","source":"{source}"}}').stderr)
        self.assertIn("nvalid", call("CopyTo", f'{{"name":"{self.NAME}","source":"text"}}').stderr)


class Plain(Body, Case):
    """Without a user namespace."""

    NAME = "copies"

    def test_the_host_is_no_container(self):
        for words in ("CopyToMachine", "sss"), ("CopyFromMachineWithFlags", "ssst"):
            call = [*BUS, *words, ".host", "/etc/hostname", "/tmp/x", *["0"][:len(words[1]) - 3]]
            self.assertIn("Copying files is only supported on container machines.", refused(*call))


class Shifted(Body, Case):
    """With one."""

    NAME = "shifted"
    OPTIONS = ("--private-users=65536:65536", "--private-users-ownership=chown")
    SHIFT = 65536

    def test_nothing_is_bound_into_a_container_with_a_user_namespace(self):
        self.assertIn("user namespacing", refused("machinectl", "bind", "--mkdir", self.NAME, "/etc/hostname", "/tmp/bound"))
        self.assertEqual(os.listdir(self.inside / "tmp"), [])


class Sharing(Case):
    """A file system that can share blocks, seen by the host and by a container."""

    def test_a_copy_on_btrfs_takes_no_room(self):
        pool = POOLS / "btrfs"
        if not pool.exists():
            self.skipTest("this host has no mkfs.btrfs")
        make_loop_devices()
        place = SCRATCH / "btrfs"
        place.mkdir(parents=True)
        self.addCleanup(place.rmdir)
        file = SCRATCH / "sharing.img"
        shutil.copyfile(pool, file)
        self.addCleanup(file.unlink)
        out("mount", "-o", "loop", file, place)
        self.addCleanup(out, "umount", place)
        (place / "source").write_bytes(os.urandom(1 << 20) * 64)
        box = Container("sharing", f"--bind={place}:/mnt/shared")
        self.addCleanup(box.end)

        def used():
            os.sync()
            told = os.statvfs(place)
            return (told.f_blocks - told.f_bfree) * told.f_frsize

        before = used()
        out("machinectl", "copy-to", "sharing", place / "source", "/mnt/shared/one")
        out("machinectl", "copy-from", "sharing", "/mnt/shared/one", place / "two")
        for name in "one", "two":
            out("cmp", place / "source", place / name)
        self.assertLess(used() - before, 16 << 20)
