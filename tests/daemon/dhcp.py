"""Guests of qemu that lease their addresses of a real DHCP server: it is the network card's own program (iPXE) that asks, to boot
from the network. The servers are dnsmasq, libvirt's default network, and systemd-networkd, the last two of Debian 13."""

import contextlib
import os
import shutil
import subprocess
import tempfile

import emulator
import processes
import records
import world
from subscribe import Follower
from varlink import call
from waiting import until

# A root of Debian 13's, which ../lab/root.sh makes; older systemd writes down no leases.
ROOT = os.path.join(os.environ.get("MYMACHINES_LAB", "/var/cache/mymachines-lab"), "trixie")
# The same with libvirt, which ../lab/vm-root.sh makes.
WITH_LIBVIRT = os.path.join(os.path.dirname(ROOT), "vm-trixie")
LIBVIRTD = "/usr/sbin/libvirtd"
LIBVIRT_LEASES = "/var/lib/libvirt/dnsmasq"
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

    def other_root(self, lower, own):
        """A Debian to run programs of: its own but for /run, /proc, /dev, the network, and one directory."""
        top = tempfile.mkdtemp(dir=world.LOGS)
        os.makedirs(own, exist_ok=True)
        for source, target, kind, options in (
                ("tmpfs", top, "tmpfs", "mode=755"), ("tmpfs", own, "tmpfs", "mode=755"),
                ("overlay", f"{top}/root", "overlay", f"lowerdir={lower},upperdir={top}/upper,workdir={top}/work"),
                ("proc", f"{top}/root/proc", "proc", "rw"), ("sysfs", f"{top}/root/sys", "sysfs", "ro"),
                ("/dev", f"{top}/root/dev", "none", "bind"), ("/run", f"{top}/root/run", "none", "bind"),
                (own, f"{top}/root{own}", "none", "bind")):
            if kind == "overlay":
                for part in "root", "upper", "work":
                    os.makedirs(f"{top}/{part}")
            os.makedirs(target, exist_ok=True)
            subprocess.run(["mount", "-t", kind, "-o", options, source, target], check=True)
            self.addCleanup(subprocess.run, ["umount", "--lazy", target], check=True)
        with open(f"{top}/root/etc/machine-id", "w") as file:
            file.write("0123456789abcdef0123456789abcdef\n")
        return f"{top}/root"

    def within(self, root, *command, **env):
        """A program that runs until the test ends."""
        with open(f"{world.LOGS}/{os.path.basename(command[0])}", "a") as log:
            server = subprocess.Popen(["chroot", root, *command], stderr=log, stdout=log,
                                      env={"PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin", **env})
        self.addCleanup(server.wait)
        self.addCleanup(server.kill)

    def libvirt(self):
        """libvirt's default network."""
        root = self.other_root(WITH_LIBVIRT, LIBVIRT_LEASES)
        # A link of systemd-resolved's, which is not there, and dnsmasq wants a file.
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{root}/etc/resolv.conf")
        with open(f"{root}/etc/resolv.conf", "w"):
            pass
        self.within(root, LIBVIRTD)
        virsh = lambda *words: subprocess.run(["chroot", root, "virsh", "--connect", "network:///system", *words], capture_output=True,
                                              text=True, timeout=60, check=False)
        until(lambda: virsh("net-info", "default").returncode == 0, "libvirt")
        done = virsh("net-start", "default")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.addCleanup(virsh, "net-destroy", "default")
        self.assertRegex(virsh("net-info", "default").stdout, r"Bridge: +virbr0")

    def networkd(self):
        """systemd-networkd of Debian 13, as in a container: without udev, and without a bus."""
        own = os.path.dirname(WRITTEN)
        root = self.other_root(ROOT, own)
        # It gives root's rights up.
        with open(f"{ROOT}/etc/passwd") as file:
            user = next(line.split(":") for line in file if line.startswith("systemd-network:"))
        os.chown(own, int(user[2]), int(user[3]))
        os.makedirs("/run/systemd/network")
        for name, address in ("guests0", "10.50.0.1/24"), ("tap9", "10.51.0.1/24"):
            with open(f"/run/systemd/network/{name}.network", "w") as file:
                file.write(f"[Match]\nName={name}\n[Network]\nAddress={address}\nDHCPServer=yes\n"
                           "ConfigureWithoutCarrier=yes\nIPv6AcceptRA=no\nLinkLocalAddressing=no\n")
        self.within(root, NETWORKD, container="test", SYSTEMD_NETWORK_PERSISTENT_STORAGE_READY="1")

    def test_a_guest_is_a_name_as_soon_as_it_has_leased_an_address(self):
        """With a figure."""
        self.serve()
        (web, web_mac), (db, db_mac) = emulator.guest(self, 1), emulator.guest(self, 2)
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

    @world.unittest.skipUnless(os.path.exists(WITH_LIBVIRT + LIBVIRTD), "needs Debian 13 of tests/lab/vm-root.sh")
    def test_leases_of_libvirts_default_network_are_names(self):
        """With a figure."""
        self.libvirt()
        guest, _ = emulator.guest(self, 7, "virbr0")
        self.register("guest", guest, **{"class": "vm"})
        until(lambda: records.everything()["guest"].get("ADDRESSES_FROM") == "lease", "the lease", 60)
        address, = records.addresses("guest")
        self.assertTrue(address.startswith("192.168.122."), address)
        late = os.stat("/run/systemd/machines/guest").st_mtime - os.stat(f"{LIBVIRT_LEASES}/virbr0.status").st_mtime
        print(f"a lease of libvirt's default network is a name after {late:.2f} s", flush=True)
        self.assertLess(late, 1)

    @world.unittest.skipUnless(os.path.exists(ROOT + NETWORKD), "needs Debian 13 of tests/lab/root.sh")
    def test_leases_of_networkd_are_names_on_a_bridge_and_on_a_tap_of_its_own(self):
        """With a figure."""
        self.networkd()
        late = {}
        for name, number, bridge, network, file in ("bridged", 8, "guests0", "10.50.0.", "guests0"), ("routed", 9, None, "10.51.0.", "tap9"):
            guest, _ = emulator.guest(self, number, bridge)
            self.register(name, guest, **{"class": "vm"})
            until(lambda: records.everything()[name].get("ADDRESSES_FROM") == "lease", f"the lease of {name}", 60)
            address, = records.addresses(name)
            self.assertTrue(address.startswith(network), address)
            late[name] = os.stat(f"/run/systemd/machines/{name}").st_mtime - os.stat(f"{WRITTEN}/{file}").st_mtime
        print(f"leases of systemd-networkd are names after {late['bridged']:.2f} s (a bridge) and {late['routed']:.2f} s (a tap)", flush=True)
        self.assertLess(max(late.values()), 1)


world.main()
