"""The index of names in lower case: who is found by a name in any case, at any time."""

import os

import records
import world
from varlink import OK, ask, register
from waiting import until


@world.needs_root
class Names(world.Case):
    def setUp(self):
        super().setUp()
        self.start()

    def check(self, **links):
        self.assertEqual(records.case_index(), links)
        self.assert_consistent()

    def test_a_name_leads_to_the_machine_that_has_it_alone_in_any_case(self):
        self.register("BigTEST", self.leader())
        self.register("web", self.leader())
        self.check(bigtest="BigTEST", web="web")
        small = self.leader()
        self.register("bigtest", small)
        self.check(web="web")
        small.kill()
        until(lambda: records.case_index() == {"bigtest": "BigTEST", "web": "web"}, "the end of the other one")
        self.assertEqual(ask("Unregister", {"name": "BigTEST"}), OK)
        self.check(web="web")

    def test_a_killed_daemon_finds_the_links_as_they_must_be(self):
        for name in "BigTEST", "web", "Gone", "DB", "db":
            self.register(name, self.leader())
        self.machined.kill()
        os.unlink("/run/systemd/machines/Gone")
        os.unlink("/run/systemd/machines/DB")
        os.symlink("BigTEST", "/run/machined/names/.#link")
        os.symlink("web", "/run/machined/names/nobody")
        os.unlink("/run/machined/names/web")
        self.start()
        self.check(bigtest="BigTEST", web="web", db="db")

    def test_a_daemon_that_knew_no_such_links_left_nothing_in_order(self):
        self.register("BigTEST", self.leader())
        self.assertEqual(self.machined.stop(), 0)
        in_order = "/run/machined/in-order"
        self.assertTrue(os.path.islink(in_order))
        os.unlink(in_order)
        # As it was said before there were these links.
        os.symlink("1", in_order)
        os.unlink("/run/machined/names/bigtest")
        os.rmdir("/run/machined/names")
        self.start()
        self.check(bigtest="BigTEST")

    def test_on_a_full_disk_nobody_is_found_by_the_name_of_two_and_what_it_keeps_back_is_made_good(self):
        for entries in False, True:
            self.register("BigTEST", self.leader())
            self.register("bigtest", self.leader())
            self.fill(entries)
            self.assertIn(register("BIGTEST", self.leader().pid), (OK, "io.systemd.System ENOSPC"))
            self.assertNotIn("bigtest", records.case_index())
            for name in set(records.names()) - {"BigTEST"}:
                self.assertEqual(ask("Unregister", {"name": name}), OK)
            self.assertIn(records.case_index(), ({}, {"bigtest": "BigTEST"}))
            self.free()
            until(lambda: records.case_index() == {"bigtest": "BigTEST"}, "the link")
            self.assert_consistent()
            self.fill(entries)
            self.assertIn(register("BIGtest", self.leader().pid), (OK, "io.systemd.System ENOSPC"))
            self.free()
            until(lambda: records.case_index() == records.expected_case_index(), "the link")
            self.assert_consistent()
            for name in records.names():
                self.assertEqual(ask("Unregister", {"name": name}), OK)
            self.check()


if __name__ == "__main__":
    world.main()
