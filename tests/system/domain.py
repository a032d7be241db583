"""Domains of libvirt, and the machines that it makes of them."""

import pathlib

import bus
from scene import PATIENCE, Case, out, run, until

XML = """<domain type='qemu'>
  <name>guest</name><memory unit='MiB'>64</memory><vcpu>1</vcpu>
  <os><type arch='x86_64' machine='q35'>hvm</type>{boot}</os>
  <devices><emulator>/usr/bin/qemu-system-x86_64</emulator><memballoon model='none'/>{devices}</devices>
</domain>
"""


def machine_of(domain):
    """The name of the machine that libvirt has made of a domain: with a number that counts."""
    return next((name for name in bus.machines() if name.endswith(f"-{domain}")), None)


def guest():
    return machine_of("guest")


class DomainCase(Case):
    """A test with a domain, which ends with it."""

    def create(self, boot="", devices=""):
        file = pathlib.Path("/run/system-test-guest.xml")
        file.write_text(XML.format(boot=boot, devices=devices))
        self.addCleanup(file.unlink)
        self.addCleanup(run, "virsh", "destroy", "guest", deadline=PATIENCE)
        out("virsh", "create", file, deadline=PATIENCE)
        return until(guest, "the machine is registered")
