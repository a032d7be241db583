"""What belongs together comes and goes together, and what cannot run is given up without keeping anybody waiting."""

import contextlib
import os
import pathlib
import socket
import time

import place
import varlink
from place import is_active, run, show
from waiting import until

PROVIDER, SOCKET = "userdb-machined.service", "userdb-machined.socket"
HOOKED, HOOK_SOCKET = "resolve-machined.service", "resolve-machined.socket"
UNITS = pathlib.Path("/run/systemd/system")
HOOK = pathlib.Path("/run/systemd/resolve.hook/io.systemd.Machine")
# How long whoever closed it keeps the socket closed, with room for a slow machine.
RETURN = 30


def looked_up(name):
    """How long a lookup of nobody takes, which asks all of userdb."""
    began = time.monotonic()
    found = run("getent", "passwd", name, check=False, timeout=60)
    assert found == "", found
    return time.monotonic() - began


def hooked():
    """How long somebody waits at the hook of systemd-resolved, and whether there is an answer then."""
    began, answer = time.monotonic(), b""
    with contextlib.suppress(ConnectionError, FileNotFoundError), socket.socket(socket.AF_UNIX) as client:
        client.settimeout(60)
        client.connect(str(HOOK))
        client.sendall(b'{"method":"org.varlink.service.GetInfo"}\0')
        answer = client.recv(4096)
    return time.monotonic() - began, answer != b""


