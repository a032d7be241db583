"""Addresses of virtual machines: what is given, leased, and met. The guests are network namespaces behind ports of a bridge."""

import fcntl
import json
import os
import socket
import struct
import subprocess
import time
import unittest

import fuse
import processes
import records
import world
from subscribe import Follower
from varlink import INVALID, OK, as_user, ask, call, listed, register
from waiting import AT_ONCE, DEADLINE, until

BRIDGE, HOST = "guests0", "10.50.0.1"
SET = "io.mymachines.Registry.SetAddresses"
LEASES = "/run/systemd/netif/dhcp-server-lease"
TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 2, 0x1000


def lease(*leases, interface=BRIDGE, ends=None):
    """Writes down leases as systemd-networkd does: (address, hardware address)."""
    def numbers(text, separator, base):
        return [int(word, base) for word in text.split(separator)]

    ends = ends or int(time.time() + 3600)
    told = [{"ClientId": [255, 1], "Address": numbers(address, ".", 10), "HardwareAddress": numbers(mac, ":", 16),
             "ExpirationRealtimeUSec": ends * 1_000_000} for address, mac in leases]
    os.makedirs(LEASES, exist_ok=True)
    with open(f"{LEASES}/.#{interface}", "w") as file:
        json.dump({"BootID": "0" * 32, "Address": [10, 50, 0, 1], "PrefixLength": 24, "Leases": told}, file)
    os.rename(f"{LEASES}/.#{interface}", f"{LEASES}/{interface}")


def sources(name):
    return records.record(name).get("ADDRESSES_FROM")


