#!/usr/bin/env -S python3 -B
"""What a client of org.freedesktop.machine1 may rely on: one body of cases for the original and for ours.

Each case is a sentence. What is expected was measured on stock systemd 257 and 262; where they differ, or ours does on
purpose, `differs` says so, and ours is a line in docs/differences.md. Needs root, a running systemd, a system bus whose
policy lets everybody call org.freedesktop.machine1, and python's standard library.
"""

import argparse
import signal

import service

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--flavour", choices=("stock257", "stock262", "ours"), default="ours",
                    help="whose daemon is running (default: ours)")
service.flavour = parser.parse_args().flavour
# The original ends the supervisor of a machine that it could not register: this process. Its children are to end.
signal.signal(signal.SIGTERM, lambda *_: None)

import machines  # noqa: E402, its cases depend on the flavour
import malformed  # noqa: E402,F401
import wrong  # noqa: E402,F401

service.run(machines.tidy_all)
