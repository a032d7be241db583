"""The tool as a script sees it: its output, its complaints, its exit status, and how long it took."""

import csv
import io
import json
import os
import subprocess

import processes
import world

MYMACHINES = os.environ["MYMACHINES"]
RECORDS = "/run/systemd/machines"


def run(*arguments, stdin=subprocess.DEVNULL, env=None, text=None):
    """Runs it to its end; it has 20 seconds, which is far more than anything here takes."""
    more = {"input": text} if text is not None else {"stdin": stdin}
    return subprocess.run([MYMACHINES, *arguments], capture_output=True, text=True, timeout=20,
                          env={"PATH": os.environ["PATH"], **(env or {})}, check=False, **more)


def table(*arguments):
    """The rows of its JSON."""
    done = run(*arguments, "--format", "json")
    return json.loads(done.stdout)


def rows(text):
    return list(csv.reader(io.StringIO(text)))


class Case(world.Case):
    def made_up(self, name, leader=None, **fields):
        """A record as some daemon may have written it."""
        os.makedirs(RECORDS, exist_ok=True)
        lines = {"NAME": name, "CLASS": "container", "SERVICE": "test", "REALTIME": "1767225599000000"}
        if leader:
            lines.update(LEADER=leader.pid, LEADER_PIDFDID=processes.pidfd_id(leader.pid) or "")
        lines.update(fields)
        path = f"{RECORDS}/{name}"
        with open(path, "w") as file:
            file.write("# This is private data. Do not parse.\n")
            file.writelines(f'{key}="{value}"\n' for key, value in lines.items() if value != "")
        return path