class Guests(world.Case):
    def setUp(self):
        super().setUp()
        processes.batch([f"link add {BRIDGE} type bridge", f"address add {HOST}/24 dev {BRIDGE}",
                         f"address add fd50::1/64 dev {BRIDGE} nodad", f"link set {BRIDGE} up"])
        self.addCleanup(subprocess.run, ["ip", "link", "delete", BRIDGE], stderr=subprocess.DEVNULL)
        self.start()

    def guest(self, *addresses, name=None, **more):
        """A guest with these addresses, which has spoken to the host by each; registered, if it has a name."""
        box = self.container(bridge=BRIDGE)
        with open(f"/proc/{box.pid}/net/dev") as file:
            assert "host0" in file.read()
        found = subprocess.run(["nsenter", "--target", str(box.pid), "--net", "ip", "-json", "link", "show", "host0"],
                               check=True, capture_output=True, text=True)
        box.mac = json.loads(found.stdout)[0]["address"]
        self.speak(box, *addresses)
        if name:
            box.leader = self.leader()
            self.register(name, box.leader, **{"class": "vm", "ifIndices": [socket.if_nametoindex(box.end)], **more})
        return box

    @staticmethod
    def speak(box, *addresses):
        """Takes addresses, and sends something to the host by each of them."""
        for address in addresses:
            box.ip(f"address replace {address}/24 dev host0")
            program = ("import socket, sys; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind((sys.argv[1], 0));"
                       f"s.sendto(b'x', ('{HOST}', 9))")
            subprocess.run(["nsenter", "--target", str(box.pid), "--net", "python3", "-c", program, address], check=True)

            def is_met(address=address):
                found = subprocess.run(["ip", "-json", "neighbour", "show", address, "dev", BRIDGE], check=True,
                                       capture_output=True, text=True)
                return any(there.get("lladdr") == box.mac for there in json.loads(found.stdout or "[]"))
            until(is_met, f"{address} as a neighbour")

    def test_a_lease_is_a_name_at_once(self):
        web, db = self.guest("10.50.0.11", name="web"), self.guest("10.50.0.12", name="db")
        self.assert_addresses("web", "10.50.0.11")
        self.assertEqual(sources("web"), "neighbour")
        began = time.monotonic()
        lease(("10.50.0.21", web.mac), ("10.50.0.22", db.mac), ("10.50.0.23", "52:54:00:00:00:01"))
        self.assert_addresses("web", "10.50.0.21")
        self.assert_addresses("db", "10.50.0.22")
        self.assertLess(time.monotonic() - began, AT_ONCE)
        self.assertEqual((sources("web"), sources("db")), ("lease", "lease"))
        until(lambda: records.index() == {"10.50.0.21": "web", "10.50.0.22": "db"}, "the index")
        found = call("List", {"name": "web", "acquireMetadata": "graceful"})["parameters"]["addresses"]
        self.assertEqual([address["address"] for address in found], [[10, 50, 0, 21]])
        follower = Follower(names=["web"]).snapshot()
        self.addCleanup(follower.close)
        self.assertEqual(follower.machines["web"]["addressesFrom"], ["lease"])
        # It is given back, and another one given.
        lease(("10.50.0.31", web.mac))
        self.assert_addresses("web", "10.50.0.31")
        follower.until(lambda machines: machines["web"]["addresses"] == ["10.50.0.31"], "the change")
        os.unlink(f"{LEASES}/{BRIDGE}")
        self.assert_addresses("db", "10.50.0.12")
        self.assert_consistent()

    def test_a_lease_ends(self):
        web = self.guest(name="web")
        self.speak(web, "10.50.0.11")
        lease(("10.50.0.21", web.mac), ends=int(time.time()) + 5)
        self.assert_addresses("web", "10.50.0.21")
        self.assert_addresses("web", "10.50.0.11")

    def test_a_damaged_file_and_one_that_is_none_cost_nothing(self):
        web = self.guest("10.50.0.11", name="web")
        lease(("10.50.0.21", web.mac))
        self.assert_addresses("web", "10.50.0.21")
        os.mkfifo(f"{LEASES}/fifo")
        with open(f"{LEASES}/damaged", "w") as file:
            file.write("{" * 100000)
        with open(f"{LEASES}/large", "w") as file:
            file.write(" " * (1 << 21))
        lease(("10.50.0.22", web.mac))
        self.assert_addresses("web", "10.50.0.22")

    def test_the_hosts_neighbours_never_lead_back(self):
        self.guest("10.50.0.11", name="web")
        self.assert_addresses("web", "10.50.0.11")
        self.assertEqual((records.index(), sources("web")), ({}, "neighbour"))
        self.assertNotIn("REACHED", records.record("web"))

    def test_a_registrar_gives_addresses_and_takes_them_back(self):
        self.guest("10.50.0.11", name="web")
        self.assertEqual(ask(SET, {"name": "web", "addresses": ["10.50.0.40", "192.0.2.7", "10.50.0.40"]}), OK)
        self.assertEqual((records.addresses("web"), sources("web")), (["10.50.0.40", "192.0.2.7"], "given"))
        self.restart()
        self.assertEqual(ask("List", {"name": "web"}), OK)
        self.assert_addresses("web", "10.50.0.40", "192.0.2.7")
        self.assertEqual(ask(SET, {"name": "web", "addresses": ["10.50.0.41"]}), OK)
        self.assertEqual(records.index(), {"10.50.0.41": "web"})
        self.assertEqual(ask(SET, {"name": "web", "addresses": []}), OK)
        self.assert_addresses("web", "10.50.0.11")
        self.assert_consistent()

    def test_what_cannot_be_given_changes_nothing(self):
        self.guest(name="web")
        self.guest(name="db")
        box = self.container()
        self.register("box", box)
        self.assertEqual(ask(SET, {"name": "db", "addresses": ["10.50.0.42"]}), OK)
        self.assertEqual(ask(SET, {"name": "web", "addresses": ["10.50.0.40"]}), OK)
        for addresses, error in ((["10.50.0.41", HOST], "AddressOfHost"), (["fd50::1"], "AddressOfHost"), (["127.0.0.9"], "AddressOfHost"),
                                 (["10.50.0.255"], "AddressOfHost"), (["10.50.0.42"], "AddressTaken")):
            reply = call(SET, {"name": "web", "addresses": addresses})
            self.assertEqual((reply["error"], reply["parameters"]),
                             (f"io.mymachines.Registry.{error}", {"address": addresses[-1]}))
        for addresses in (["web"], ["10.50.0.9%5"], ["fe80::1"], [""], [f"10.51.0.{n}" for n in range(65)]):
            self.assertEqual(ask(SET, {"name": "web", "addresses": addresses}), f"{INVALID} addresses", addresses)
        self.assertEqual(ask(SET, {"name": "box", "addresses": ["10.50.0.43"]}), "io.systemd.Machine.NotAvailable")
        self.assertEqual(ask(SET, {"name": "nobody", "addresses": []}), "io.systemd.Machine.NoSuchMachine")
        self.assertEqual(records.addresses("web"), ["10.50.0.40"])

    @world.needs_root
    def test_only_who_may_manage_a_machine_gives_it_addresses(self):
        self.guest(name="web")
        self.assertNotEqual(as_user(world.OWNER, lambda: ask(SET, {"name": "web", "addresses": ["10.50.0.40"]})), OK)
        self.assertNotIn("10.50.0.40", records.addresses("web"))

    def test_a_container_has_its_address_before_a_machine_that_leased_it(self):
        web = self.guest(name="web")
        self.speak(web, "10.50.0.11")
        lease(("10.50.0.21", web.mac))
        self.assert_addresses("web", "10.50.0.21")
        box = self.container("10.50.0.21/32", bridge=BRIDGE)
        self.register("box", box)
        self.assert_addresses("box", "10.50.0.21")
        until(lambda: "10.50.0.21" not in records.addresses("web"), "the end of the other's claim")
        until(lambda: records.index() == {"10.50.0.21": "box"}, "the index")

    def test_a_lease_that_a_container_had_is_told_when_that_is_gone(self):
        web = self.guest(name="web")
        box = self.container("10.50.0.21/32", bridge=BRIDGE)
        self.register("box", box)
        self.assert_addresses("box", "10.50.0.21")
        self.speak(web, "10.50.0.11")
        lease(("10.50.0.21", web.mac), ("10.50.0.22", web.mac))
        self.assert_addresses("web", "10.50.0.22")
        self.assertEqual(ask("Unregister", {"name": "box"}), OK)
        until(lambda: sorted(records.addresses("web")) == ["10.50.0.21", "10.50.0.22"], "the lease")

    def readers(self):
        """The processes that read leases."""
        told = subprocess.run(["ps", "-o", "stat=,args=", "--ppid", str(self.machined.pid)], capture_output=True, text=True)
        return [line for line in told.stdout.splitlines() if "--lease-reader" in line]

    def test_leases_are_read_only_while_they_could_be_anybodys(self):
        box = self.container(bridge=BRIDGE)
        self.register("box", box)
        nowhere = self.leader()
        self.register("nowhere", nowhere, **{"class": "vm"})
        self.assertEqual(ask("List", {"name": "nowhere"}), OK)
        self.assertEqual(self.readers(), [])
        web = self.guest("10.50.0.11", name="web")
        lease(("10.50.0.21", web.mac))
        self.assert_addresses("web", "10.50.0.21")
        self.assertEqual(len(self.readers()), 1)
        self.assertEqual(ask("Unregister", {"name": "web"}), OK)
        until(lambda: not self.readers(), "its end")
        again = self.guest("10.50.0.12", name="again")
        lease(("10.50.0.22", again.mac))
        self.assert_addresses("again", "10.50.0.22")
        self.machined.kill()
        self.start()
        self.assertEqual((records.addresses("again"), sources("again")), (["10.50.0.22"], "lease"))
        lease(("10.50.0.23", again.mac))
        self.assert_addresses("again", "10.50.0.23")

    def test_a_reader_that_was_killed_is_replaced_and_takes_nothing_away(self):
        web = self.guest("10.50.0.11", name="web")
        lease(("10.50.0.21", web.mac))
        self.assert_addresses("web", "10.50.0.21")
        subprocess.run(["pkill", "-KILL", "-f", "--", "--lease-reader"], check=True)
        until(lambda: not self.readers(), "its end")
        lease(("10.50.0.22", web.mac))
        self.assertEqual(records.addresses("web"), ["10.50.0.21"])
        until(lambda: records.addresses("web") == ["10.50.0.22"], "the next reader", max(60, DEADLINE))

    @unittest.skipUnless(fuse.is_there(), "needs FUSE, and root")
    def test_a_file_system_with_leases_that_hangs_holds_nobody_up(self):
        web = self.guest("10.50.0.11", name="web")
        lease(("10.50.0.21", web.mac))
        self.assert_addresses("web", "10.50.0.21")
        self.machined.kill()
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/var/lib"], check=True)
        self.addCleanup(subprocess.run, ["umount", "--lazy", "/var/lib"])
        os.mkdir("/var/lib/libvirt")
        hanging = fuse.Hanging("/var/lib/libvirt")
        self.addCleanup(hanging.end)
        self.start()
        hanging.until_asked()
        # What was leased before holds, and all others are served.
        self.assertEqual((records.addresses("web"), sources("web")), (["10.50.0.21"], "lease"))
        box = self.container("10.50.0.30/24", bridge=BRIDGE)
        self.register("box", box)
        self.assert_addresses("box", "10.50.0.30")
        self.assertEqual(ask(SET, {"name": "web", "addresses": ["10.50.0.40"]}), OK)
        self.assert_addresses("web", "10.50.0.40")
        # It cannot be killed; no other one is started beside it, and the daemon starts again without waiting for it.
        self.assertEqual(ask("Unregister", {"name": "web"}), OK)
        self.guest("10.50.0.12", name="db")
        self.assert_addresses("db", "10.50.0.12")
        self.assertLessEqual(len(self.readers()), 1)
        began = time.monotonic()
        self.machined.kill()
        self.start()
        self.assertLess(time.monotonic() - began, AT_ONCE)
        self.assertEqual(set(listed()), {"box", "db"})

    def test_a_guest_that_lies_does_not_get_what_others_have(self):
        web, liar = self.guest("10.50.0.11", name="web"), self.guest("10.50.0.66", name="liar")
        lease(("10.50.0.11", web.mac))
        until(lambda: sources("web") == "lease", "the lease")
        # ARP for another's address, and for the host's; what the kernel believes is written down by hand, as that does not
        # depend on who is the faster one.
        processes.batch([f"neighbour replace 10.50.0.11 lladdr {liar.mac} dev {BRIDGE} nud stale",
                         f"neighbour replace 192.0.2.9 lladdr {liar.mac} dev {BRIDGE} nud stale"])
        # And the other's hardware address: the bridge says now that it is behind the liar's port.
        subprocess.run(["bridge", "fdb", "replace", web.mac, "dev", liar.end, "master", "dynamic"], check=True)
        lease(("10.50.0.11", web.mac), ("10.50.0.99", "52:54:00:00:00:99"))
        # The next look at neighbours is over when a lease that is written down after it counts.
        late = self.guest("10.50.0.77", name="late")
        self.assert_addresses("late", "10.50.0.77")
        self.assertEqual(late.way, BRIDGE)
        self.assertEqual((records.addresses("web"), records.addresses("liar")), (["10.50.0.11"], ["10.50.0.66"]))

    def test_3000_claims_are_16_addresses(self):
        web = self.guest("10.50.0.11", name="web")
        self.assert_addresses("web", "10.50.0.11")
        processes.host(f"address add 10.60.0.1/16 dev {BRIDGE}")
        liar = self.guest("10.50.0.66")
        claims = [f"neighbour replace 10.60.{n // 250}.{n % 250 + 2} lladdr {liar.mac} dev {BRIDGE} nud stale" for n in range(3000)]
        subprocess.run(["ip", "-force", "-batch", "-"], input="\n".join(claims), text=True, stderr=subprocess.DEVNULL, timeout=60)
        self.register("liar", self.leader(), **{"class": "vm", "ifIndices": [socket.if_nametoindex(liar.end)]})
        until(lambda: len(records.addresses("liar") or []) == 16, "16 of them")
        self.assertEqual((records.addresses("web"), web.way), (["10.50.0.11"], BRIDGE))
        self.assertEqual(records.index(), {})

    def test_a_restart_keeps_what_was_leased_though_the_guest_is_silent(self):
        web = self.guest("10.50.0.11", name="web")
        lease(("10.50.0.21", web.mac))
        self.assert_addresses("web", "10.50.0.21")
        self.machined.kill()
        subprocess.run(["bridge", "fdb", "del", web.mac, "dev", web.end, "master"], check=True)
        self.start()
        other = self.guest("10.50.0.12", name="other")
        self.assert_addresses("other", "10.50.0.12")
        self.assertEqual((records.addresses("web"), sources("web")), (["10.50.0.21"], "lease"))
        self.assertIsNotNone(other)

    @unittest.skipUnless(os.path.exists("/dev/net/tun"), "there is no /dev/net/tun")
    def test_an_interface_is_found_by_what_the_leader_has_open(self):
        tap = "tapguest0"

        def body():
            fd = os.open("/dev/net/tun", os.O_RDWR)
            fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", tap.encode(), IFF_TAP | IFF_NO_PI))
            os.set_inheritable(fd, True)

        leader = self.leader(body)
        processes.batch([f"address add 10.70.0.1/24 dev {tap}", f"link set {tap} up"])
        lease(("10.70.0.5", "52:54:00:00:00:05"), ("10.50.0.5", "52:54:00:00:00:06"), interface=tap)
        self.register("found", leader, **{"class": "vm"})
        self.assert_addresses("found", "10.70.0.5")
        record = records.record("found")
        self.assertEqual((record["NETIF_FOUND"], record["ADDRESSES_FROM"], record.get("NETIF")),
                         (str(socket.if_nametoindex(tap)), "lease", None))
        until(lambda: records.index() == {"10.70.0.5": "found"}, "the index")

    def test_a_machine_to_which_nothing_leads_is_as_it_was(self):
        self.assertEqual(register("vm", self.leader().pid, **{"class": "vm"}), OK)
        self.assertEqual(ask("List", {"name": "vm", "acquireMetadata": "yes"}), "io.systemd.Machine.NotAvailable")
        self.assertIsNone(records.addresses("vm"))
        self.assertEqual(set(listed()), {"vm"})


if __name__ == "__main__":
    world.main()
