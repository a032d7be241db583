"""Arguments that make no sense, for every method that takes some: a table of what is wrong, by kind of argument."""

import os

import machines
import service
from machines import Leader, bus, no_machine
from service import MANAGER, as_user, case, differs, same

NOBODYS = ("", ".", "..", "a_b", "-a", "a-", ".a", "a.", "a..b", "a/b", "é", "WEB", "web ", "web\n", "self", "1", "x" * 64,
           "x" * 65, "x" * 70000)
UNNAMEABLE = tuple(name for name in NOBODYS if name not in ("WEB", "self", "1", "x" * 64)) + (".host",)
IDS = (0, 1, 65533, 65534, 65535, 65536, 524288, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff)
NO_IDS = (65535, 0xffffffff)
SIGNALS = (("leader", 0, "Invalid signal 0"), ("all", -1, "Invalid signal -1"), ("", 65, "Invalid signal 65"),
           ("leader", 0x7fffffff, "Invalid signal 2147483647"), ("nope", 9, "Invalid kill parameter 'nope'"),
           ("Leader", 0, "Invalid kill parameter 'Leader'"))
# What comes after the name, the id, the service, the class, the leader and the root directory.
FORMS = {"RegisterMachine": ("", ()), "RegisterMachineWithNetwork": ("ai", ([1],)), "CreateMachine": ("a(sv)", ([],)),
         "CreateMachineWithNetwork": ("aia(sv)", ([1], []))}
FIELDS = ("name", "id", "service", "kind", "leader", "root")
ROOTS = ["x", "./x", "..", "x/", "é"]
if service.flavour != "stock257":
    ROOTS += ["/" + "a" * 300, "/a" * 2100]


def both(what):
    """Runs this as root and as a user, who is told the same."""
    what(bus)
    same(as_user(machines.UNPRIVILEGED, lambda client: [what(client), "the same"][1]), "the same")


@case()
def a_name_that_is_nobodys_is_unknown_to_every_method():
    bus.register("web", Leader().pid)

    def ask(client):
        for name in NOBODYS:
            for member in ("GetMachine", "GetMachineAddresses", "GetMachineSSHInfo", "GetMachineOSRelease",
                           "GetMachineUIDShift", "OpenMachineRootDirectory", "TerminateMachine", "UnregisterMachine"):
                same(client.manager(member, "s", name), no_machine(name), member)
            for whom, number, _ in (*SIGNALS, ("leader", 18, ""), ("all", 9, "")):
                same(client.manager("KillMachine", "ssi", name, whom, number), no_machine(name), (whom, number))
            for member in ("MapFromMachineUser", "MapFromMachineGroup"):
                same(client.manager(member, "su", name, 0), no_machine(name), member)
    both(ask)


@case()
def a_kill_that_makes_no_sense_says_so_to_everybody():
    bus.register("web", Leader().pid)
    bus.register("vm1", Leader().pid, kind="vm")

    def ask(client):
        for name in ("web", "vm1", ".host"):
            for whom, number, expected in SIGNALS:
                same(client.manager("KillMachine", "ssi", name, whom, number), f"InvalidArgs: {expected}", name)
                same(client.machine(name, "Kill", "si", whom, number), f"InvalidArgs: {expected}", name)
    both(ask)


@case()
def ids_that_are_nobodys_are_told_apart():
    bus.register("vm1", Leader().pid, kind="vm")

    def ask(client):
        for kind, code in (("User", "UID"), ("Group", "GID")):
            word = kind.lower()
            for number in IDS:
                expected = f"InvalidArgs: Invalid {word} ID {number}"
                for name in ("nope", "", "vm1", ".host"):
                    if number not in NO_IDS:
                        expected = ("InvalidArgs: Not supported for non-container machines." if name in ("vm1", ".host")
                                    else no_machine(name))
                    same(client.manager(f"MapFromMachine{kind}", "su", name, number), expected, (name, number))
                if number not in NO_IDS:
                    expected = f"machine1.NoSuch{kind}Mapping: " + (
                        f"{kind} {number} belongs to host {code} range" if number < 65536
                        else f"No matching {word} mapping for {number}.")
                same(client.manager(f"MapToMachine{kind}", "u", number), expected, number)
    both(ask)


@case()
def processes_that_are_in_no_machine_are_unknown_to_everybody():
    def ask(client):
        for pid in (0, 1, 2, os.getpid(), 4000000, 0x400000, 0x7fffffff):
            same(client.manager("GetMachineByPID", "u", pid),
                 f"machine1.NoMachineForPID: PID {pid} does not belong to any known machine")
        for pid in (0x80000000, 0xffffffff):
            same(client.manager("GetMachineByPID", "u", pid), "InvalidArgs: Invalid argument")
    both(ask)


@case()
def a_registration_that_makes_no_sense_says_so_in_every_form():
    good = dict(name="new", id=b"", service="", kind="container", leader=Leader().pid, root="/")
    invalid = {"name": ("machine name", UNNAMEABLE), "id": ("machine ID parameter", (b"1", bytes(15), bytes(17))),
               "kind": ("machine class parameter", ("host", "nope", "Container", "containers", "vm\n", "unspecified")),
               "leader": ("leader PID", (1,))}
    wrong = [({field: value}, f"InvalidArgs: Invalid {what}") for field, (what, values) in invalid.items() for value in values]
    wrong += [({"root": root}, "InvalidArgs: Root directory must be empty or an absolute path") for root in ROOTS]
    wrong += [({"leader": pid}, f"UnixProcessIdUnknown: Failed to pin process {shown}: No such process")
              for pid, shown in ((4000000, 4000000), (0x7fffffff, 0x7fffffff), (0x80000000, -0x80000000), (0xffffffff, -1))]

    def ask(client):
        is_let_in = client is bus or service.flavour != "stock257"
        for member, (more, added) in FORMS.items():
            not_permitted = f"AccessDenied: Access to {MANAGER}.{member}() not permitted."
            for what, expected in wrong:
                arguments = {**good, **what}
                got = client.manager(member, "sayssus" + more, *(arguments[field] for field in FIELDS), *added)
                if service.flavour == "ours" and "name" in what:
                    # Which rule it breaks, and a name that breaks none.
                    assert got.startswith(expected + ": machine name '") and " (try '" in got, (got, member, what)
                    continue
                same(got, expected if is_let_in else not_permitted, (member, what))
            for signature, body in (("", ()), ("s", ("x",)), ("sayssuss", ("x", b"", "", "", 1, "", ""))):
                same(client.manager(member, signature, *body), not_permitted if not is_let_in else
                     f"InvalidArgs: Invalid arguments '{signature}' to call {MANAGER}.{member}(), expecting 'sayssus{more}'.")
    both(ask)
    same(bus.names(), {".host"})


@case()
def a_process_of_somebody_else_is_nobodys_to_register():
    foreign = Leader().pid

    def ask(client):
        for member, (more, added) in FORMS.items():
            got = client.manager(member, "sayssus" + more, "new", b"", "", "container", foreign, "/", *added)
            expected = differs(
                stock257=f"AccessDenied: Access to {MANAGER}.{member}() not permitted.",
                others="InteractiveAuthorizationRequired: ")
            assert got.startswith(expected), (member, got)
        return "refused"
    same(as_user(machines.UNPRIVILEGED, ask), "refused")
    same(bus.names(), {".host"})
    assert os.path.exists(f"/proc/{foreign}")
