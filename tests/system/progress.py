"""Changes of images that say how far they are and are ended, on our interface: for our daemon alone."""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess

from images import POOL, ImageCase
from scene import out, until

SOCKET = "/run/systemd/machine/io.systemd.MachineImage"
CHANGES = "io.mymachines.ImageChanges."


def told(method, more=False, **parameters):
    text = out("varlinkctl", "call", "--json=short", *(["--more"] if more else []), SOCKET, CHANGES + method, json.dumps(parameters))
    return [json.loads(line) for line in text.replace("\x1e", "").splitlines() if line]


def staged():
    return [name for name in os.listdir(POOL) if name.startswith(".#mymachines.") and not name.endswith(".lck")]


def at_work():
    """The process that makes something."""
    for entry in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if b"--image-worker" not in pathlib.Path(f"/proc/{entry}/cmdline").read_bytes():
                continue
            for descriptor in os.listdir(f"/proc/{entry}/fd"):
                with contextlib.suppress(OSError):
                    if ".#mymachines." in os.readlink(f"/proc/{entry}/fd/{descriptor}"):
                        os.kill(int(entry), signal.SIGSTOP)
                        return int(entry)
    return None


class Progress(ImageCase):
    def test_a_copy_and_a_removal_tell_how_far_they_are(self):
        tree = self.tree("tree", hostname="box\n")
        for number in range(100):
            (tree / str(number)).write_bytes(b"x" * 1000)
        self.addCleanup(shutil.rmtree, POOL / "copy", ignore_errors=True)
        for method, parameters in ("Clone", {"name": "tree", "newName": "copy"}), ("Remove", {"name": "copy"}):
            last = told(method, more=True, **parameters)[-1]
            self.assertEqual({key: last[key] for key in last if key != "id"},
                             {"bytes": 100004, "files": 101, "totalBytes": 100004, "totalFiles": 101, "done": True}, method)
        self.assertFalse((POOL / "copy").exists())
        self.assertEqual(told("List"), [{"changes": []}])

    def test_a_copy_that_is_cancelled_leaves_nothing(self):
        tree = self.tree("tree")
        for number in range(3000):
            (tree / str(number)).touch()
        copying = subprocess.Popen(["machinectl", "clone", "tree", "copy"], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(copying.wait)
        worker = until(at_work, "a process that copies")
        [change] = told("List")[0]["changes"]
        self.assertEqual((change["kind"], change["name"], change["newName"]), ("clone", "tree", "copy"))
        told("Cancel", id=change["id"])
        self.assertNotEqual(copying.wait(60), 0)
        until(lambda: not pathlib.Path(f"/proc/{worker}").exists(), "the end of the process")
        until(lambda: not staged(), "what it had made is removed")
        self.assertFalse((POOL / "copy").exists())
