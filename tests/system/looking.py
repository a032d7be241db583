"""Looking at a small container that has a network and users of its own, with every tool that knows machines."""

import json
import pathlib
import re

import bus
from machines import shared
from scene import OURS, Case, out, record, refused, run, unit_property

ADDRESS, ADDRESS6 = "10.99.1.2", "fd99:1::2"


def rows(*options):
    """The table that `machinectl list` prints, by name."""
    lines = out("machinectl", "--no-legend", *options, "list").splitlines()
    return {line.split()[0]: line.split()[1:] for line in lines if line.strip()}


def fields(*arguments):
    """What `machinectl show` prints."""
    return dict(line.split("=", 1) for line in out("machinectl", "show", *arguments).splitlines())


class Listing(Case):
    def test_machinectl_lists_a_container_with_its_system_and_addresses(self):
        shared.start_web()
        # Link-local addresses may come beside them.
        self.assertEqual(rows()["web"][:2], ["container", "systemd-nspawn"])
        self.assertEqual(rows()["web"][2:5], [*expected_system(), ADDRESS + "…"])
        listed = out("machinectl", "--no-legend", "--max-addresses=all", "list")
        self.assertIn(ADDRESS, listed)
        self.assertIn(ADDRESS6, listed)

    def test_machinectl_hides_the_host_unless_all_are_asked_for(self):
        shared.start_web()
        self.assertNotIn(".host", rows())
        self.assertEqual(rows("--all")[".host"][:2], ["host", "-"])
        self.assertIn("web", rows("--all"))

    def test_machinectl_counts_what_it_lists(self):
        shared.start_web()
        names = rows()
        self.assertRegex(out("machinectl", "list"), rf"\n{len(names)} machines listed\.\n$")

    def test_machinectl_lists_as_json(self):
        shared.start_web()
        listed = {machine["machine"]: machine for machine in json.loads(out("machinectl", "--output=json", "list"))}
        self.assertEqual(listed["web"]["class"], "container")
        self.assertEqual(listed["web"]["service"], "systemd-nspawn")
        self.assertEqual(listed["web"]["os"], expected_system()[0])
        self.assertIn(ADDRESS, listed["web"]["addresses"])

    def test_systemctl_list_machines_knows_it(self):
        shared.start_web()
        listed = out("systemctl", "list-machines", "--no-legend", "--plain")
        self.assertRegex(listed, r"(?m)^\s*web\s")
        self.assertRegex(listed, r"(?m)^\s*lab \(host\)\s")


def expected_system():
    release = dict(line.split("=", 1) for line in pathlib.Path("/etc/os-release").read_text().splitlines() if "=" in line)
    # A Debian that is not released yet has no version.
    return release["ID"].strip('"'), release.get("VERSION_ID", "-").strip('"')


class Showing(Case):
    def test_machinectl_status_shows_all_of_it(self):
        web = shared.web
        status = out("machinectl", "status", "web")
        self.assertRegex(status, r"(?m)^web\b")
        self.assertRegex(status, rf"(?m)^\s*Leader: {web.leader} \(")
        self.assertRegex(status, r"(?m)^\s*Service: systemd-nspawn; class container$")
        self.assertRegex(status, r"(?m)^\s*Root: /var/lib/machines/web$")
        self.assertRegex(status, r"(?m)^\s*Iface: ve-web$")
        self.assertRegex(status, rf"(?m)^\s*Address: {ADDRESS}$")
        self.assertRegex(status, rf"(?m)^\s*{ADDRESS6}")
        self.assertRegex(status, r"(?m)^\s*OS: Debian GNU/Linux")
        self.assertRegex(status, r"(?m)^\s*U?ID Shift: [1-9]\d+$")
        self.assertRegex(status, rf"(?m)^\s*Unit: {re.escape(record('web')['SCOPE'])}$")
        self.assertRegex(status, r"(?m)^\s*\S*\d+ sleep infinity$")

    def test_machinectl_show_prints_the_properties(self):
        web = shared.web
        shown, told = fields("web"), bus.properties("web")
        self.assertEqual(shown["Name"], "web")
        self.assertEqual(shown["Class"], "container")
        self.assertEqual(shown["Service"], "systemd-nspawn")
        self.assertEqual(shown["Leader"], str(web.leader))
        self.assertEqual(shown["RootDirectory"], "/var/lib/machines/web")
        self.assertEqual(shown["State"], "running")
        self.assertEqual(shown["Unit"], told["Unit"])
        self.assertEqual(shown["TimestampMonotonic"], str(told["TimestampMonotonic"]))
        self.assertEqual(shown["Id"], bytes(told["Id"]).hex())
        ifindex = int(pathlib.Path("/sys/class/net/ve-web/ifindex").read_text())
        self.assertEqual(told["NetworkInterfaces"], [ifindex])

    def test_machinectl_show_prints_single_properties(self):
        web = shared.web
        self.assertEqual(out("machinectl", "show", "--property=Leader", "--value", "web").strip(), str(web.leader))
        self.assertEqual(out("machinectl", "show", "-p", "Class", "-p", "Name", "web").split(), ["Name=web", "Class=container"])

    def test_machinectl_show_without_a_name_prints_the_pool(self):
        self.assertEqual(fields()["PoolPath"], "/var/lib/machines")

    def test_busctl_reads_single_properties(self):
        web = shared.web
        def get(name):
            return out("busctl", "get-property", bus.SERVICE, bus.object_path("web"), bus.MACHINE, name).strip()
        self.assertEqual(get("Leader"), f"u {web.leader}")
        self.assertEqual(get("Name"), 's "web"')
        self.assertEqual(get("State"), 's "running"')
        # Not in the introspection data, and still there.
        self.assertEqual(get("Scope"), get("Unit"))

    def test_the_host_is_a_machine_too(self):
        shown = fields(".host")
        self.assertEqual((shown["Class"], shown["Leader"], shown["RootDirectory"], shown["Unit"]),
                         ("host", "1", "/", "-.slice"))
        self.assertIn(".host", out("machinectl", "status", ".host"))

    def test_an_unknown_machine_is_told(self):
        for verb in ("status", "show", "terminate", "kill", "poweroff"):
            self.assertRegex(refused("machinectl", verb, "nobody"), "No machine 'nobody' known|NoSuchMachine", verb)


