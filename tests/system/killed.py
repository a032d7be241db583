"""Copies that end in the middle, with the daemon or by themselves, while ours is a service: what is there under its own name is
whole, and nothing of them stays."""

import contextlib
import itertools
import json
import os
import pathlib
import shutil
import signal
import subprocess

from scene import daemon_pid, out, run, until
from trapped import UNIT, VARLINK, Trapped, manager, processes_of_ours

# Found by what the one before has told Python.
import processes  # noqa: E402
from steps import Steps, needs_steps  # noqa: E402

FILES = 8000
# More system calls than a copy makes for one file.
CALLS = 24
STAGED = ".#mymachines.copy."
MODE = 0o640


def text(name):
    return f"this is {name}\n" * 50


class Killed(Trapped):
    def setUp(self):
        # In memory, as /tmp of the container is.
        self.place = pathlib.Path("/run/killed")
        self.place.mkdir()
        self.addCleanup(shutil.rmtree, self.place, ignore_errors=True)
        _, self.inside = self.box()

    def tree(self, top):
        top.mkdir(parents=True)
        for number in range(FILES):
            path = top / str(number)
            path.write_text(text(path.name))
            path.chmod(MODE)

    def ways(self):
        """The ways to have a tree copied: the command, where it is copied from and where to, as the host sees it."""
        for way, (direction, front) in enumerate((("To", "bus"), ("From", "bus"), ("To", "varlink"), ("From", "varlink"))):
            host, inner = self.place / f"there{way}", pathlib.Path(f"/tmp/there{way}")
            seen = self.inside / inner.relative_to("/")
            source, target = (host, inner) if direction == "To" else (inner, host)
            self.tree(host if direction == "To" else seen)
            target = target.with_name(f"copy{way}")
            if front == "bus":
                command = manager(f"Copy{direction}Machine", "sss", "trap", str(source), str(target))
            else:
                command = ["varlinkctl", "call", "--timeout=60", VARLINK, f"io.systemd.Machine.Copy{direction}",
                           json.dumps({"name": "trap", "source": str(source), "destination": str(target)})]
            yield command, self.inside / target.relative_to("/") if direction == "To" else target
            self.forget("*")

    @staticmethod
    def grandchildren():
        """The processes that the doorman has started."""
        children = lambda pid: pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        found = set()
        for doorman in children(daemon_pid()):
            with contextlib.suppress(OSError):
                found.update(children(doorman))
        return found

    def begin(self, command, is_under_way):
        """A copy that has begun; and who does it, stopped in the middle."""
        for _ in range(10):
            before = self.grandchildren()
            client = self.start(*command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            until(lambda: self.grandchildren() - before or client.poll() is not None, "a process that copies")
            for child in map(int, self.grandchildren() - before):
                until(lambda: is_under_way() or client.poll() is not None, "some of it")
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGSTOP)
                    until(lambda: processes.state(child) not in ("R", "S", "D"), "a copy that is stopped")  # noqa: B023
                if processes.state(child) == "T":
                    return client, child
            # It was quicker than we are.
            self.assertEqual(client.wait(60), 0, client.stderr.read())
            self.forget()
        raise AssertionError("each copy was done before it could be stopped")

    def forget(self, what="copy*"):
        """Removes what was copied, or all of it."""
        for target in (*self.place.glob(what), *(self.inside / "tmp").glob(what)):
            shutil.rmtree(target) if target.is_dir() else target.unlink()

    def assert_whole(self, target, complete=False):
        """Whatever has its own name is as it was."""
        names = [name for name in os.listdir(target) if not name.startswith(STAGED)]
        for name in names:
            path = target / name
            self.assertEqual((path.read_text(), path.stat().st_mode & 0o7777), (text(name), MODE), path)
        if complete:
            self.assertEqual((len(names), os.listdir(target)), (FILES, names), "all of it, and nothing else")
        return len(names)

    def assert_goes_on(self, command, target):
        """The same copy brings the rest, and nothing is left of what was killed."""
        out(*command, deadline=120)
        self.assert_whole(target, complete=True)

    def test_a_copy_that_is_killed_with_its_daemon_leaves_nothing_half_and_nobody_behind(self):
        for command, target in self.ways():
            with self.subTest(command=command[-1]):
                daemon, before = daemon_pid(), set(processes_of_ours())
                client, child = self.begin(command, lambda t=target: t.is_dir() and len(os.listdir(t)) > 10)
                self.assertIsNone(client.poll())
                os.kill(daemon, signal.SIGKILL)
                self.assertNotEqual(client.wait(60), 0)
                until(lambda b=before, c=child: not (b | {c}) & set(processes_of_ours()), "the end of all of the dead daemon's")
                until(lambda d=daemon: daemon_pid() not in (0, d), "the next daemon")
                run("systemctl", "reset-failed", UNIT)
                self.assertLess(self.assert_whole(target), FILES)
                self.assert_goes_on(command, target)
                self.assert_unharmed()

    @needs_steps
    def test_a_copy_that_is_killed_at_any_of_its_calls_leaves_nothing_half(self):
        for command, target in itertools.islice(self.ways(), 2):
            for number in range(1, CALLS):
                client, child = self.begin(command, target.is_dir)
                seen = []

                def decide(call, seen=seen, number=number):
                    seen.append(call.name)
                    return "kill" if len(seen) == number else None

                with Steps(child) as traced:
                    os.kill(child, signal.SIGCONT)
                    self.assertTrue(traced.run(decide, lambda: False))
                self.assertNotEqual(client.wait(60), 0)
                self.assertIn("the copy was ended", client.stderr.read().decode())
                with self.subTest(target=target, calls=seen):
                    self.assert_whole(target)
                self.forget()

    def test_a_large_file_that_is_killed_half_way_has_no_name(self):
        source, target = self.place / "large", self.inside / "tmp/copy"
        command = manager("CopyToMachine", "sss", "trap", str(source), "/tmp/copy")
        with source.open("wb") as file:
            for _ in range(256):
                file.write(os.urandom(1 << 20))
        half = lambda: [path for path in target.parent.iterdir() if path.name.startswith(STAGED)]
        client, child = self.begin(command, half)
        self.assertNotEqual(half(), [])
        os.kill(child, signal.SIGKILL)
        self.assertNotEqual(client.wait(60), 0)
        self.assertFalse(target.exists())
        out(*command, deadline=120)
        out("cmp", source, target, deadline=120)
        self.assertEqual(half(), [])

    def test_the_journal_says_every_ten_seconds_how_far_a_copy_is(self):
        self.tree(self.place / "slow")
        target = self.inside / "tmp/copy"
        client, child = self.begin(manager("CopyToMachine", "sss", "trap", str(self.place / "slow"), "/tmp/copy"), target.is_dir)
        told = lambda: out("journalctl", "--unit", UNIT, "--boot", "--lines=30", "--output=cat")
        until(lambda: "/slow' to '/tmp/copy' for machine 'trap' goes on: " in told(), "a line in the journal")
        os.kill(child, signal.SIGCONT)
        self.assertEqual(client.wait(60), 0)
        self.assert_whole(target, complete=True)
