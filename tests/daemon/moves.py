"""Whoever renames, removes or copies an image is killed at every step that anybody can see, and what had begun is ended or
undone: an image has all the files that belong to it, and no others have any."""

import contextlib
import fcntl
import json
import os
import pathlib
import select
import shutil
import socket
import struct
import subprocess

import images
import world
from images import IMAGE, POOL
from steps import Steps, needs_steps
from varlink import OK, ask
from waiting import DEADLINE, until

SETTINGS = pathlib.Path("/etc/systemd/nspawn")
GETFLAGS, SETFLAGS, IMMUTABLE = 0x80086601, 0x40086602, 0x10
MOVES = ".#mymachines-moves."
FILES = POOL / "one.nspawn", POOL / "one.roothash", POOL / "one.verity", SETTINGS / "one.nspawn"


def flags(path, change=None):
    """Whether a directory is immutable; None: its file system knows no such flag."""
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        [found] = struct.unpack("l", fcntl.ioctl(directory, GETFLAGS, struct.pack("l", 0)))
        if change is not None:
            fcntl.ioctl(directory, SETFLAGS, struct.pack("l", found & ~IMMUTABLE | (IMMUTABLE if change else 0)))
        return bool(found & IMMUTABLE)
    except OSError:
        return None
    finally:
        os.close(directory)


class Worker:
    """What the daemon has images changed by, and whom it kills with itself."""

    def __init__(self):
        self.socket, theirs = socket.socketpair()
        self.socket.settimeout(DEADLINE)
        with theirs:
            self.process = subprocess.Popen([world.MACHINED, "--image-worker"], stdin=theirs, stdout=subprocess.DEVNULL)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()
        self.process.kill()
        self.process.wait()

    def send(self, request):
        self.socket.sendall(json.dumps(request).encode() + b"\n")

    def kill_at(self, request, is_last):
        """Kills it at the first call that `is_last` says so of, or when it has answered and waits for more."""
        def decide(call):
            is_over = call.name == "recvfrom" and select.select([self.socket], [], [], 0)[0]
            return "kill" if is_last(call) or is_over else None

        with Steps(self.process.pid) as traced:
            self.send(request)
            traced.run(decide, lambda: False)

    def ask(self, request):
        """Its last answer."""
        self.send(request)
        lines = []
        for line in self.socket.makefile():
            lines.append(json.loads(line))
            if lines[-1] == "Done" or "Failed" in lines[-1]:
                return lines[-1]
        raise AssertionError(f"it ended after {lines}")


def is_step(call):
    """Whether a call changes what is where images are."""
    if call.name == "ioctl":
        return call.arguments[1] == SETFLAGS
    return call.name not in ("sendto", "sendmsg") and (call.changes() or call.name == "fsync")


