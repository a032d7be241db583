"""Who is found, and which error is told of whom."""

import hashlib
import os
import signal
import subprocess

import processes
import records
import userdb
import varlink
import world
from userdb import (ABSENT, BAD_SERVICE, CONFLICT, DAMAGED, INVALID, NO_ENUMERATION, NO_RECORD, NON_MATCHING, group,
                    search, user)
from users import unmapped, write_map
from waiting import until

FIRST = 100000


class Answers(userdb.Case):
    """With records made up, and no daemon at all."""

    def setUp(self):
        super().setUp()
        userdb.write_record("web", os.getpid(), "UIDMAP=0:100000:65536\nGIDMAP=0:200000:10\n")
        for page in "0001", "0002":
            userdb.write_list("uids", page, "100000:65536:0:web;")
        userdb.write_list("gids", "0003", "200000:10:0:web;")

    def test_a_record_has_these_fields(self):
        with userdb.Client() as client:
            self.assertEqual(client.get("GetUserRecord", uid=FIRST + 5), {"parameters": {"record": {
                "userName": "vu-web-5", "uid": FIRST + 5, "gid": 65534, "realName": "UID 5 of Container web",
                "homeDirectory": "/", "shell": "/usr/sbin/nologin", "locked": True, "service": "io.systemd.Machine",
                "disposition": "container"}}})
            self.assertEqual(client.get("GetGroupRecord", gid=200009), {"parameters": {"record": {
                "groupName": "vg-web-9", "gid": 200009, "description": "GID 9 of Container web",
                "service": "io.systemd.Machine", "disposition": "container"}}})

    def test_users_and_groups_are_found_by_id_by_name_and_by_both(self):
        self.assertEqual(user(uid=FIRST), ("vu-web-0", FIRST))
        self.assertEqual(user(userName="vu-web-65534"), ("vu-web-65534", FIRST + 65534))
        self.assertEqual(user(uid=FIRST, userName="vu-web-0"), ("vu-web-0", FIRST))
        self.assertEqual(group(gid=200000), ("vg-web-0", 200000))
        self.assertEqual(group(groupName="vg-web-9"), ("vg-web-9", 200009))
        self.assertEqual(group(gid=200009, groupName="vg-web-9"), ("vg-web-9", 200009))

    def test_nobody_is_found_where_nobody_is(self):
        for uid in 0, 1000, 65534, FIRST - 1, FIRST + 65535, 2 ** 32 - 2:
            self.assertEqual(user(uid=uid), NO_RECORD, uid)
        for name in ("root", "vu-web-00", "vu-web-65535", "vu-web-65536", "vg-web-0", "vu-none-0", "vu-web", "vu--0", "a b",
                     "\u00e9", "-a", "x" * 300):
            self.assertEqual(user(userName=name), NO_RECORD, name)
        self.assertEqual(group(gid=FIRST), NO_RECORD)
        self.assertEqual(group(groupName="vu-web-0"), NO_RECORD)

    def test_id_and_name_of_two_conflict(self):
        self.assertEqual(user(uid=FIRST, userName="vu-web-1"), CONFLICT)
        self.assertEqual(user(uid=FIRST, userName="root"), CONFLICT)
        self.assertEqual(user(uid=5, userName="vu-web-5"), NO_RECORD)
        self.assertEqual(group(gid=200000, groupName="vg-web-1"), CONFLICT)

    def test_what_can_be_no_parameter_is_named(self):
        for uid in -1, 65535, 2 ** 32 - 1, 2 ** 32, 2 ** 70, 1.5, str(FIRST), True, None, [], {}:
            self.assertEqual(user(uid=uid), f"{INVALID} uid", uid)
            self.assertEqual(group(gid=uid), f"{INVALID} gid", uid)
        for name in "", "1000", "99999999999", "-5", "a:b", "a/b", "a\nb", ".", "..", " a", "a ", "a\x7fb", 5, None, []:
            self.assertEqual(user(userName=name), f"{INVALID} userName", name)
            self.assertEqual(group(groupName=name), f"{INVALID} groupName", name)
            self.assertEqual(userdb.ask("GetMemberships", userName=name), f"{INVALID} userName", name)
            self.assertEqual(userdb.ask("GetMemberships", groupName=name), f"{INVALID} groupName", name)
        for field, value in {"uidMin": 65535, "uidMax": "5", "fuzzyNames": "x", "dispositionMask": ["x"], "uuid": "x",
                             "gid": 5, "bogus": 1}.items():
            self.assertEqual(user(**{field: value}), f"{INVALID} {field}", field)
        for field, value in {"gidMin": -1, "gidMax": 2 ** 32, "fuzzyNames": [1], "uid": 5}.items():
            self.assertEqual(group(**{field: value}), f"{INVALID} {field}", field)

    def test_who_asks_for_another_service_is_told(self):
        for method in "GetUserRecord", "GetGroupRecord", "GetMemberships":
            for service in "", "x", "io.systemd.machine", "io.systemd.Machine ":
                self.assertEqual(userdb.ask(method, service=service), BAD_SERVICE)
            for service in ABSENT, None, 5:
                self.assertEqual(userdb.ask(method, service=service), f"{INVALID} service")
        self.assertEqual(user(service="x", uid=FIRST), BAD_SERVICE)
        self.assertEqual(user(service="x", uid=-1), f"{INVALID} uid")

    def test_systemd_18599_nobody_of_a_machine_is_in_other_groups(self):
        for parameters in {}, {"userName": "vu-web-0"}, {"groupName": "vg-web-0"}:
            self.assertEqual(userdb.ask("GetMemberships", **parameters), NO_RECORD)
            self.assertEqual(search("GetMemberships", **parameters), [NO_RECORD])

    def test_conditions_exclude_who_is_found(self):
        for conditions in ({"uidMin": FIRST, "uidMax": FIRST}, {"fuzzyNames": []}, {"fuzzyNames": ["nobody", "WEB"]},
                           {"fuzzyNames": ["of container"]}, {"dispositionMask": ["container"]}, {"uuid": "0" * 32},
                           {"dispositionMask": None, "fuzzyNames": None, "uidMin": None, "uuid": None}):
            self.assertEqual(user(uid=FIRST, **conditions), ("vu-web-0", FIRST), conditions)
        for conditions in ({"uidMin": FIRST + 1}, {"uidMax": 1000}, {"fuzzyNames": ["nobody"]}, {"uuid": "1" * 32},
                           {"dispositionMask": ["regular", "system"]}, {"dispositionMask": []}):
            self.assertEqual(user(uid=FIRST, **conditions), NON_MATCHING, conditions)
            self.assertEqual(user(userName="vu-web-0", **conditions), NON_MATCHING, conditions)
            self.assertEqual(user(uid=5, **conditions), NO_RECORD, conditions)
        self.assertEqual(group(gid=200000, gidMax=5), NON_MATCHING)
        self.assertEqual(group(gid=200000, fuzzyNames=["GID 0 of"]), ("vg-web-0", 200000))
        self.assertEqual(user(uid=FIRST, userName="vu-web-1", uidMax=5), CONFLICT)

    def test_all_are_not_listed_but_few_are_found(self):
        for conditions in ({}, {"fuzzyNames": ["web"]}, {"dispositionMask": ["container"]}, {"uidMin": FIRST},
                           {"uidMin": FIRST, "uidMax": FIRST + 1024}):
            self.assertEqual(user(**conditions), NO_ENUMERATION, conditions)
            self.assertEqual(search(**conditions), [NO_ENUMERATION], conditions)
        whole = [(f"vu-web-{number}", FIRST + number) for number in range(1024)]
        self.assertEqual(search(uidMin=FIRST, uidMax=FIRST + 1023), whole)
        self.assertEqual(search(uidMin=FIRST - 10, uidMax=FIRST), whole[:1])
        self.assertEqual(search(uidMin=FIRST, uidMax=FIRST + 99, fuzzyNames=["web-9"]),
                         [whole[9], *(whole[number] for number in range(90, 100))])
        self.assertEqual(search("GetGroupRecord", gidMin=200008, gidMax=200020),
                         [("vg-web-8", 200008), ("vg-web-9", 200009)])
        self.assertEqual(user(uidMin=FIRST + 7, uidMax=FIRST + 7), whole[7])
        self.assertEqual(user(uidMin=FIRST, uidMax=FIRST + 1), "org.varlink.service.ExpectedMore")
        for nobody in ({"uidMax": 65534}, {"uidMin": 9, "uidMax": 8}, {"dispositionMask": ["regular"]}, {"uuid": "1" * 32},
                       {"uidMin": 300000, "uidMax": 300100}):
            self.assertEqual(search(**nobody), [NO_RECORD], nobody)
            self.assertEqual(user(**nobody), NO_RECORD, nobody)

    def test_a_damaged_record_is_told_from_none_and_harms_no_other(self):
        for number, text in enumerate(["UIDMAP=0:400000\n", "UIDMAP=0:400000:10", "UIDMAP=0:0:0\n", "LEADER=x\n", "\0\n"]):
            name = f"broken{number}"
            userdb.write_record(name, os.getpid(), text)
            self.assertEqual(user(userName=f"vu-{name}-0"), DAMAGED, text)
        userdb.write_list("uids", "0006", "400000:10:0:broken0;400010:10:0:web;300000:x;;:::;400000")
        self.assertEqual(user(uid=400000), DAMAGED)
        self.assertEqual(user(uid=400011), NO_RECORD)
        self.assertEqual(user(uid=FIRST), ("vu-web-0", FIRST))
        for name, make in {"fifo": os.mkfifo, "directory": os.mkdir}.items():
            make(f"{records.RECORDS}/{name}")
            self.assertIn(user(userName=f"vu-{name}-0"), (DAMAGED, NO_RECORD), name)
        os.symlink("/etc/passwd", f"{records.RECORDS}/link")
        self.assertEqual(user(userName="vu-link-0"), NO_RECORD)
        # Of those whose records are good, a search finds all.
        userdb.write_record("good", os.getpid(), "UIDMAP=0:400020:2\n")
        os.unlink("/run/machined/uids/0006")
        userdb.write_list("uids", "0006", "400000:10:0:broken0;400020:2:0:good;")
        self.assertEqual(search(uidMin=400000, uidMax=400030), [("vu-good-0", 400020), ("vu-good-1", 400021)])

    def test_an_id_that_two_machines_have_is_nobodys_and_has_a_name_in_each(self):
        userdb.write_record("db", os.getpid(), "UIDMAP=7:100000:1\n")
        os.unlink("/run/machined/uids/0001")
        userdb.write_list("uids", "0001", "100000:65536:0:web;100000:1:7:db;")
        self.assertEqual(user(uid=FIRST), NO_RECORD)
        self.assertEqual(user(userName="vu-web-0"), ("vu-web-0", FIRST))
        self.assertEqual(user(userName="vu-db-7"), ("vu-db-7", FIRST))
        self.assertEqual(user(uid=FIRST + 1), ("vu-web-1", FIRST + 1))

    def test_a_registry_that_is_not_there_has_nobody(self):
        os.rename("/run/machined", "/run/elsewhere")
        os.rename(records.RECORDS, "/run/records")
        self.assertEqual(user(uid=FIRST), NO_RECORD)
        self.assertEqual(user(userName="vu-web-0"), NO_RECORD)
        os.rename("/run/elsewhere", "/run/machined")
        os.rename("/run/records", records.RECORDS)
        self.assertEqual(user(uid=FIRST), ("vu-web-0", FIRST))


