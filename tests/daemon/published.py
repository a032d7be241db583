"""What was published against the original, tried on ours: docs/cve.md says what each was."""

import os

import processes
import records
import world
from varlink import DENIED, OK, as_user, ask, listed, register

# nobody and daemon.
SOMEBODY, OTHER = 65534, 1
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


if __name__ == "__main__":
    world.main()
