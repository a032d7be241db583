"""Clients that others wrote; tests/clients/run.sh fetches and builds them. What could not be had is skipped."""

import json
import lzma
import os
import pathlib
import shutil
import tarfile
import unittest

import bus
from images import POOL, ImageCase, listed
from scene import PATIENCE, Case, out, record, run, unit_property, until

BUILT = pathlib.Path("/clients")
SCRIPTS = pathlib.Path("/src/tests/clients")
WORK = pathlib.Path("/var/tmp/clients")


def built(name):
    """What run.sh has built or unpacked, if it could."""
    if not (BUILT / name).exists():
        raise unittest.SkipTest(f"{name} could not be fetched or built")
    return BUILT / name


class Leaders(Case):
    """Clients that register a process."""

    def leader(self, name):
        """A process in a service of its own."""
        unit = f"clients-{name}.service"
        self.addCleanup(run, "systemctl", "stop", unit)
        out("systemd-run", "--quiet", f"--unit={unit}", "--service-type=exec", "sleep", "infinity")
        return int(unit_property(unit, "MainPID"))


class Libraries(Leaders):
    """Of D-Bus, in other languages: a machine is registered, looked at and unregistered by each, with its signals."""

    def register_by(self, interpreter, script):
        name = script.split(".")[0].replace("_", "-")
        leader = self.leader(name)
        told = json.loads(out(interpreter, SCRIPTS / script, name, leader, deadline=PATIENCE))
        self.assertEqual(told, {"listed": [".host", name], "found": True, "signals": ["MachineNew", "MachineRemoved"],
                                "machine": [name, "container", "clients", leader, bytes(range(16)).hex()],
                                "error": "org.freedesktop.machine1.NoSuchMachine"})

    def test_pydbus_registers_a_machine(self):
        self.register_by("python3", "of_pydbus.py")

    def test_glib_registers_a_machine(self):
        self.register_by("python3", "of_gio.py")

    def test_dbus_next_registers_a_machine(self):
        self.register_by("python3", "of_dbus_next.py")

    def test_net_dbus_registers_a_machine(self):
        self.register_by("perl", "of_net_dbus.pl")


class Managers(Leaders):
    def test_zlinks_own_tests_of_machined_pass(self):
        told = run(built("zlink.test"), deadline=PATIENCE)
        self.assertEqual(told.returncode, 0, told.stdout[-2000:] + told.stderr[-2000:])
        for test in "introspect_machined", "machine_proxy":
            self.assertRegex(told.stdout, rf"(?m)^test {test} \.\.\. ok$")

    def test_mkosi_registers_a_virtual_machine(self):
        leader = self.leader("mkosi")
        out("env", f"PYTHONPATH={built('mkosi')}", "python3", SCRIPTS / "of_mkosi.py", "my_image", leader, 7, deadline=PATIENCE)
        told = bus.properties("my-image")
        self.assertEqual((told["Class"], told["Service"], told["Leader"], told["VSockCID"], told["SSHAddress"], told["RootDirectory"]),
                         ("vm", "mkosi", leader, 7, "vsock/7", "/var/tmp"))
        out("busctl", "call", bus.SERVICE, bus.PATH, bus.MANAGER, "UnregisterMachine", "s", "my-image")
        self.assertEqual(record("my-image"), {})


class GoSystemd(ImageCase):
    def test_its_tests_of_machine1_pass(self):
        tests = ("TestMachine", "TestImages")
        # Its leaders are services of systemd-run's, which is done before the service's process has executed its program. Until
        # then that process moves itself to the service's control group: one that has been made a machine's leader meanwhile
        # leaves the machine's scope again, which is empty then and ends, with the original (1 of 25 runs) as with ours. So
        # systemd-run waits here for the program.
        patient = WORK / "bin/systemd-run"
        patient.parent.mkdir(parents=True, exist_ok=True)
        self.addCleanup(shutil.rmtree, patient.parent)
        patient.write_text('#!/bin/sh\nexec /usr/bin/systemd-run --service-type=exec "$@"\n')
        patient.chmod(0o755)
        told = run("env", f"PATH={patient.parent}:{os.environ['PATH']}", built("machine1.test"), "-test.v",
                   f"-test.run=^({'|'.join(tests)})$", deadline=PATIENCE)
        self.assertEqual(told.returncode, 0, (told.stdout + told.stderr)[-2000:])
        for test in tests:
            self.assertIn(f"--- PASS: {test} ", told.stdout)

    def test_its_tests_of_import1_pass_and_what_it_imports_is_an_image(self):
        fixtures = WORK / "fixtures"
        fixtures.mkdir(parents=True)
        self.addCleanup(shutil.rmtree, WORK)
        tree = WORK / "source"
        (tree / "etc").mkdir(parents=True)
        (tree / "usr").mkdir()
        (tree / "etc/os-release").write_text("ID=an\n")
        with tarfile.open(fixtures / "image.tar.xz", "w:xz") as tar:
            tar.add(tree, ".")
        disk = fixtures / "image.raw"
        with disk.open("wb") as file:
            file.truncate(4 << 20)
        with lzma.open(f"{disk}.xz", "wb") as file:
            file.write(disk.read_bytes())
        (WORK / "import1").mkdir()
        names = {"importd-test-ImportTar": "directory", "importd-test-ImportRaw": "raw"}
        self.addCleanup(run, "machinectl", "remove", *names)
        for test in "TestImportTar", "TestImportRaw":
            told = run("env", "-C", WORK / "import1", built("import1.test"), "-test.v", f"-test.run=^{test}$", deadline=PATIENCE)
            self.assertIn(f"--- PASS: {test} ", told.stdout, told.stderr)

        def has_come():
            images = listed()
            return {name: images[name][0] if name in images else None for name in names} == names

        until(has_come, f"the images {names}")
        self.assertTrue((POOL / "importd-test-ImportTar/etc/os-release").exists())
        for test in "TestExportTar", "TestExportRaw":
            told = run("env", "-C", WORK / "import1", built("import1.test"), "-test.v", f"-test.run=^{test}$", deadline=PATIENCE)
            self.assertIn(f"--- PASS: {test} ", told.stdout, told.stderr)