class Asking(Case):
    def test_systemd_cgls_shows_its_processes(self):
        shown = out("systemd-cgls", f"--machine={shared.web.name}")
        self.assertRegex(shown, r"\d+ sleep infinity")
        self.assertRegex(shown, rf"{shared.web.leader} ")

    def test_ps_names_the_machine_of_its_processes_and_of_no_others(self):
        web = shared.web
        listed = [line.split(None, 2) for line in out("ps", "-eo", "pid=,machine=,comm=").splitlines()]
        whose = {pid: machine for pid, machine, _ in listed}
        self.assertEqual(whose[str(web.leader)], "web")
        self.assertEqual(whose["1"], "-")

    def test_its_name_resolves(self):
        shared.start_web()
        self.assertIn(ADDRESS, out("getent", "ahosts", "web"))
        self.assertIn(ADDRESS6, out("getent", "ahosts", "web"))
        self.assertRegex(out("getent", "ahostsv4", "web"), rf"^{ADDRESS}\s")
        self.assertIn("web", out("getent", "hosts", "web"))
        self.assertEqual(run("getent", "hosts", "nobody").returncode, 2)

    def test_its_addresses_are_told_over_the_bus(self):
        shared.start_web()
        (addresses,) = bus.call("GetMachineAddresses", "s", "web")
        self.assertIn([2, [int(part) for part in ADDRESS.split(".")]], addresses)
        self.assertEqual(bus.call("GetAddresses", path=bus.object_path("web"), interface=bus.MACHINE), [addresses])

    def test_its_users_are_mapped_both_ways(self):
        shared.start_web()
        (shift,) = bus.call("GetMachineUIDShift", "s", "web")
        self.assertGreater(shift, 65535)
        self.assertEqual(bus.call("MapFromMachineUser", "su", "web", "7"), [shift + 7])
        self.assertEqual(bus.call("MapToMachineUser", "u", str(shift + 7)), ["web", bus.object_path("web"), 7])
        self.assertEqual(bus.call("MapFromMachineGroup", "su", "web", "9"), [shift + 9])
        self.assertEqual(bus.call("MapToMachineGroup", "u", str(shift + 9)), ["web", bus.object_path("web"), 9])
        self.assertIn("belongs to host UID range", bus.error("MapToMachineUser", "u", "1000"))

    def test_its_system_is_told_over_the_bus(self):
        shared.start_web()
        (release,) = bus.call("GetMachineOSRelease", "s", "web")
        self.assertEqual(release["ID"], expected_system()[0])

    def test_its_processes_are_found_by_pid(self):
        web = shared.web
        self.assertEqual(bus.call("GetMachineByPID", "u", str(web.leader)), [bus.object_path("web")])
        self.assertEqual(bus.call("GetMachine", "s", "web"), [bus.object_path("web")])
        self.assertIn("does not belong to any known machine", bus.error("GetMachineByPID", "u", "1"))

    def test_varlinkctl_lists_it(self):
        shared.start_web()
        socket = "/run/systemd/machine/io.systemd.Machine"
        told = json.loads(out("varlinkctl", "--json=short", "call", socket, "io.systemd.Machine.List", '{"name":"web"}'))
        self.assertEqual((told["name"], told["class"], told["service"]), ("web", "container", "systemd-nspawn"))
        self.assertIn("io.systemd.Machine", out("varlinkctl", "list-interfaces", socket))

    def test_its_unit_has_the_name_that_is_told(self):
        shared.start_web()
        unit = bus.properties("web")["Unit"]
        self.assertEqual(unit_property(unit, "ActiveState"), "active")
        self.assertIn("web", unit)


class LogControl(Case):
    UNIT = "dbus-org.freedesktop.machine1.service"

    def test_the_log_level_is_read_and_changed_by_systemctl(self):
        self.addCleanup(run, "systemctl", "service-log-level", self.UNIT, "info")
        self.assertEqual(out("systemctl", "service-log-level", self.UNIT).strip(), "info")
        out("systemctl", "service-log-level", self.UNIT, "debug")
        self.assertEqual(out("systemctl", "service-log-level", self.UNIT).strip(), "debug")
        self.assertNotEqual(run("systemctl", "service-log-level", self.UNIT, "loud").returncode, 0)
        self.assertEqual(out("systemctl", "service-log-level", self.UNIT).strip(), "debug")

    def test_the_log_target_is_read_by_systemctl(self):
        self.assertIn(out("systemctl", "service-log-target", self.UNIT).strip(), ("journal", "console", "auto", "kmsg"))

    def test_the_identifier_is_that_of_the_daemon(self):
        told = out("busctl", "get-property", bus.SERVICE, "/org/freedesktop/LogControl1", "org.freedesktop.LogControl1",
                   "SyslogIdentifier").strip()
        self.assertEqual(told, 's "machined"' if OURS else 's "systemd-machined"')
