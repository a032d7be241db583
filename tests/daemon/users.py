"""The index of uids and gids: what the machines have, no more, at any time."""

import hashlib
import os
import threading

import processes
import records
import world
from varlink import OK, ask, register
from waiting import until

CLONE_NEWUSER = 0x10000000
FIRST = 100000


def unmapped():
    processes.checked(processes.LIBC.unshare(CLONE_NEWUSER))


def write_map(leader, uids, gids=None):
    """Writes the maps of a leader, lines of (inside, outside, count)."""
    for file, lines in ("uid_map", uids), ("gid_map", uids if gids is None else gids):
        with open(f"/proc/{leader.pid}/{file}", "w") as target:
            target.write("".join("%d %d %d\n" % line for line in lines))


def id_lists(kind):
    """The lists, without the leaders that their entries name: records.expected_id_lists() has those."""
    short = lambda text: "".join(":".join(entry.split(":")[:4]) + ";" for entry in text.split(";")[:-1])
    return {page: short(text) for page, text in records.id_lists(kind).items()}


@world.needs_root
class Users(world.Case):
    def setUp(self):
        super().setUp()
        self.start()

    def mapped(self, *lines, gids=None):
        leader = self.leader(unmapped)
        write_map(leader, lines, gids)
        return leader

    def check(self, **kinds):
        """The lists of these pages, and no others."""
        for kind in "uids", "gids":
            self.assertEqual(id_lists(kind), kinds.get(kind, {}), kind)

    def test_a_container_is_in_the_lists_of_its_pages_until_it_goes(self):
        web = self.mapped((0, FIRST, 65536), gids=[(0, 200000, 10)])
        self.register("web", web)
        self.check(uids={"0001": "100000:65536:0:web;", "0002": "100000:65536:0:web;"}, gids={"0003": "200000:10:0:web;"})
        db = self.mapped((0, FIRST + 65536, 65536), gids=[(0, 200010, 10)])
        self.register("db", db)
        self.check(uids={"0001": "100000:65536:0:web;", "0002": "100000:65536:0:web;165536:65536:0:db;",
                         "0003": "165536:65536:0:db;"}, gids={"0003": "200000:10:0:web;200010:10:0:db;"})
        self.assert_consistent()
        web.kill()
        until(lambda: "web" not in str([records.id_lists(kind) for kind in ("uids", "gids")]), "the end of its users")
        self.check(uids={"0002": "165536:65536:0:db;", "0003": "165536:65536:0:db;"}, gids={"0003": "200010:10:0:db;"})
        self.assertEqual(ask("Unregister", {"name": "db"}), OK)
        self.check()

    def test_an_entry_names_the_leader_by_its_pidfd(self):
        web = self.mapped((0, FIRST, 10))
        self.register("web", web)
        known_by = processes.pidfd_id(web.pid)
        entry = f"100000:10:0:web:{web.pid}:{known_by};" if known_by else "100000:10:0:web;"
        self.assertEqual(records.id_lists("uids"), {"0001": entry})
        # As a list of before, which named no leaders.
        os.unlink("/run/machined/uids/0001")
        os.symlink("100000:10:0:web;", "/run/machined/uids/0001")
        self.restart()
        self.assertEqual(records.id_lists("uids"), {"0001": entry})

    def test_ids_of_the_host_are_in_no_list(self):
        self.register("plain", self.leader())
        self.register("rootless", self.mapped((0, 1000, 1), (1, FIRST, 10)))
        self.register("vm", self.mapped((0, FIRST, 10)), **{"class": "vm"})
        lists = {"0001": "100000:10:1:rootless;"}
        self.check(uids=lists, gids=lists)

    def test_a_name_that_makes_no_user_name_has_an_alias(self):
        name = "web.example.com"
        alias = hashlib.sha256(name.encode()).hexdigest()[:8]
        self.register(name, self.mapped((0, FIRST, 65536)))
        self.register("short", self.mapped((0, 300000, 65536)))
        self.assertEqual(records.aliases(), {alias: name})
        self.register(alias, self.leader())
        self.assertEqual(records.aliases(), {}, "it is the name of a machine")
        self.assertEqual(ask("Unregister", {"name": alias}), OK)
        self.assertEqual(records.aliases(), {alias: name})
        self.restart()
        self.assertEqual(records.aliases(), {alias: name})
        self.assertEqual(ask("Unregister", {"name": name}), OK)
        self.assertEqual(records.aliases(), {})

    def test_maps_that_are_written_after_the_registration_are_taken_in(self):
        leader = self.leader(unmapped)
        self.register("late", leader)
        self.assertNotIn("UIDMAP", records.record("late"))
        self.check()
        with open(f"/proc/{leader.pid}/uid_map", "w") as file:
            file.write("0 100000 10")
        until(lambda: records.id_lists("uids"), "its users")
        until(lambda: records.record("late").get("UIDMAP") == "0:100000:10", "its map")
        with open(f"/proc/{leader.pid}/gid_map", "w") as file:
            file.write("0 300000 10")
        until(lambda: records.id_lists("gids"), "its groups")
        self.check(uids={"0001": "100000:10:0:late;"}, gids={"0004": "300000:10:0:late;"})
        until(lambda: records.record("late").get("GIDMAP") == "0:300000:10", "its map")

    def test_maps_that_are_written_while_the_daemon_is_down_are_taken_in(self):
        leader = self.leader(unmapped)
        self.register("late", leader)
        self.machined.kill()
        write_map(leader, [(0, FIRST, 10)])
        self.start()
        lists = {"0001": "100000:10:0:late;"}
        self.check(uids=lists, gids=lists)

    def test_a_crowded_page_is_a_file_and_becomes_a_link_again(self):
        leaders = [self.mapped((0, 0x10000 + 200 * number, 200)) for number in range(200)]
        for number, leader in enumerate(leaders):
            self.register(f"machine-with-a-long-name-{number}", leader)
        self.assertFalse(os.path.islink("/run/machined/uids/0001"))
        self.assertEqual(records.id_lists("uids")["0001"].count(";"), 200)
        self.assert_consistent()
        self.restart()
        self.assert_consistent()
        for leader in leaders[1:]:
            leader.kill()
        first = "65536:200:0:machine-with-a-long-name-0;"
        until(lambda: id_lists("uids") == {"0001": first}, "the end of the others")
        self.assertTrue(os.path.islink("/run/machined/uids/0001"))

    def check_full(self, entries):
        names = [f"machine-with-a-long-name-{number}" for number in range(8)]
        leaders = [self.mapped((0, 0x10000 + 200 * number, 200)) for number in range(8)]
        for name, leader in zip(names, leaders):
            self.register(name, leader)
        self.fill(entries)
        # Its leader runs, so that its entry would answer.
        self.assertEqual(ask("Unregister", {"name": names.pop(3)}), OK)
        for kind in "uids", "gids":
            self.assertEqual([entry.split(":")[3] for entry in id_lists(kind)["0001"].split(";")[:-1]], names)
        self.free()
        self.assert_consistent()

    def test_who_leaves_a_full_disk_is_in_no_list(self):
        self.check_full(entries=False)

    def test_who_leaves_a_disk_without_inodes_is_in_no_list(self):
        self.check_full(entries=True)

    def test_a_machine_of_millions_of_ids_is_in_the_wide_list(self):
        self.register("web", self.mapped((0, 2000000, 10)))
        self.register("wide", self.mapped((0, 1000000, 3000000000)))
        wide = "1000000:3000000000:0:wide;"
        self.assertEqual(id_lists("uids"), {"001e": f"2000000:10:0:web;{wide}", "wide": wide})
        self.assertEqual(ask("Unregister", {"name": "wide"}), OK)
        self.assertEqual(id_lists("uids"), {"001e": "2000000:10:0:web;"})

    def test_a_killed_daemon_finds_the_lists_as_they_must_be(self):
        stay, go = self.mapped((0, FIRST, 10)), self.mapped((0, FIRST + 10, 10))
        self.register("stay", stay)
        self.register("go", go)
        self.register("gone.too", self.mapped((0, 500000, 10)))
        self.machined.kill()
        go.kill()
        os.unlink("/run/systemd/machines/gone.too")
        os.symlink("1:1:0:x;", "/run/machined/uids/.#0001")
        os.symlink("300000:1:0:nobody;", "/run/machined/gids/0004")
        with open("/run/machined/uids/wide", "w") as file:
            file.write("junk")
        os.symlink("nobody", "/run/machined/aliases/00000000")
        self.start()
        lists = {"0001": "100000:10:0:stay;"}
        self.check(uids=lists, gids=lists)
        self.assertEqual(records.aliases(), {})
        for directory in "uids", "gids", "aliases":
            for entry in os.listdir(f"/run/machined/{directory}"):
                os.unlink(f"/run/machined/{directory}/{entry}")
        self.restart()
        self.check(uids=lists, gids=lists)

    def test_what_was_left_in_order_is_put_right_soon_and_all_else_before_it_is_ready(self):
        web = self.mapped((0, FIRST, 10))
        self.register("web", web)
        lists = {"0001": "100000:10:0:web;"}
        in_order = "/run/machined/in-order"

        self.machined.kill()
        self.assertFalse(os.path.lexists(in_order))
        os.unlink("/run/machined/uids/0001")
        self.start()
        self.check(uids=lists, gids=lists)

        self.assertEqual(self.machined.stop(), 0)
        self.assertTrue(os.path.islink(in_order))
        os.unlink("/run/machined/uids/0001")
        self.start()
        self.assertFalse(os.path.lexists(in_order))
        until(lambda: id_lists("uids") == lists, "the list")

        # By another daemon, which knows nothing of lists.
        self.assertEqual(self.machined.stop(), 0)
        db = self.mapped((0, FIRST + 10, 10))
        with open("/run/systemd/machines/db", "w") as file:
            file.write(f"NAME=db\nCLASS=container\nLEADER={db.pid}\nMONOTONIC=1\n")
        self.start()
        both = {"0001": "100000:10:0:web;100010:10:0:db;"}
        self.check(uids=both, gids=both)

        # One that is gone, and may have stood before another one in an index.
        self.assertEqual(self.machined.stop(), 0)
        web.kill()
        self.start()
        left = {"0001": "100010:10:0:db;"}
        self.check(uids=left, gids=left)

        # One that was taken out of the registry, and runs on.
        self.assertEqual(self.machined.stop(), 0)
        os.unlink("/run/systemd/machines/db")
        self.start()
        self.check()

        # One that has got its ids since.
        late = self.leader(unmapped)
        self.register("late", late)
        self.assertEqual(self.machined.stop(), 0)
        write_map(late, [(0, FIRST, 10)])
        self.start()
        got = {"0001": "100000:10:0:late;"}
        self.check(uids=got, gids=got)

    def test_no_answer_is_missing_while_the_daemon_starts(self):
        for number in range(100):
            self.register(f"m{number}", self.mapped((0, FIRST + 100 * number, 100)))
        whole = sorted(records.id_lists("uids").items())
        missing, stopping = [], threading.Event()

        def watch():
            while not stopping.is_set():
                now = sorted(records.id_lists("uids").items())
                if now != whole:
                    missing.append(now)

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        for _ in range(3):
            self.restart()
        stopping.set()
        watcher.join()
        self.assertEqual(missing, [])

    def test_lists_that_a_full_disk_kept_back_are_made_good(self):
        leader = self.leader(unmapped)
        self.register("late", leader)
        self.fill(entries=True)
        write_map(leader, [(0, FIRST, 10)])
        until(lambda: "cannot" in self.machined.log(), "a failed attempt")
        self.free()
        lists = {"0001": "100000:10:0:late;"}
        until(lambda: id_lists("uids") == lists and id_lists("gids") == lists, "the lists")
        until(lambda: "GIDMAP" in records.record("late"), "the record")
        self.assert_consistent()

    def test_a_leader_without_maps_costs_nothing_and_is_forgotten_with_its_machine(self):
        for number in range(50):
            self.assertEqual(register(f"m{number}", self.leader(unmapped).pid), OK)
        for number in range(50):
            self.assertEqual(ask("Unregister", {"name": f"m{number}"}), OK)
        self.check()
        self.assert_consistent()


if __name__ == "__main__":
    world.main()
