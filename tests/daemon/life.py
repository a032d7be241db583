"""A machine comes, is there, and goes."""

import os
import signal
import threading

import processes
import records
import world
from varlink import MACHINE_EXISTS, NO_SUCH_MACHINE, OK, Client, ask, call, listed, register
from waiting import until


class Life(world.Case):
    def setUp(self):
        super().setUp()
        self.start()

    def test_the_record_is_on_disk_before_the_reply(self):
        box = self.container("10.1.0.1/32", "fd00::1/128")
        with Client() as client:
            for turn in range(100):
                name = f"m{turn}"
                call = {"name": name, "class": "container", "leader": box.pid}
                self.assertEqual(client.ask("Register", call), OK)
                record = records.record(name)
                self.assertEqual(record["LEADER"], str(box.pid))
                known_by = processes.pidfd_id(box.pid)
                self.assertEqual(record.get("LEADER_PIDFDID"), str(known_by) if known_by else None)
                self.assertEqual(record["ADDRESSES"], "10.1.0.1 fd00::1")
                self.assertEqual(record["UIDMAP"], "0:0:1")
                self.assertEqual(records.index(), {"10.1.0.1": name, "fd00::1": name})
                self.assertEqual(client.ask("Unregister", {"name": name}), OK)
                self.assertEqual(records.names(), [])
                self.assertEqual(records.index(), {})

    def test_nothing_is_left_of_a_machine_whose_leader_died(self):
        box = self.container("10.1.0.1/32")
        self.register("web", box)
        box.kill()
        self.assertEqual(ask("List", {"name": "web"}), NO_SUCH_MACHINE)
        until(lambda: not records.names() and not records.index(), "the end of the record")
        self.assertEqual(listed(), {})

    def test_the_name_of_a_dead_leader_is_free_at_once(self):
        with Client() as client:
            for _ in range(200):
                leader = processes.Process()
                call = {"name": "web", "class": "container", "leader": leader.pid}
                self.assertEqual(client.ask("Register", call), OK)
                leader.kill()
        until(lambda: not records.names(), "the end of the record")

    def test_the_name_and_the_leader_of_the_living_are_taken(self):
        one, other = self.leader(), self.leader()
        self.register("web", one)
        before = records.record("web")
        self.assertEqual(register("web", other.pid), MACHINE_EXISTS)
        self.assertEqual(register("web", one.pid), MACHINE_EXISTS)
        self.assertEqual(register("other", one.pid), "io.systemd.System EEXIST")
        self.assertEqual(records.record("web"), before)
        self.assert_consistent()

    def test_a_zombie_is_no_leader_and_a_leader_that_becomes_one_is_gone(self):
        child = processes.zombie()
        self.assertEqual(register("web", child), "org.varlink.service.InvalidParameter leader")
        os.waitpid(child, 0)
        leader = self.leader()
        self.register("web", leader)
        leader.tell(9)
        os.waitid(os.P_PID, leader.pid, os.WEXITED | os.WNOWAIT)
        self.assertEqual(ask("List", {"name": "web"}), NO_SUCH_MACHINE)
        self.assertEqual(register("web", self.leader().pid), OK)
        self.assert_consistent()

    def test_a_leader_that_dies_during_registration_leaves_nothing(self):
        told = []
        for turn in range(150):
            leader = processes.Process()
            ready = threading.Barrier(2)

            def end():
                ready.wait()
                leader.kill()

            killer = threading.Thread(target=end)
            killer.start()
            with Client() as client:
                call = {"name": f"m{turn}", "class": "container", "leader": leader.pid, "allocateUnit": turn % 2 == 0}
                ready.wait()
                told.append(client.ask("Register", call))
            killer.join()
        gone = {"org.varlink.service.InvalidParameter leader", "io.systemd.System ESRCH", "io.systemd.System ENODEV"}
        no_groups = set() if world.CGROUP else {"io.systemd.System EACCES", "io.systemd.System EOPNOTSUPP"}
        self.assertLessEqual(set(told), {OK} | gone | no_groups)
        until(lambda: not records.names(), "the end of the records")
        until(lambda: listed() == {}, "the end of all")

    def test_an_address_of_two_machines_belongs_to_none_until_one_leaves(self):
        one, other, third = boxes = [self.container() for _ in range(3)]
        processes.batch(["link add br0 type bridge", "address add 10.1.0.254/24 dev br0", "link set br0 up",
                         *(f"link set {box.end} master br0" for box in boxes)])
        self.addCleanup(processes.host, "link delete br0")
        for box in boxes:
            box.ip("address add 10.1.0.1/24 dev host0")
        self.register("one", one)
        self.assertEqual(records.index(), {"10.1.0.1": "one"})
        self.register("other", other)
        self.assertEqual(records.index(), {"10.1.0.1": "*"})
        self.register("third", third)
        other.kill()
        until(lambda: records.names() == ["one", "third"], "the end of one")
        self.assertEqual(records.index(), {"10.1.0.1": "*"})
        self.assertEqual(ask("Unregister", {"name": "one"}), OK)
        self.assertEqual(records.index(), {"10.1.0.1": "third"})
        third.ip("address delete 10.1.0.1/24 dev host0")
        until(lambda: records.index() == {}, "an empty index")
        self.assert_consistent()

    def test_names_that_look_like_backups_survive_a_restart(self):
        names = ["foo.old", "foo.bak", "foo.swp", "foo.dpkg-new", "foo.rpmsave", "unit", "a.b.c", "x" * 64]
        for name in names:
            self.register(name, self.leader())
        self.restart()
        self.assertEqual(sorted(listed()), sorted(names))
        self.assert_consistent()

    def test_a_leader_may_register_itself_and_its_children_belong_to_it(self):
        reader, writer = os.pipe()

        def body():
            os.write(writer, ask("Register", {"name": "self", "class": "vm"}).encode() + b"\n")
            child = os.fork()
            while not child:
                signal.pause()
            os.write(writer, f"{child}\n".encode())

        leader = self.leader(body)
        os.close(writer)
        with os.fdopen(reader) as pipe:
            self.assertEqual(pipe.readline(), "ok\n")
            child = int(pipe.readline())
        self.assertEqual(listed()["self"]["leader"]["pid"], leader.pid)
        self.assertNotIn("supervisor", listed()["self"])
        found = call("List", {"pid": {"pid": child}})
        self.assertEqual(found["parameters"]["name"], "self")
        os.kill(child, 9)

    def test_a_machine_leaves_by_its_process_id_too(self):
        leader = self.leader()
        self.register("web", leader)
        self.assertEqual(ask("Unregister", {"name": "other", "pid": {"pid": leader.pid}}), NO_SUCH_MACHINE)
        self.assertEqual(ask("Unregister", {"pid": {"pid": leader.pid}}), OK)
        self.assertTrue(processes.is_running(leader.pid))
        self.assertEqual(records.names(), [])


