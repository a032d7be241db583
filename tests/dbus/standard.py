"""What sd-bus(3) does for every service, whatever it is about."""

import pathlib
import re
import subprocess

import service
from service import (INTROSPECTABLE, LOG, LOG_CONTROL, MACHINE, MACHINES, MANAGER, PEER, PROPERTIES, ROOT, Client, case,
                     differs, path_of, same)
from wire import NO_REPLY, RETURN, REPLY_SERIAL, Variant

HOST = path_of(".host")
# Beside these tests, or where the lab shows it.
HERE = pathlib.Path(__file__).resolve().parent
CONTRACT = next(path for path in (HERE.parent / "compliance/contract", pathlib.Path("/contract")) if path.exists())
bus = Client()


def xml(path):
    return bus.ask(path, INTROSPECTABLE, "Introspect")[0]


@case()
def what_is_not_there_is_an_error_of_its_kind():
    for path, interface, member, expected in (
            ("/nope", MANAGER, "GetMachine", "UnknownObject: Unknown object '/nope'."),
            ("/org/freedesktop", "x.y", "Foo", "UnknownObject: Unknown object '/org/freedesktop'."),
            (MACHINES, "x.y", "Foo", "UnknownMethod: Unknown method Foo or interface x.y."),
            (MACHINES, MACHINE, "GetAddresses", f"UnknownMethod: Unknown method GetAddresses or interface {MACHINE}."),
            (ROOT, MANAGER, "Nope", f"UnknownMethod: Unknown method Nope or interface {MANAGER}."),
            (ROOT, "a.b", "GetMachine", "UnknownMethod: Unknown method GetMachine or interface a.b."),
            (path_of("nope"), MACHINE, "GetAddresses", f"UnknownObject: Unknown object '{path_of('nope')}'."),
            (path_of("nope"), INTROSPECTABLE, "Introspect", f"UnknownObject: Unknown object '{path_of('nope')}'."),
            (f"{HOST}/x", MACHINE, "GetAddresses", f"UnknownObject: Unknown object '{HOST}/x'."),
            (HOST, MACHINE, "Nope", f"UnknownMethod: Unknown method Nope or interface {MACHINE}."),
            (HOST, INTROSPECTABLE, "Nope", f"UnknownMethod: Unknown method Nope or interface {INTROSPECTABLE}."),
            ("/nope", PEER, "Nope", f"UnknownMethod: Unknown method 'Nope' on interface '{PEER}'.")):
        same(bus.ask(path, interface, member), expected)


@case()
def arguments_have_the_types_of_the_table():
    def expected(got):
        return f"InvalidArgs: Invalid arguments '{got}' to call {MANAGER}.GetMachine(), expecting 's'."
    same(bus.manager("GetMachine"), expected(""))
    same(bus.manager("GetMachine", "i", 3), expected("i"))
    same(bus.manager("GetMachine", "ss", "a", "b"), expected("ss"))
    same(bus.manager("GetMachine", "(s)", ("a",)), expected("(s)"))
    same(bus.machine(".host", "GetAddresses", "s", "x"),
         f"InvalidArgs: Invalid arguments 's' to call {MACHINE}.GetAddresses(), expecting ''.")
    same(bus.machine("nope", "GetAddresses", "s", "x"), f"UnknownObject: Unknown object '{path_of('nope')}'.")


@case()
def every_path_has_a_peer():
    same(bus.ask("/nope", PEER, "Ping"), [])
    same(bus.ask(ROOT, PEER, "Ping", "s", "whatever"), [])
    same(bus.ask(ROOT, PEER, "GetMachineId"), [pathlib.Path("/etc/machine-id").read_text().strip()])


@case()
def the_interface_of_a_call_may_be_left_out():
    unknown = f"UnknownObject: Unknown object '{ROOT}'."
    same(bus.ask(ROOT, None, "GetMachine", "s", ".host"), differs(ours=[HOST], others=unknown))
    same(bus.ask(ROOT, None, "Nope"),
         differs(ours="UnknownMethod: Unknown method Nope or interface .", others=unknown))


