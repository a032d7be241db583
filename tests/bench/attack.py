"""How long root and another user wait while eight others attack a daemon, beside a bare echo server in the same run."""

import os
import pathlib
import signal
import sys

import world
from client import GET_INFO
from figures import MS, figure

# The attackers of the tests; in the boot they are shown beside these files.
sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent / "daemon"))
import attackers  # noqa: E402
import varlink  # noqa: E402

# Other files there have names of files elsewhere.
sys.path.pop()

USERS = {"root": (0, 50), "another user": (3999, 250)}
TIMES = 1.3
SECONDS, PATIENCE = 2.0, 10
ECHO = world.WORK / "echo"
MANY_VALUES = attackers.call("io.systemd.Machine.List", {"name": [0] * 8000}, oneway=True)

# What each attacker does at a socket, and how many ask at a time: one where calls are short.
ATTACKS = {
    "nothing": None,
    "cheap calls": (lambda path: attackers.Crowd(path, attackers.HOST * 50).run(), 1),
    "many values": (lambda path: attackers.Crowd(path, MANY_VALUES * 3).run(), 1),
    "deaf clients": (lambda path: attackers.Crowd(path, attackers.HOST * 50, reads=False).run(), 1),
    "coming and going": (attackers.churn, 16),
}


def waits(places, uid, callers):
    """The 99th percentile by place, in ms."""
    told = varlink.as_user(uid, lambda: attackers.latencies_of_many(callers, places, SECONDS, PATIENCE))
    return {name: attackers.percentile(taken, 0.99) * MS for name, taken in told.items()}


def attack(options, ours, stock):
    echo = attackers.echo_server(str(ECHO))
    try:
        for name, what in ATTACKS.items():
            taken = {whom: {"ours": [], "stock": [], "echo": []} for whom in USERS}
            for _ in range(min(options.rounds, 3)):
                # The socket's own queue is attacked by those who come and go: there the echo server is, too.
                aims = {"ours": ours.socket, "stock": stock.socket, "echo": str(ECHO)}
                for aim, path in aims.items():
                    # What is left of the attack before is not this one's.
                    for daemon in (ours, stock):
                        if daemon.name == aim:
                            daemon.restart()
                            daemon.client().exchange(GET_INFO)
                    measure(taken, name, what, aim, path)
            for whom, (_, limit) in USERS.items():
                got = taken[whom]
                title = f"{whom} waits, p99, attacked by {name}"
                figure("attack", title, "ms", got["ours"], got["stock"])
                bounds = [max(limit, TIMES * value) for value in got["echo"]]
                figure("attack", title, "ms", got["ours"], got["echo"], "echo", below=round(max(bounds), 1))
    finally:
        os.kill(echo, signal.SIGKILL)
        os.waitpid(echo, 0)


def measure(taken, name, what, aim, path):
    """One run: who is attacked is asked. The echo server is asked while ours is attacked, unless its own queue counts."""
    is_queue = name == "coming and going"
    if aim == "echo" and not is_queue:
        return
    message = b"x\0" if aim == "echo" else attackers.HOST
    places = {aim: (path, message)}
    if aim == "ours" and not is_queue:
        places["echo"] = (str(ECHO), b"x\0")
    work, callers = what or (None, 1)
    if work is None:
        ask(taken, places, callers)
        return
    with attackers.Attack(lambda: work(path)):
        ask(taken, places, callers)


def ask(taken, places, callers):
    for whom, (uid, _) in USERS.items():
        for name, value in waits(places, uid, callers).items():
            taken[whom][name].append(value)
