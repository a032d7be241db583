"""go-systemd's own tests of machine1 and import1; tests/clients/run.sh builds them."""

import lzma
import os
import pathlib
import shutil
import tarfile

from images import POOL, ImageCase, listed
from scene import PATIENCE, run, until

BUILT = pathlib.Path("/clients")
WORK = pathlib.Path("/var/tmp/clients")


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
        told = run("env", f"PATH={patient.parent}:{os.environ['PATH']}", BUILT / "machine1.test", "-test.v",
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
            told = run("env", "-C", WORK / "import1", BUILT / "import1.test", "-test.v", f"-test.run=^{test}$", deadline=PATIENCE)
            self.assertIn(f"--- PASS: {test} ", told.stdout, told.stderr)

        def has_come():
            images = listed()
            return {name: images[name][0] if name in images else None for name in names} == names

        until(has_come, f"the images {names}")
        self.assertTrue((POOL / "importd-test-ImportTar/etc/os-release").exists())
        for test in "TestExportTar", "TestExportRaw":
            told = run("env", "-C", WORK / "import1", BUILT / "import1.test", "-test.v", f"-test.run=^{test}$", deadline=PATIENCE)
            self.assertIn(f"--- PASS: {test} ", told.stdout, told.stderr)
