"""A domain in libvirt's default network: what it leases there is its name. On a host that has libvirt; see run.sh --with."""

import ipaddress
import json
import os
import pathlib
import re

import bus
from domain import DomainCase
from scene import OURS, PATIENCE, out, record, run, until

# The network card's own program asks for a lease, to boot from the network.
BOOT = "<boot dev='network'/>"
DEVICES = "<interface type='network'><source network='default'/><model type='virtio'/></interface>"
LEASES = pathlib.Path("/var/lib/libvirt/dnsmasq/virbr0.status")
SOCKET = "/run/systemd/machine/io.systemd.Machine"
REFUSED = "Call failed: Requesting IP address data is only supported on container machines."


def leased(mac):
    """The address that libvirt's DHCP server has leased to a network card."""
    leases = json.loads(LEASES.read_text() or "[]") if LEASES.exists() else []
    return next((lease["ip-address"] for lease in leases if lease["mac-address"] == mac), None)


def in_list(name):
    """The last column of `machinectl list`."""
    line = re.search(rf"(?m)^{name}\s.*$", out("machinectl", "--no-legend", "list"))
    return line[0].split()[-1]


def with_controllers():
    """libvirt registers nothing where control groups have no controllers, as in a container on a host of the hybrid hierarchy. There
    it is told of one that it makes no use of."""
    if pathlib.Path("/sys/fs/cgroup/cgroup.controllers").read_text().strip():
        return
    pathlib.Path("/run/system-test-controllers").write_text("pids\n")
    directory = pathlib.Path("/run/systemd/system/libvirtd.service.d")
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "controllers.conf").write_text(
        "[Service]\nBindReadOnlyPaths=/run/system-test-controllers:/sys/fs/cgroup/cgroup.controllers\n")
    out("systemctl", "daemon-reload", deadline=PATIENCE)
    out("systemctl", "restart", "libvirtd.service", deadline=PATIENCE)


class Leasing(DomainCase):
    @classmethod
    def setUpClass(cls):
        with_controllers()
        until(lambda: run("virsh", "net-info", "default").returncode == 0, "libvirt", PATIENCE)
        if "Active:         yes" not in out("virsh", "net-info", "default"):
            out("virsh", "net-start", "default", deadline=PATIENCE)

    @classmethod
    def tearDownClass(cls):
        run("virsh", "net-destroy", "default", deadline=PATIENCE)

    def lease(self):
        """A domain that has leased an address: the name of the machine, and the address."""
        name = self.create(BOOT, DEVICES)
        mac = re.search(r"52:54:[0-9a-f:]+", out("virsh", "domiflist", "guest"))[0]
        return name, until(lambda: leased(mac), "a lease", PATIENCE)

    def test_a_domain_is_a_name_as_soon_as_it_has_a_lease(self):
        name, address = self.lease()
        self.assertIn(ipaddress.ip_address(address), ipaddress.ip_network("192.168.122.0/24"))
        if not OURS:
            # The original knows the addresses of containers alone.
            self.assertEqual(bus.error("GetMachineAddresses", "s", name), REFUSED)
            self.assertEqual((in_list(name), run("getent", "hosts", name).returncode), ("-", 2))
            return
        until(lambda: record(name).get("ADDRESSES_FROM") == "lease", "the lease is in the record")
        late = os.stat(f"/run/systemd/machines/{name}").st_mtime - LEASES.stat().st_mtime
        print(f"a domain of libvirt's is a name {late:.2f} s after its lease", flush=True)
        self.assertLess(late, 1)
        packed = list(ipaddress.ip_address(address).packed)
        self.assertEqual(out("getent", "hosts", name).split(), [address, name])
        self.assertEqual(out("getent", "hosts", address).split(), [address, name])
        self.assertEqual(in_list(name), address)
        self.assertEqual(bus.call("GetMachineAddresses", "s", name), [[[2, packed]]])
        told = bus.call("GetAddresses", path=bus.object_path(name), interface=bus.MACHINE)
        self.assertEqual(told, [[[2, packed]]])
        self.assertRegex(out("machinectl", "status", name), rf"Address: {re.escape(address)}\s")
        listed = json.loads(out("varlinkctl", "call", "--json=short", SOCKET, "io.systemd.Machine.List",
                                json.dumps({"name": name, "acquireMetadata": "graceful"})))
        self.assertEqual([(there["family"], there["address"]) for there in listed["addresses"]], [(2, packed)])

    def test_its_lease_survives_a_restart_of_the_daemon(self):
        if not OURS:
            self.skipTest("the original has no addresses of virtual machines")
        name, address = self.lease()
        until(lambda: record(name).get("ADDRESSES") == address, "the address is in the record")
        out("systemctl", "restart", "dbus-org.freedesktop.machine1.service", deadline=PATIENCE)
        self.assertEqual(out("getent", "hosts", name).split(), [address, name])
        self.assertEqual(bus.call("GetMachineAddresses", "s", name), [[[2, list(ipaddress.ip_address(address).packed)]]])
        out("virsh", "destroy", "guest", deadline=PATIENCE)
        self.assert_gone(name, PATIENCE)
        self.assertEqual((run("getent", "hosts", name).returncode, run("getent", "hosts", address).returncode), (2, 2))
