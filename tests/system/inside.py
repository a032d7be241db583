"""Reaching into a container that boots a real systemd, with the tools that have --machine."""

import re
import subprocess

from machines import shared
from scene import DEADLINE, ENVIRONMENT, Case, out, record, refused, run


class Inside(Case):
    def test_systemctl_lists_the_units_of_a_machine(self):
        real = shared.real
        self.assertIn("systemd-journald.service", out("systemctl", f"--machine={real.name}", "list-units", "--no-legend"))
        self.assertEqual(out("systemctl", f"--machine=root@{real.name}", "is-active", "dbus.service").strip(), "active")

    def test_systemctl_lists_the_units_of_all_machines(self):
        # The systemctl of 257 and 262 has freed the name of the machine when it prints it. What is there instead may be no text, and
        # then it prints nothing; or text that has the end of a line in it or is empty. For that alone it is asked again.
        for _ in range(10):
            listed = subprocess.run(["systemctl", "--recursive", "--all", "--no-legend", "--plain", "list-units"], timeout=DEADLINE,
                                    capture_output=True, env={**ENVIRONMENT, "SYSTEMD_LOG_LEVEL": "debug"}, check=False)
            told = listed.stderr.decode(errors="replace")
            # The host is asked, and the machine: that is all that systemctl needs of the registry.
            self.assertEqual(told.count("member=ListUnitsByPatterns"), 2, told[-2000:])
            if listed.returncode != 0:
                self.assertIn("Failed to print table", told)
            elif re.search(rb"(?m)^.+:systemd-journald\.service\s", listed.stdout):
                break
            else:
                # That of the host, and that of the machine, behind whatever it is called.
                self.assertEqual(len(re.findall(rb"systemd-journald\.service\s", listed.stdout)), 2, listed.stdout[-2000:])

    def test_systemctl_lists_the_machines_with_their_state(self):
        real = shared.real
        listed = out("systemctl", "list-machines", "--no-legend", "--plain")
        self.assertRegex(listed, rf"(?m)^\s*{real.name}\s+(running|degraded)\s")

    def test_systemctl_starts_and_stops_a_unit_of_a_machine(self):
        real = shared.real
        out("systemctl", "--machine", real.name, "stop", "console-getty.service")
        self.assertEqual(run("systemctl", "-M", real.name, "is-active", "console-getty.service").stdout.strip(), "inactive")
        out("systemctl", "--machine", real.name, "start", "console-getty.service")
        self.assertEqual(run("systemctl", "-M", real.name, "is-active", "console-getty.service").stdout.strip(), "active")

    def test_journalctl_reads_the_journal_of_a_machine(self):
        real = shared.real
        self.assertIn("systemd", out("journalctl", f"--machine={real.name}", "--lines=5", "--no-pager"))

    def test_loginctl_asks_the_machine(self):
        self.assertIn("No sessions", out("loginctl", f"--machine={shared.real.name}", "list-sessions"))

    def test_hostnamectl_asks_the_machine(self):
        real = shared.real
        self.assertEqual(out("hostnamectl", f"--machine={real.name}", "hostname").strip(), real.name)

    def test_timedatectl_asks_the_machine(self):
        self.assertIn("Timezone=", out("timedatectl", f"--machine={shared.real.name}", "show"))

    def test_localectl_asks_the_machine(self):
        self.assertIn("System Locale", out("localectl", f"--machine={shared.real.name}", "status"))

    def test_busctl_asks_the_machine(self):
        self.assertIn("org.freedesktop.systemd1", out("busctl", f"--machine={shared.real.name}", "list"))

    def test_systemd_analyze_asks_the_machine(self):
        self.assertIn("userspace", out("systemd-analyze", f"--machine={shared.real.name}", "time"))

    def test_systemd_run_runs_in_the_machine(self):
        real = shared.real
        words = ["systemd-run", f"--machine={real.name}", "--quiet", "--collect"]
        self.assertEqual(out(*words, "--wait", "--pipe", "/bin/sh", "-c", "echo inside; hostname 2>/dev/null || cat /etc/hostname"),
                         f"inside\n{real.name}\n")
        self.assertEqual(run(*words, "--wait", "/bin/sh", "-c", "exit 7").returncode, 7)

    def test_systemd_cgls_shows_the_units_of_the_machine(self):
        self.assertIn("systemd-journald.service", out("systemd-cgls", f"--machine={shared.real.name}"))

    def test_ps_names_the_machine_of_deep_processes(self):
        real = shared.real
        journald = out("systemctl", f"--machine={real.name}", "show", "--property=ControlGroup", "--value",
                       "systemd-journald.service").strip()
        pids = [line.split() for line in out("ps", "-eo", "pid=,machine=,comm=").splitlines() if "systemd-journal" in line]
        self.assertTrue(journald)
        self.assertIn(real.name, [machine for _, machine, _ in pids])

    def test_machinectl_status_shows_the_units_of_the_machine(self):
        real = shared.real
        status = out("machinectl", "status", real.name)
        self.assertRegex(status, rf"(?m)^{re.escape(real.name)}\([0-9a-f]{{32}}\)$")
        self.assertIn("systemd-journald.service", status)
        self.assertIn(f"Unit: {real.unit}", status)

    def test_its_machine_id_is_registered(self):
        real = shared.real
        inside = out("systemd-run", f"--machine={real.name}", "--quiet", "--wait", "--pipe", "cat", "/etc/machine-id").strip()
        self.assertEqual(record(real.name)["ID"], inside)
        self.assertEqual(out("machinectl", "show", "--property=Id", "--value", real.name).strip(), inside)

    def test_a_machine_that_is_not_there_is_told(self):
        self.assertIn("Host is down", refused("systemctl", "--machine=nobody", "list-units"))
        refused("systemd-run", "--machine=nobody", "--wait", "true")
