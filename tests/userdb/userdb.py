"""The provider as its clients see it, and what every test of it stands in."""

import os

import processes
import records
import varlink
import world
from waiting import AT_ONCE, DEADLINE

PROGRAM = os.environ["USERDB_MACHINED"]
SOCKET = "/run/systemd/userdb/io.systemd.Machine"
SERVICE = "io.systemd.Machine"
USERDB = "io.systemd.UserDatabase."
NO_RECORD = USERDB + "NoRecordFound"
CONFLICT = USERDB + "ConflictingRecordFound"
NON_MATCHING = USERDB + "NonMatchingRecordFound"
NO_ENUMERATION = USERDB + "EnumerationNotSupported"
BAD_SERVICE = USERDB + "BadService"
DAMAGED = "io.systemd.System EBADMSG"
INVALID = varlink.INVALID
ABSENT = ...


def message(method, parameters, **flags):
    given = {"service": SERVICE, **parameters}
    given = {name: value for name, value in given.items() if value is not ABSENT}
    return varlink.message(USERDB + method, given, **flags)


PING = message("GetMemberships", {})


class Client(varlink.Client):
    """One connection to the provider."""

    def __init__(self, deadline=DEADLINE, path=SOCKET):
        super().__init__(deadline, path)

    def get(self, method, **parameters):
        """The reply to a call of a method of the interface."""
        self.send(message(method, parameters))
        return self.receive()

    def is_served(self):
        try:
            self.send(PING)
        except (ConnectionResetError, BrokenPipeError):
            return False
        return varlink.verdict(self.receive()) == NO_RECORD


def ask(method, **parameters):
    """One call on a new connection: the name and id in its record, or its error."""
    with Client() as client:
        return told(client.get(method, **parameters))


def told(reply):
    if not reply or "error" in reply:
        return varlink.verdict(reply)
    record = reply["parameters"]["record"]
    kind = "userName" if "userName" in record else "groupName"
    return record[kind], record["uid" if kind == "userName" else "gid"]


def user(**parameters):
    return ask("GetUserRecord", **parameters)


def group(**parameters):
    return ask("GetGroupRecord", **parameters)


def search(method="GetUserRecord", **parameters):
    """All that is told of a search."""
    with Client() as client:
        client.send(message(method, parameters, more=True))
        replies = []
        while True:
            reply = client.receive()
            replies.append(told(reply))
            if not reply or not reply.get("continues"):
                return replies


def write_record(name, leader, text):
    """A record without the daemon. `text` is what follows the first lines."""
    with open(f"{records.RECORDS}/{name}", "w") as file:
        file.write(f"NAME={name}\nCLASS=container\nLEADER={leader}\n"
                   f"LEADER_PIDFDID={processes.pidfd_id(leader)}\n{text}")


def write_list(kind, page, text):
    os.symlink(text, f"/run/machined/{kind}/{page}")


class Case(world.Case):
    """A test of a provider that runs, with directories for records."""

    def setUp(self):
        super().setUp()
        for directory in (records.RECORDS, *(f"/run/machined/{kind}" for kind in ("uids", "gids", "aliases"))):
            os.makedirs(directory, mode=0o755, exist_ok=True)
        self.provide()

    def provide(self, *arguments, **more):
        """Starts a provider."""
        self.provider = world.Daemon(*arguments, program=PROGRAM, **more)
        self.addCleanup(self.provider.close)

    def assert_served(self):
        """Somebody else gets an answer before long."""
        with Client(deadline=AT_ONCE) as client:
            self.assertTrue(client.is_served())
