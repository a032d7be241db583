"""Clients that others wrote; tests/clients/run.sh fetches and builds them. What could not be had is skipped."""

import errno
import json
import lzma
import os
import pathlib
import shutil
import signal
import tarfile
import tempfile
import unittest

import bus
from images import POOL, ImageCase, listed
from scene import PATIENCE, Case, is_running, out, record, run, unit_property, until

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


class Varlink(Leaders):
    """The program `varlink` of varlink-cli: what it prints, what it complains about, and its exit status."""

    ADDRESS = "unix:/run/systemd/machine/io.systemd.Machine"
    MACHINE = "io.systemd.Machine"

    def setUp(self):
        self.program = built("varlink")
        # The original has its socket when it runs, and it runs when it is asked over the bus.
        out("machinectl", "list")

    def varlink(self, *words):
        """What it prints; complaints are none."""
        ended = run(self.program, *words)
        self.assertEqual((ended.returncode, ended.stderr), (0, ""), words)
        return ended.stdout

    def complaint(self, *words, by=()):
        """What it complains about. It prints nothing, and exits with 1."""
        ended = run(*by, self.program, *words)
        self.assertEqual((ended.returncode, ended.stdout), (1, ""), words)
        # 257 spells empty parameters out.
        return ended.stderr.removeprefix("Error: ").removesuffix("{}\n")

    def call(self, method, **parameters):
        return self.varlink("call", f"{self.ADDRESS}/{self.MACHINE}.{method}", json.dumps(parameters))

    def error(self, method, *words, by=(), more=()):
        return self.complaint("call", *more, f"{self.ADDRESS}/{method}", *words, by=by).removeprefix("Call failed with error: ").strip()

    def interfaces(self):
        return self.varlink("info", self.ADDRESS).split("Interfaces:\n")[1].split()

    def register(self, name):
        leader = self.leader(name)
        self.addCleanup(run, "machinectl", "terminate", name)
        self.assertEqual(self.call("Register", name=name, **{"class": "container"}, service="clients", leader=leader), "{}\n")
        return leader

    def test_varlink_cli_tells_what_the_service_is(self):
        told = self.varlink("info", self.ADDRESS)
        self.assertRegex(told, r"\AVendor: \S.*\nProduct: .*machined.*\nVersion: \S.*\nURL: .*\nInterfaces:\n(  \S+\n)+\n\Z")
        self.assertLessEqual({"io.systemd", self.MACHINE, "io.systemd.MachineImage", "org.varlink.service"}, set(self.interfaces()))

    def test_varlink_cli_understands_the_description_of_every_interface(self):
        for interface in self.interfaces():
            told = self.varlink("help", f"{self.ADDRESS}/{interface}")
            self.assertIn(f"interface {interface}\n", told)
            # What it has printed it reads again, and prints the same.
            with tempfile.NamedTemporaryFile("w") as file:
                file.write(told)
                file.flush()
                self.assertEqual(self.varlink("format", file.name), told)
        told = self.varlink("help", f"{self.ADDRESS}/{self.MACHINE}")
        self.assertIn("type ProcessId (pid: int, pidfdId: ?int, bootId: ?string)\n", told)
        for method in "Register", "Unregister", "Terminate", "Kill", "List", "Open":
            self.assertRegex(told, rf"(?m)^method {method}\(\n  name: ")
        self.assertEqual(self.complaint("help", f"{self.ADDRESS}/io.systemd.Nope"),
                         "Can't get interface description for 'io.systemd.Nope': Interface not found: 'io.systemd.Nope'\n")

    def test_varlink_cli_registers_a_machine_lists_it_and_unregisters_it(self):
        leader = self.register("rust")
        told = json.loads(self.call("List", name="rust"))
        self.assertEqual((told["name"], told["class"], told["service"], told["leader"]["pid"], told["unit"]),
                         ("rust", "container", "clients", leader, "clients-rust.service"))
        self.assertEqual(json.loads(self.call("List", pid={"pid": leader})), told)
        self.assertEqual(self.call("Kill", name="rust", whom="leader", signal=signal.SIGCONT), "{}\n")
        self.assertEqual(self.call("Unregister", name="rust"), "{}\n")
        self.assertEqual(self.error(f"{self.MACHINE}.List", '{"name":"rust"}'), f"{self.MACHINE}.NoSuchMachine")
        self.assertTrue(is_running(leader))

    def test_varlink_cli_lists_all_machines_with_more(self):
        self.register("rust")
        # Without arguments it sends parameters that are null.
        for arguments in (), ("{}",):
            told = self.varlink("call", "--more", f"{self.ADDRESS}/{self.MACHINE}.List", *arguments)
            # A reply ends with a line of its own.
            names = [json.loads(reply + "}")["name"] for reply in told.split("\n}\n")[:-1]]
            self.assertEqual(sorted(names), [".host", "rust"])
            self.assertEqual(self.error(f"{self.MACHINE}.List", *arguments), "org.varlink.service.ExpectedMore")
        self.assertEqual(self.error(f"{self.MACHINE}.List", '{"name":"nope"}', more=("--more",)), f"{self.MACHINE}.NoSuchMachine")

    def test_varlink_cli_ends_a_machine(self):
        leader = self.register("rust")
        self.assertEqual(self.call("Terminate", name="rust"), "{}\n")
        self.assert_gone("rust")
        until(lambda: not is_running(leader), "the leader ends")
        self.assertEqual(self.error(f"{self.MACHINE}.Terminate", '{"name":"rust"}'), f"{self.MACHINE}.NoSuchMachine")

    def test_varlink_cli_tells_each_error(self):
        leader = self.register("rust")
        again, other = (json.dumps({"name": name, "class": "container", "leader": leader}) for name in ("rust", "rust2"))
        someone = ("setpriv", "--reuid=4711", "--regid=4711", "--clear-groups")
        self.assertEqual(self.error(f"{self.MACHINE}.List", '{"name":"nope"}'), f"{self.MACHINE}.NoSuchMachine")
        self.assertEqual(self.error(f"{self.MACHINE}.Register", again), f"{self.MACHINE}.MachineExists")
        name, parameters = self.error(f"{self.MACHINE}.Register", other).split("\n", 1)
        self.assertEqual((name, json.loads(parameters)["errno"]), ("io.systemd.System", errno.EEXIST))
        self.assertEqual(self.error(f"{self.MACHINE}.Unregister", '{"name":"rust"}', by=someone), "io.systemd.InteractiveAuthenticationRequired")
        self.assertEqual(self.error(f"{self.MACHINE}.List", '{"name":"foo_bar"}'), "InvalidParameter: name")
        self.assertEqual(self.error(f"{self.MACHINE}.List", '{"nome":"rust"}'), "InvalidParameter: nome")
        for method in f"{self.MACHINE}.Nope", "io.systemd.Nope.List":
            self.assertEqual(self.error(method), f"MethodNotFound: {method}")


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
