#!/usr/bin/env python3
"""Checks what the files of the workspace import: no two of them each other, not even in a circle of several, and in
machined none what is on a higher floor. Reads `use` declarations and paths that begin with crate, self or super, and
follows a name that is imported from a module to the file that defines it. Tests do not count.

usage: floors.py [CRATE]...    all crates with a src/ directory, or these. Exits 1 if something is wrong.
       floors.py --test        first sees that it finds what is wrong in files made for that."""

import pathlib
import re
import sys
import tempfile

# The floors of machined from the bottom: the modules on one floor know those below it. On the floors that are "apart" they
# do not know each other either.
MACHINED = [
    ("ground", ["announcements", "error", "journal", "os_release", "own_process", "places", "unit_part"], False),
    ("core", ["group", "stuck", "machines", "publisher", "vacancy", "watch", "daemon"], False),
    ("bus and jobs", ["bus", "jobs"], True),
    (
        "services",
        ["addresses", "authorization", "host", "host_names", "image_workers", "inside", "late_maps",
         "spare_memory", "subscription", "systemd"],
        True,
    ),
    ("operations", ["operations"], True),
    ("front ends", ["dbus", "varlink"], True),
    ("start", ["cli", "eviction", "main", "predecessors", "restore", "start", "user"], False),
]

USE = re.compile(r"^\s*(pub(?:\([^)]*\))?\s+)?use\s+([^;]+);", re.M)
PATH = re.compile(r"(?<![\w:])((?:crate|self|super)(?:::\w+)+)")


def strip(text):
    """The text without comments, strings and what is for tests."""
    text = re.sub(r'"(?:\\.|[^"\\])*"', '""', text, flags=re.S)
    text = re.sub(r"//[^\n]*", "", text)
    return re.split(r"^#\[cfg\(test\)\]\s*\n(?:#\[[^\n]*\n)*mod \w+ \{", text, maxsplit=1, flags=re.M)[0]


def expand(tree):
    """The paths of a use declaration: `a::{b, c::d as e}` is [([a, b], b), ([a, c, d], e)]."""
    tree = tree.strip()
    if "{" not in tree:
        path, _, name = tree.partition(" as ")
        parts = [part.strip() for part in path.split("::")]
        if parts[-1] == "self":
            parts.pop()
        return [(parts, name.strip() or "".join(parts[-1:]))]
    head, rest = tree.split("{", 1)
    head = [part for part in head.strip().split("::") if part]
    inner, depth, start, found = rest.rsplit("}", 1)[0], 0, 0, []
    for at, letter in enumerate(inner + ","):
        depth += {"{": 1, "}": -1}.get(letter, 0)
        if letter == "," and depth == 0:
            if inner[start:at].strip():
                found += [(head + path, name or head[-1]) for path, name in expand(inner[start:at])]
            start = at + 1
    return found


class Crate:
    def __init__(self, source):
        self.source = source
        self.files = {}  # module path, a tuple, to the file
        self.text = {}
        for file in sorted(source.rglob("*.rs")):
            parts = file.relative_to(source).with_suffix("").parts
            if any("tests" in part or part == "bin" for part in parts):
                continue
            if parts[-1] in ("mod", "lib"):
                parts = parts[:-1]
            self.files[parts] = file
            self.text[parts] = strip(file.read_text())
        self.exports = {module: {} for module in self.files}
        for module, text in self.text.items():
            for _, tree in USE.findall(text):
                for path, name in expand(tree):
                    self.exports[module][name] = self.absolute(module, path)

    def absolute(self, module, path):
        """A path from the crate's root; None if it is another crate's."""
        base = list(module)
        if path[0] == "crate":
            return path[1:]
        if path[0] == "self":
            return base + path[1:]
        if path[0] == "super":
            while path and path[0] == "super":
                base, path = base[:-1], path[1:]
            return base + path
        return base + path if tuple(base + path[:1]) in self.files else None

    def module_of(self, path, seen=()):
        """The module whose file defines what a path from the root leads to."""
        module, rest = (), list(path)
        while rest and module + (rest[0],) in self.files:
            module += (rest.pop(0),)
        if rest and rest[0] in self.exports.get(module, {}) and (module, rest[0]) not in seen:
            further = self.exports[module][rest[0]]
            return None if further is None else self.module_of(further + rest[1:], (*seen, (module, rest[0])))
        return module if module in self.files else None

    def imports(self, module):
        found = set()
        text = self.text[module]
        for visible, tree in USE.findall(text):
            for path, _ in expand(tree):
                path = self.absolute(module, path)
                # What is only passed on is nobody's import but the user's.
                if path is not None and not visible:
                    found.add(self.module_of(path))
        for path in PATH.findall(USE.sub("", text)):
            path = self.absolute(module, path.split("::"))
            found.add(None if path is None else self.module_of(path))
        return found - {None, module}


