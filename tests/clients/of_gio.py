"""GLib's own D-Bus, Gio, as a registrar: see of_pydbus.py. It asks for no introspection data."""

import json
import sys

from gi.repository import Gio, GLib

NAME, LEADER = sys.argv[1], int(sys.argv[2])
SERVICE, MANAGER, MACHINE = "org.freedesktop.machine1", "org.freedesktop.machine1.Manager", "org.freedesktop.machine1.Machine"
loop, signals = GLib.MainLoop(), []


def proxy(path, interface):
    return Gio.DBusProxy.new_for_bus_sync(Gio.BusType.SYSTEM, Gio.DBusProxyFlags.NONE, None, SERVICE, path, interface, None)


def heard(_proxy, _sender, signal, parameters):
    if signal.startswith("Machine") and parameters.unpack()[0] == NAME:
        signals.append(signal)
        if signal == "MachineRemoved":
            loop.quit()


def call(method, types, *arguments):
    returned = manager.call_sync(method, GLib.Variant(types, arguments), Gio.DBusCallFlags.NONE, 20000, None)
    return returned.unpack()


manager = proxy("/org/freedesktop/machine1", MANAGER)
manager.connect("g-signal", heard)
(path,) = call("RegisterMachine", "(sayssus)", NAME, bytes(range(16)), "clients", "container", LEADER, "")
machine = proxy(path, MACHINE)
properties = [machine.get_cached_property(name).unpack() for name in ("Name", "Class", "Service", "Leader", "Id")]
told = {"listed": sorted(name for name, *_ in call("ListMachines", "()")[0]), "found": call("GetMachineByPID", "(u)", LEADER) == (path,),
        "machine": [*properties[:4], bytes(properties[4]).hex()]}
call("UnregisterMachine", "(s)", NAME)
GLib.timeout_add_seconds(20, loop.quit)
loop.run()
try:
    call("GetMachine", "(s)", NAME)
except GLib.Error as error:
    told["error"] = Gio.DBusError.get_remote_error(error)
print(json.dumps({**told, "signals": signals}))
