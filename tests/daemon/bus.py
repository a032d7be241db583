"""The bus comes late, stands still, goes and comes back; everybody else is served meanwhile."""

import contextlib
import os
import pathlib
import signal
import subprocess
import unittest
from shutil import which

import world
from varlink import OK, Client, listed
from waiting import AT_ONCE, until

ADDRESS = "unix:path=/run/dbus/system_bus_socket"
NAME = "org.freedesktop.machine1"
CONFIGURATION = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>%s</listen>
  <policy context="default">
    <allow own="*"/><allow send_destination="*"/><allow receive_sender="*"/></policy>
</busconfig>
"""


class Message:
    """What dbus-send prints of a call to the bus itself."""

    def __init__(self, method, *arguments):
        command = ["dbus-send", f"--bus={ADDRESS}", "--print-reply", "--reply-timeout=10000", "--dest=org.freedesktop.DBus",
                   "/org/freedesktop/DBus", f"org.freedesktop.DBus.{method}", *arguments]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        self.text, self.succeeded = done.stdout, done.returncode == 0


@unittest.skipUnless(which("dbus-daemon") and which("dbus-send"), "needs dbus-daemon and dbus-send")
class Bus(world.Case):
    def setUp(self):
        super().setUp()
        self.bus = None
        self.addCleanup(self.stop_bus)

    def start_bus(self):
        os.makedirs("/run/dbus", exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            os.unlink("/run/dbus/system_bus_socket")
        pathlib.Path("/run/bus.conf").write_text(CONFIGURATION % ADDRESS)
        self.bus = subprocess.Popen(["dbus-daemon", "--nofork", "--config-file=/run/bus.conf"],
                                    stderr=subprocess.DEVNULL)

    def stop_bus(self):
        if self.bus:
            self.bus.send_signal(signal.SIGCONT)
            self.bus.kill()
            self.bus.wait()
            self.bus = None

    def assert_named(self):
        until(lambda: Message("GetNameOwner", f"string:{NAME}").succeeded, f"the name {NAME}")

    def assert_served(self):
        """A machine comes, is listed, and goes."""
        leader = self.leader()
        with Client(deadline=AT_ONCE) as client:
            call = {"name": "meanwhile", "class": "container", "leader": leader.pid}
            self.assertEqual(client.ask("Register", call), OK)
            self.assertIn("meanwhile", listed())
            self.assertEqual(client.ask("Unregister", {"name": "meanwhile"}), OK)
        leader.kill()

    def test_a_daemon_without_a_bus_serves_and_takes_its_name_when_one_comes(self):
        self.start()
        self.assert_served()
        self.start_bus()
        self.assert_named()
        self.assert_served()

    def test_the_name_is_taken_again_whenever_the_bus_comes_back(self):
        self.start_bus()
        self.start()
        for _ in range(3):
            self.assert_named()
            self.stop_bus()
            self.assert_served()
            self.start_bus()
        self.assert_named()

    def test_a_bus_that_stands_still_holds_nobody_up(self):
        self.start_bus()
        self.start()
        self.assert_named()
        self.bus.send_signal(signal.SIGSTOP)
        self.assert_served()
        self.bus.send_signal(signal.SIGCONT)
        self.assert_named()

    def test_a_bus_that_stands_still_from_the_start_holds_nobody_up(self):
        self.start_bus()
        until(lambda: Message("GetId").succeeded, "the bus")
        self.bus.send_signal(signal.SIGSTOP)
        self.start()
        self.assert_served()
        self.bus.send_signal(signal.SIGCONT)
        self.assert_named()

    def test_a_name_that_another_daemon_has_is_ours_when_it_leaves(self):
        self.start_bus()
        first = self.start()
        self.assert_named()
        owner = Message("GetNameOwner", f"string:{NAME}").text
        # The registry has one daemon; a second one waits for the name in a /run of its own.
        prefix = ["unshare", "--mount", "sh", "-c",
                  "mount -t tmpfs tmpfs /run/systemd && mount -t tmpfs tmpfs /run/machined && exec \"$@\"", "sh"]
        second = world.Daemon(prefix=prefix)
        self.addCleanup(second.close)
        until(lambda: "Another daemon" in second.log(), "the second daemon on the bus")
        self.assertEqual(Message("GetNameOwner", f"string:{NAME}").text.split()[-1], owner.split()[-1])
        first.stop()
        self.assert_named()

    def test_no_bus_is_joined_that_is_not_wanted(self):
        self.start_bus()
        until(lambda: Message("GetId").succeeded, "the bus")
        before = Message("ListNames").text.count("string")
        daemon = self.start("--bus=no")
        self.assert_served()
        self.assertEqual(Message("ListNames").text.count("string"), before)
        self.assertFalse(Message("GetNameOwner", f"string:{NAME}").succeeded)
        self.assertEqual(daemon.stop(), 0)


if __name__ == "__main__":
    world.main()
