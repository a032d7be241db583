"""pydbus as a registrar: arguments are a name and a leader; tells what it saw as JSON, as its neighbours do."""

import json
import sys

from gi.repository import GLib
from pydbus import SystemBus

NAME, LEADER = sys.argv[1], int(sys.argv[2])
bus, loop, signals = SystemBus(), GLib.MainLoop(), []
manager = bus.get("org.freedesktop.machine1", "/org/freedesktop/machine1")["org.freedesktop.machine1.Manager"]


def heard(signal):
    def add(name, _path):
        if name == NAME:
            signals.append(signal)
            if signal == "MachineRemoved":
                loop.quit()
    return add


manager.MachineNew.connect(heard("MachineNew"))
manager.MachineRemoved.connect(heard("MachineRemoved"))
path = manager.RegisterMachine(NAME, bytes(range(16)), "clients", "container", LEADER, "")
machine = bus.get("org.freedesktop.machine1", path)["org.freedesktop.machine1.Machine"]
told = {"listed": sorted(name for name, *_ in manager.ListMachines()), "found": manager.GetMachineByPID(LEADER) == path,
        "machine": [machine.Name, machine.Class, machine.Service, machine.Leader, bytes(machine.Id).hex()]}
manager.UnregisterMachine(NAME)
GLib.timeout_add_seconds(20, loop.quit)
loop.run()
try:
    manager.GetMachine(NAME)
except GLib.Error as error:
    told["error"] = error.message.split(":")[1]
print(json.dumps({**told, "signals": signals}))