@case()
def properties_that_cannot_be_read_say_why():
    both = "InvalidArgs: Expected interface and member parameters"
    same(bus.ask(ROOT, PROPERTIES, "Get"), both)
    same(bus.ask(ROOT, PROPERTIES, "Get", "s", MANAGER), both)
    same(bus.get(ROOT, "a.b", "X"), "UnknownProperty: Unknown interface a.b or property X.")
    same(bus.get(ROOT, MANAGER, "X"), f"UnknownProperty: Unknown interface {MANAGER} or property X.")
    same(bus.get(HOST, "", "Name"), "UnknownProperty: Unknown interface  or property Name.")
    same(bus.ask(ROOT, PROPERTIES, "GetAll"), "InvalidArgs: Expected interface parameter")
    same(bus.all(ROOT, "a.b"), "UnknownInterface: Unknown interface 'a.b'.")
    same(bus.all(ROOT, PEER), {})
    same(bus.all(MACHINES, ""), {})
    same(bus.all(MACHINES, MACHINE), f"UnknownInterface: Unknown interface '{MACHINE}'.")
    same(bus.all(path_of("nope"), MACHINE), f"UnknownObject: Unknown object '{path_of('nope')}'.")
    same(bus.all("/org/freedesktop", ""), "UnknownObject: Unknown object '/org/freedesktop'.")
    same(bus.ask(ROOT, PROPERTIES, "Nope"), f"UnknownMethod: Unknown method Nope or interface {PROPERTIES}.")
    same(bus.ask(HOST, PROPERTIES, "Get", "sss", MACHINE, "Name", "more"), [Variant("s", ".host")])


@case()
def properties_that_cannot_be_written_say_why():
    same(bus.set(HOST, MACHINE, "Name", Variant("s", "x")), "PropertyReadOnly: Property 'Name' is not writable.")
    same(bus.set(HOST, MACHINE, "Nope", Variant("s", "x")),
         f"UnknownProperty: Unknown interface {MACHINE} or property Nope.")
    same(bus.set(LOG, LOG_CONTROL, "LogLevel", Variant("u", 3)),
         "InvalidArgs: Incorrect parameters for property 'LogLevel', expected 's', got 'u'.")
    same(bus.ask(LOG, PROPERTIES, "Set", "ssu", LOG_CONTROL, "LogLevel", 3),
         "InvalidSignature: Incorrect signature when setting property 'LogLevel', expected 'v', got 'u'.")


@case()
def the_hidden_name_of_the_unit_is_there_and_in_no_list():
    same(bus.get(HOST, MACHINE, "Scope"), bus.get(HOST, MACHINE, "Unit"))
    assert "Scope" not in bus.all(HOST, MACHINE) and "Scope" not in xml(HOST)


@case()
def a_label_may_be_spelt_in_capitals():
    same(bus.get(f"{MACHINES}/_2Ehost", MACHINE, "Name"), ".host")


DESCRIBED = {ROOT: "manager", HOST: "machine", LOG: "logcontrol"}


@case()
def introspection_is_the_contract():
    for path, file in DESCRIBED.items():
        version = differs(stock257="257", others="262")
        contract = (CONTRACT / version / f"org.freedesktop.machine1.{file}.xml").read_text().rstrip("\n") + "\n"
        same(xml(path), contract, path)


@case()
def the_program_prints_the_introspection_without_a_bus():
    pid = bus.bus("GetConnectionUnixProcessID", "s", service.NAME)[0]

    def said(path):
        return subprocess.run([f"/proc/{pid}/exe", f"--bus-introspect={path}"], env={}, capture_output=True, text=True)

    for path in (ROOT, LOG):
        # The order of the nodes below is nobody's promise.
        same(sorted(said(path).stdout.splitlines()), sorted(xml(path).splitlines()), path)
    # What many objects share, without a node below.
    same(said(MACHINES).stdout, xml(HOST))
    listed = said("list")
    assert listed.returncode == 0 and f"{MACHINES}\t{MACHINE}\n" in listed.stdout, listed
    nowhere = said("/nope")
    assert nowhere.returncode == 1 and nowhere.stderr.startswith("Object path /nope not found"), nowhere


