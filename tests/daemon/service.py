"""The daemon among other services: readiness, sockets, logging, resources."""

import contextlib
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import threading

import records
import world
from varlink import INVALID, OK, SOCKET, Client, ask, call, listed, message, register
from waiting import until

# Does what a service manager does: opens the socket, and hands it over as descriptor 3.
LAUNCHER = """
import os, socket, sys
path, names = sys.argv[1:3]
sock = socket.socket(socket.AF_UNIX)
sock.bind(path)
sock.listen()
os.chmod(path, 0o666)
os.dup2(sock.fileno(), 3)
os.set_inheritable(3, True)
os.environ |= {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid()), "LISTEN_FDNAMES": names}
os.execv(sys.argv[3], sys.argv[3:])
"""


class Logging(world.Case):
    def level(self):
        return call("io.systemd.service.GetLogLevel")["parameters"]["level"]

    def set(self, level):
        return ask("io.systemd.service.SetLogLevel", {"level": level})

    def test_the_level_can_be_changed_while_it_runs(self):
        self.start()
        self.assertEqual(self.level(), 6)
        debug = "<7>connection closed"
        self.register("one", self.leader())
        until(lambda: "<6>New machine one." in self.machined.log(), "a line")
        self.assertNotIn(debug, self.machined.log())
        self.assertEqual(self.set(7), OK)
        until(lambda: debug in self.machined.log(), "a line for debugging")
        self.assertEqual(self.set(4), OK)
        self.register("two", self.leader())
        self.assertEqual(self.set(6), OK)
        self.register("three", self.leader())
        until(lambda: "New machine three." in self.machined.log(), "a line")
        self.assertNotIn("New machine two.", self.machined.log())
        for level in [8, -1, 2 ** 40, 6.5, "debug", None, True]:
            self.assertEqual(self.set(level), f"{INVALID} level")
        self.assertEqual(self.level(), 6)
        # The same by number, as others write it.
        self.assertEqual(self.set("5"), OK)
        self.assertEqual(self.level(), 5)

    def test_the_level_can_be_chosen_at_the_start(self):
        for name, number in [("emerg", 0), ("err", 3), ("warning", 4), ("info", 6), ("debug", 7)]:
            self.start("--log-level", name)
            self.assertEqual(self.level(), number)
            self.assertEqual("Serving" in self.machined.log(), number >= 6)
            self.machined.kill()

    def test_without_a_journal_there_is_standard_error(self):
        for arguments, env in [(["--log-target", "journal"], {}), ([], {"JOURNAL_STREAM": "1:2"}),
                               (["--log-target", "stderr"], {"JOURNAL_STREAM": "1:2"})]:
            self.start(*arguments, env=env)
            self.assertIn("Serving 0 machines.", self.machined.log())
            self.machined.kill()

    def test_the_journal_is_told_only_where_standard_error_is_the_journals(self):
        os.makedirs("/run/systemd/journal")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal, open("/run/stderr", "w") as stderr:
            journal.bind("/run/systemd/journal/socket")
            journal.settimeout(20)
            # A service that was started by another one, and whose output goes elsewhere.
            self.start(env={"JOURNAL_STREAM": "1:2"})
            self.assertIn("Serving 0 machines.", self.machined.log())
            self.machined.kill()
            status = os.fstat(stderr.fileno())
            self.start(env={"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}, log=stderr)
            self.assertIn(b"Serving 0 machines.", journal.recv(4096))
            self.assertEqual(os.fstat(stderr.fileno()).st_size, 0)

    def test_why_it_could_not_start_is_told_where_the_journal_knows_whose_it_is(self):
        os.makedirs("/run/systemd/journal")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal, open("/run/stderr", "w") as stderr:
            journal.bind("/run/systemd/journal/socket")
            self.start()
            status = os.fstat(stderr.fileno())
            second = world.Daemon(env={"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}, log=stderr, ready=False)
            self.addCleanup(second.close)
            self.assertEqual(second.process.wait(20), 1)
            with open("/run/stderr") as told:
                self.assertIn("<3>machined: another machined keeps the registry", told.read())

    def test_a_log_that_nobody_reads_holds_up_nobody(self):
        reader, writer = os.pipe()
        self.start("--log-level", "debug", log=writer)
        os.close(writer)
        leader = self.leader()
        with Client() as client:
            for _ in range(2000):
                machine = {"name": "x" * 60, "class": "vm", "leader": leader.pid}
                self.assertEqual(client.ask("Register", machine), OK)
                self.assertEqual(client.ask("Unregister", {"name": "x" * 60}), OK)
        os.close(reader)
        # Nor does one that was closed.
        self.register("web", leader)
        self.assert_consistent()


class Start(world.Case):
    def test_it_is_ready_only_when_it_answers(self):
        for _ in range(20):
            daemon = self.start()
            self.assertEqual(call("io.systemd.service.Ping"), {})
            daemon.kill()

    def test_its_end_is_told_too(self):
        self.start()
        self.assertEqual(self.machined.stop(), 0)
        self.assertEqual(self.machined.told(), "STOPPING=1")

    def test_what_systemds_daemons_take_for_a_command_does_not_end_it(self):
        self.start()
        os.kill(self.machined.pid, signal.SIGRTMIN + 18)
        self.assertEqual(ask("io.systemd.service.Ping"), OK)
        self.assertIsNone(self.machined.process.poll())

    def test_the_watchdog_is_fed(self):
        self.start(env={"WATCHDOG_USEC": "200000"})
        for _ in range(3):
            self.assertEqual(until(self.machined.told, "a sign of life"), "WATCHDOG=1")

    def test_it_serves_the_sockets_that_it_is_given(self):
        path = "/run/given"
        self.start(prefix=[sys.executable, "-c", LAUNCHER, path, "varlink"])
        self.assertFalse(os.path.exists(SOCKET))
        with Client(path=path) as client:
            self.assertEqual(client.call("io.systemd.service.Ping"), {})
        self.assertEqual(self.machined.stop(), 0)
        self.assertTrue(os.path.exists(path))

    def test_sockets_of_other_names_are_not_its_own(self):
        self.start(prefix=[sys.executable, "-c", LAUNCHER, "/run/given", "userdb"])
        with Client() as client:
            self.assertEqual(client.call("io.systemd.service.Ping"), {})

    def test_a_second_daemon_with_a_socket_of_its_own_refuses_too(self):
        self.start()
        self.register("web", self.leader())
        second = world.Daemon(prefix=[sys.executable, "-c", LAUNCHER, "/run/given", "varlink"], ready=False)
        self.addCleanup(second.close)
        self.assertEqual(second.process.wait(20), 1)
        self.assert_consistent()

    def test_a_wrong_command_line_is_refused_and_help_is_given(self):
        for arguments, code in [(["--nonsense"], 2), (["--log-level", "loud"], 2), (["--grace", "-1"], 2),
                                (["argument"], 2), (["--help"], 0), (["--version"], 0)]:
            told = subprocess.run([world.MACHINED, *arguments], capture_output=True, text=True, timeout=20)
            self.assertEqual(told.returncode, code, arguments)
            self.assertTrue(told.stdout if code == 0 else told.stderr)
        self.assertFalse(os.path.exists(records.RECORDS))

    def test_it_does_not_start_where_it_cannot_write(self):
        self.remount("", world.MS_RDONLY)
        daemon = world.Daemon(ready=False)
        self.addCleanup(daemon.close)
        self.assertEqual(daemon.process.wait(20), 1)
        self.assertIn("Read-only", daemon.log())
        self.assertEqual(len(daemon.log().splitlines()), 1)


class Resources(world.Case):
    def test_it_is_small_single_and_may_open_as_much_as_root_allows(self):
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        self.start(prefix=["prlimit", f"--nofile=256:{hard}"])
        with open(f"/proc/{self.machined.pid}/limits") as file:
            limits = re.search(r"Max open files +(\d+) +(\d+)", file.read())
        self.assertEqual(limits.groups(), (str(hard), str(hard)))
        self.assertEqual(self.machined.status("Threads"), "1")
        print(f"# VmRSS: {self.machined.rss()} KiB idle, RssAnon: {self.machined.allocated()} KiB")
        self.assertLess(self.machined.allocated(), 1 << 10)
        self.assertLess(self.machined.rss(), 5 << 10)
        # Threads that read files of containers do not stay.
        self.register("web", self.leader())
        listed(acquireMetadata="graceful")
        until(lambda: self.machined.status("Threads") == "1", "the end of the threads")

    def switches(self):
        """How often the daemon and the processes that belong to it were switched to and fro, by process."""
        pids, found = [self.machined.pid], {}
        for pid in pids:
            # Who ends meanwhile is in this picture or not, and in the next one not.
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                with open(f"/proc/{pid}/task/{pid}/children") as file:
                    pids += map(int, file.read().split())
                for thread in os.listdir(f"/proc/{pid}/task"):
                    with open(f"/proc/{pid}/task/{thread}/status") as file:
                        found[thread] = re.findall(r"ctxt_switches:\t(\d+)", file.read())
        self.assertIn(str(self.machined.pid), found)
        return found

    def assert_at_rest(self):
        """Whatever was to be settled is done soon, and then nothing runs at all."""
        def is_quiet():
            before = self.switches()
            threading.Event().wait(2)
            return self.switches() == before

        def looks_at_images():
            """That begins a second after the start, and whoever does it stays for a few seconds more."""
            for pid in self.switches():
                with contextlib.suppress(FileNotFoundError, ProcessLookupError), open(f"/proc/{pid}/cmdline") as file:
                    if "--image-worker" in file.read():
                        return True
            return False

        until(lambda: is_quiet() and not looks_at_images(), "two seconds without a switch", 60)
        before = self.switches()
        threading.Event().wait(4)
        self.assertEqual(self.switches(), before)

    def test_it_does_not_run_while_nothing_happens(self):
        # The host's /etc, which it watches, may be written to meanwhile.
        self.start(prefix=["unshare", "--mount", "sh", "-c", 'mount -t tmpfs tmpfs /etc && exec "$0" "$@"'])
        self.assert_at_rest()
        for number in range(1000):
            self.register(f"m{number}", self.leader())
        self.assert_at_rest()

    def test_a_frozen_daemon_loses_nothing_that_happens_meanwhile(self):
        self.start()
        leaders = {f"m{number}": self.leader() for number in range(20)}
        for name, leader in leaders.items():
            self.register(name, leader)
        box = self.container("10.1.0.1/32")
        self.register("box", box)
        with Client() as client:
            self.machined.process.send_signal(signal.SIGSTOP)
            for number in range(10):
                leaders.pop(f"m{number}").kill()
            box.add("10.1.0.2/32")
            client.send(message("List", {"name": "m0"}) + message("List", {"name": "m11"}))
            self.machined.process.send_signal(signal.SIGCONT)
            self.assertIn("NoSuchMachine", client.receive()["error"])
            self.assertEqual(client.receive()["parameters"]["name"], "m11")
        until(lambda: len(records.names()) == 11, "the end of ten")
        self.assert_addresses("box", "10.1.0.1", "10.1.0.2")
        self.assert_consistent()
        self.assertEqual(register("m0", self.leader().pid), OK)


if __name__ == "__main__":
    world.main()
