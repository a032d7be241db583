"""Containers whose files are traps, and file systems that do not answer."""

import contextlib
import ctypes
import os
import pathlib
import subprocess
import sys
import time
import unittest

import fuse
import processes
import world
from varlink import Client, call, listed, message
from waiting import AT_ONCE, until

ROOTS = "/run/roots"


class Rooted(world.Case):
    def setUp(self):
        super().setUp()
        self.start()

    def rooted(self, name, prepare):
        """A machine in a network of its own, whose root directory prepare() has filled."""
        root = f"{ROOTS}/{name}"
        os.makedirs(f"{root}/etc")
        os.makedirs(f"{root}/usr/lib")
        prepare(root)

        def body():
            processes.checked(processes.LIBC.unshare(processes.CLONE_NEWNET))
            os.chroot(root)
            os.chdir("/")

        leader = self.leader(body)
        self.register(name, leader)
        return leader

    def release(self, name):
        """What List tells of a machine's OS, with an answer in good time."""
        with Client() as client:
            reply = client.call("List", {"name": name, "acquireMetadata": "graceful"})
        return reply["parameters"].get("OSRelease")

    @staticmethod
    def file(path, text):
        with open(path, "w") as file:
            file.write(text)


class Hostile(Rooted):
    def test_traps_in_the_place_of_os_release_are_not_stepped_into(self):
        def sparse(root):
            with open(f"{root}/etc/os-release", "w") as file:
                file.truncate(1 << 30)

        def device(root):
            os.mknod(f"{root}/etc/os-release", 0o20644, os.makedev(1, 5))

        traps = {
            "fifo": lambda root: os.mkfifo(f"{root}/etc/os-release"),
            "sparse": sparse,
            "directory": lambda root: os.mkdir(f"{root}/etc/os-release"),
            "loop": lambda root: os.symlink("os-release", f"{root}/etc/os-release"),
            "long": lambda root: os.symlink("/".join([".."] * 1000) + "/x", f"{root}/etc/os-release"),
            "magic": lambda root: os.symlink("/proc/self/root/etc/os-release", f"{root}/etc/os-release"),
        }
        if world.IS_ROOT:
            traps["endless"] = device
        for name, trap in traps.items():
            self.rooted(name, trap)
            self.assertIsNone(self.release(name), name)
        told = listed(acquireMetadata="graceful")
        self.assertEqual(set(told), set(traps))
        with Client() as client:
            self.assertIn("io.systemd.System", client.ask("List", {"name": "fifo", "acquireMetadata": "yes"}))
        self.assert_consistent()

    def test_a_link_to_a_file_of_the_host_ends_within_the_container(self):
        secret = "/run/secret"
        self.file(secret, "ID=host\n")
        for name, target in [("absolute", secret), ("relative", "../" * 20 + secret)]:
            def link(root):
                os.symlink(target, f"{root}/etc/os-release")

            self.rooted(name, link)
            self.assertIsNone(self.release(name))
            # What is there for the container is what is told.
            os.makedirs(f"{ROOTS}/{name}/run")
            self.file(f"{ROOTS}/{name}{secret}", f"ID={name}\n")

            def told():
                return self.release(name) == [f"ID={name}"]

            until(told, "the container's own file")

    def test_strange_text_is_told_as_it_is(self):
        self.rooted("strange", lambda root: self.file(f"{root}/usr/lib/os-release",
                                                      "ID='a b'\nNAME=\"x\\ny\"\nnonsense\n=\nA=1\nA=2\n# no\nÄ=ö\n"))
        told = self.release("strange")
        self.assertIn("ID=a b", told)
        self.assertIn("A=2", told)
        self.assertNotIn("A=1", told)

    def test_text_that_no_reply_can_carry_is_an_error_for_who_asks_and_missing_in_a_graceful_list(self):
        damaged = {"nul": b"EVIL=a\0b\n", "key": b"E\0=a\n", "latin": b"EVIL=\xe4\n", "escape": b"EVIL='\x1b[2J'\n"}
        for name, text in damaged.items():
            self.rooted(name, lambda root, text=text: pathlib.Path(root, "etc/os-release").write_bytes(text))
        self.rooted("good", lambda root: self.file(f"{root}/etc/os-release", "ID=good\n"))
        with Client() as client:
            for name in damaged:
                strict = client.ask("List", {"name": name, "acquireMetadata": "yes"})
                self.assertEqual(strict, "io.systemd.System EINVAL", name)
        told = listed(acquireMetadata="graceful")
        self.assertEqual(set(told), {*damaged, "good"})
        self.assertEqual([name for name in told if "OSRelease" in told[name]], ["good"])

    def test_a_file_of_16384_keys_holds_nobody_up(self):
        letters = [bytes([a, b]) for a in range(33, 255) for b in range(33, 255) if a not in b"#;=" and b not in b"="]
        text = b"".join(letter + b"=\n" for letter in letters)[:64 * 1024]
        self.assertEqual(text.count(b"\n"), 16384)
        for number in range(8):
            self.rooted(f"keys{number}", lambda root: pathlib.Path(root, "etc/os-release").write_bytes(text))
        before = self.machined.ticks()
        with Client() as client:
            self.assertEqual(len(client.stream("List", {"acquireMetadata": "graceful"})), 9)
            self.assertEqual(client.ask("List", {"name": "keys0", "acquireMetadata": "yes"})[:16], "io.systemd.Syste")
        # Each took 600 ms when every key was looked for among all others.
        self.assertLess(self.machined.ticks() - before, 0.3)

    def test_a_file_system_that_does_not_answer_holds_up_nobody_else(self):
        """The leader's root lies on a mount that hangs: a FUSE file system whose server never answers."""
        try:
            fuse = os.open("/dev/fuse", os.O_RDWR)
        except OSError as error:
            self.skipTest(f"no FUSE: {error}")
        self.addCleanup(os.close, fuse)

        def hang(root):
            options = f"fd={fuse},rootmode=40000,user_id=0,group_id=0".encode()
            if processes.LIBC.mount(b"hang", f"{root}/etc".encode(), b"fuse", 0, options):
                self.skipTest("no FUSE mounts")

        self.rooted("good", lambda root: self.file(f"{root}/etc/os-release", "ID=good\n"))
        self.rooted("hangs", hang)
        release = ["umount", "--force", "--lazy", f"{ROOTS}/hangs/etc"]
        self.addCleanup(subprocess.run, release, stderr=subprocess.DEVNULL, check=False)
        with Client() as waiting:
            waiting.send(message("List", {"name": "hangs", "acquireMetadata": "graceful"}))
            for _ in range(20):
                with Client(deadline=AT_ONCE) as client:
                    reply = client.call("List", {"name": "good", "acquireMetadata": "yes"})
                self.assertEqual(reply["parameters"]["OSRelease"], ["ID=good"])
            self.assertEqual(set(listed()), {"good", "hangs"})
            self.assertNotIn("OSRelease", waiting.receive()["parameters"])
        # It is known to hang now, and all are listed at once.
        with Client(deadline=AT_ONCE) as client:
            self.assertEqual(len(client.stream("List", {"acquireMetadata": "graceful"})), 3)
        self.assertEqual(call("List", {"name": "good"})["parameters"]["name"], "good")
        # The thread that hangs does not keep the daemon from ending.
        self.assertEqual(self.machined.stop(), 0)

    def test_what_is_no_file_is_looked_at_and_never_opened(self):
        def device(root):
            os.mknod(f"{root}/etc/os-release", 0o20644, os.makedev(1, 5))

        traps = {"fifo": lambda root: os.mkfifo(f"{root}/etc/os-release")}
        if world.IS_ROOT:
            traps["device"] = device
        for name, trap in traps.items():
            self.rooted(name, trap)
            opened = Opened(f"{ROOTS}/{name}/etc/os-release")
            self.addCleanup(opened.close)
            self.assertIsNone(self.release(name), name)
            self.assertFalse(opened.was(), name)
            os.close(os.open(f"{ROOTS}/{name}/etc/os-release", os.O_RDONLY | os.O_NONBLOCK))
            self.assertTrue(opened.was(), "it would have been noticed")

    def test_renames_on_the_host_do_not_make_reads_fail(self):
        def link(root):
            self.file(f"{root}/usr/lib/release", "ID=web\n")
            # The kernel cannot say where `..` leads while anything is renamed.
            os.symlink("../usr/lib/" + "../lib/" * 20 + "release", f"{root}/etc/os-release")

        self.rooted("web", link)
        os.makedirs("/run/renames")
        self.file("/run/renames/a", "")

        program = "import os\nwhile True: os.rename('a', 'b'); os.rename('b', 'a')"
        renamer = subprocess.Popen([sys.executable, "-c", program], cwd="/run/renames")
        self.addCleanup(renamer.wait)
        self.addCleanup(renamer.kill)
        root = f"{ROOTS}/web"
        for number in range(200):
            self.register(f"web{number}", self.leader(lambda: (os.chroot(root), os.chdir("/"))))
        with Client() as client:
            told = client.stream("List", {"acquireMetadata": "graceful"})
        releases = [reply["parameters"].get("OSRelease") for reply in told if reply["parameters"]["name"] != ".host"]
        self.assertEqual(releases, [["ID=web"]] * 201)
        self.assertIsNone(renamer.poll())

    def test_a_container_that_changes_its_root_is_looked_at_where_it_is(self):
        self.rooted("web", lambda root: self.file(f"{root}/etc/os-release", "ID=one\n"))
        self.assertEqual(self.release("web"), ["ID=one"])
        os.rename(f"{ROOTS}/web", f"{ROOTS}/elsewhere")
        self.assertEqual(self.release("web"), ["ID=one"])
        self.assertEqual(call("Unregister", {"name": "web"}), {})


