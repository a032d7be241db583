"""Terminals in a container that boots a real systemd, and on the host: shells, logins, and what runs on a bare one."""

import contextlib
import os
import pathlib
import pty
import re
import select
import signal
import time

from machines import shared
from scene import DEADLINE, ENVIRONMENT, OURS, Case, out, refused, run, until

# What ends the connection of machinectl and systemd-run to a terminal, three times within a second.
ESCAPE = b"\x1d\x1d\x1d"


class Session:
    """A command on a terminal of its own."""

    def __init__(self, *command):
        self.text = ""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execvpe(command[0], command, {**ENVIRONMENT, "TERM": "dumb"})

    def read(self, seconds):
        """Reads on; returns whether there is more to come."""
        if not select.select([self.fd], [], [], seconds)[0]:
            return True
        with contextlib.suppress(OSError):
            data = os.read(self.fd, 4096)
            self.text += data.decode(errors="replace")
            return bool(data)
        return False

    def expect(self, pattern):
        """Waits until the terminal shows it."""
        end = time.monotonic() + DEADLINE
        while not re.search(pattern, self.text):
            if not self.read(0.1) or time.monotonic() > end:
                raise AssertionError(f"{pattern!r} is not on the terminal: {self.text!r}")
        return self.text

    def type(self, data):
        os.write(self.fd, data)

    def rest(self):
        """All that it still says, to its end; and how that was."""
        end = time.monotonic() + DEADLINE
        while self.read(0.1):
            if time.monotonic() > end:
                raise AssertionError(f"it does not end: {self.text!r}")
        _, status = os.waitpid(self.pid, 0)
        self.pid = 0
        return os.waitstatus_to_exitcode(status)

    def close(self):
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.fd)


