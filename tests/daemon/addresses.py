"""What a machine's name resolves to follows what happens in its network."""

import os
import resource
import signal
import socket
import subprocess
import threading

import processes
import records
import world
from varlink import OK, Client, ask, call, listed, register
from waiting import until


class Follow(world.Case):
    def setUp(self):
        super().setUp()
        self.start()

    def test_the_last_address_goes_and_comes_back(self):
        box = self.container("10.1.0.1/32")
        self.register("web", box)
        box.remove("10.1.0.1/32")
        self.assert_addresses("web")
        self.assertEqual(records.addresses("web"), [])
        until(lambda: records.index() == {}, "an empty index")
        box.add("10.1.0.2/32", "fd00::2/128")
        self.assert_addresses("web", "10.1.0.2", "fd00::2")
        until(lambda: records.index() == {"10.1.0.2": "web", "fd00::2": "web"}, "the index")
        self.assert_consistent()

    def test_a_machine_in_the_hosts_network_has_none_of_its_own(self):
        self.register("web", self.leader())
        self.assertEqual(records.addresses("web"), ["host"])
        with Client() as client:
            self.assertEqual(client.ask("List", {"name": "web", "acquireMetadata": "yes"}),
                             "io.systemd.Machine.NoPrivateNetworking")

    def test_the_address_on_the_peer_of_a_registered_interface_comes_first(self):
        box = self.container("10.9.9.9/32")
        subprocess.run(["ip", "link", "add", "ve-web", "type", "veth", "peer", "name", "host0", "netns", str(box.pid)],
                       check=True)
        self.addCleanup(subprocess.run, ["ip", "link", "delete", "ve-web"], stderr=subprocess.DEVNULL)
        subprocess.run(["ip", "link", "set", "ve-web", "up"], check=True)
        index = socket.if_nametoindex("ve-web")
        box.ip("link set host0 up", "address add 10.2.0.2/24 dev host0", "address add fd02::2/64 dev host0 nodad",
               "address add fe80::2/64 dev host0 nodad")
        self.register("web", box, ifIndices=[index])
        until(lambda: records.addresses("web")[:2] == ["10.2.0.2", "fd02::2"], f"{records.addresses('web')}", 5)
        self.assertIn(f"fe80::2%{index}", records.addresses("web"))
        self.assertEqual(records.addresses("web")[-1], "10.9.9.9")
        # What the other end of a pair is, is asked anew: the interface may go.
        subprocess.run(["ip", "link", "delete", "ve-web"], check=True)
        self.assert_addresses("web", "10.9.9.9")
        self.assert_consistent()

    def test_what_changes_while_nobody_watches_is_seen_after_the_start(self):
        boxes = {name: self.container(address) for name, address in
                 (("same", "10.1.0.1/32"), ("other", "10.2.0.1/32"), ("asked", "10.3.0.1/32"))}
        for name, box in boxes.items():
            self.register(name, box)
        self.assert_consistent()
        before = {name: os.stat(f"/run/systemd/machines/{name}").st_ino for name in boxes}
        self.machined.kill()
        boxes["other"].add("10.2.0.2/32")
        boxes["asked"].add("10.3.0.2/32")
        self.start()
        # Whoever asks for the addresses is never told what was.
        found = call("List", {"name": "asked", "acquireMetadata": "graceful"})["parameters"]
        self.assertEqual([address["address"] for address in found["addresses"]],
                         [[10, 3, 0, 1], [10, 3, 0, 2]])
        self.assert_addresses("other", "10.2.0.1", "10.2.0.2")
        self.assert_addresses("asked", "10.3.0.1", "10.3.0.2")
        self.assert_addresses("same", "10.1.0.1")
        self.assert_consistent()
        # What still holds is not written anew.
        after = {name: os.stat(f"/run/systemd/machines/{name}").st_ino for name in boxes}
        self.assertEqual([name for name in boxes if after[name] == before[name]], ["same"])
        boxes["same"].remove("10.1.0.1/32")
        self.assert_addresses("same")

    def check_many(self, count, kept):
        box = self.container()
        self.register("web", box)
        many = [f"fd00::{number // 256 + 1:x}:{number % 256:x}" for number in range(count)]
        box.add(*(f"{address}/128" for address in many))
        until(lambda: len(records.addresses("web") or []) == kept, f"{kept} addresses", 5)
        found = call("List", {"name": "web", "acquireMetadata": "graceful"})["parameters"]
        self.assertGreaterEqual(len(found["addresses"]), kept)
        self.assertLessEqual(set(records.addresses("web")), set(many))
        until(lambda: records.index() == records.expected_index(), "the index", 5)
        self.restart()
        self.assertEqual(len(records.addresses("web")), kept)
        self.assert_consistent()
        box.ip("address flush dev lo")
        self.assert_addresses("web")
        until(lambda: records.index() == {}, "an empty index")

    def test_three_hundred_addresses_are_all_there(self):
        self.check_many(300, 300)

    def test_of_two_thousand_addresses_as_many_as_fit_a_record(self):
        self.check_many(2000, 1000)

    def test_addresses_that_do_not_fit_beside_the_rest_do_not_freeze_the_record(self):
        box = self.container("10.1.0.1/32")
        self.register("web", box, service="x" * 50_000)
        many = [f"fd00:aaaa:bbbb:cccc:dddd:eeee:{number:x}:ffff/128" for number in range(0x1000, 0x1000 + 900)]
        box.add(*many)
        until(lambda: len(records.addresses("web")) > 100, "some of them", 5)
        box.remove("10.1.0.1/32")
        until(lambda: "10.1.0.1" not in records.addresses("web"), "the end of the first", 5)
        box.ip("address flush dev lo")
        self.assert_addresses("web")
        self.assert_consistent()

    def test_a_container_that_floods_changes_hurts_itself_only(self):
        loud, quiet = self.container("10.1.0.1/32"), self.container("10.2.0.1/32")
        self.register("loud", loud)
        self.register("quiet", quiet)
        flood = threading.Event()

        def change():
            batch = ["address add 10.1.1.1/32 dev lo", "address delete 10.1.1.1/32 dev lo"] * 200
            while not flood.is_set():
                loud.ip(*batch, force=True)

        threads = [threading.Thread(target=change) for _ in range(2)]
        for thread in threads:
            thread.start()
        for number in range(20):
            with Client(deadline=2) as client:
                self.assertEqual(client.call("List", {"name": "quiet"})["parameters"]["name"], "quiet")
            quiet.add(f"10.2.1.{number}/32")
            until(lambda: f"10.2.1.{number}" in records.addresses("quiet"), "the change of the other", 2)
        flood.set()
        for thread in threads:
            thread.join()
        loud.ip("address flush dev lo", "address add 10.1.2.3/32 dev lo")
        self.assert_addresses("loud", "10.1.2.3", deadline=2)
        self.assert_consistent()

    def test_a_change_that_could_not_be_looked_at_is_made_good(self):
        box = self.container("10.1.0.1/32")
        self.machined.close()
        self.start("--log-level", "debug")
        self.register("web", box)
        # No number below the limit is free.
        hard = resource.prlimit(self.machined.pid, resource.RLIMIT_NOFILE)[1]
        resource.prlimit(self.machined.pid, resource.RLIMIT_NOFILE, (3, hard))
        box.add("10.1.0.2/32")
        until(lambda: f"Process {box.pid}:" in self.machined.log(), "a look in vain")
        resource.prlimit(self.machined.pid, resource.RLIMIT_NOFILE, (hard, hard))
        self.assert_addresses("web", "10.1.0.1", "10.1.0.2")
        self.assert_consistent()

    def test_a_leader_that_leaves_its_network_for_good_is_followed(self):
        def moving():
            processes.checked(processes.LIBC.unshare(processes.CLONE_NEWNET))
            subprocess.run(["ip", "-batch", "-"], input="link set lo up\naddress add 10.1.0.1/32 dev lo", text=True,
                           check=True)

            def move(*_):
                processes.checked(processes.LIBC.unshare(processes.CLONE_NEWNET))
                subprocess.run(["ip", "-batch", "-"], input="link set lo up\naddress add 10.2.0.2/32 dev lo",
                               text=True, check=True)

            signal.signal(signal.SIGUSR1, move)

        leader = self.leader(moving)
        self.register("web", leader)
        self.assertEqual(records.addresses("web"), ["10.1.0.1"])
        # Its old network goes with it, and that is heard of; were somebody left there, it would not be.
        leader.tell(signal.SIGUSR1)
        self.assert_addresses("web", "10.2.0.2", deadline=20)
        self.assert_consistent()

    def test_two_machines_in_one_network_change_together(self):
        box = self.container("10.1.0.1/32")
        mate = subprocess.Popen(["nsenter", "--target", str(box.pid), "--net", "sleep", "infinity"])
        self.addCleanup(mate.wait)
        self.addCleanup(mate.kill)
        until(lambda: open(f"/proc/{mate.pid}/comm").read() == "sleep\n", "the mate")
        self.register("one", box)
        self.assertEqual(register("two", mate.pid), OK)
        box.add("10.1.0.2/32")
        for name in ("one", "two"):
            self.assert_addresses(name, "10.1.0.1", "10.1.0.2")
        self.assertEqual(records.index(), {})
        self.assertEqual(ask("Unregister", {"name": "one"}), OK)
        self.assertEqual(records.index(), {"10.1.0.1": "two", "10.1.0.2": "two"})
        box.remove("10.1.0.1/32")
        self.assert_addresses("two", "10.1.0.2")
        self.assert_consistent()

    def test_what_changed_while_no_daemon_ran_is_there_after_its_start(self):
        box = self.container("10.1.0.1/32")
        self.register("web", box)
        self.machined.kill()
        box.add("10.1.0.2/32")
        box.remove("10.1.0.1/32")
        self.start()
        self.assert_addresses("web", "10.1.0.2")
        self.assert_consistent()
        box.add("10.1.0.3/32")
        self.assert_addresses("web", "10.1.0.2", "10.1.0.3")
        self.assertEqual(list(listed()), ["web"])


if __name__ == "__main__":
    world.main()
