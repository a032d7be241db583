"""Guests of qemu that lie to the host: about their addresses, and about their hardware address. What they do is a script that
their network card's own program (iPXE) fetches; the host believes them, and the names of others stay theirs."""

import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile

import emulator
import processes
import records
import world
from waiting import until

BRIDGE, HOST = "guests0", "10.50.0.1"
LEASES = "/var/lib/misc/dnsmasq.leases"
# Speaks to the host for ever, by whatever address it has, and does next what it is served by then.
SPEAK = "imgfetch --timeout 300 tftp://{host}/word ||\nimgfree word ||\n"
AGAIN = "sleep 1\nchain --replace --autofree tftp://{host}/{guest} ||\ngoto again\n"
# 3000 addresses, one after the other. The host enters one into its table as it is asked, in its name, where another one is: in a
# network that is all the host's, so that it is always a new question.
CLAIMS = """set net0/netmask 255.254.0.0
set b:int32 0
:outer
set a:int32 2
:inner
set net0/ip 10.60.${b}.${a}
imgfetch --timeout 20 tftp://10.61.${b}.${a}/word ||
inc a
iseq ${a} 252 || goto inner
inc b
iseq ${b} 12 || goto outer
set net0/ip 10.60.255.1
"""


def shown(*words):
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    return json.loads(done.stdout or "[]")


def believed(address):
    """The hardware address that the host takes an address for."""
    return [there.get("lladdr") for there in shown("ip", "-json", "neighbour", "show", address, "dev", BRIDGE)]


def port(mac):
    """The port behind which the bridge takes a hardware address to be."""
    return [there["ifname"] for there in shown("bridge", "-json", "fdb", "show", "br", BRIDGE)
            if there["mac"] == mac and there.get("state") != "permanent"]