class Opened:
    """Notices when a file is opened to be read or written, inotify(7); to look at it by O_PATH is no opening."""

    IN_OPEN, IN_NONBLOCK = 0x20, 0o4000

    def __init__(self, path):
        self.fd = processes.LIBC.inotify_init1(self.IN_NONBLOCK)
        watch = processes.LIBC.inotify_add_watch(self.fd, ctypes.c_char_p(os.fsencode(path)), self.IN_OPEN)
        assert self.fd >= 0 and watch >= 0

    def was(self):
        with contextlib.suppress(BlockingIOError):
            return bool(os.read(self.fd, 4096))
        return False

    def close(self):
        os.close(self.fd)


@unittest.skipUnless(fuse.is_there(), "needs FUSE, and to be root")
class Hangs(Rooted):
    """A file system in a container that takes requests and never answers them: who waits for it cannot even be killed."""

    def setUp(self):
        super().setUp()
        self.mounts = []
        self.addCleanup(lambda: [mount.end() for mount in self.mounts])

    def hangs(self, name):
        return self.rooted(name, lambda root: self.mounts.append(fuse.Hanging(f"{root}/etc")))

    def good(self, name):
        return self.rooted(name, lambda root: self.file(f"{root}/etc/os-release", f"ID={name}\n"))

    def ask(self, *names):
        """Has the files of these read, and waits for nothing."""
        clients = []
        for name in names:
            client = Client()
            self.addCleanup(client.close)
            client.send(message("List", {"name": name, "acquireMetadata": "graceful"}))
            clients.append(client)
        return clients

    def hanging(self):
        """The processes of the daemon's that wait for a file system."""
        pids = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                with open(f"/proc/{pid}/comm") as name, open(f"/proc/{pid}/wchan") as waits:
                    if name.read() == "machined\n" and waits.read() == "request_wait_answer":
                        pids.append(int(pid))
        return pids

    def test_the_next_daemon_starts_at_once_while_a_container_keeps_a_reader(self):
        self.hangs("hangs")
        self.good("good")
        for way in "stop", "kill", "kill":
            self.ask("hangs")
            until(self.hanging, "a reader that hangs")
            began = time.monotonic()
            getattr(self.machined, way)()
            self.start()
            self.assertLess(time.monotonic() - began, AT_ONCE)
            self.assertEqual(set(listed()), {"good", "hangs"})
            self.assertEqual(self.release("good"), ["ID=good"])
        self.assert_consistent()

    def test_a_reader_that_hangs_is_all_that_a_container_gets(self):
        self.hangs("hangs")
        waiting = self.ask(*["hangs"] * 40)
        until(self.hanging, "a reader that hangs")
        self.good("good")
        self.assertEqual(self.release("good"), ["ID=good"])
        for client in waiting:
            self.assertNotIn("OSRelease", client.receive()["parameters"])
        # It was late, and is not asked again before it answers.
        with Client(deadline=AT_ONCE) as client:
            self.assertEqual(client.ask("List", {"name": "hangs", "acquireMetadata": "yes"}), "io.systemd.System ETIMEDOUT")
        self.assertEqual(len(self.hanging()), 1)

    def test_32_containers_that_hang_do_not_end_the_os_releases_of_others(self):
        names = [f"hangs{number}" for number in range(32)]
        for name in names:
            self.hangs(name)
        for number in range(3):
            self.good(f"good{number}")
        waiting = self.ask(*names)
        for client in waiting:
            self.assertNotIn("OSRelease", client.receive()["parameters"])
        self.assertEqual(len(self.hanging()), 32)
        for number in range(3):
            self.assertEqual(self.release(f"good{number}"), [f"ID=good{number}"])

    def test_who_hangs_ends_with_the_file_system(self):
        leader = self.hangs("hangs")
        self.ask("hangs")
        until(self.hanging, "a reader that hangs")
        leader.kill()
        self.good("good")
        self.assertEqual(self.release("good"), ["ID=good"])
        self.mounts.pop().end()
        until(lambda: not self.hanging(), "the end of the reader")
        self.assertEqual(set(listed()), {"good"})


if __name__ == "__main__":
    world.main()
