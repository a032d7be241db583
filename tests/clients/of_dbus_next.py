"""dbus-next as a registrar: see of_pydbus.py."""

import asyncio
import json
import sys

from dbus_next import BusType, DBusError
from dbus_next.aio import MessageBus

NAME, LEADER = sys.argv[1], int(sys.argv[2])
SERVICE = "org.freedesktop.machine1"


async def main():
    bus = await MessageBus(bus_type=BusType.SYSTEM).connect()

    async def interface(path, name):
        data = await bus.introspect(SERVICE, path)
        return bus.get_proxy_object(SERVICE, path, data).get_interface(f"{SERVICE}.{name}")

    manager, signals, removed = await interface("/org/freedesktop/machine1", "Manager"), [], asyncio.Event()

    def heard(signal):
        def add(name, _path):
            if name == NAME:
                signals.append(signal)
                if signal == "MachineRemoved":
                    removed.set()
        return add

    manager.on_machine_new(heard("MachineNew"))
    manager.on_machine_removed(heard("MachineRemoved"))
    path = await manager.call_register_machine(NAME, bytes(range(16)), "clients", "container", LEADER, "")
    machine = await interface(path, "Machine")
    told = {"listed": sorted(name for name, *_ in await manager.call_list_machines()),
            "found": await manager.call_get_machine_by_pid(LEADER) == path,
            "machine": [await machine.get_name(), await machine.get_class(), await machine.get_service(), await machine.get_leader(),
                        (await machine.get_id()).hex()]}
    await manager.call_unregister_machine(NAME)
    await asyncio.wait_for(removed.wait(), 20)
    try:
        await manager.call_get_machine(NAME)
    except DBusError as error:
        told["error"] = error.type
    print(json.dumps({**told, "signals": signals}))


asyncio.run(main())