@world.needs_root
@world.unittest.skipUnless(shutil.which("qemu-system-x86_64") and shutil.which("dnsmasq"), "needs qemu-system-x86 and dnsmasq-base")
class Lying(world.Case):
    def setUp(self):
        super().setUp()
        processes.batch([f"link add {BRIDGE} type bridge", f"address add {HOST}/24 dev {BRIDGE}",
                         f"address add 10.60.0.1/16 dev {BRIDGE}", f"link set {BRIDGE} up",
                         f"route add local 10.61.0.0/16 dev {BRIDGE}"])
        self.addCleanup(processes.host, "link delete", BRIDGE)
        directory = os.path.dirname(LEASES)
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", directory], check=True)
        self.addCleanup(subprocess.run, ["umount", "--lazy", directory], check=True)
        self.served = tempfile.mkdtemp(dir="/run")
        os.chmod(self.served, 0o755)
        with open(f"{self.served}/word", "w") as file:
            file.write("x")
        self.start()

    def dnsmasq(self, *options):
        with open(f"{world.LOGS}/dnsmasq", "a") as log:
            server = subprocess.Popen(
                ["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0", f"--interface={BRIDGE}", "--bind-interfaces",
                 "--user=root", "--pid-file", "--log-facility=-", *options], stderr=log, stdout=log)
        self.addCleanup(server.wait)
        self.addCleanup(server.kill)
        return server

    def tell(self, tap, *commands):
        """What a guest does next, again and again."""
        text = "#!ipxe\n:again\n" + "".join(f"{command}\n" for command in commands) + SPEAK + AGAIN
        with open(f"{self.served}/.new", "w") as file:
            file.write(text.replace("{host}", HOST).replace("{guest}", tap))
        os.rename(f"{self.served}/.new", f"{self.served}/{tap}")

    @staticmethod
    def leases():
        """The lines of the leases, by hardware address."""
        with open(LEASES) as file:
            return {line.split()[1]: line for line in file}

    @staticmethod
    def write(lines):
        with open(f"{LEASES}.new", "w") as file:
            file.writelines(lines)
        os.rename(f"{LEASES}.new", LEASES)

    def guests(self, *numbers):
        """Guests that have leased an address and speak; each with its emulator, hardware address, tap and address."""
        found = [(*emulator.guest(self, number, BRIDGE), f"tap{number}") for number in numbers]
        for _, _, tap in found:
            self.tell(tap)
        self.dnsmasq("--enable-tftp", f"--tftp-root={self.served}")
        server = self.dnsmasq("--dhcp-range=10.50.0.100,10.50.0.200,1h", f"--dhcp-leasefile={LEASES}", "--dhcp-authoritative",
                              "--no-ping", *(f"--dhcp-mac=set:{tap},{mac}" for _, mac, tap in found),
                              *(f"--dhcp-boot=tag:{tap},{tap},,{HOST}" for _, _, tap in found))
        until(lambda: os.path.exists(LEASES) and {mac for _, mac, _ in found} <= set(self.leases()), "their leases", 90)
        server.kill()
        server.wait()
        found = [(*guest, self.leases()[guest[1]].split()[2]) for guest in found]
        for _, mac, _, address in found:
            until(lambda address=address, mac=mac: believed(address) == [mac], f"{address} speaks", 60)
        return found

    def test_what_is_anothers_stays_that_machines_whoever_claims_it(self):
        web, liar, late = self.guests(1, 66, 7)
        (emulated, web_mac, _, address), (liars, liar_mac, liar_port, own) = web, liar
        # The other two are known to have their addresses by what they say alone.
        lines = self.leases()
        self.write([lines[web_mac]])
        self.register("web", emulated, **{"class": "vm"})
        self.register("liar", liars, **{"class": "vm"})
        until(lambda: records.everything()["web"].get("ADDRESSES_FROM") == "lease", "the lease of the one")
        self.assert_addresses("liar", own)
        # It says that it has the other's address, as the other one does.
        self.tell(liar_port, f"set net0/ip {address}")
        until(lambda: believed(address) == [liar_mac], "a lie that the host believes", 60)
        emulated.send_signal(signal.SIGSTOP)
        until(lambda: believed(address) == [liar_mac], "a lie that nobody denies", 60)
        # A look at the neighbours that is later than this.
        self.register("late", late[0], **{"class": "vm"})
        self.assert_addresses("late", late[3])
        self.assertEqual((records.addresses("web"), records.addresses("liar")), ([address], [own]))
        # It has the other's hardware address, too: whose lease it is told by the port, and that was the other's first.
        self.tell(liar_port, "ifclose net0", f"set net0/mac {web_mac}", "set net0/ip 10.50.0.99", "set net0/netmask 255.255.255.0", "ifopen net0")
        until(lambda: port(web_mac) == [liar_port], "the other's hardware address behind its port", 60)
        self.write([lines[web_mac], lines[late[1]]])
        until(lambda: records.record("late")["ADDRESSES_FROM"] == "lease", "a look at the leases")
        self.assertEqual(records.addresses("web"), [address])
        self.assertNotIn(address, records.addresses("liar"))
        self.assertEqual(records.index(), {address: "web", late[3]: "late"})

    def test_3000_claims_are_16_addresses(self):
        """With a figure: what the daemon takes for them."""
        web, liar = self.guests(1, 66)
        (emulated, web_mac, _, address), (liars, liar_mac, liar_port, own) = web, liar
        self.write([self.leases()[web_mac]])
        self.register("web", emulated, **{"class": "vm"})
        self.register("liar", liars, **{"class": "vm"})
        until(lambda: records.everything()["web"].get("ADDRESSES_FROM") == "lease", "the lease of the one")
        self.assert_addresses("liar", own)
        before = self.machined.cpu()
        # Who answers nobody: an answer would show that there is nobody any more.
        sink = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(sink.close)
        sink.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sink.bind(("", 69))
        self.tell(liar_port, *CLAIMS.splitlines())
        until(lambda: believed("10.60.11.251") == [liar_mac], "the last claim", 400)
        until(lambda: len(records.addresses("liar")) == 16, "16 of them")
        print(f"3000 claims of a guest: {self.machined.cpu() - before:.2f} s of the daemon's processor time", flush=True)
        self.assertEqual(records.addresses("web"), [address])
        self.assertEqual(records.index(), {address: "web"})


world.main()
