"""What a machine's name resolves to follows what happens in its network."""

import os
import resource
import signal
import socket
import subprocess
import tempfile
import threading
import time

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

    def test_what_the_host_reaches_is_what_a_name_resolves_to(self):
        box = self.container()
        box.ip("address add 10.9.9.9/32 dev lo", "address add 10.2.0.2/24 dev host0", "address add fd02::2/64 dev host0 nodad",
               "address add fe80::2/64 dev host0 nodad")
        self.register("web", box)
        # No way leads there, so that any of them may be meant.
        self.assert_addresses("web", "10.2.0.2", "fd02::2", "fe80::2", "10.9.9.9", with_links=False)
        until(lambda: records.index() == {}, "an empty index")
        processes.batch([f"address add 10.2.0.1/24 dev {box.end}", f"address add fd02::1/64 dev {box.end} nodad",
                         f"address add fe80::1/64 dev {box.end} nodad"])
        index = socket.if_nametoindex(box.end)
        until(lambda: records.addresses("web") == ["10.2.0.2", "fd02::2", f"fe80::2%{index}"],
              "what the host reaches")
        until(lambda: records.index() == {"10.2.0.2": "web", "fd02::2": "web"}, "the index")
        # GetAddresses and List have all of them.
        found = call("List", {"name": "web", "acquireMetadata": "graceful"})["parameters"]["addresses"]
        self.assertEqual(len(found), 4)
        self.assert_consistent()
        # The interface goes, and with it its other end and the addresses there.
        processes.host("link delete", box.end)
        self.assert_addresses("web", "10.9.9.9")
        self.assert_consistent()

    def test_the_hosts_own_addresses_are_no_machines(self):
        """systemd#19253, #20724 turned round: what a container's root puts on its interfaces is a claim."""
        box = self.container()
        processes.batch([f"address add 10.77.1.1/24 dev {box.end}", "link add docker0 type veth peer name docker0p",
                         "address add 172.17.0.1/16 dev docker0", "link set docker0 up", "link set docker0p up",
                         "address add fd17::1/64 dev docker0 nodad"])
        self.addCleanup(subprocess.run, ["ip", "link", "delete", "docker0"], stderr=subprocess.DEVNULL)
        box.ip("link add docker0 type veth peer name docker0p", "link set docker0p up", "link set docker0 up",
               "address add 10.77.1.2/24 dev host0", "address add 172.17.0.1/16 dev docker0",
               "address add fd17::1/64 dev docker0 nodad", "address add 192.0.2.53/32 dev lo",
               "address add 10.77.1.1/32 dev lo", "address add 10.77.1.255/32 dev lo", "address add 127.0.0.77/8 dev host0",
               "address add 2001:db8::53/128 dev docker0 nodad")
        self.register("web", box)
        self.assert_addresses("web", "10.77.1.2")
        until(lambda: records.index() == {"10.77.1.2": "web"}, "the index")
        # Where the host's goes, the container's is still not reached there.
        processes.host("link delete docker0")
        self.assert_addresses("web", "10.77.1.2")
        # Without a way to the container its name may mean what is left, but never what is the host's.
        processes.host("address delete", "10.77.1.1/24", "dev", box.end)
        processes.host("address add 172.17.0.1/32 dev lo")
        self.assert_addresses("web", "10.77.1.1", "10.77.1.2", "10.77.1.255", "192.0.2.53", "2001:db8::53", "fd17::1")
        until(lambda: records.index() == {}, "an empty index")
        processes.host("address delete 172.17.0.1/32 dev lo")
        until(lambda: "172.17.0.1" in records.addresses("web"), "the claim")

    def test_a_connection_to_the_name_reaches_the_container(self):
        """Host and container both have 172.17.0.1; what listens there on the host is not what is meant."""
        box = self.container()
        processes.batch([f"address add 10.77.1.1/24 dev {box.end}", "address add 172.17.0.1/32 dev lo"])
        self.addCleanup(processes.host, "address delete 172.17.0.1/32 dev lo")
        box.ip("address add 172.17.0.1/32 dev lo", "address add 10.77.1.2/24 dev host0")
        self.register("web", box)
        # What answers tells the namespace it is in.
        answer = ("import os, socket; server = socket.create_server(('0.0.0.0', 4711)); print(flush=True)\n"
                  "while True: server.accept()[0].sendall(os.readlink('/proc/self/ns/net').encode())")
        for prefix in [], ["nsenter", "--target", str(box.pid), "--net"]:
            server = subprocess.Popen([*prefix, "python3", "-c", answer], stdout=subprocess.PIPE)
            self.addCleanup(server.wait)
            self.addCleanup(server.kill)
            self.addCleanup(server.stdout.close)
            self.assertEqual(server.stdout.readline(), b"\n")
        self.assertEqual(records.addresses("web"), ["10.77.1.2"])
        for address in records.addresses("web"):
            with socket.create_connection((address, 4711), timeout=20) as connection:
                self.assertEqual(connection.recv(100).decode(), os.readlink(f"/proc/{box.pid}/ns/net"))

    def test_a_name_that_means_something_else_is_led_to_by_no_address(self):
        own = socket.gethostname().split(".")[0]
        hosts = tempfile.NamedTemporaryFile("w", dir="/run", suffix=".hosts")
        self.addCleanup(hosts.close)
        hosts.write("127.0.0.1 localhost\n10.1.0.200 mail\n10.1.0.6 ftp\n")
        hosts.flush()
        subprocess.run(["mount", "--bind", hosts.name, "/etc/hosts"], check=True)
        self.addCleanup(subprocess.run, ["umount", "/etc/hosts"], check=True)
        self.restart()
        names = ["localhost", own, "10.0.0.1", "123", "0x7f000001", "mail", "ftp", "web"]
        for number, name in enumerate(names):
            self.register(name, self.container(f"10.1.0.{number}/32"))
            self.assertEqual(records.addresses(name), [f"10.1.0.{number}"])
        self.assertEqual(records.index(), {"10.1.0.6": "ftp", "10.1.0.7": "web"})
        # The file is followed, as it is written and as it is replaced.
        hosts.write("10.1.0.200 web\n")
        hosts.flush()
        with open(hosts.name, "a", encoding="ascii"):
            pass
        until(lambda: records.index() == {"10.1.0.6": "ftp"}, "the index")
        with open(hosts.name, "w", encoding="ascii"):
            pass
        until(lambda: records.index() == {"10.1.0.5": "mail", "10.1.0.6": "ftp", "10.1.0.7": "web"}, "the index")

    def test_a_machine_on_a_bridge_is_reached_but_not_what_is_beyond_the_router(self):
        boxes = [self.container(), self.container()]
        processes.batch(["link add br0 type bridge", "address add 10.5.0.1/24 dev br0", "link set br0 up",
                         *(f"link set {box.end} master br0" for box in boxes), "route add default via 10.5.0.254"])
        self.addCleanup(processes.host, "link delete br0")
        for number, box in enumerate(boxes):
            box.ip(f"address add 10.5.0.{number + 2}/24 dev host0", f"address add 8.8.8.{number}/32 dev lo")
            self.register(f"box{number}", box)
        self.assert_addresses("box0", "10.5.0.2")
        self.assert_addresses("box1", "10.5.0.3")
        until(lambda: records.index() == {"10.5.0.2": "box0", "10.5.0.3": "box1"}, "the index")
        # Who takes a neighbour's address has it no more than the neighbour has.
        boxes[1].ip("address add 10.5.0.2/24 dev host0")
        until(lambda: records.index() == {"10.5.0.3": "box1", "10.5.0.2": "*"}, "an address that is nobody's alone")
        # Through the machine itself leads a way to the machine.
        processes.batch(["route add 8.8.8.1/32 via 10.5.0.3"])
        self.assert_addresses("box1", "10.5.0.3", "10.5.0.2", "8.8.8.1")
        processes.host("link set", boxes[0].end, "nomaster")
        until(lambda: records.index() == {"10.5.0.3": "box1", "10.5.0.2": "box1", "8.8.8.1": "box1"}, "the end of a port")
        self.assert_consistent()

    def test_a_rule_that_leads_elsewhere_is_followed(self):
        box = self.container("10.1.0.1/32")
        self.register("web", box)
        self.assertEqual(records.index(), {"10.1.0.1": "web"})
        processes.host("rule add to 10.1.0.1 unreachable")
        self.addCleanup(processes.host, "rule delete to 10.1.0.1 unreachable")
        until(lambda: records.index() == {}, "an empty index")
        self.assert_addresses("web", "10.1.0.1")
        self.assert_consistent()

    def test_what_the_host_changes_is_known_within_a_second(self):
        """Its links, routes and rules: each is heard of, and not looked for."""
        box = self.container("10.1.0.1/32")
        self.register("web", box)
        self.assertEqual(records.index(), {"10.1.0.1": "web"})
        took = []
        for change, back in (("rule add to 10.1.0.1 unreachable", "rule delete to 10.1.0.1 unreachable"),
                             ("route delete 10.1.0.1", f"route add 10.1.0.1 dev {box.end}"),
                             ("address add 10.1.0.1/32 dev lo", "address delete 10.1.0.1/32 dev lo")) * 3:
            for command, expected in (change, {}), (back, {"10.1.0.1": "web"}):
                began = time.monotonic()
                processes.host(command)
                until(lambda expected=expected: records.index() == expected, f"what {command} does")
                took.append(time.monotonic() - began)
        took.sort()
        print(f"# changes of the host are in the index after {took[len(took) // 2]:.3f} s, {took[-1]:.3f} s at most", flush=True)
        # A machine that is busy with other things may be late now and then.
        self.assertLess(took[len(took) * 3 // 4], 1)
        self.assert_consistent()

    def test_what_the_host_reaches_is_known_after_a_start(self):
        box = self.container("10.1.0.1/32")
        self.register("web", box)
        self.machined.kill()
        self.start()
        self.assertEqual(records.index(), {"10.1.0.1": "web"})
        self.machined.kill()
        processes.host("route delete 10.1.0.1")
        self.start()
        until(lambda: records.index() == {}, "an empty index")
        self.assert_consistent()

    def test_a_host_whose_routes_change_all_the_time_still_serves(self):
        boxes = [self.container(f"10.1.0.{number}/32") for number in range(1, 20)]
        for number, box in enumerate(boxes):
            self.register(f"box{number}", box)
        before = self.machined.cpu()
        flood = threading.Event()
        churn = [f"route {what} 10.1.{number}.0/24 dev {boxes[0].end}" for number in range(200) for what in ("add", "delete")]

        def change():
            while not flood.is_set():
                processes.batch(churn)

        thread = threading.Thread(target=change)
        thread.start()
        for number in range(20):
            with Client() as client:
                self.assertEqual(client.call("List", {"name": "box1"})["parameters"]["name"], "box1")
            processes.host("route delete 10.1.0.2")
            until(lambda: "10.1.0.2" not in records.index(), "a change among many")
            processes.host("route add 10.1.0.2 dev", boxes[1].end)
            until(lambda: "10.1.0.2" in records.index(), "a change among many")
        flood.set()
        thread.join()
        print(f"# {self.machined.cpu() - before:.2f} s of processor time in a flood of routes", flush=True)
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
        until(lambda: len(records.addresses("web") or []) == kept, f"{kept} addresses")
        found = call("List", {"name": "web", "acquireMetadata": "graceful"})["parameters"]
        self.assertGreaterEqual(len(found["addresses"]), kept)
        self.assertLessEqual(set(records.addresses("web")), set(many))
        until(lambda: records.index() == records.expected_index(), "the index")
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
        until(lambda: len(records.addresses("web")) > 100, "some of them")
        box.remove("10.1.0.1/32")
        until(lambda: "10.1.0.1" not in records.addresses("web"), "the end of the first")
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
            with Client() as client:
                self.assertEqual(client.call("List", {"name": "quiet"})["parameters"]["name"], "quiet")
            quiet.add(f"10.2.1.{number}/32")
            until(lambda: f"10.2.1.{number}" in records.addresses("quiet"), "the change of the other")
        flood.set()
        for thread in threads:
            thread.join()
        loud.ip("address flush dev lo", "address add 10.1.2.3/32 dev lo")
        self.assert_addresses("loud", "10.1.2.3")
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
        self.assert_addresses("web", "10.2.0.2")
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
        until(lambda: records.index() == {"10.1.0.1": "*", "10.1.0.2": "*"}, "an index that says that both have both")
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