class Crowd(world.Case):
    def test_a_thousand_machines_are_listed_restored_and_end_together(self):
        self.start()
        idle, allocated_idle = self.machined.rss(), self.machined.allocated()
        leaders = [self.leader() for _ in range(1000)]
        with Client() as client:
            for number, leader in enumerate(leaders):
                if number == 100:
                    first = self.machined.rss()
                call = {"name": f"m{number}", "class": "container", "leader": leader.pid}
                self.assertEqual(client.ask("Register", call), OK)
            each = (self.machined.rss() - first) * 1024 / 900
        print(f"# {each:.0f} bytes a machine")
        self.assertLess(each, 1200)
        self.assertEqual(len(listed(acquireMetadata="graceful")), 1000)
        full, allocated_full = self.machined.rss(), self.machined.allocated()
        print(f"# VmRSS: {idle} KiB idle, {full} KiB with 1000 machines, just listed with metadata")
        print(f"# RssAnon: {allocated_idle} KiB idle, {allocated_full} KiB with 1000 machines")
        self.assertLess(allocated_idle, 1 << 10)
        self.assertLess(allocated_full, 3 << 10)
        self.assertLess(idle, 5 << 10)
        self.assertLess(full, 7 << 10)
        self.assert_consistent()
        self.restart()
        self.assertEqual(len(listed()), 1000)
        self.assert_consistent()
        for leader in leaders:
            leader.tell(9)
        until(lambda: not records.names(), "the end of all records")
        until(lambda: listed() == {}, "the end of all")


if __name__ == "__main__":
    world.main()
