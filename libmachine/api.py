#!/usr/bin/env python3
"""The public interface of the crate libmachine, a line for each item, as it is checked in: libmachine/api.txt.

usage: api.py check    compares; prints the differences and exits 1 if there are any
       api.py write    writes it anew

A line that goes or changes breaks programs that exist. What the crate exports of the crate registry is among them, and nobody
is to need another crate for what a function takes or returns: a type that is not exported is told. It is what rustdoc says
of the crates; another version of rustdoc may say it in a form that this does not know, which is told, and counts as skipped."""

import difflib
import json
import os
import pathlib
import subprocess
import sys

# What rustdoc's JSON is like, as far as it is read here.
FORMATS = range(45, 58)
# Traits of the compiler alone, which no program can name on a stable one.
INTERNAL = ("Freeze", "UnsafeUnpin", "StructuralPartialEq")
# The crates whose types the interface speaks of.
OTHERS = ("registry", "rustix")
HERE = pathlib.Path(__file__).resolve().parent
DUMP = HERE / "api.txt"


def documentation(crate):
    target = HERE.parent / "target/api"
    environment = dict(os.environ, RUSTC_BOOTSTRAP="1")
    command = [HERE.parent / "scripts/cargo.sh", "rustdoc", "--quiet", "--locked", "--lib", "-p", crate, "--target-dir", target,
               "--", "-Z", "unstable-options", "--output-format", "json"]
    subprocess.run(command, cwd=HERE.parent, env=environment, check=True)
    return json.loads((target / f"doc/{crate}.json").read_text())