@world.needs_root
class Machines(userdb.Case):
    """With the daemon, and machines that live and die."""

    def setUp(self):
        super().setUp()
        self.start()

    def machine(self, name, first):
        leader = self.leader(unmapped)
        write_map(leader, [(0, first, 65536)])
        self.register(name, leader)
        return leader

    def test_a_user_lives_as_long_as_its_machine(self):
        leader = self.machine("web", FIRST)
        self.assertEqual(user(uid=FIRST), ("vu-web-0", FIRST))
        self.assertEqual(group(gid=FIRST), ("vg-web-0", FIRST))
        leader.kill()
        self.assertEqual(user(uid=FIRST), NO_RECORD)
        self.assertEqual(user(userName="vu-web-0"), NO_RECORD)
        self.machine("db", FIRST)
        self.assertEqual(user(uid=FIRST), ("vu-db-0", FIRST))
        self.assertEqual(varlink.ask("Unregister", {"name": "db"}), varlink.OK)
        self.assertEqual(user(uid=FIRST), NO_RECORD)

    def test_a_dead_leader_is_found_no_more_while_the_daemon_is_frozen_or_killed(self):
        first, second = self.machine("web", FIRST), self.machine("db", FIRST + 65536)
        self.machined.process.send_signal(signal.SIGSTOP)
        self.assertEqual(user(uid=FIRST), ("vu-web-0", FIRST))
        first.tell(signal.SIGKILL)
        until(lambda: processes.state(first.pid) == "Z", "the end of a leader")
        self.assertEqual(user(uid=FIRST), NO_RECORD)
        self.assertEqual(user(userName="vu-web-0"), NO_RECORD)
        self.machined.kill()
        self.assertEqual(user(userName="vu-db-0"), ("vu-db-0", FIRST + 65536))
        second.kill()
        self.assertEqual(user(userName="vu-db-0"), NO_RECORD)

    def test_a_machine_whose_name_makes_no_user_name_has_users_by_its_alias(self):
        name = "web.example.com"
        alias = hashlib.sha256(name.encode()).hexdigest()[:8]
        self.machine(name, FIRST)
        self.assertEqual(user(uid=FIRST), (f"vu-{alias}-0", FIRST))
        self.assertEqual(user(userName=f"vu-{alias}-7"), (f"vu-{alias}-7", FIRST + 7))
        self.assertEqual(user(uid=FIRST, userName=f"vu-{alias}-0"), (f"vu-{alias}-0", FIRST))
        self.assertEqual(user(userName=f"vu-{name}-0"), NO_RECORD)
        with userdb.Client() as client:
            record = client.get("GetUserRecord", uid=FIRST)["parameters"]["record"]
        self.assertEqual(record["realName"], f"UID 0 of Container {name}")

    def test_a_machine_without_ids_of_its_own_has_no_users(self):
        self.register("plain", self.leader())
        self.assertEqual(user(userName="vu-plain-0"), NO_RECORD)
        self.assertEqual(user(uid=0), NO_RECORD)

    def test_provider_and_module_tell_the_same(self):
        module = os.environ.get("NSS_MODULE")
        if not module:
            self.skipTest("no module was built")
        self.machine("web", FIRST)
        self.machine("web.example.com", FIRST + 65536)
        os.makedirs("/run/lib")
        os.symlink(module, "/run/lib/libnss_mymachines.so.2")
        for uid in FIRST, FIRST + 5, FIRST + 65536 + 9:
            told = subprocess.run(["getent", "-s", "mymachines", "passwd", str(uid)], capture_output=True, text=True,
                                  env={**os.environ, "LD_LIBRARY_PATH": "/run/lib"}, timeout=20).stdout.strip()
            with userdb.Client() as client:
                record = client.get("GetUserRecord", uid=uid)["parameters"]["record"]
            self.assertEqual(told, "{userName}:x:{uid}:{gid}:{realName}:{homeDirectory}:{shell}".format(**record))


if __name__ == "__main__":
    world.main()
