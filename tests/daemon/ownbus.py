"""A bus of the test's own, and services on it that do next to nothing."""

import os
import pathlib
import signal
import subprocess

import wire
from waiting import listens, until

SOCKET = "/run/dbus/system_bus_socket"
CONFIGURATION = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path=%s</listen>
  <policy context="default"><allow user="*"/>
    <allow own="*"/><allow send_destination="*"/><allow receive_sender="*"/></policy>
</busconfig>
"""
POLKIT = "org.freedesktop.PolicyKit1"
# What polkit answers CheckAuthorization with.
YES = ("(bba{ss})", (True, False, {}))


def start(case):
    """A bus that ends with the test."""
    os.makedirs("/run/dbus", exist_ok=True)
    pathlib.Path("/run/bus.conf").write_text(CONFIGURATION % SOCKET)
    bus = subprocess.Popen(["dbus-daemon", "--nofork", "--config-file=/run/bus.conf"], stderr=subprocess.DEVNULL)
    case.addCleanup(bus.wait)
    case.addCleanup(bus.kill)
    until(lambda: listens(SOCKET), "the bus")


def await_name(name):
    with wire.Bus() as bus:
        until(lambda: bus.bus("NameHasOwner", "s", name)[0], f"the name {name}")


def serve(case, name, answer=None):
    """A service of this name in a process of its own, which answers each call with (signature, values...), or never. Returns a
    descriptor that can be read from once it was called."""
    called, calls = os.pipe()
    case.addCleanup(os.close, called)
    pid = os.fork()
    if pid == 0:
        try:
            with wire.Bus() as bus:
                bus.bus("RequestName", "su", name, 4)
                while True:
                    call = bus.next(3600)
                    if call and call.type == wire.CALL and calls is not None:
                        os.close(calls)
                        calls = None
                    if answer is not None and call and call.type == wire.CALL:
                        bus.serial += 1
                        fields = {wire.REPLY_SERIAL: call.serial, wire.DESTINATION: call.fields[wire.SENDER]}
                        bus.write(wire.message(wire.RETURN, bus.serial, fields, answer[0], answer[1:]))
        finally:
            os._exit(1)
    os.close(calls)
    case.addCleanup(os.waitpid, pid, 0)
    case.addCleanup(os.kill, pid, signal.SIGKILL)
    await_name(name)
    return called
