"""Guests of qemu that lease their addresses of a real DHCP server: it is the network card's own program (iPXE) that asks, to boot
from the network. leases.sh of ../system has libvirt and systemd-networkd."""

import os
import shutil
import subprocess
import tempfile

import processes
import records
import world
from subscribe import Follower
from varlink import call
from waiting import until

# A root of Debian 13's, which ../lab/root.sh makes; older systemd writes down no leases.
ROOT = os.path.join(os.environ.get("MYMACHINES_LAB", "/var/cache/mymachines-lab"), "trixie")
NETWORKD = "/usr/lib/systemd/systemd-networkd"
WRITTEN = "/var/lib/systemd/network/dhcp-server-lease"
LEASES = "/var/lib/misc/dnsmasq.leases"


@world.needs_root
@world.unittest.skipUnless(shutil.which("qemu-system-x86_64") and shutil.which("dnsmasq"), "needs qemu-system-x86 and dnsmasq-base")
class Dhcp(world.Case):
    def setUp(self):
        super().setUp()
        processes.batch(["link add guests0 type bridge", "address add 10.50.0.1/24 dev guests0", "link set guests0 up"])
        self.addCleanup(processes.host, "link delete guests0")
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", os.path.dirname(LEASES)], check=True)
        self.addCleanup(subprocess.run, ["umount", "--lazy", os.path.dirname(LEASES)], check=True)
        self.start()

    def serve(self):
        with open(f"{world.LOGS}/dnsmasq", "a") as log:
            server = subprocess.Popen(
                ["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--interface=guests0", "--bind-interfaces",
                 "--dhcp-range=10.50.0.100,10.50.0.200,1h", f"--dhcp-leasefile={LEASES}", "--user=root", "--pid-file",
                 "--dhcp-authoritative", "--no-ping", "--log-dhcp", "--log-facility=-"], stderr=log, stdout=log)
        self.addCleanup(server.wait)
        self.addCleanup(server.kill)

    def networkd(self):
        """systemd-networkd of Debian 13, as in a container: without udev, and without a bus."""
        top = tempfile.mkdtemp(dir=world.LOGS)
        own = "/var/lib/systemd/network"
        os.makedirs(own, exist_ok=True)
        for source, target, kind, options in (
                ("tmpfs", top, "tmpfs", "mode=755"), ("tmpfs", own, "tmpfs", "mode=755"),
                ("overlay", f"{top}/root", "overlay", f"lowerdir={ROOT},upperdir={top}/upper,workdir={top}/work"),
                ("proc", f"{top}/root/proc", "proc", "rw"), ("sysfs", f"{top}/root/sys", "sysfs", "ro"),
                ("/run", f"{top}/root/run", "none", "bind"), (own, f"{top}/root{own}", "none", "bind")):
            for directory in (f"{top}/{part}" for part in ("root", "upper", "work")):
                if os.path.ismount(top):
                    os.makedirs(directory, exist_ok=True)
            os.makedirs(target, exist_ok=True)
            subprocess.run(["mount", "-t", kind, "-o", options, source, target], check=True)
            self.addCleanup(subprocess.run, ["umount", "--lazy", target], check=True)
        with open(f"{top}/root/etc/machine-id", "w") as file:
            file.write("0123456789abcdef0123456789abcdef\n")
        # It gives root's rights up.
        with open(f"{ROOT}/etc/passwd") as file:
            user = next(line.split(":") for line in file if line.startswith("systemd-network:"))
        os.chown(own, int(user[2]), int(user[3]))
        os.makedirs("/run/systemd/network")
        for name, address in ("guests0", "10.50.0.1/24"), ("tap9", "10.51.0.1/24"):
            with open(f"/run/systemd/network/{name}.network", "w") as file:
                file.write(f"[Match]\nName={name}\n[Network]\nAddress={address}\nDHCPServer=yes\n"
                           "ConfigureWithoutCarrier=yes\nIPv6AcceptRA=no\nLinkLocalAddressing=no\n")
        with open(f"{world.LOGS}/networkd", "a") as log:
            server = subprocess.Popen(["chroot", f"{top}/root", NETWORKD], stderr=log, stdout=log, env={
                "PATH": os.environ["PATH"], "container": "test", "SYSTEMD_LOG_LEVEL": "debug",
                "SYSTEMD_NETWORK_PERSISTENT_STORAGE_READY": "1"})
        self.addCleanup(server.wait)
        self.addCleanup(server.kill)

    def guest(self, number, bridge="guests0"):
        """A guest whose tap is a port of the bridge, or a network of its own."""
        tap, mac = f"tap{number}", f"52:54:00:00:00:{number:02x}"
        processes.batch([f"tuntap add {tap} mode tap",
                         f"link set {tap} {f'master {bridge}' if bridge else ''} addrgenmode none up"])
        self.addCleanup(processes.host, "link delete", tap)
        with open(tempfile.mkstemp(dir=world.LOGS)[1], "w") as log:
            guest = subprocess.Popen(
                ["qemu-system-x86_64", "-accel", "tcg", "-m", "64", "-nographic", "-nodefaults",
                 "-netdev", f"tap,id=n,ifname={tap},script=no,downscript=no",
                 "-device", f"virtio-net-pci,netdev=n,mac={mac},bootindex=1"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.addCleanup(guest.wait)
        self.addCleanup(guest.kill)
        return guest, mac

    def test_a_guest_is_a_name_as_soon_as_it_has_leased_an_address(self):
        """With a figure."""
        self.serve()
        (web, web_mac), (db, db_mac) = self.guest(1), self.guest(2)
        # Nobody says which interfaces are theirs.
        for name, guest in ("web", web), ("db", db):
            self.register(name, guest, **{"class": "vm"})
        follower = Follower(names=["web"])
        self.addCleanup(follower.close)
        late = {}

        def leased():
            with open(LEASES) as file:
                return {mac: address for _, mac, address, *_ in map(str.split, file)}

        until(lambda: os.path.exists(LEASES) and {web_mac, db_mac} <= set(leased()), "their leases", 60)
        for name, mac in ("web", web_mac), ("db", db_mac):
            address = leased()[mac]
            self.assertTrue(address.startswith("10.50.0.1"), address)
            self.assert_addresses(name, address)
            # It may have been met first.
            until(lambda: records.record(name)["ADDRESSES_FROM"] == "lease", "its lease")
            record = records.record(name)
            self.assertIn("NETIF_FOUND", record)
            late[name] = os.stat(f"/run/systemd/machines/{name}").st_mtime - os.stat(LEASES).st_mtime
            found = call("List", {"name": name, "acquireMetadata": "graceful"})["parameters"]["addresses"]
            self.assertEqual([".".join(map(str, there["address"])) for there in found], [address])
            until(lambda: records.index().get(address) == name, "the way back")
        follower.until(lambda machines: machines.get("web", {}).get("addresses") == [leased()[web_mac]], "its address")
        print(f"guests of qemu are names {late['web']:.2f} and {late['db']:.2f} s after the last lease", flush=True)
        self.assertLess(max(late.values()), 1)
        web.kill()
        until(lambda: "web" not in records.everything(), "the end of a guest")
        self.assert_addresses("db", leased()[db_mac])

    @world.unittest.skipUnless(os.path.exists(ROOT + NETWORKD), "needs Debian 13 of tests/lab/root.sh")
    def test_leases_of_networkd_are_names_on_a_bridge_and_on_a_tap_of_its_own(self):
        """With a figure."""
        self.networkd()
        late = {}
        for name, number, bridge, network, file in ("bridged", 8, "guests0", "10.50.0.", "guests0"), ("routed", 9, None, "10.51.0.", "tap9"):
            guest, _ = self.guest(number, bridge)
            self.register(name, guest, **{"class": "vm"})
            until(lambda: records.everything()[name].get("ADDRESSES_FROM") == "lease", f"the lease of {name}", 60)
            address, = records.addresses(name)
            self.assertTrue(address.startswith(network), address)
            late[name] = os.stat(f"/run/systemd/machines/{name}").st_mtime - os.stat(f"{WRITTEN}/{file}").st_mtime
        print(f"leases of systemd-networkd are names after {late['bridged']:.2f} s (a bridge) and {late['routed']:.2f} s (a tap)", flush=True)
        self.assertLess(max(late.values()), 1)


world.main()
