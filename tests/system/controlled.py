"""A machine whose manager listens at a control address, as systemd-vmspawn of 262 does: a made-up manager, and machinectl."""

import json
import pathlib
import socket
import threading
import unittest

from scene import SYSTEMD, Case, out, run, until

ADDRESS = pathlib.Path("/run/system-test-control")


class Manager:
    """Answers every method of io.systemd.MachineInstance, and remembers which were called."""

    def __init__(self, case):
        self.called = []
        ADDRESS.unlink(missing_ok=True)
        self.listening = socket.socket(socket.AF_UNIX)
        self.listening.bind(str(ADDRESS))
        self.listening.listen()
        case.addCleanup(ADDRESS.unlink)
        case.addCleanup(self.listening.close)
        # It stands in accept(2) at the end.
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                connection, _ = self.listening.accept()
            except OSError:
                return
            with connection, connection.makefile("rb") as stream:
                buffer = b""
                while piece := stream.read1():
                    *messages, buffer = (buffer + piece).split(b"\0")
                    for message in messages:
                        self.called.append(json.loads(message)["method"])
                        connection.sendall(b'{"parameters":{}}\0')


@unittest.skipUnless(SYSTEMD >= 262, "machinectl calls managers of machines since systemd 262")
class Controlled(Case):
    def setUp(self):
        self.manager = Manager(self)
        unit = "system-test-controlled.service"
        self.addCleanup(run, "systemctl", "stop", unit)
        out("systemd-run", "--quiet", "--collect", f"--unit={unit}", "--service-type=exec", "sleep", "infinity")
        self.leader = int(out("systemctl", "show", "--property=MainPID", "--value", unit))
        self.call("Register", name="guest", **{"class": "vm"}, leader=self.leader, controlAddress=str(ADDRESS))
        self.addCleanup(run, "machinectl", "kill", "--signal=KILL", "guest")

    @staticmethod
    def call(method, **parameters):
        return out("varlinkctl", "call", "/run/systemd/machine/io.systemd.Machine", f"io.systemd.Machine.{method}", json.dumps(parameters))

    def test_its_manager_is_called_for_what_is_to_become_of_it(self):
        for verb, method in ("pause", "Pause"), ("resume", "Resume"), ("reboot", "Reboot"), ("poweroff", "PowerOff"), ("terminate", "Terminate"):
            with self.subTest(verb):
                self.manager.called.clear()
                out("machinectl", verb, "guest")
                until(lambda method=method: f"io.systemd.MachineInstance.{method}" in self.manager.called, f"{method} in {self.manager.called}")
        # The manager did nothing of it.
        self.assertIn("guest", out("machinectl", "list", "--no-legend"))
