"""A thousand virtual machines on one bridge, and one container: what they cost the daemon, and whoever asks for their names."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
import unittest

import guests
import processes
import records
import world
from varlink import OK, Client, verdict
from waiting import until

GUESTS = int(os.environ.get("GUESTS", "1000"))
IDLE = int(os.environ.get("IDLE", "30"))
MODULE = os.environ.get("MODULE")
LOOKUP = f"{world.LOGS}/lookup"
BRIDGE = guests.BRIDGE


def place(number):
    """The address and the hardware address of a guest."""
    return f"10.60.{number // 250}.{number % 250 + 1}", f"52:54:00:00:{number >> 8:02x}:{number & 255:02x}"


@world.needs_root
class Bridge(world.Case):
    run_options = "mode=755,size=1g,nr_inodes=400000"

    def setUp(self):
        super().setUp()
        # Ports behind which nobody is: the bridge is told who.
        lines = [f"link add {BRIDGE} type bridge", f"address add 10.60.255.1/16 dev {BRIDGE}", f"link set {BRIDGE} up"]
        for number in range(GUESTS):
            lines.append(f"link add g{number} type veth peer name p{number}")
            lines += processes.up(f"g{number}", f"master {BRIDGE}") + processes.up(f"p{number}")
        processes.batch(lines)
        self.addCleanup(processes.batch, [f"link delete g{number}" for number in range(GUESTS)] + [f"link delete {BRIDGE}"])
        subprocess.run(["bridge", "-batch", "-"], check=True, text=True, timeout=60, input="".join(
            f"fdb replace {place(number)[1]} dev g{number} master static\n" for number in range(GUESTS)))
        self.start()
        with Client(60) as client:
            for number in range(GUESTS):
                self.assertEqual(verdict(client.call("Register", {
                    "name": f"vm{number}", "class": "vm", "leader": self.leader().pid,
                    "ifIndices": [socket.if_nametoindex(f"g{number}")]})), OK)

    def idle(self):
        """Processor time of the daemon and of those whom it started, by the second, in per cent of a processor."""
        def spent():
            children = f"/proc/{self.machined.pid}/task/{self.machined.pid}/children"
            with open(children) as file:
                pids = [self.machined.pid, *map(int, file.read().split())]
            total = self.machined.ticks()
            for pid in pids[1:]:
                with open(f"/proc/{pid}/stat") as file:
                    total += sum(map(int, file.read().rsplit(")", 1)[1].split()[11:13])) / os.sysconf("SC_CLK_TCK")
            return total

        before = spent()
        time.sleep(IDLE)
        return (spent() - before) / IDLE * 100

    def lookups(self, name, count=2000):
        """The median of what getaddrinfo(3) takes for a name, in microseconds."""
        done = subprocess.run([LOOKUP, "name", name, str(count)], capture_output=True, text=True, check=True, timeout=60,
                              env={"PATH": os.environ["PATH"], "LD_LIBRARY_PATH": os.path.dirname(MODULE)})
        median, _, found = done.stdout.split()
        self.assertEqual(found, "1", f"addresses of {name}")
        return int(median) / 1000

    def test_a_thousand_guests_cost_little(self):
        """With figures."""
        time.sleep(8)
        unknown = self.idle()
        # Half of them have a lease, and the rest is looked for among the neighbours.
        half = [place(number) for number in range(GUESTS // 2)]
        began = time.monotonic()
        guests.lease(*half)
        until(lambda: records.addresses(f"vm{GUESTS // 2 - 1}") == [half[-1][0]], "the last lease")
        many = time.monotonic() - began
        mixed = self.idle()
        took = []
        for number in range(GUESTS // 2, GUESTS // 2 + 5):
            half.append(place(number))
            began = time.monotonic()
            guests.lease(*half)
            until(lambda: records.addresses(f"vm{number}") == [place(number)[0]], "a lease")
            took.append(time.monotonic() - began)
        guests.lease(*map(place, range(GUESTS)))
        until(lambda: records.addresses(f"vm{GUESTS - 1}") == [place(GUESTS - 1)[0]], "all leases")
        leased = self.idle()
        print(f"{GUESTS} virtual machines on a bridge: idle with no address {unknown:.2f} %, half of them leased {mixed:.2f} %, all leased "
              f"{leased:.2f} % of a processor; {GUESTS // 2} leases at once are names after {many:.2f} s, one more after "
              f"{min(took):.2f} to {max(took):.2f} s", flush=True)
        self.assertLess(max(unknown, mixed, leased), 1)
        self.assertLess(max(took), 1)

    @unittest.skipUnless(MODULE and shutil.which("cc"), "needs the NSS module in MODULE, and a C compiler")
    def test_a_guest_is_looked_up_as_a_container_is(self):
        """With figures."""
        source = os.path.join(os.path.dirname(os.path.realpath(__file__)), "../bench/lookup.c")
        subprocess.run(["cc", "-O2", "-o", LOOKUP, source], check=True)
        guests.lease(*map(place, range(GUESTS)))
        until(lambda: records.addresses("vm7") == [place(7)[0]], "its lease")
        self.register("box", self.container("10.61.0.1/24"))
        until(lambda: records.addresses("box") == ["10.61.0.1"], "its address")
        with tempfile.NamedTemporaryFile("w") as file:
            file.write("hosts: mymachines\n")
            file.flush()
            subprocess.run(["mount", "--bind", file.name, "/etc/nsswitch.conf"], check=True)
            self.addCleanup(subprocess.run, ["umount", "/etc/nsswitch.conf"], check=True)
            found = [(self.lookups("vm7"), self.lookups("box")) for _ in range(7)]
        guest, container = (sorted(values)[3] for values in zip(*found))
        print(f"getaddrinfo of a virtual machine {guest:.1f} us, of a container {container:.1f} us: {guest / container:.2f} times", flush=True)
        self.assertLess(guest / container, 1.3)


if __name__ == "__main__":
    world.main()