def nodes(path):
    return set(re.findall(r'<node name="([^"]*)"/>', xml(path)))


@case()
def nodes_name_what_is_right_below_them():
    same(nodes("/"), {"org"})
    same(nodes("/org"), {"freedesktop"})
    same(nodes("/org/freedesktop"), {"LogControl1", "machine1"})
    same(nodes(ROOT), {"machine", "image"})
    assert "_2ehost" in nodes(MACHINES)
    same(nodes(HOST), set())
    same(bus.ask(HOST, INTROSPECTABLE, "Introspect", "s", "x"), "InvalidArgs: Expected no parameters")


@case()
def who_wants_no_reply_gets_none():
    with Client() as client:
        for path, interface, member in ((ROOT, MANAGER, "Nope"), ("/nope", MANAGER, "X"), (ROOT, PEER, "Ping"),
                                        (ROOT, MANAGER, "ListMachines"), (ROOT, INTROSPECTABLE, "Introspect")):
            client.send(service.NAME, path, interface, member, flags=NO_REPLY)
        last = client.send(service.NAME, ROOT, PEER, "Ping")
        heard = []
        while not heard or heard[-1] != last:
            heard.append(client.next().fields.get(REPLY_SERIAL))
        same([serial for serial in heard if serial], [1, last] if 1 in heard else [last])


@case()
def the_log_level_is_changed_by_name_or_number():
    before = bus.get(LOG, LOG_CONTROL, "LogLevel")
    try:
        for given, kept in (("debug", "debug"), ("3", "err"), ("emerg", "emerg"), ("7", "debug"), ("info", "info")):
            same(bus.set(LOG, LOG_CONTROL, "LogLevel", Variant("s", given)), [])
            same(bus.get(LOG, LOG_CONTROL, "LogLevel"), kept)
        for bad in ("nope", "", "8", "-1", "INFO"):
            same(bus.set(LOG, LOG_CONTROL, "LogLevel", Variant("s", bad)), f"InvalidArgs: Invalid log level '{bad}'")
    finally:
        bus.set(LOG, LOG_CONTROL, "LogLevel", Variant("s", before))


@case()
def the_log_target_is_changed_by_name():
    before = bus.get(LOG, LOG_CONTROL, "LogTarget")
    try:
        for target in ("console", "journal", "console-prefixed", "null", "auto"):
            same(bus.set(LOG, LOG_CONTROL, "LogTarget", Variant("s", target)), [])
            same(bus.get(LOG, LOG_CONTROL, "LogTarget"), target)
        for bad in ("nope", "", "stderr"):
            same(bus.set(LOG, LOG_CONTROL, "LogTarget", Variant("s", bad)), f"InvalidArgs: Invalid log target '{bad}'")
    finally:
        bus.set(LOG, LOG_CONTROL, "LogTarget", Variant("s", before))
    same(bus.get(LOG, LOG_CONTROL, "SyslogIdentifier"), differs(ours="machined", others="systemd-machined"))


@case()
def calls_that_do_not_wait_are_answered_in_their_order():
    with Client() as client:
        # No more at a time than a bus lets anybody have.
        sent = [client.send(service.NAME, ROOT, MANAGER, "GetMachine", "s", (".host", "nope")[n % 2]) for n in range(100)]
        heard = []
        while len(heard) < len(sent):
            got = client.next()
            if got.fields.get(REPLY_SERIAL) in sent:
                heard.append((got.fields[REPLY_SERIAL], got.type == RETURN))
        same(heard, [(serial, n % 2 == 0) for n, serial in enumerate(sent)])
