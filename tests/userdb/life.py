"""The provider among other services: its start, what it is allowed, its end."""

import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading

import userdb
import world
from service import LAUNCHER
from userdb import SOCKET, Client
from waiting import until


class Life(userdb.Case):
    def provide(self, *arguments, **more):
        if more or arguments or getattr(self, "wanted", False):
            super().provide(*arguments, **more)

    def begin(self):
        self.wanted = True
        self.provide()

    def test_it_makes_its_socket_and_the_directory_of_it(self):
        self.assertFalse(os.path.exists("/run/systemd/userdb"))
        self.begin()
        self.assertEqual(stat.S_IMODE(os.stat("/run/systemd/userdb").st_mode), 0o755)
        self.assertEqual(stat.S_IMODE(os.stat(SOCKET).st_mode), 0o666)
        self.assert_served()

    @world.needs_root
    def test_it_is_nobody_once_it_serves_and_stays_so(self):
        self.begin()
        with open(f"/proc/{self.provider.pid}/status") as file:
            status = {line.split(":")[0]: line.split(":")[1].strip() for line in file}
        self.assertEqual(status["Uid"].split(), ["65534"] * 4)
        self.assertEqual(status["Gid"].split(), ["65534"] * 4)
        self.assertEqual(status["Groups"], "")
        self.assertEqual(status["NoNewPrivs"], "1")
        for capabilities in "CapInh", "CapPrm", "CapEff", "CapAmb":
            self.assertEqual(int(status[capabilities], 16), 0, capabilities)
        self.assert_served()

    def test_it_is_small_and_single(self):
        self.begin()
        self.assert_served()
        self.assertEqual(self.provider.status("Threads"), "1")
        print(f"# VmRSS: {self.provider.rss()} KiB")
        self.assertLess(self.provider.rss(), 5 << 10)

    def test_it_replaces_a_socket_that_was_left_behind_but_no_other(self):
        self.begin()
        self.provider.kill()
        self.assertTrue(os.path.exists(SOCKET))
        self.provide()
        self.assert_served()
        second = world.Daemon(program=userdb.PROGRAM, ready=False)
        self.addCleanup(second.close)
        self.assertEqual(second.process.wait(20), 1)
        self.assertIn("another daemon serves it", second.log())
        self.assert_served()

    @world.needs_root
    def test_who_is_not_root_is_told_so(self):
        # Where everybody gets at it.
        program = shutil.copy(userdb.PROGRAM, "/run/provider")
        daemon = world.Daemon(program=program, ready=False, user=4711, group=4711, extra_groups=[])
        self.addCleanup(daemon.close)
        self.assertEqual(daemon.process.wait(20), 1)
        self.assertIn("is this root?", daemon.log())

    def test_it_leaves_alone_what_is_no_socket(self):
        os.makedirs("/run/systemd/userdb")
        with open(SOCKET, "w") as file:
            file.write("mine")
        daemon = world.Daemon(program=userdb.PROGRAM, ready=False)
        self.addCleanup(daemon.close)
        self.assertEqual(daemon.process.wait(20), 1)
        self.assertIn("it is no socket", daemon.log())
        with open(SOCKET) as file:
            self.assertEqual(file.read(), "mine")

    def test_it_serves_the_socket_that_it_is_given(self):
        self.provide(prefix=[sys.executable, "-c", LAUNCHER, "/run/given", "varlink"])
        self.assertFalse(os.path.exists(SOCKET))
        with Client(path="/run/given") as client:
            self.assertTrue(client.is_served())
        self.assertEqual(self.provider.stop(), 0)

    def test_its_end_is_told_too(self):
        self.begin()
        self.assertEqual(self.provider.stop(), 0)
        self.assertEqual(self.provider.told(), "STOPPING=1")

    def test_the_watchdog_is_fed(self):
        self.provide(env={"WATCHDOG_USEC": "200000"})
        for _ in range(3):
            self.assertEqual(until(self.provider.told, "a sign of life"), "WATCHDOG=1")

    def test_a_wrong_command_line_is_refused_and_help_is_given(self):
        for arguments, code in [(["--nonsense"], 2), (["--log-level", "loud"], 2), (["argument"], 2), (["--help"], 0),
                                (["--version"], 0)]:
            told = subprocess.run([userdb.PROGRAM, *arguments], capture_output=True, text=True, timeout=20)
            self.assertEqual(told.returncode, code, arguments)
            self.assertTrue(told.stdout if code == 0 else told.stderr)
        self.assertFalse(os.path.exists("/run/systemd/userdb"))

    def test_the_log_level_is_kept_to(self):
        for level, is_told in ("debug", True), ("info", False):
            self.provide("--log-level", level)
            self.assert_served()
            if is_told:
                until(lambda: "connection closed" in self.provider.log(), "a line")
            self.assertEqual("connection closed" in self.provider.log(), is_told)
            self.provider.kill()

    def test_marking_a_socket_is_no_error_where_the_kernel_refuses(self):
        os.makedirs("/run/systemd/userdb")
        mark = [userdb.PROGRAM, "--mark-socket", "--log-level", "debug"]
        # None is there; then one is, on which the kernel takes notes or does not.
        for _ in range(2):
            told = subprocess.run(mark, capture_output=True, text=True, timeout=20)
            self.assertEqual(told.returncode, 0, told.stderr)
            self.assertFalse(told.stdout)
            if not os.path.exists(SOCKET):
                listener = socket.socket(socket.AF_UNIX)
                self.addCleanup(listener.close)
                listener.bind(SOCKET)
        os.unlink(SOCKET)
        # In the place of a kernel that takes them on sockets: a file.
        with open(SOCKET, "w"):
            pass
        try:
            os.setxattr(SOCKET, "user.test", b"x")
        except OSError as error:
            self.skipTest(f"no extended attributes on /run here: {error}")
        subprocess.run(mark, check=True, timeout=20)
        notes = {name: os.getxattr(SOCKET, name).decode() for name in os.listxattr(SOCKET) if "userdb" in name}
        self.assertEqual(notes, {"user.userdb.uid": "65536-4294967294", "user.userdb.gid": "65536-4294967294",
                                 "user.userdb.username": "vu-*", "user.userdb.groupname": "vg-*"})

    def test_it_does_not_run_while_nobody_asks(self):
        self.begin()
        self.assert_served()

        def switches():
            return int(self.provider.status("voluntary_ctxt_switches"))

        before = switches()
        threading.Event().wait(1)
        self.assertLess(switches() - before, 5)

    def test_a_frozen_one_goes_on_when_it_is_thawed(self):
        self.begin()
        with Client() as client:
            self.provider.process.send_signal(signal.SIGSTOP)
            client.send(userdb.PING)
            self.provider.process.send_signal(signal.SIGCONT)
            self.assertIn("NoRecordFound", client.receive()["error"])


if __name__ == "__main__":
    world.main()