class Interface:
    """What a crate exports; only some of it, if these names are given."""

    def __init__(self, said, only=None):
        self.index = {str(key): item for key, item in said["index"].items()}
        self.paths = {str(key): path["path"] for key, path in said["paths"].items()}
        self.only = only
        self.lines = set()
        # The types of other crates that are exported, and those that are spoken of.
        self.exported, self.needed = set(), set()
        self.module(self.index[str(said["root"])])

    def item(self, number):
        return self.index.get(str(number))

    def module(self, module):
        for number in module["inner"]["module"]["items"]:
            item = self.item(number)
            if item is None or item["visibility"] != "public":
                continue
            if "use" in item["inner"]:
                use = item["inner"]["use"]
                if self.only is not None and use["name"] not in self.only:
                    continue
                target = self.item(use["id"]) if use["id"] is not None else None
                if target is None:
                    # Another crate's.
                    self.lines.add(f"pub use {use['source']} as {use['name']}")
                    self.exported.add(tuple(self.paths[str(use["id"])]))
                    continue
                item = dict(target, name=use["name"])
            elif self.only is not None and item["name"] not in self.only:
                continue
            self.top(item)

    def top(self, item):
        name, (kind, inner) = item["name"], next(iter(item["inner"].items()))
        attributes = "#[non_exhaustive] " if "non_exhaustive" in json.dumps(item["attrs"]) else ""
        if kind == "function":
            self.lines.add(self.function(name, inner))
        elif kind in ("struct", "enum"):
            self.lines.add(f"{attributes}pub {kind} {name}{self.generics(inner['generics'])}")
            for member in self.members(kind, inner):
                self.member(name, kind, member)
            for number in inner["impls"]:
                self.implementation(name, self.item(number)["inner"]["impl"])
        else:
            self.lines.add(f"{attributes}pub {kind} {name} {json.dumps(inner, sort_keys=True)}")

    @staticmethod
    def members(kind, inner):
        if kind == "enum":
            return inner["variants"]
        shape = inner["kind"]
        if shape == "unit":
            return []
        return shape["tuple"] if "tuple" in shape else shape["plain"]["fields"]

    def member(self, name, kind, number):
        member = self.item(number) if number is not None else None
        if member is None:
            return
        if kind == "struct":
            if member["visibility"] == "public":
                self.lines.add(f"pub {name}.{member['name']}: {self.type(member['inner']['struct_field'])}")
            return
        shape = member["inner"]["variant"]["kind"]
        if shape == "plain":
            what = ""
        elif "tuple" in shape:
            what = "(" + ", ".join(self.type(self.item(field)["inner"]["struct_field"]) for field in shape["tuple"]) + ")"
        else:
            fields = (self.item(field) for field in shape["struct"]["fields"])
            what = " { " + ", ".join(f"{field['name']}: {self.type(field['inner']['struct_field'])}" for field in fields) + " }"
        self.lines.add(f"{name}::{member['name']}{what}")

    def implementation(self, name, implementation):
        trait = implementation["trait"]
        # What every type has, and what the compiler finds out by itself, but for what callers rely on.
        if implementation["blanket_impl"] is not None:
            return
        if trait is not None and trait["path"] in INTERNAL:
            return
        if trait is not None:
            no = "!" if implementation.get("is_negative") else ""
            self.lines.add(f"impl {no}{trait['path']}{self.arguments(trait['args'])} for {name}")
            return
        for number in implementation["items"]:
            item = self.item(number)
            if item["visibility"] != "public":
                continue
            kind, inner = next(iter(item["inner"].items()))
            if kind == "function":
                self.lines.add(self.function(f"{name}::{item['name']}", inner))
            else:
                self.lines.add(f"pub const {name}::{item['name']}: {self.type(inner['type'])}")

    def function(self, name, function):
        signature, header = function["sig"], function["header"]
        words = "".join(f"{word} " for word in ("const", "unsafe", "async") if header.get(f"is_{word}"))
        inputs = ", ".join(f"{argument}: {self.type(kind)}" for argument, kind in signature["inputs"])
        output = f" -> {self.type(signature['output'])}" if signature["output"] else ""
        return f"pub {words}fn {name}{self.generics(function['generics'])}({inputs}){output}"

    def generics(self, generics):
        if not generics["params"]:
            return ""
        return "<" + ", ".join(self.parameter(parameter) for parameter in generics["params"]) + ">"

    def parameter(self, parameter):
        bounds = parameter["kind"].get("type", {}).get("bounds", [])
        return parameter["name"] + (": " + self.bounds(bounds) if bounds else "")

    def bounds(self, bounds):
        return " + ".join(self.bound(bound) for bound in bounds)

    def bound(self, bound):
        if "trait_bound" in bound:
            trait = bound["trait_bound"]["trait"]
            return trait["path"] + self.arguments(trait["args"])
        return json.dumps(bound, sort_keys=True)

    def arguments(self, arguments):
        if arguments is None:
            return ""
        if "parenthesized" in arguments:
            inner = arguments["parenthesized"]
            output = f" -> {self.type(inner['output'])}" if inner["output"] else ""
            return "(" + ", ".join(map(self.type, inner["inputs"])) + ")" + output
        bracketed = arguments["angle_bracketed"]
        args = [self.type(arg["type"]) if "type" in arg else str(next(iter(arg.values()))) for arg in bracketed["args"]]
        return "<" + ", ".join(args) + ">" if args else ""

    def type(self, kind):
        if isinstance(kind, str):
            return kind
        name, inner = next(iter(kind.items()))
        if name in ("primitive", "generic"):
            return inner
        if name == "resolved_path":
            path = self.paths.get(str(inner["id"]), [""])
            if path[0] in OTHERS:
                self.needed.add(tuple(path))
            return inner["path"] + self.arguments(inner["args"])
        if name == "borrowed_ref":
            lifetime = f"{inner['lifetime']} " if inner["lifetime"] else ""
            return f"&{lifetime}{'mut ' if inner['is_mutable'] else ''}{self.type(inner['type'])}"
        if name == "raw_pointer":
            return f"*{'mut' if inner['is_mutable'] else 'const'} {self.type(inner['type'])}"
        if name == "slice":
            return f"[{self.type(inner)}]"
        if name == "array":
            return f"[{self.type(inner['type'])}; {inner['len']}]"
        if name == "tuple":
            return "(" + ", ".join(map(self.type, inner)) + ")"
        if name == "impl_trait":
            return "impl " + self.bounds(inner)
        if name == "dyn_trait":
            return "dyn " + " + ".join(poly["trait"]["path"] + self.arguments(poly["trait"]["args"]) for poly in inner["traits"])
        return json.dumps(kind, sort_keys=True)


def main():
    if sys.argv[1:] not in (["check"], ["write"]):
        sys.exit(__doc__)
    said = documentation("libmachine")
    if said["format_version"] not in FORMATS:
        print(f"SKIPPED: rustdoc has format {said['format_version']}, which libmachine/api.py does not know")
        return
    own = Interface(said)
    others = Interface(documentation("registry"), {path[-1] for path in own.exported if path[0] == "registry"})
    lines = sorted(own.lines | others.lines)
    lacking = sorted("::".join(path) for path in (own.needed | others.needed) - own.exported)
    if lacking:
        sys.exit(f"FAILED: libmachine does not export {', '.join(lacking)}, which its interface speaks of")
    if sys.argv[1] == "write":
        DUMP.write_text("\n".join(lines) + "\n")
        return
    difference = list(difflib.unified_diff(DUMP.read_text().splitlines(), lines, "libmachine/api.txt", "the source", lineterm=""))
    print("\n".join(difference) or "libmachine/api.txt is what the source says")
    sys.exit(bool(difference))


if __name__ == "__main__":
    main()
