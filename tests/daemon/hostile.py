"""Containers whose files are traps, and file systems that do not answer."""

import os
import pathlib
import subprocess

import processes
import world
from varlink import Client, call, listed, message
from waiting import until

ROOTS = "/run/roots"


class Hostile(world.Case):
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
        with Client(deadline=10) as client:
            reply = client.call("List", {"name": name, "acquireMetadata": "graceful"})
        return reply["parameters"].get("OSRelease")

    @staticmethod
    def file(path, text):
        with open(path, "w") as file:
            file.write(text)

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
        with Client(deadline=10) as client:
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
                with Client(deadline=3) as client:
                    reply = client.call("List", {"name": "good", "acquireMetadata": "yes"})
                self.assertEqual(reply["parameters"]["OSRelease"], ["ID=good"])
            self.assertEqual(set(listed()), {"good", "hangs"})
            self.assertNotIn("OSRelease", waiting.receive()["parameters"])
        # It is known to hang now, and all are listed at once.
        with Client(deadline=3) as client:
            self.assertEqual(len(client.stream("List", {"acquireMetadata": "graceful"})), 3)
        self.assertEqual(call("List", {"name": "good"})["parameters"]["name"], "good")
        # The thread that hangs does not keep the daemon from ending.
        self.assertEqual(self.machined.stop(), 0)

    def test_a_container_that_changes_its_root_is_looked_at_where_it_is(self):
        self.rooted("web", lambda root: self.file(f"{root}/etc/os-release", "ID=one\n"))
        self.assertEqual(self.release("web"), ["ID=one"])
        os.rename(f"{ROOTS}/web", f"{ROOTS}/elsewhere")
        self.assertEqual(self.release("web"), ["ID=one"])
        self.assertEqual(call("Unregister", {"name": "web"}), {})


if __name__ == "__main__":
    world.main()
