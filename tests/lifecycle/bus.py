"""A system bus that is missing, late, lost, killed and back again, dbus-daemon or dbus-broker."""

import pathlib

import place
from place import run, show
from varlink import OK, ask, listed, register
from waiting import until

UNITS = "dbus.socket", "dbus.service"
MACHINE1 = "org.freedesktop.machine1", "/org/freedesktop/machine1", "org.freedesktop.machine1.Manager"
DBUS = "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus"


def owner():
    """Who has the name; None if nobody has, or there is no bus."""
    said = run("busctl", "--timeout=5", "call", *DBUS, "GetNameOwner", "s", MACHINE1[0], check=False)
    return said.split()[1] if said.startswith("s ") else None


def over_the_bus():
    said = run("busctl", "--json=short", "call", *MACHINE1, "ListMachines", check=False)
    return {name for name in ("one", "two", ".host") if f'"{name}"' in said}


class Bus(place.Case):
    def setUp(self):
        super().setUp()
        (_, self.one), (_, self.two) = self.service(), self.service()
        until(owner, "the name")

    def lose(self):
        self.addCleanup(self.give_back)
        run("systemctl", "stop", *UNITS)
        self.assertIsNone(owner())

    @staticmethod
    def give_back():
        # It was started often of late.
        run("systemctl", "reset-failed", *UNITS)
        run("systemctl", "start", *UNITS)
        until(owner, "the name")

    def pid(self):
        return int(show(place.SERVICE, "MainPID")[0])

    def assert_both_are_known(self):
        self.assertEqual(set(listed()), {"one", "two"})
        self.assertEqual(over_the_bus(), {"one", "two", ".host"})

    def test_a_bus_that_is_lost_takes_nothing_away_and_is_joined_again(self):
        self.assertEqual(register("one", self.one), OK)
        before = self.pid()
        for _ in range(3):
            self.lose()
            self.assertEqual(register("two", self.two), OK)
            self.assertEqual(set(listed()), {"one", "two"})
            self.assertEqual(run("ps", "-o", "machine=", "-p", self.two), "two")
            self.give_back()
            self.assert_both_are_known()
            self.assertEqual(ask("Unregister", {"name": "two"}), OK)
        self.assertEqual(self.pid(), before)

    def test_a_daemon_that_starts_without_a_bus_joins_the_one_that_comes(self):
        self.assertEqual(register("one", self.one), OK)
        self.lose()
        run("systemctl", "restart", place.SERVICE)
        self.assertEqual(register("two", self.two), OK)
        before = self.pid()
        self.give_back()
        self.assert_both_are_known()
        self.assertEqual(self.pid(), before)

    def test_a_bus_that_is_killed_is_joined_again(self):
        self.assertEqual(register("one", self.one), OK)
        before = self.pid()
        group = pathlib.Path(f"/sys/fs/cgroup{show('dbus.service', 'ControlGroup')[0]}")
        self.addCleanup(self.give_back)
        (group / "cgroup.kill").write_text("1")
        self.assertEqual(register("two", self.two), OK)
        # Whoever wants it starts it, be it the daemon.
        until(owner, "the name")
        self.assert_both_are_known()
        self.assertEqual(self.pid(), before)

    def test_a_scope_is_made_over_the_bus_that_is_back(self):
        self.lose()
        self.assertEqual(register("one", self.leader().pid, allocateUnit=True), "io.systemd.System ENOTCONN")
        self.give_back()
        self.assertEqual(register("one", self.leader().pid, allocateUnit=True), OK)
        until(lambda: place.is_active("machine-one.scope"), "the scope")

    def test_a_bus_that_reads_its_policy_again_keeps_the_name(self):
        before = owner()
        run("systemctl", "reload", "dbus.service")
        self.assertEqual((owner(), over_the_bus()), (before, {".host"}))


if __name__ == "__main__":
    place.main()
