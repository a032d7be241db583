"""Images that systemd's own import service brings in and takes out, as the daemon shows and changes them."""

import os
import pathlib
import shutil
import tarfile

import bus
from images import POOL, ImageCase, asked, listed, shown
from scene import out, refused, run, until

WORK = pathlib.Path("/var/tmp/importing")
CTL = ("importctl", "--class=machine")


class Importing(ImageCase):
    def setUp(self):
        super().setUp()
        if not shutil.which("importctl"):
            self.skipTest("there is no importctl in this Debian")
        WORK.mkdir()
        self.addCleanup(shutil.rmtree, WORK)

    def source(self):
        """A tree that is no image."""
        root = WORK / "source"
        (root / "etc").mkdir(parents=True)
        (root / "usr").mkdir()
        (root / "etc/hostname").write_text("box\n")
        (root / "etc/os-release").write_text("ID=an\n")
        return root

    def comes(self, name, kind, *command):
        """What a command of importctl brings in is an image, and can be copied, renamed and removed."""
        self.addCleanup(run, "machinectl", "remove", name, "copy", "other")
        self.assertNotIn(name, listed())
        out(*CTL, *command)
        self.assertEqual(listed()[name][0], kind)
        self.assertEqual(shown(name)["Type"], kind)
        out("machinectl", "clone", name, "copy")
        out("machinectl", "rename", "copy", "other")
        out("machinectl", "remove", "other")
        self.assertIn("exists", refused(*CTL, *command).lower())

    def test_a_tar_file_is_imported_and_exported(self):
        with tarfile.open(WORK / "in.tar.gz", "w:gz") as tar:
            tar.add(self.source(), ".")
        self.comes("tree", "directory", "import-tar", WORK / "in.tar.gz", "tree")
        self.assertEqual(asked("GetImageHostname", "s", "tree"), 's "box"')
        out(*CTL, "export-tar", "tree", WORK / "out.tar")
        with tarfile.open(WORK / "out.tar") as tar:
            names = {member.name.removeprefix("./") for member in tar}
        self.assertLessEqual({"etc/hostname", "etc/os-release"}, names)

    def test_a_directory_is_imported(self):
        self.comes("tree", "directory", "import-fs", self.source(), "tree")
        self.assertEqual(asked("GetImageHostname", "s", "tree"), 's "box"')
        self.assertIn('"ID" "an"', asked("GetImageOSRelease", "s", "tree"))

    def test_a_disk_is_imported_and_exported(self):
        disk = WORK / "in.raw"
        with disk.open("wb") as file:
            file.truncate(8 << 20)
        out("mkfs.ext4", "-q", "-d", self.source(), disk)
        self.comes("disk", "raw", "import-raw", disk, "disk")
        self.assertEqual((POOL / "disk.raw").read_bytes(), disk.read_bytes())
        out(*CTL, "export-raw", "disk", WORK / "out.raw")
        self.assertEqual((WORK / "out.raw").read_bytes(), disk.read_bytes())

    def test_an_image_that_is_read_only_is_imported_as_one(self):
        out(*CTL, "--read-only", "import-fs", self.source(), "fixed")
        self.addCleanup(run, "machinectl", "remove", "fixed")
        self.assertEqual(shown("fixed")["ReadOnly"], "yes")
        self.assertNotEqual(run("touch", POOL / "fixed/new").returncode, 0)
        out("machinectl", "remove", "fixed")
        self.assertFalse((POOL / "fixed").exists())

    def test_what_is_being_imported_is_no_image_and_nothing_of_it_is_removed(self):
        # A tar file that does not end until it is told to.
        fifo = WORK / "endless.tar"
        os.mkfifo(fifo)
        with tarfile.open(WORK / "in.tar", "w") as tar:
            tar.add(self.source(), ".")
        whole = (WORK / "in.tar").read_bytes()
        importer = self.start("sh", "-c", f'exec {" ".join(CTL)} import-tar - tree < {fifo}')
        with fifo.open("wb", buffering=0) as pipe:
            pipe.write(whole[:2048])
            until(lambda: list(POOL.glob(".#*tree*")), "the import has begun")
            self.assertNotIn("tree", listed("--all"))
            # What is hidden; all would be too much where other tests have images.
            out("machinectl", "clean")
            out("systemctl", "restart", "systemd-machined.service")
            until(lambda: ".host" in listed("--all"), "the daemon answers")
            self.assertTrue(list(POOL.glob(".#*tree*")))
            pipe.write(whole[2048:])
        importer.wait(30)
        self.addCleanup(run, "machinectl", "remove", "tree")
        self.assertEqual(listed()["tree"][0], "directory")
        self.assertEqual((POOL / "tree/etc/hostname").read_text(), "box\n")