class Together(place.Case):
    def setUp(self):
        super().setUp()
        run("systemctl", "reset-failed", "machined.service", SOCKET, PROVIDER, HOOK_SOCKET, HOOKED, check=False)
        run("systemctl", "start", SOCKET, HOOK_SOCKET)
        until(self.is_together, "all that belongs together")

    @staticmethod
    def is_together():
        return all(map(is_active, (SOCKET, "userdb-machined.timer", HOOK_SOCKET, "resolve-machined.timer")))

    def unit(self, path, text):
        file = UNITS / path
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
        run("systemctl", "daemon-reload")
        self.addCleanup(run, "systemctl", "daemon-reload")
        self.addCleanup(file.unlink, missing_ok=True)
        return file

    def test_the_socket_of_userdb_comes_back_when_it_was_stopped(self):
        run("systemctl", "stop", SOCKET)
        until(lambda: is_active(SOCKET), "the return of the socket", RETURN)
        looked_up("nobody-asks")
        self.assertTrue(is_active(PROVIDER))

    def test_the_socket_of_userdb_comes_back_with_multi_user(self):
        # It is wanted for itself: process 1 starts nothing that only a unit wants which runs already.
        run("systemctl", "stop", SOCKET)
        run("systemctl", "start", "multi-user.target")
        self.assertTrue(is_active(SOCKET))

    def test_a_target_that_keeps_machined_keeps_the_socket_of_userdb(self):
        # Nor is the one that these tests run in ended.
        self.unit("lab.service.d/stays.conf", "[Unit]\nIgnoreOnIsolate=yes\n")
        self.unit("keeping.target", "[Unit]\nAllowIsolate=yes\nWants=dbus.service machined.service\n")
        for target in "keeping.target", "multi-user.target":
            run("systemctl", "isolate", target, timeout=60)
            self.assertTrue(is_active("machined.service"))
            until(self.is_together, "all that belongs together", RETURN)
            until(lambda: varlink.ask("List", {"name": ".host"}) == varlink.OK, "an answer")

    def test_the_socket_of_the_hook_comes_back_when_it_was_stopped(self):
        run("systemctl", "stop", HOOK_SOCKET)
        until(lambda: is_active(HOOK_SOCKET), "the return of the socket", RETURN)
        self.assertTrue(hooked()[1])

    def test_a_hook_that_cannot_run_keeps_nobody_waiting(self):
        program = pathlib.Path("/usr/local/sbin/resolve-machined")
        self.addCleanup(program.chmod, 0o755)
        self.addCleanup(run, "systemctl", "unmask", HOOKED)
        dies = f"{HOOKED}.d/dies.conf"
        def mend_what_dies():
            (UNITS / dies).unlink()
            run("systemctl", "daemon-reload")
        for how, take, give in (("is not executable", lambda: program.chmod(0o644), lambda: program.chmod(0o755)),
                                ("is masked", lambda: run("systemctl", "mask", HOOKED), lambda: run("systemctl", "unmask", HOOKED)),
                                ("dies at once", lambda: self.unit(dies, "[Service]\nExecStart=\nExecStart=/bin/false\n"),
                                 mend_what_dies)):
            with self.subTest(how):
                until(lambda: hooked()[1], "an answer", RETURN)
                began = time.time()
                take()
                run("systemctl", "stop", HOOKED)
                first, is_answered = hooked()
                self.assertFalse(is_answered)
                self.assertLess(first, 20)
                rest = sorted(hooked()[0] for _ in range(20))
                self.assertLess(rest[10], 0.5, rest)
                self.assertLess(rest[-1], 10, rest)
                starts = run("journalctl", "--boot", "--quiet", "--output=cat", f"--since=@{began:.6f}", "_PID=1",
                             f"UNIT={HOOKED}").count("Starting ")
                self.assertLessEqual(starts, 10)
                give()
                until(lambda: hooked()[1], "an answer again", RETURN)

    def assert_is_broken(self, most):
        """Lookups fail at once, and the provider is not tried for ever."""
        # Nobody hangs until a client of userdb gives up, which is after 45 s at the soonest.
        self.assertLess(looked_up("nobody-first"), 20)
        rest = sorted(looked_up(f"nobody-{number}") for number in range(20))
        # A machine that is busy with other things is slow now and then, and with the provider, too.
        self.assertLess(rest[len(rest) // 2], 0.5 + self.usual, rest)
        self.assertLess(rest[-1], 10, rest)
        restarts = run("journalctl", "--boot", "--quiet", "--output=cat", f"--since=@{self.began:.6f}", "_PID=1",
                       f"UNIT={PROVIDER}").count("Starting ")
        self.assertLessEqual(restarts, most)

    def assert_is_mended(self):
        """Without a hand but one that starts what everybody starts."""
        run("systemctl", "start", "multi-user.target")
        def answers():
            looked_up("nobody-mended")
            return is_active(PROVIDER)
        until(answers, "the provider", RETURN)

    def broken(self):
        self.usual = sorted(looked_up(f"nobody-before-{number}") for number in range(10))[5]
        # To the journal's grain.
        self.began = time.time()
        run("systemctl", "stop", PROVIDER)

    def test_a_provider_that_is_not_executable_holds_up_no_lookup(self):
        program = pathlib.Path("/usr/local/sbin/userdb-machined")
        self.addCleanup(program.chmod, 0o755)
        program.chmod(0o644)
        self.broken()
        self.assert_is_broken(10)
        # It is not even listened for, once somebody tries.
        run("systemctl", "stop", SOCKET)
        run("systemctl", "start", SOCKET)
        self.assertFalse(is_active(SOCKET))
        program.chmod(0o755)
        self.assert_is_mended()

    def test_a_provider_that_is_masked_holds_up_no_lookup(self):
        """And fills no journal, each time that its timer tries the socket."""
        for how in [], ["--runtime"]:
            with self.subTest(how=how):
                self.broken()
                self.addCleanup(run, "systemctl", "unmask", *how, PROVIDER)
                run("systemctl", "mask", *how, PROVIDER)
                self.assert_is_broken(0)
                began = time.time()
                def tried():
                    return show("userdb-machined.timer", "LastTriggerUSecMonotonic")[0]
                for _ in range(2):
                    last = tried()
                    until(lambda: tried() != last, "the next try", RETURN)  # noqa: B023
                run("journalctl", "--sync")
                said = run("journalctl", "--boot", "--quiet", "--output=cat", f"--since=@{began:.6f}", "_PID=1",
                           f"UNIT={SOCKET}")
                self.assertEqual(said, "")
                run("systemctl", "unmask", *how, PROVIDER)
                self.assert_is_mended()

    def test_a_provider_that_dies_at_once_holds_up_no_lookup(self):
        file = self.unit(f"{PROVIDER}.d/dies.conf", "[Service]\nExecStart=\nExecStart=/bin/false\n")
        self.broken()
        self.assert_is_broken(10)
        file.unlink()
        run("systemctl", "daemon-reload")
        self.assert_is_mended()

    def test_a_machined_that_dies_at_once_is_given_up_and_takes_no_lookup_with_it(self):
        file = self.unit("machined.service.d/dies.conf", "[Service]\nExecStart=\nExecStart=/bin/false\n")
        run("systemctl", "kill", "--signal=KILL", "machined.service")
        until(lambda: show("machined.service", "ActiveState")[0] in ("inactive", "failed"), "the last restart", 60)
        # Nobody listens who cannot answer.
        until(lambda: not is_active("machined.socket"), "the end of the socket")
        with self.assertRaises((ConnectionRefusedError, FileNotFoundError)), varlink.Client() as client:
            client.ask("List", {"name": ".host"})
        self.assertTrue(is_active(SOCKET))
        # A busy process 1 may have the socket closed for a moment still, as it tries to start machined; such a lookup finds nobody.
        def answers():
            looked_up("nobody-without-machined")
            return is_active(PROVIDER)
        until(answers, "the provider")
        file.unlink()
        run("systemctl", "daemon-reload")
        run("systemctl", "reset-failed", "machined.service", check=False)
        # By whoever calls it, as ever.
        self.assertIn(".host", run("busctl", "call", "org.freedesktop.machine1", "/org/freedesktop/machine1",
                                   "org.freedesktop.machine1.Manager", "ListMachines"))
        until(lambda: is_active("machined.service") and is_active("machined.socket"), "all of it")
        self.assertEqual(varlink.ask("List", {"name": ".host"}), varlink.OK)

    def test_a_dead_socket_of_the_originals_resolver_goes_and_a_live_one_stays(self):
        # Ours does not take the place meanwhile.
        self.addCleanup(run, "systemctl", "start", "resolve-machined.socket")
        self.addCleanup(run, "systemctl", "unmask", "resolve-machined.service")
        run("systemctl", "mask", "resolve-machined.service")
        run("systemctl", "stop", "resolve-machined.socket", "resolve-machined.service")
        HOOK.parent.mkdir(parents=True, exist_ok=True)
        HOOK.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(HOOK))
            listener.listen()
            inode = HOOK.stat().st_ino
            run("systemctl", "restart", "machined.service")
            self.assertEqual(HOOK.stat().st_ino, inode)
        run("systemctl", "restart", "machined.service")
        self.assertFalse(HOOK.exists())
        # Where ours may run, it does.
        run("systemctl", "unmask", "resolve-machined.service")
        run("systemctl", "restart", "machined.service")
        until(lambda: is_active("resolve-machined.socket"), "the socket of ours")
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(HOOK))

    def test_a_start_complains_of_no_file_that_exists(self):
        run("systemctl", "restart", "machined.service")
        with contextlib.suppress(FileNotFoundError):
            os.unlink("/run/systemd/machine/io.systemd.MachineImage")
        run("systemctl", "restart", "machined.service")
        began = time.time()
        run("systemctl", "restart", "machined.service")
        run("journalctl", "--sync")
        said = run("journalctl", "--boot", "--quiet", "--output=cat", f"--since=@{began:.6f}", "_PID=1")
        self.assertIn("Started machined.service", said)
        self.assertNotIn("File exists", said)


if __name__ == "__main__":
    place.main()
