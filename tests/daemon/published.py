"""What was published against the original, tried on ours: docs/cve.md says what each was."""

import os
import pathlib
import subprocess

import processes
import records
import world
from hostile import Opened
from varlink import DENIED, OK, Client, as_user, ask, listed, register

# nobody and daemon.
SOMEBODY, OTHER = 65534, 1
NO_MESSAGES = (b"\0", b"{", b"[]\0", b"null\0", b'"x"\0', b"\xff\xfe\0", b"{" * 100_000 + b"\0", b'{"a":' * 5000 + b"\0",
               b'{"method":7}\0', b'{"method":""}\0', b'{"method":"a"}\0', b'{"method":"a.b","parameters":[]}\0',
               b'{"method":"io.systemd.Machine.List","parameters":{"name":[]}}\0',
               b'{"method":"io.systemd.Machine.List","parameters":{"name":"\\ud800"}}\0',
               b'{"method":"io.systemd.Machine.List","parameters":{"pid":{"pid":1e999}}}\0', b"x" * 300_000 + b"\0")
# What process 1 and udev take such messages by.
INTERFACES_OF_OTHERS = ("io.systemd.Manager.Describe", "io.systemd.Unit.List", "io.systemd.Udev.Reload", "io.systemd.service.Reload")
# What has been taken for a process id: beyond int, unsigned, long and what JSON readers keep; and what is none.
NO_PROCESSES = (-1, -2, 0x7fffffff, 0x80000000, 0xffffffff, 0x100000001, 2**63 - 1, 2**63, 2**64, -2**63, 1e300, 4194305)


@world.needs_root
class Published(world.Case):
    def setUp(self):
        super().setUp()
        self.start()

    def assert_the_same_runs(self):
        self.assertTrue(processes.is_running(self.machined.pid))
        self.assertEqual(ask("List", {"name": ".host"}), OK)

    def test_cve_2026_4105_nobody_registers_a_machine_of_the_hosts_class(self):
        leader = self.leader()
        for uid in 0, SOMEBODY:
            for name in "web", ".host":
                verdict = as_user(uid, lambda name=name: register(name, leader.pid, **{"class": "host"}))
                self.assertNotIn(verdict, (OK, "closed"), (uid, name))
        self.assertNotEqual(register(".host", leader.pid), OK)
        self.assertEqual((listed(), records.names()), ({}, []))

    def test_cve_2026_4105_the_host_is_nobodys_to_end(self):
        # Root may say that it is registered no more, which changes nothing.
        for uid, allowed in (0, ("Unregister",)), (SOMEBODY, ()):
            for method, more in (("Terminate", {}), ("Kill", {"signal": 15}), ("Unregister", {})):
                if method in allowed:
                    continue
                verdict = as_user(uid, lambda method=method, more=more: ask(method, {"name": ".host", **more}))
                self.assertNotIn(verdict, (OK, "closed"), (uid, method))
        ask("Unregister", {"name": ".host"})
        self.assert_the_same_runs()

    def test_systemd_38911_nobody_registers_the_process_of_another_user(self):
        for leader in self.leader(), self.leader(lambda: os.setuid(OTHER)):
            self.assertEqual(as_user(SOMEBODY, lambda leader=leader: register("mine", leader.pid)), DENIED)
        self.assertEqual((listed(), records.names()), ({}, []))

    def test_systemd_34764_an_empty_name_ends_no_daemon(self):
        for method, more in (("List", {}), ("Kill", {"signal": 15}), ("Terminate", {}), ("Unregister", {}), ("Open", {})):
            for name in "", "\n", "." * 65, "a" * 70000:
                verdict = ask(method, {"name": name, **more})
                self.assertNotIn(verdict, (OK, "closed"), (method, name[:9]))
        self.assertNotIn(register("", self.leader().pid), (OK, "closed"))
        self.assert_the_same_runs()

    def test_systemd_1905_no_process_id_ends_a_daemon(self):
        for pid in NO_PROCESSES:
            for method, parameters in (("List", {"pid": {"pid": pid}}),
                                       ("Register", {"name": "web", "class": "container", "leader": pid}),
                                       ("Register", {"name": "web", "class": "container", "leader": self.leader().pid,
                                                     "supervisor": pid})):
                verdict = ask(method, parameters)
                self.assertNotEqual(verdict, "closed", (method, pid))
                if method == "List" or "supervisor" not in parameters:
                    self.assertNotEqual(verdict, OK, (method, pid))
            if "web" in listed():
                self.assertEqual(ask("Unregister", {"name": "web"}), OK)
        self.assert_the_same_runs()

    def test_cve_2016_6349_what_is_inside_a_machine_is_not_for_everybody(self):
        leader = self.leader()
        self.assertEqual(register("web", leader.pid), OK)
        asked = {"name": "web", "acquireMetadata": "graceful"}
        self.assertEqual(ask("List", asked), OK)
        self.assertNotEqual(as_user(SOMEBODY, lambda: ask("List", asked)), OK)

    def test_cve_2026_29111_no_message_ends_a_daemon(self):
        for uid in 0, SOMEBODY:
            for message in NO_MESSAGES:
                def send(message=message):
                    with Client() as client:
                        try:
                            client.send(message)
                            client.socket.shutdown(1)
                            while client.socket.recv(1 << 16):
                                pass
                        except (ConnectionResetError, BrokenPipeError):
                            pass
                        return OK
                self.assertEqual(as_user(uid, send), OK)
            self.assert_the_same_runs()

    def test_cve_2026_40223_and_cve_2026_40225_what_others_take_is_not_served(self):
        for method in INTERFACES_OF_OTHERS:
            for uid in 0, SOMEBODY:
                verdict = as_user(uid, lambda method=method: ask(method, {}))
                self.assertNotIn(verdict, (OK, "closed"), (uid, method))
        self.assert_the_same_runs()

    def test_cve_2026_40226_settings_of_containers_are_not_read(self):
        """What systemd-nspawn was let out by: a file beside an image, or in one of the directories for such files."""
        pool = pathlib.Path("/var/lib/machines")
        pool.mkdir(parents=True, exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", pool], check=True)
        self.addCleanup(subprocess.run, ["umount", "--lazy", pool], check=True)
        (pool / "web/etc").mkdir(parents=True)
        (pool / "web/etc/os-release").write_text("ID=web\n")
        directory = pathlib.Path("/run/systemd/nspawn")
        directory.mkdir(parents=True)
        watched = []
        for settings in pool / "web.nspawn", directory / "web.nspawn":
            settings.write_text("[Files]\nBind=/etc:/etc\n")
            watched.append(Opened(settings))
            self.addCleanup(watched[-1].close)
        image = "io.systemd.MachineImage."
        self.assertEqual(ask(image + "List", {"name": "web", "acquireMetadata": "yes"}), OK)
        self.register("web", self.leader())
        self.assertEqual(ask("List", {"name": "web", "acquireMetadata": "graceful"}), OK)
        self.assertEqual(ask("Kill", {"name": "web", "whom": "leader", "signal": 18}), OK)
        self.assertEqual(ask("Terminate", {"name": "web"}), OK)
        self.assertEqual([opened.was() for opened in watched], [False, False])
        settings.read_text()
        self.assertTrue(watched[-1].was(), "it would have been noticed")


if __name__ == "__main__":
    world.main()
