"""A Varlink client that knows only what its measurements need."""

import json
import socket
import time

MACHINE = "io.systemd.Machine."


def message(method, parameters=None, more=False):
    return json.dumps({"method": method, "parameters": parameters or {}, **({"more": True} if more else {})},
                      separators=(",", ":")).encode() + b"\0"


GET_INFO = message("org.varlink.service.GetInfo")


class Client:
    """A connection that is kept."""

    def __init__(self, path, deadline=120):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(deadline)
        self.socket.connect(path)

    def close(self):
        self.socket.close()

    def exchange(self, call):
        """Sends a call; returns the bytes of all its replies, and the seconds until the last one was there."""
        replies = bytearray()
        start = time.perf_counter()
        self.socket.sendall(call)
        while True:
            piece = self.socket.recv(1 << 20)
            if not piece:
                raise ConnectionError("the daemon hung up")
            replies += piece
            if not piece.endswith(b"\0"):
                continue
            # The last reply is the one that promises no other.
            last = replies[replies.rfind(b"\0", 0, -1) + 1:]
            if b'"continues":true' not in last:
                break
        took = time.perf_counter() - start
        if b'"error"' in last:
            raise RuntimeError(f"{call[:200]!r}: {bytes(last)!r}")
        return bytes(replies), took

    def register(self, name, leader, interfaces=()):
        """Registers a container, without a unit of its own; returns the seconds it took."""
        parameters = {"name": name, "class": "container", "leader": leader, "allocateUnit": False}
        if interfaces:
            parameters["ifIndices"] = list(interfaces)
        return self.exchange(message(MACHINE + "Register", parameters))[1]

    def unregister(self, name):
        self.exchange(message(MACHINE + "Unregister", {"name": name}))

    def list_one(self, name):
        return self.exchange(message(MACHINE + "List", {"name": name}))

    def list_all(self):
        """Lists all machines with all that is known of them; returns the replies and the seconds."""
        raw, took = self.exchange(message(MACHINE + "List", {"acquireMetadata": "graceful"}, more=True))
        return [json.loads(reply).get("parameters", {}) for reply in raw[:-1].split(b"\0")], took
