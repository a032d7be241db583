"""Images without systemd: a pool that hangs, is full or is large, a daemon that is killed in the middle, and images that
somebody made to do harm."""

import contextlib
import fcntl
import os
import pathlib
import select
import shutil
import signal
import subprocess
import threading
import time
import unittest

import fuse
import varlink
import world
from machine1 import WithBus, raw
from service import MANAGER, NAME, ROOT
from varlink import Client, as_user, ask, call, message
from waiting import AT_ONCE, until

POOL = pathlib.Path("/var/lib/machines")
IMAGE = "io.systemd.MachineImage."
CHANGES = "io.mymachines.ImageChanges."
# What is made or removed has such a name until it is done.
STAGED = ".#mymachines."
OK, DENIED = varlink.OK, varlink.DENIED
# How many images a large pool has, and how long others may wait meanwhile, in seconds.
MANY, SHORT = 10000, 0.005
CHANGES_AT_ONCE = 64


class WithPool(WithBus):
    """A pool of its own, on a tmpfs."""

    pool_options = "mode=755,size=512m,nr_inodes=200000"

    def setUp(self):
        super().setUp()
        POOL.mkdir(parents=True, exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", self.pool_options, "tmpfs", POOL], check=True)
        self.addCleanup(subprocess.run, ["umount", "--lazy", POOL], check=True)

    @staticmethod
    def tree(name="tree", files=0, **texts):
        """An image that is a directory, with files in its /etc and as many others."""
        root = POOL / name
        (root / "etc").mkdir(parents=True)
        for file, text in texts.items():
            (root / "etc" / file.replace("_", "-")).write_text(text)
        for number in range(files):
            if number % 100 == 0:
                (root / f"{number}").mkdir()
            (root / f"{number - number % 100}" / f"{number}").write_bytes(b"x" * 1000)
        return root

    @staticmethod
    def names():
        return sorted(os.listdir(POOL))

    def images(self):
        """The names without lock files, which a kill leaves and the next who locks takes."""
        return [name for name in self.names() if not name.endswith(".lck")]

    @staticmethod
    def files(name):
        """All paths of an image."""
        return sorted(str(path.relative_to(POOL / name)) for path in (POOL / name).rglob("*"))

    @staticmethod
    def staged():
        return [name for name in os.listdir(POOL) if name.startswith(STAGED) and not name.endswith(".lck")]

    def lengths(self):
        """How many entries each of these has."""
        found = []
        for name in self.staged():
            # It may have got its name meanwhile, or be gone.
            with contextlib.suppress(FileNotFoundError):
                found.append(len(os.listdir(POOL / name)))
        return found

    @staticmethod
    def workers():
        """The processes of the daemon that do something with images."""
        found = []
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                try:
                    words = pathlib.Path(f"/proc/{entry}/cmdline").read_bytes().split(b"\0")
                except OSError:
                    continue
                if b"--image-worker" in words:
                    found.append(int(entry))
        return found


class Waits:
    """What a client waits for cheap answers, again and again, while something else goes on: the processor time that the
    daemon takes from the question to the answer. How loaded the machine is makes no difference to that."""

    def __init__(self, daemon, opened, question):
        # The clock of another process, as clock_getcpuclockid(3) has it.
        self.clock = (~daemon.pid << 3) | 2
        self.opened, self.question = opened, question
        self.waits, self.is_over = [], threading.Event()
        self.thread = threading.Thread(target=self.run)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.is_over.set()
        self.thread.join()

    def run(self):
        with self.opened() as client:
            while not self.is_over.is_set():
                began = time.clock_gettime(self.clock)
                self.question(client)
                self.waits.append(time.clock_gettime(self.clock) - began)


class Large(WithPool):
    def test_others_are_answered_while_ten_thousand_images_are_listed(self):
        self.start_both()
        for number in range(MANY // 2):
            (POOL / f"tree-{number}").mkdir()
            (POOL / f"disk-{number}.raw").touch()

        # By processes of their own, or python's own work would be what the others wait for.
        def by_bus():
            with raw() as client:
                return len(client.manager("ListImages")[0])

        def by_varlink():
            with Client() as client:
                return len(client.stream(f"{IMAGE}List"))

        # What others ask for meanwhile.
        others = (
            ("List", Client, lambda client: client.ask("List", {"name": ".host"})),
            ("ListMachines", raw, lambda client: client.manager("ListMachines")),
        )
        for way, ask_for in ("bus", by_bus), ("varlink", by_varlink):
            for what, opened, question in others:
                longest, all_of_it = [], []
                for _ in range(5):
                    with Waits(self.machined, opened, question) as other:
                        began = time.clock_gettime(other.clock)
                        self.assertEqual(as_user(os.getuid(), ask_for), MANY + 1)
                        all_of_it.append(time.clock_gettime(other.clock) - began)
                    self.assertGreater(len(other.waits), 10, "somebody asked meanwhile")
                    longest.append(max(other.waits))
                    if longest[-1] < SHORT:
                        break
                told = [f"{1000 * wait:.2f} of {1000 * whole:.0f}" for wait, whole in zip(longest, all_of_it)]
                print(f"  {way}: longest wait for {what}, of all processor time meanwhile, in ms: {told}", flush=True)
                # On a slow machine, the share of the whole.
                self.assertLess(min(longest), max(SHORT, min(all_of_it) / 6), f"{way}, {what}")


class ReadOnly(WithPool):
    def test_what_is_on_something_read_only_is_read_only_and_what_is_mounted_there_or_linked_is_not(self):
        elsewhere = pathlib.Path("/run/elsewhere")
        elsewhere.mkdir()
        for name in "tree", "bound", "mounted":
            self.tree(name)
        (POOL / "disk.raw").write_bytes(b"x")
        (POOL / "linked").symlink_to(elsewhere)
        (POOL / "good.v/good_1").mkdir(parents=True)

        def mount(*words):
            subprocess.run(["mount", *words], check=True)

        mount("-t", "tmpfs", "tmpfs", POOL / "mounted")
        mount("--bind", POOL / "bound", POOL / "bound")
        self.start()
        all_of_them = {"tree", "bound", "mounted", "disk", "linked", "good"}
        for words, expected in (
            (("-o", "remount,ro,bind", POOL / "bound"), {"bound"}),
            (("-o", "remount,ro,bind", POOL), {"tree", "disk", "good", "bound"}),
            (("-o", "remount,rw,bind", POOL), {"bound"}),
            (("-o", "remount,rw,bind", POOL / "bound"), set()),
            (("-o", "remount,ro", POOL), {"tree", "disk", "good", "bound"}),
        ):
            mount(*words)
            with Client() as client:
                told = [reply["parameters"] for reply in client.stream(f"{IMAGE}List")]
            listed = {image["name"] for image in told if image["readOnly"] and image["name"] != ".host"}
            self.assertEqual(listed, expected, words)
            each = {name for name in all_of_them if call(f"{IMAGE}List", {"name": name})["parameters"]["readOnly"]}
            self.assertEqual(each, expected, words)
        mount("-o", "remount,rw", POOL)


# Who has the files of an image that user namespaces are mapped to, systemd-nspawn(1): the first of those.
FOREIGN = 2147352576
CHATTR = shutil.which("chattr", path="/usr/bin:/bin:/usr/sbin:/sbin")


@world.needs_root
class Foreign(WithPool):
    def test_a_tree_that_nobody_may_write_to_and_that_is_other_users_is_copied_and_removed(self):
        root = self.tree(hostname="box\n", files=3)
        (root / "etc/hostname").chmod(0o400)
        for number, path in enumerate([root, *root.rglob("*")]):
            os.chown(path, FOREIGN + number, FOREIGN + 2 * number, follow_symlinks=False)
            if path.is_dir():
                path.chmod(0o555)
        (root / "etc").chmod(0)
        if CHATTR and subprocess.run([CHATTR, "+i", root], stderr=subprocess.DEVNULL, check=False).returncode:
            print("# a tmpfs has no immutable directories before Linux 6.6", flush=True)

        def state(name):
            paths = [POOL / name, *(POOL / name).rglob("*")]
            stats = {str(path.relative_to(POOL / name)): path.lstat() for path in paths}
            return {path: (stat.st_uid, stat.st_gid, stat.st_mode) for path, stat in stats.items()}

        before = state("tree")
        self.assertGreater(before["etc/hostname"][0], FOREIGN)
        self.start()
        self.assertEqual(ask(f"{IMAGE}Clone", {"name": "tree", "newName": "copy"}), OK)
        self.assertEqual((state("copy"), state("tree")), (before, before))
        self.assertEqual(ask(f"{IMAGE}Remove", {"name": "tree"}), OK)
        self.assertEqual(ask(f"{IMAGE}Remove", {"name": "copy"}), OK)
        self.assertEqual((self.images(), self.staged()), ([], []))


class Killed(WithPool):
    """A daemon that is killed in the middle of a change, at many moments."""

    def kill_in(self, change, is_begun):
        """Kills the daemon once the change has begun, and returns what its worker left when it is gone, too."""
        with Client() as client:
            client.send(change)
            # Or it is over already.
            until(lambda: is_begun() or select.select([client.socket], [], [], 0)[0], "the change has begun")
            program = os.readlink(f"/proc/{self.machined.pid}/exe")
            self.machined.kill()
        # One that has been forked, and is no worker yet, holds the daemon's locks until it is.
        until(lambda: not self.running(program), "the end of its processes")

    @staticmethod
    def running(program):
        """The processes of a program."""
        found = []
        for entry in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                if os.readlink(f"/proc/{entry}/exe") == program:
                    found.append(int(entry))
        return found

    def assert_tidied(self):
        self.start()
        until(lambda: not self.staged(), "what was left is removed")

    def test_a_copy_that_is_interrupted_has_no_name_and_is_removed_at_the_next_start(self):
        self.tree(files=5000)
        whole = self.files("tree")
        self.start()
        interrupted = 0
        for turn in range(20):
            if turn >= 4 and interrupted >= 2:
                break
            part = (0, 5, 20, 45)[turn % 4]

            def has_begun(part=part):
                return any(length >= part for length in self.lengths())

            self.kill_in(message(f"{IMAGE}Clone", {"name": "tree", "newName": "copy"}), has_begun)
            if "copy" in self.names():
                # It was done before the kill came.
                self.assertEqual(self.files("copy"), whole)
                shutil.rmtree(POOL / "copy")
            else:
                self.assertEqual(len(self.staged()), 1, self.names())
                interrupted += 1
            self.assert_tidied()
            self.assertEqual(self.images(), ["tree"])
        self.assertGreaterEqual(interrupted, 2)
        self.assertEqual(ask(f"{IMAGE}Clone", {"name": "tree", "newName": "copy"}), OK)
        self.assertEqual(self.files("copy"), whole)

    def test_an_image_whose_removal_is_interrupted_is_none_any_more_and_goes_at_the_next_start(self):
        self.start()
        for part in 51, 40, 10:
            self.tree(files=5000)

            def has_begun(part=part):
                return any(length <= part for length in self.lengths())

            self.kill_in(message(f"{IMAGE}Remove", {"name": "tree"}), has_begun)
            self.assertNotIn("tree", self.names())
            self.assert_tidied()
            self.assertEqual(self.images(), [])

    def test_what_others_have_begun_is_left_to_them(self):
        others = [".#importd-tree0123456789abcdef", ".#mymachine.tree", "mymachines.tree"]
        held, free = POOL / f"{STAGED}held.1-0", POOL / f"{STAGED}free.1-0"
        for path in held, free, *(POOL / name for name in others):
            path.mkdir()
        (POOL / f"{STAGED}link.1-0").symlink_to("/run")
        lock = os.open(held, os.O_RDONLY | os.O_DIRECTORY)
        self.addCleanup(os.close, lock)
        fcntl.flock(lock, fcntl.LOCK_EX)
        self.start()
        until(lambda: not free.exists(), "what nobody holds is removed")
        # It goes through the directory in one go: a second start's is done when a second one is.
        free.mkdir()
        self.restart()
        until(lambda: not free.exists(), "what nobody holds is removed again")
        self.assertEqual(self.names(), sorted([held.name, f"{STAGED}link.1-0", *others]))

    def test_a_caller_that_goes_away_leaves_a_whole_copy(self):
        self.tree(files=2000)
        self.start()
        with Client() as client:
            client.send(message(f"{IMAGE}Clone", {"name": "tree", "newName": "copy"}))
            until(lambda: self.staged() or (POOL / "copy").exists(), "the copy has begun")
        until((POOL / "copy").exists, "the copy")
        self.assertEqual(self.staged(), [])


class Progress(WithPool):
    """Changes that say how far they are, and are ended."""

    def stopped(self, others=()):
        """The process that makes or removes something, as soon as there is another one, stopped in the middle."""
        def found():
            for pid in set(self.workers()) - set(others):
                with contextlib.suppress(OSError):
                    for descriptor in os.listdir(f"/proc/{pid}/fd"):
                        with contextlib.suppress(OSError):
                            if STAGED in os.readlink(f"/proc/{pid}/fd/{descriptor}"):
                                os.kill(pid, signal.SIGSTOP)
                                return pid
            return None

        return until(found, "a process that changes images")

    @staticmethod
    def ongoing():
        return call(CHANGES + "List")["parameters"]["changes"]

    def begin(self, method, **parameters):
        client = Client()
        self.addCleanup(client.close)
        client.send(message(method, parameters, more=method.startswith(CHANGES)))
        return client

    def test_a_copy_and_a_removal_say_how_far_they_are_of_how_much(self):
        self.tree(files=10)
        os.link(POOL / "tree/0/1", POOL / "tree/same")
        (POOL / "disk.raw").write_bytes(b"x" * 5000)
        self.start()
        for name, size, files in ("tree", 11000, 11), ("disk", 5000, 1):
            for method, parameters in ("Clone", {"name": name, "newName": "copy"}), ("Remove", {"name": "copy"}):
                with Client() as client:
                    told = [reply["parameters"] for reply in client.stream(CHANGES + method, parameters)]
                expected = {"id": told[0]["id"], "bytes": size, "files": files, "totalBytes": size, "totalFiles": files, "done": True}
                self.assertEqual(told[-1], expected, f"{method} {name}")
                self.assertFalse(any(reply["done"] for reply in told[:-1]))
        self.assertEqual(self.ongoing(), [])
        self.assertEqual(self.images(), ["disk.raw", "tree"])

    def test_a_copy_that_is_cancelled_is_listed_told_and_leaves_nothing(self):
        self.tree(files=5000)
        self.start()
        for method in IMAGE + "Clone", CHANGES + "Clone":
            client = self.begin(method, name="tree", newName="copy")
            worker = self.stopped()
            [change] = self.ongoing()
            self.assertEqual((change["kind"], change["name"], change["newName"]), ("clone", "tree", "copy"))
            # Only ours counts before.
            self.assertFalse(method == IMAGE + "Clone" and "totalFiles" in change)
            self.assertEqual(ask(CHANGES + "Cancel", {"id": change["id"] + 1}), CHANGES + "NoSuchChange")
            self.assertEqual(ask(CHANGES + "Cancel", {"id": change["id"]}), OK)
            replies = iter(client.receive, None)
            told = next(reply for reply in replies if "error" in reply)
            self.assertEqual(told["parameters"]["errnoName"], "ECANCELED")
            until(lambda worker=worker: not os.path.exists(f"/proc/{worker}"), "the end of its process")
            until(lambda: not self.staged() and not self.ongoing(), "what it had made is removed")
            self.assertEqual(self.images(), ["tree"])

    def test_a_copy_of_ours_ends_with_its_connection_and_leaves_nothing(self):
        self.tree(files=5000)
        self.start()
        client = self.begin(CHANGES + "Clone", name="tree", newName="copy")
        worker = self.stopped()
        client.close()
        until(lambda: not os.path.exists(f"/proc/{worker}"), "the end of its process")
        until(lambda: not self.staged() and not self.ongoing(), "what it had made is removed")
        self.assertEqual(self.images(), ["tree"])

    def test_an_image_whose_removal_is_cancelled_is_none_any_more(self):
        self.tree(files=5000)
        self.start()
        client = self.begin(IMAGE + "Remove", name="tree")
        self.stopped()
        [change] = self.ongoing()
        self.assertEqual((change["kind"], change["name"], "newName" in change), ("remove", "tree", False))
        self.assertEqual(ask(CHANGES + "Cancel", {"id": change["id"]}), OK)
        self.assertEqual(client.receive()["parameters"]["errnoName"], "ECANCELED")
        self.assertEqual(ask(IMAGE + "List", {"name": "tree"}), IMAGE + "NoSuchImage")
        self.assertEqual(len(self.staged()), 1)
        self.restart()
        until(lambda: not self.staged(), "the rest is removed at the next start")

    def test_so_many_images_are_changed_at_once_and_who_asks_for_one_more_is_told(self):
        self.tree(files=3000)
        self.start_both()
        until(lambda: not self.ongoing(), "who looks for what was left half made has done so")
        stopped = []
        for number in range(CHANGES_AT_ONCE):
            self.begin(IMAGE + "Clone", name="tree", newName=f"copy-{number}")
            stopped.append(self.stopped(stopped))
        self.assertEqual(len(self.ongoing()), CHANGES_AT_ONCE)
        more = {"name": "tree", "newName": "more"}
        self.assertEqual(ask(f"{IMAGE}Clone", more), f"{IMAGE}TooManyOperations")
        with raw() as client:
            self.assertIn("Too many ongoing operations.", client.manager("CloneImage", "ssb", *more.values(), False))
        self.assertEqual(self.images(), sorted(["tree", *self.staged()]))
        self.assert_served()
        # One that is over makes room.
        os.kill(stopped[0], signal.SIGCONT)
        until(lambda: len(self.ongoing()) < CHANGES_AT_ONCE, "the end of the first copy")
        self.assertTrue((POOL / "copy-0").exists())
        self.begin(IMAGE + "Clone", **more)
        self.stopped(stopped)

    def test_not_everybody_may_see_make_or_end_changes(self):
        self.tree(files=5000)
        self.start()
        self.begin(CHANGES + "Clone", name="tree", newName="copy")
        self.stopped()
        number = self.ongoing()[0]["id"]

        def told(method, **parameters):
            with Client() as client:
                return varlink.verdict(client.stream(CHANGES + method, parameters)[-1])

        self.assertEqual(as_user(1000, lambda: told("Clone", name="tree", newName="other")), DENIED)
        self.assertEqual(as_user(1000, lambda: told("Remove", name="tree")), DENIED)
        self.assertEqual(as_user(1000, lambda: ask(CHANGES + "List", {})), DENIED)
        self.assertEqual(as_user(1000, lambda: ask(CHANGES + "Cancel", {"id": number})), DENIED)
        self.assertEqual(len(self.ongoing()), 1)

    def test_what_is_no_change_is_refused(self):
        self.tree()
        self.start()

        def told(method, **parameters):
            with Client() as client:
                return varlink.verdict(client.stream(CHANGES + method, parameters)[-1])

        self.assertEqual(told("Clone", name="nothing", newName="copy"), IMAGE + "NoSuchImage")
        self.assertEqual(told("Remove", name="nothing"), IMAGE + "NoSuchImage")
        self.assertEqual(told("Clone", name="tree", newName="a/b"), "org.varlink.service.InvalidParameter newName")
        self.assertEqual(told("Clone", name="tree", newName="tree"), "io.systemd.System EEXIST")
        self.assertEqual(ask(CHANGES + "Remove", {"name": "tree"}), "org.varlink.service.ExpectedMore")
        self.assertEqual(self.ongoing(), [])


class Full(WithPool):
    pool_options = "mode=755,size=4m,nr_inodes=2000"

    def test_a_copy_that_does_not_fit_is_told_and_leaves_nothing(self):
        self.tree(files=300)
        (POOL / "disk.raw").write_bytes(b"x" * (1 << 20))
        (POOL / "ballast").write_bytes(b"x" * (1 << 20))
        before = self.names()
        self.start()
        for name in "tree", "disk":
            told = ask(f"{IMAGE}Clone", {"name": name, "newName": "copy"})
            self.assertEqual(told, "io.systemd.System ENOSPC", name)
            self.assertEqual(self.names(), before)
        self.assertEqual(ask(f"{IMAGE}Remove", {"name": "tree"}), OK)
        self.assertEqual(self.names(), [name for name in before if name != "tree"])

    def test_a_pool_that_cannot_be_written_to_any_more_loses_nothing(self):
        self.tree(hostname="box\n")
        (POOL / "tree.nspawn").write_text("")
        (POOL / "disk.raw").write_bytes(b"x")
        (POOL / f"{STAGED}left.1-0").mkdir()
        before = self.names()
        subprocess.run(["mount", "-o", "remount,ro", POOL], check=True)
        self.start()
        for name in "tree", "disk":
            for method, parameters in (("Clone", {"newName": "copy"}), ("Remove", {}), ("Update", {"newName": "other"}),
                                       ("Update", {"readOnly": True})):
                self.assertEqual(ask(IMAGE + method, {"name": name, **parameters}), "io.systemd.System EROFS", (name, method))
            self.assertTrue(call(f"{IMAGE}List", {"name": name})["parameters"]["readOnly"])
        self.assertEqual(self.names(), before)
        self.machined.kill()
        subprocess.run(["mount", "-o", "remount,rw", POOL], check=True)
        self.start()
        until(lambda: not self.staged(), "what was left is removed")
        self.assertEqual(ask(f"{IMAGE}Update", {"name": "tree", "newName": "other"}), OK)
        self.assertEqual(self.images(), ["disk.raw", "other", "other.nspawn"])


@unittest.skipUnless(fuse.is_there(), "needs FUSE, and root")
class Hanging(WithPool):
    def test_a_pool_that_does_not_answer_holds_up_only_who_asks_for_images(self):
        self.start_both()
        self.register("web", self.leader())
        hanging = fuse.Hanging(str(POOL))
        self.addCleanup(hanging.end)
        asking = [Client() for _ in range(8)]
        for client in asking:
            self.addCleanup(client.close)
            client.send(message(f"{IMAGE}List", {"name": "tree"}))
        changes = [
            ("Clone", {"name": "tree", "newName": "copy"}, False), ("Remove", {"name": "tree"}, False),
            ("Update", {"name": "tree", "limit": 1 << 30}, False), ("SetPoolLimit", {"limit": 1 << 30}, False),
            ("CleanPool", {"mode": "all"}, True),
        ]
        for method, parameters, more in changes:
            changing = Client()
            self.addCleanup(changing.close)
            changing.send(message(IMAGE + method, parameters, more=more))
        until(lambda: len(self.workers()) >= 4, "the workers wait")
        for _ in range(20):
            self.assert_served()
        began = time.monotonic()
        self.machined.kill()
        self.start()
        self.assertLess(time.monotonic() - began, AT_ONCE)
        self.assertEqual(list(varlink.listed()), ["web"])
        self.wait_for_name()
        self.assert_served()
        # Nothing else ends this wait than the daemon's own deadline.
        with Client(deadline=60) as client:
            self.assertEqual(client.ask(f"{IMAGE}List", {"name": "tree"}), "io.systemd.System ETIMEDOUT")
        self.assertEqual(self.machined.stop(), 0)


class Hostile(WithPool):
    def test_names_that_are_none_and_links_that_lead_round_are_no_images_and_hide_none(self):
        self.tree("tree")
        pool = os.fsencode(POOL)
        longest = "x" * 255
        for name in longest.encode(), b"\xff\xfe", b"new\nline", b"tab\t", b"a\x7fb", b"\xe2\x80\xa8":
            os.mkdir(pool + b"/" + name)
        for name in b"\xff.raw", b"y" * 251 + b".raw", b".raw":
            pathlib.Path(os.fsdecode(pool + b"/" + name)).write_bytes(b"x")
        # Directories of versions that lead to themselves, to nothing and upwards.
        (POOL / "self.v").symlink_to("self.v")
        for name in "round", "up", "none":
            (POOL / f"{name}.v").mkdir()
        (POOL / "round.v/round_1").symlink_to("../round.v")
        (POOL / "up.v/up_1").symlink_to("../..")
        (POOL / "none.v/none_1").symlink_to("none_1")
        (POOL / "good.v/good_2").mkdir(parents=True)
        (POOL / "good.v/\udcff_3").mkdir()
        (POOL / "loop").symlink_to("loop")
        (POOL / "loop.raw").symlink_to("loop.raw")
        self.start_both()
        began = time.monotonic()
        with Client() as client:
            listed = [reply["parameters"]["name"] for reply in client.stream(f"{IMAGE}List")]
        with raw() as client:
            over_bus = [image[0] for image in client.manager("ListImages")[0]]
            for name in "round", "up", "none", "self", "loop":
                # A link may lead to a directory; what counts is that there is an answer.
                client.manager("GetImage", "s", name)
        self.assertLess(time.monotonic() - began, 5)
        self.assertEqual(sorted(listed), sorted(over_bus))
        self.assertEqual(len(set(listed)), len(listed))
        self.assertLessEqual({".host", "tree", "good"}, set(listed))
        for name in listed:
            self.assertRegex(name, r"\A[^\x00-\x1f\x7f/]+\Z")
        self.assertFalse({"self", "none", "loop", "\ufffd\ufffd"} & set(listed), listed)
        self.assert_served()

    def test_names_of_any_length_are_answered_and_end_nothing(self):
        self.tree()
        self.start_both()
        for name in "x" * 256, "x" * 100_000, "\u20ac" * 50_000, "a/b", "tree\n", "", ".#tree":
            for method, parameters in (("List", {}), ("Remove", {}), ("Clone", {"newName": "copy"}), ("Update", {"newName": "copy"})):
                self.assertRegex(ask(IMAGE + method, {"name": name, **parameters}), "NoSuchImage|InvalidParameter", (method, name[:9]))
            for method in "Clone", "Update":
                self.assertRegex(ask(IMAGE + method, {"name": "tree", "newName": name}), "InvalidParameter|EINVAL", (method, name[:9]))
        for name in "new.v", "new.raw.v", "new.mstack":
            for method in "Clone", "Update":
                self.assertEqual(ask(IMAGE + method, {"name": "tree", "newName": name}), "io.systemd.System EINVAL", (method, name))
        self.assertEqual(self.images(), ["tree"])
        self.assert_served()

    def test_a_list_made_while_images_come_and_go_has_all_that_stay(self):
        stay = {f"stay-{number}" for number in range(100)}
        for name in stay:
            (POOL / name).mkdir()
        self.start()
        over = threading.Event()

        def change():
            number = 0
            while not over.is_set():
                number += 1
                (POOL / f"new-{number}").mkdir()
                (POOL / f"new-{number}").rename(POOL / f"renamed-{number}")
                (POOL / f"renamed-{number}.raw").touch()
                (POOL / f"renamed-{number}").rmdir()
                (POOL / f"renamed-{number}.raw").unlink()

        changing = threading.Thread(target=change)
        changing.start()
        try:
            with Client() as client:
                for _ in range(50):
                    replies = client.stream(f"{IMAGE}List")
                    self.assertNotIn("error", replies[-1])
                    listed = [reply["parameters"]["name"] for reply in replies]
                    self.assertLessEqual(stay, set(listed))
                    self.assertEqual(len(set(listed)), len(listed))
        finally:
            over.set()
            changing.join()

    def test_all_properties_of_an_image_in_one_reply_are_of_one_look(self):
        kinds = ((4096, 0o444), (8192, 0o644))

        def put(number):
            size, mode = kinds[number % 2]
            new = POOL / "new"
            new.write_bytes(bytes(size))
            new.chmod(mode)
            new.rename(POOL / "disk.raw")

        put(0)
        self.start_both()
        over = threading.Event()

        def swap():
            number = 0
            while not over.is_set():
                number += 1
                put(number)

        swapping = threading.Thread(target=swap)
        swapping.start()
        seen = set()
        try:
            with raw() as client:
                for _ in range(300):
                    told = client.ask(f"{ROOT}/image/disk", "org.freedesktop.DBus.Properties", "GetAll", "s",
                                      "org.freedesktop.machine1.Image")[0]
                    seen.add(tuple(told[name].value for name in ("Limit", "LimitExclusive", "Usage", "UsageExclusive", "ReadOnly")))
        finally:
            over.set()
            swapping.join()
        self.assertEqual(seen, {(size, size, size, size, mode == 0o444) for size, mode in kinds})

    def test_what_is_no_small_file_in_an_image_is_as_good_as_missing(self):
        self.start_both()
        for number, made in enumerate(("fifo", "device", "huge", "zero", "out", "loop", "directory")):
            root = self.tree(made, os_release="ID=an\n")
            hostname = root / "etc/hostname"
            if made == "fifo":
                os.mkfifo(hostname)
            elif made == "device":
                subprocess.run(["mknod", hostname, "c", "1", "5"], check=True)
            elif made == "huge":
                with hostname.open("wb") as file:
                    file.truncate(1 << 30)
            elif made == "directory":
                hostname.mkdir()
            else:
                outside = POOL / "outside"
                outside.write_text("outside\n")
                hostname.symlink_to({"zero": "/dev/zero", "out": f"../../../../../../..{outside}", "loop": "hostname"}[made])
            began = time.monotonic()
            with raw() as client:
                self.assertEqual(client.manager("GetImageHostname", "s", made), [""], made)
                self.assertEqual(client.manager("GetImageOSRelease", "s", made), [{"ID": "an"}], made)
            [reply] = [call(f"{IMAGE}List", {"name": made, "acquireMetadata": "yes"})]
            self.assertNotIn("hostname", reply["parameters"], made)
            self.assertLess(time.monotonic() - began, 5, f"{number} {made}")
            self.assert_served()

    @unittest.skipUnless(shutil.which("mkfs.ext4", path="/usr/sbin:/sbin:/usr/bin"), "needs mkfs.ext4")
    def test_a_disk_is_read_without_systemd_and_one_that_makes_no_sense_harms_nobody(self):
        source = pathlib.Path("/run/source")
        (source / "etc").mkdir(parents=True)
        (source / "etc/hostname").write_text("box\n")
        disk = POOL / "disk.raw"
        subprocess.run(["/usr/sbin/mkfs.ext4", "-q", "-d", source, disk, "2M"], check=True)
        self.start_both()
        with raw() as client:
            self.assertEqual(client.manager("GetImageHostname", "s", "disk"), ["box"])
            whole = disk.read_bytes()
            told = set()
            for place in range(1024, 1024 + 256, 16):
                disk.write_bytes(whole[:place] + b"\xff" * 16 + whole[place + 16:])
                answer = client.manager("GetImageHostname", "s", "disk")
                told.add(answer if isinstance(answer, str) else answer[0])
            for answer in told:
                self.assertRegex(answer, "^box$|^(NotSupported|IOError|System.Error.EUCLEAN): ")
            self.assertTrue(told - {"box"}, "a broken superblock is told")
            disk.write_bytes(whole)
            self.assertEqual(client.manager("GetImageHostname", "s", "disk"), ["box"])
        self.assert_served()


if __name__ == "__main__":
    world.main()