def circles(graph):
    """The sets of files that import each other (Tarjan)."""
    index, low, stack, found, counter = {}, {}, [], [], [0]

    def visit(node):
        index[node] = low[node] = counter[0]
        counter[0] += 1
        stack.append(node)
        for other in graph[node]:
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            circle = []
            while True:
                circle.append(stack.pop())
                if circle[-1] == node:
                    break
            if len(circle) > 1:
                found.append(sorted(circle))

    for node in graph:
        if node not in index:
            visit(node)
    return found


def climbs(graph):
    """What is imported from a higher floor, or next door where that is not done."""
    floor = {name: (height, apart) for height, (_, names, apart) in enumerate(MACHINED) for name in names}
    for module, others in graph.items():
        if not module:
            continue
        if module[0] not in floor:
            yield f"{'/'.join(module)} is on no floor: scripts/floors.py lists them"
            continue
        height, apart = floor[module[0]]
        for other in others:
            if not other or other[0] == module[0] or other[0] not in floor:
                continue
            above = floor[other[0]][0]
            if above > height:
                yield f"{'/'.join(module)} ({MACHINED[height][0]}) imports {'/'.join(other)} ({MACHINED[above][0]})"
            elif above == height and apart:
                yield f"{'/'.join(module)} imports its neighbour {'/'.join(other)}"


def complaints_of(name, source):
    crate = Crate(source)
    graph = {module: sorted(crate.imports(module)) for module in crate.files}
    for circle in circles(graph):
        yield "a circle: " + ", ".join(str(crate.files[module].relative_to(source)) for module in circle)
    if name == "machined":
        yield from climbs(graph)


def find_planted():
    """Whether what is planted in a crate is found, and nothing else."""
    planted = {
        "lib.rs": "mod bus; mod daemon; mod late_maps; mod operations; mod systemd;",
        "bus.rs": "use crate::daemon::Daemon;\npub struct Bus;",
        "daemon.rs": "//! [`crate::operations`]\npub struct Daemon;\n#[cfg(test)]\nmod tests {\n    use crate::bus::Bus;\n}",
        "late_maps.rs": "use crate::{\n    daemon::{self, Daemon},\n    systemd::Systemd as Other,\n};",
        "systemd.rs": "mod jobs;\npub use jobs::Job;\npub struct Systemd(crate::operations::End);",
        "systemd/jobs.rs": "pub struct Job(super::Systemd);",
        "operations.rs": "mod end;\nmod kill;\npub use end::End;",
        "operations/end.rs": "use super::kill::Kill;\npub struct End;",
        "operations/kill.rs": "use crate::operations::End;\npub struct Kill;",
    }
    expected = {
        "a circle: operations/end.rs, operations/kill.rs",
        "late_maps imports its neighbour systemd",
        "systemd (services) imports operations/end (operations)",
    }
    with tempfile.TemporaryDirectory() as directory:
        source = pathlib.Path(directory)
        for name, text in planted.items():
            (source / name).parent.mkdir(exist_ok=True)
            (source / name).write_text(text)
        found = set(complaints_of("machined", source))
    for complaint in sorted(found ^ expected):
        print(f"{'found' if complaint in found else 'not found'} in what was planted: {complaint}")
    return found == expected


def main():
    if sys.argv[1:] == ["--test"]:
        sys.argv.pop()
        if not find_planted():
            return 1
    top = pathlib.Path(__file__).resolve().parent.parent
    # libmachine-c is left out: a structure of its interface and the functions that fill it stand in two files.
    names = sys.argv[1:] or sorted({path.parent.name for path in top.glob("*/src")} - {"libmachine-c"})
    wrong = 0
    for name in names:
        complaints = list(complaints_of(name, top / name / "src"))
        for complaint in complaints:
            print(f"{name}: {complaint}")
        wrong += len(complaints)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
