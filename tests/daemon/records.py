"""The published registry as it stands on disk."""

import collections
import contextlib
import ipaddress
import os

RECORDS = "/run/systemd/machines"
INDEX = "/run/machined/addresses"


def parse(path):
    """The plain pairs of a record; values are unquoted where quoting is simple."""
    with open(path) as file:
        text = file.read()
    assert text.endswith("\n"), f"{path} is cut off"
    pairs = dict(line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))
    return {key: value.strip('"') for key, value in pairs.items()}


def record(name):
    """A machine's record; None if there is none."""
    try:
        return parse(f"{RECORDS}/{name}")
    except FileNotFoundError:
        return None


def names():
    return sorted(os.listdir(RECORDS))


def addresses(name):
    """What a machine's name resolves to; None if that is not known or it has no record."""
    value = (record(name) or {}).get("ADDRESSES")
    return value.split() if value is not None else None


def index():
    """The address index, whose entries are named by the bytes of an address: the machine of each."""
    found = {}
    for entry in os.listdir(INDEX):
        # It may go in between.
        with contextlib.suppress(FileNotFoundError):
            found[str(ipaddress.ip_address(bytes.fromhex(entry)))] = os.readlink(f"{INDEX}/{entry}")
    return found


def expected_index():
    """What the index should be, from the records."""
    holders = collections.defaultdict(set)
    for name in names():
        for address in addresses(name) or []:
            if address != "host":
                holders[address.split("%")[0]].add(name)
    return {address: min(names) for address, names in holders.items() if len(names) == 1}