@needs_steps
class Swept(images.WithPool):
    pool_options = "mode=755,size=8m,nr_inodes=2000"

    def setUp(self):
        super().setUp()
        # Nothing of the host's.
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/etc"], check=True)
        self.addCleanup(subprocess.run, ["umount", "--lazy", "/etc"], check=True)
        SETTINGS.mkdir(parents=True)

    def put(self, is_immutable=False):
        """The image and its files, and nothing else."""
        for directory in POOL, SETTINGS:
            for path in directory.iterdir():
                if path.is_dir():
                    flags(path, change=False)
                    shutil.rmtree(path)
                else:
                    path.unlink()
        self.tree("one", hostname="one\n", os_release="ID=one\n")
        for file in FILES:
            file.write_text(str(file))
        if is_immutable:
            flags(POOL / "one", change=True)

    def state(self):
        """Everything but the locks."""
        found = {}
        for directory in POOL, SETTINGS:
            for path in directory.iterdir():
                if path.is_dir():
                    found[str(path)] = [*self.files(path.name), flags(path)]
                elif not path.name.endswith(".lck"):
                    found[str(path)] = path.read_text()
        return found

    def assert_whole(self, name):
        """An image that is there has all that belongs to it."""
        if (POOL / name).exists():
            for file in FILES:
                self.assertEqual(file.with_name(file.name.replace("one", name)).read_text(), str(file))

    def sweep(self, request, is_immutable=False):
        """Kills a worker at each step of a request. Returns what there is before it, and after it."""
        self.put(is_immutable)
        before = self.state()
        with Worker() as worker:
            self.assertEqual(worker.ask(request), "Done")
        after = self.state()
        self.assertNotEqual(before, after)
        self.assertFalse([path for path in after if ".#" in path])
        steps, seen_states = [], []
        for number in range(1, 200):
            self.put(is_immutable)
            with Worker() as worker:
                seen = []

                def is_last(call, seen=seen, number=number):
                    if is_step(call):
                        seen.append(str(call))
                    return len(seen) == number

                worker.kill_at(request, is_last)
            if len(seen) < number:
                break
            steps.append(seen[-1])
            with self.subTest(step=f"{number}, {steps[-1]}"):
                for name in "one", "two":
                    self.assert_whole(name)
                with Worker() as worker:
                    self.assertEqual(worker.ask("Tidy"), "Done")
                now = self.state()
                self.assertIn(now, (before, after))
                seen_states.append(now == after)
        print(f"# {len(steps)} steps, {seen_states.index(True)} of them before it counts: {steps}", flush=True)
        # First it has not happened, from one step on it has.
        self.assertEqual(seen_states, sorted(seen_states))
        self.assertEqual(set(seen_states), {False, True})

    def test_a_rename_is_whole_or_undone_wherever_it_is_killed(self):
        self.sweep({"Update": ["one", {"name": "two", "read_only": None, "limit": None}]})

    def test_a_rename_of_an_image_that_cannot_be_changed_leaves_it_so(self):
        self.put()
        if flags(POOL / "one") is None:
            self.skipTest("a tmpfs has such a flag since Linux 6.6")
        self.sweep({"Update": ["one", {"name": "two", "read_only": None, "limit": None}]}, is_immutable=True)

    def test_a_removal_is_whole_or_undone_wherever_it_is_killed(self):
        self.sweep({"Remove": {"name": "one", "counts": False}})

    def test_a_copy_is_whole_or_not_there_wherever_it_is_killed(self):
        self.sweep({"Clone": {"name": "one", "new": "two", "read_only": False, "counts": False}})

    def test_a_copy_that_nobody_may_change_is_so_wherever_it_is_killed(self):
        self.put()
        if flags(POOL / "one") is None:
            self.skipTest("a tmpfs has such a flag since Linux 6.6")
        self.sweep({"Clone": {"name": "one", "new": "two", "read_only": True, "counts": False}})

    def test_the_next_start_ends_a_rename_that_was_killed(self):
        self.put()
        with Worker() as worker:
            # The image has its new name, and its files have both.
            worker.kill_at({"Update": ["one", {"name": "two", "read_only": None, "limit": None}]},
                           lambda call: call.name == "unlinkat" and (POOL / "two").exists())
        self.assertTrue([name for name in self.names() if name.startswith(MOVES)])
        self.start()
        until(lambda: not [name for name in self.names() if name.startswith(MOVES)], "what had begun is ended")
        self.assertEqual(self.images(), ["two", "two.nspawn", "two.roothash", "two.verity"])
        self.assertEqual([path.name for path in SETTINGS.iterdir()], ["two.nspawn"])
        self.assertEqual(ask(f"{IMAGE}Update", {"name": "two", "newName": "one"}), OK)
        self.assertEqual(self.images(), ["one", "one.nspawn", "one.roothash", "one.verity"])

    def test_what_others_have_put_in_the_place_of_what_is_written_down_is_not_done(self):
        self.put()
        identity = FILES[0].stat().st_ino
        text = f"moves 1\n0\n1 0 0\n{POOL}/gone\n\n{identity} 0 0\n{FILES[0]}\n\nend\n"
        planted = {name: POOL / f"{MOVES}1-{number}" for number, name in
                   enumerate(("fifo", "anothers", "linked", "open", "directory", "huge"))}
        os.mkfifo(planted["fifo"])
        for name in "anothers", "open", "huge":
            planted[name].write_text(text)
        os.chown(planted["anothers"], 1000, 1000)
        planted["open"].chmod(0o666)
        os.truncate(planted["huge"], 1 << 40)
        (POOL / "text").write_text(text)
        planted["linked"].symlink_to("text")
        planted["directory"].mkdir()
        (POOL / ".#mymachines.gone.1-0").mkdir()
        self.start()
        until(lambda: ".#mymachines.gone.1-0" not in self.names(), "the end of tidying up")
        # What only root can have made, and makes no sense, goes.
        self.assertEqual({name for name, path in planted.items() if not os.path.lexists(path)}, {"huge"})
        self.assert_whole("one")
        self.assertEqual(ask(f"{IMAGE}Update", {"name": "one", "newName": "two"}), OK)
        self.assert_whole("two")

    def test_a_disk_without_room_for_what_is_written_down_lets_images_be_renamed(self):
        self.put()
        with (POOL / "ballast").open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(b"x" * 4096)
        self.start()
        self.assertEqual(ask(f"{IMAGE}Update", {"name": "one", "newName": "two"}), OK)
        self.assert_whole("two")
        self.assertEqual(self.images(), ["ballast", "two", "two.nspawn", "two.roothash", "two.verity"])


if __name__ == "__main__":
    world.main()