class Terminals(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        # What a login on the host has left would speak on our terminals.
        run("systemctl", "stop", "container-getty@*.service")

    def session(self, *command):
        session = Session(*command)
        self.addCleanup(session.close)
        return session

    def said(self, *command):
        session = self.session(*command)
        session.rest()
        return session.text

    def test_a_shell_in_a_machine_runs_a_program_as_its_root_on_a_terminal_of_its_own(self):
        real = shared.real.name
        told = self.said("machinectl", "shell", real, "/bin/sh", "-c", "echo $(id -u) on $(tty), $(stat -c %u:%g $(tty))")
        self.assertRegex(told, r"0 on /dev/pts/\d+, 0:5")

    def test_a_shell_is_the_users_and_has_what_it_is_given(self):
        real = shared.real.name
        told = self.said("machinectl", "shell", "--setenv=FRUIT=pear", f"daemon@{real}", "/bin/sh", "-c",
                         "echo $(id -un) has a $FRUIT in $(cat /etc/hostname)")
        self.assertIn(f"daemon has a pear in {real}", told)

    def test_a_user_may_be_a_number_over_the_bus_alone(self):
        real = shared.real.name
        self.assertIn("number 1\r\n", self.said("machinectl", "shell", f"1@{real}", "/bin/sh", "-c", "echo number $(id -u)"))
        self.assertRegex(refused("varlinkctl", "call", "/run/systemd/machine/io.systemd.Machine", "io.systemd.Machine.Open",
                                 f'{{"name":"{real}","mode":"shell","user":"1"}}'), "[Ii]nvalid")

    def test_without_a_program_it_is_the_users_own_shell(self):
        shell = self.session("machinectl", "shell", shared.real.name)
        shell.expect(r"[#$] ")
        shell.type(b"echo it is $((40 + 2)), $0; exit\n")
        shell.expect(r"it is 42, \S*sh")
        shell.rest()

    def test_a_shell_on_the_host(self):
        self.assertRegex(self.said("machinectl", "shell", ".host", "/bin/echo", "on", "the", "host"), r"on the host\r\n")
        self.assertIn("daemon here", self.said("machinectl", "shell", "daemon@.host", "/bin/sh", "-c", "echo $(id -un) here"))

    def test_a_login_prompts(self):
        real = shared.real.name
        login = self.session("machinectl", "login", real)
        login.expect(rf"{real} login:")
        login.type(ESCAPE)
        login.rest()

    def test_a_login_that_was_left_does_not_show_up_in_a_later_shell(self):
        real = shared.real.name
        login = self.session("machinectl", "login", real)
        login.expect(r"login:")
        number = re.search(r"pts/(\d+)", login.text)
        login.type(ESCAPE)
        login.rest()
        self.assertTrue(number, login.text)
        # The original shows its prompt in the place of the shell's, whenever the number is the same.
        if not OURS:
            return
        shell = self.session("machinectl", "shell", real)
        shell.expect(r"[#$] ")
        shell.type(b"echo on $(tty); exit\n")
        shell.expect(r"on /dev/pts/")
        shell.rest()
        self.assertNotIn("login:", shell.text)

    def test_systemd_run_has_a_terminal_in_the_machine(self):
        run_there = self.session("systemd-run", "--quiet", "--machine", shared.real.name, "--pty", "/bin/sh", "-c",
                                 "echo on $(tty) of $(cat /etc/hostname); exit 7")
        self.assertEqual(run_there.rest(), 7)
        self.assertRegex(run_there.text, rf"on /dev/pts/\d+ of {shared.real.name}")

    def test_run0_has_a_terminal_in_the_machine(self):
        there = self.session("run0", "--machine", shared.real.name, "--background=", "/bin/sh", "-c",
                             "echo $(id -u) of $(cat /etc/hostname); exit 5")
        self.assertEqual(there.rest(), 5)
        self.assertIn(f"0 of {shared.real.name}", there.text)

    def test_a_name_of_a_user_is_no_text_of_a_script(self):
        real = shared.real.name
        out("systemd-run", "--quiet", "--wait", "--machine", real, "rm", "-f", "/tmp/caught")
        self.said("machinectl", "shell", f"$(touch /tmp/caught)@{real}")
        caught = run("systemd-run", "--quiet", "--wait", "--machine", real, "test", "-e", "/tmp/caught")
        self.assertEqual(caught.returncode, 1)

    def test_what_cannot_be_a_shell_is_refused(self):
        real = shared.real.name
        bus = ["busctl", "call", "org.freedesktop.machine1", "/org/freedesktop/machine1", "org.freedesktop.machine1.Manager"]
        shell = [*bus, "OpenMachineShell", "sssasas", real]
        self.assertIn("is not absolute", refused(*shell, "root", "sh", "0", "0"))
        self.assertRegex(refused(*shell, "a:b", "/bin/sh", "0", "0"), "Invalid [Uu]ser")
        self.assertIn("nvironment", refused(*shell, "root", "/bin/sh", "0", "1", "1A=b"))
        self.assertIn("No machine", refused(*bus, "OpenMachinePTY", "s", "nobody"))

    def test_what_is_bound_is_there_and_replaced(self):
        real = shared.real.name
        if self.has_a_user_namespace():
            self.assertIn("user namespacing", refused("machinectl", "bind", real, "/etc/hostname", "/run/bound"))
            return
        inside = ["systemd-run", "--quiet", "--wait", "--pipe", "--machine", real]
        for number in range(2):
            source = pathlib.Path(f"/run/bound{number}")
            source.mkdir(exist_ok=True)
            (source / "text").write_text(f"the {number}\n")
            out("machinectl", "bind", "--mkdir", real, source, "/run/a/b/bound")
            self.assertEqual(out(*inside, "cat", "/run/a/b/bound/text"), f"the {number}\n")
        out("machinectl", "bind", "--mkdir", "--read-only", real, "/etc/hostname", "/run/a/name")
        self.assertIn("Read-only", run(*inside, "sh", "-c", "echo x >/run/a/name").stderr)
        out(*inside, "umount", "/run/a/b/bound", "/run/a/name")
        refused("machinectl", "bind", real, "/etc/hostname", "/run/missing/name")
        refused("machinectl", "bind", real, "relative", "/run/a")

    @staticmethod
    def has_a_user_namespace():
        return os.stat(f"/proc/{shared.real.leader}/ns/user").st_ino != os.stat("/proc/1/ns/user").st_ino

    def test_a_bare_terminal_comes_as_a_descriptor(self):
        told = out("busctl", "call", "org.freedesktop.machine1", "/org/freedesktop/machine1",
                   "org.freedesktop.machine1.Manager", "OpenMachinePTY", "s", shared.real.name)
        self.assertRegex(told, r'^hs \d+ "/dev/pts/\d+"$')
        until(lambda: out("machinectl", "list"), "an answer")
