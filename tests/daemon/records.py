"""The published registry as it stands on disk."""

import collections
import contextlib
import errno
import hashlib
import ipaddress
import os

RECORDS = "/run/systemd/machines"
INDEX = "/run/machined/addresses"
DERIVED = "/run/machined"


def parse(path):
    """The plain pairs of a record; values are unquoted where quoting is simple."""
    with open(path) as file:
        text = file.read()
    assert text.endswith("\n"), f"{path} is cut off"
    pairs = dict(line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))
    return {key: value.strip().strip('"') for key, value in pairs.items()}


def record(name, directory=RECORDS):
    """A machine's record; None if there is none."""
    try:
        return parse(f"{directory}/{name}")
    except FileNotFoundError:
        return None


def names():
    return sorted(os.listdir(RECORDS))


def everything():
    """All records by name, without one that goes meanwhile."""
    found = {name: record(name) for name in names()}
    return {name: machine for name, machine in found.items() if machine is not None}


def addresses(name):
    """What a machine's name resolves to; None if that is not known or it has no record."""
    value = (record(name) or {}).get("ADDRESSES")
    return value.split() if value is not None else None


def index():
    """The address index, whose entries are named by the bytes of an address: the machine of each, * where there are several."""
    found = {}
    for entry in os.listdir(INDEX):
        # It may go in between.
        with contextlib.suppress(FileNotFoundError):
            # What is not in its place yet is no address.
            address = entry if entry.startswith(".#") else str(ipaddress.ip_address(bytes.fromhex(entry)))
            found[address] = os.readlink(f"{INDEX}/{entry}")
    return found


def expected_index(found=None):
    """What the index should be, from these records, or from those that there are."""
    holders = collections.defaultdict(set)
    for name, machine in (everything() if found is None else found).items():
        for address in machine.get("ADDRESSES", "").split() if machine.get("REACHED") == "1" else []:
            if not address.startswith("fe80:"):
                holders[address.split("%")[0]].add(name)
    return {address: min(names) if len(names) == 1 else "*" for address, names in holders.items()}


def group_index():
    """The group index, whose entries are named by the hash of a control group's path: the machine of each."""
    found = {}
    for entry in os.listdir(f"{DERIVED}/cgroups"):
        with contextlib.suppress(FileNotFoundError):
            found[entry] = os.readlink(f"{DERIVED}/cgroups/{entry}")
    return found


def expected_group_index(found):
    """What the group index should be, from these records."""
    groups = {name: machine.get("CGROUP") for name, machine in found.items()}
    count = collections.Counter(groups.values())
    return {hashlib.sha256(group.encode()).hexdigest()[:32]: name for name, group in groups.items()
            if group and count[group] == 1}


def id_lists(kind):
    """The lists of the uid or gid index by their names; each is a symlink, or a file where it is too long for one."""
    found = {}
    for entry in os.listdir(f"{DERIVED}/{kind}"):
        path = f"{DERIVED}/{kind}/{entry}"
        with contextlib.suppress(FileNotFoundError):
            try:
                found[entry] = os.readlink(path)
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
                with open(path) as file:
                    found[entry] = file.read()
    # What is about to be renamed.
    return {entry: text for entry, text in found.items() if not entry.startswith(".#")}


def aliases():
    """The aliases of machines whose names make no user names."""
    return {entry: os.readlink(f"{DERIVED}/aliases/{entry}") for entry in os.listdir(f"{DERIVED}/aliases")}


def case_index():
    """The links of names in lower case."""
    found = {}
    for entry in os.listdir(f"{DERIVED}/names"):
        # It may go in between.
        with contextlib.suppress(FileNotFoundError):
            found[entry] = os.readlink(f"{DERIVED}/names/{entry}")
    # What is about to be renamed.
    return {entry: name for entry, name in found.items() if not entry.startswith(".#")}


def expected_case_index(found=None):
    """What they should be, from these records, or from those that there are: each leads to the only machine of that name, in any
    case, that is no user's alone."""
    alike = collections.defaultdict(list)
    for name, machine in (everything() if found is None else found).items():
        if machine.get("UID", "0") == "0" or machine.get("PUBLIC") == "1":
            alike[name.lower()].append(name)
    return {lower: only[0] for lower, only in alike.items() if len(only) == 1}


def leader_in_lists(machine):
    """How an entry of the id index goes on behind the name of a machine, by its record."""
    return f":{machine['LEADER']}:{machine['LEADER_PIDFDID']}" if "LEADER_PIDFDID" in machine else ""


def expected_id_lists(kind, found):
    """What the pages should be, from these records, as sets of entries. For machines of few ids, no two with the same."""
    key = {"uids": "UIDMAP", "gids": "GIDMAP"}[kind]
    pages = collections.defaultdict(set)
    for name, machine in found.items():
        for line in machine.get(key, "").split() if machine["CLASS"] == "container" else ():
            inside, outside, count = map(int, line.split(":"))
            if outside:
                for page in range(max(1, outside >> 16), ((outside + count - 1) >> 16) + 1):
                    pages[f"{page:04x}"].add(f"{outside}:{count}:{inside}:{name}{leader_in_lists(machine)}")
    return dict(pages)
