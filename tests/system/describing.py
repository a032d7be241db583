"""Introspection data: what is served is served in the contract's words and order."""

import pathlib
import re
import xml.etree.ElementTree as xml

import bus
from machines import shared
from scene import FLAVOUR, OURS, Case, out

CONTRACT = pathlib.Path(__file__).resolve().parent.parent / "compliance/contract"
STANDARD = ("org.freedesktop.DBus.Peer", "org.freedesktop.DBus.Introspectable", "org.freedesktop.DBus.Properties")

def members(interface):
    """The members of an interface, one line of text each, in their order."""
    lines = []
    for member in interface:
        if member.tag == "annotation":
            continue
        words = [member.tag, member.get("name"), member.get("type") or "", member.get("access") or ""]
        words += [f"{arg.get('direction') or ''} {arg.get('type')} {arg.get('name')}" for arg in member.iter("arg")]
        words += [f"{note.get('name')}={note.get('value')}" for note in member.iter("annotation")]
        lines.append(" | ".join(words))
    return lines


def interfaces(text):
    return {interface.get("name"): members(interface) for interface in xml.fromstring(text).iter("interface")}


class Describing(Case):
    def assert_contract(self, path, file, main):
        version = "262" if OURS else FLAVOUR.removeprefix("stock")
        contract = interfaces((CONTRACT / version / f"org.freedesktop.machine1.{file}.xml").read_text())
        served = interfaces(out("busctl", "introspect", "--xml-interface", bus.SERVICE, path))
        self.assertEqual(list(served), list(contract))
        for standard in STANDARD:
            self.assertEqual(served[standard], contract[standard])
        self.assertEqual(served[main], contract[main])

    def test_the_manager_is_described_as_in_the_contract(self):
        self.assert_contract(bus.PATH, "manager", bus.MANAGER)

    def test_a_machine_is_described_as_in_the_contract(self):
        shared.start_web()
        self.assert_contract(bus.object_path("web"), "machine", bus.MACHINE)

    def test_an_image_is_described_as_in_the_contract(self):
        self.assert_contract(f"{bus.PATH}/image/_2ehost", "image", "org.freedesktop.machine1.Image")

    def test_the_log_control_is_described_as_in_the_contract(self):
        self.assert_contract("/org/freedesktop/LogControl1", "logcontrol", "org.freedesktop.LogControl1")

    def test_a_tree_of_objects_names_every_machine(self):
        shared.start_web()
        tree = out("busctl", "tree", "--list", bus.SERVICE).split()
        self.assertIn(bus.object_path("web"), tree)
        self.assertIn(bus.object_path(".host"), tree)
        self.assertIn("/org/freedesktop/LogControl1", tree)

    def test_busctl_reads_all_properties_while_it_introspects(self):
        shared.start_web()
        printed = out("busctl", "introspect", bus.SERVICE, bus.object_path("web"))
        self.assertRegex(printed, r'(?m)^\.Name\s+property\s+s\s+"web"\s+const$')
        self.assertRegex(printed, r"(?m)^\.State\s+property\s+s\s+\"running\"\s")
        self.assertRegex(printed, r"(?m)^\.Terminate\s+method\s+-\s+-\s+-$")
        self.assertFalse(re.search("(?i)failed|error", printed))

    def test_an_object_of_no_machine_is_not_there(self):
        self.assertIn("Unknown object", bus.error("GetAddresses", path=bus.object_path("nobody"), interface=bus.MACHINE))
