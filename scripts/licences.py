#!/usr/bin/env python3
"""Checks where our dependencies come from and under what licences, by what cargo says of them.

usage: licences.py

Each crate has to come from crates.io, or be a part of this project, and its licence has to let us choose one of those
below. cargo-deny checks the same and more, but takes minutes to build; this needs nothing beyond cargo and Python.
"""

import json
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
CRATES_IO = "registry+https://github.com/rust-lang/crates.io-index"
# Those that ask for nothing but their own text, which a package of ours can have beside it.
ALLOWED = {"MIT", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "Zlib", "0BSD", "Unlicense", "CC0-1.0", "Unicode-3.0",
           "Apache-2.0 WITH LLVM-exception", "MIT-0", "BSL-1.0"}
# What builds something and is a part of nothing that is built.
TOOLS = {"cbindgen": "MPL-2.0"}
# Workspaces of their own.
WORKSPACES = (".", "nss-mymachines", "libmachine-c", "libmachine-c/header")


class Expression:
    """An SPDX expression, with the slash of old that means OR."""

    def __init__(self, text):
        self.words = re.findall(r"\(|\)|[^\s()/]+|/", text)

    def is_allowed(self):
        allowed = self.any_of()
        if self.words:
            raise ValueError(f"{self.words} is left")
        return allowed

    def any_of(self):
        allowed = self.all_of()
        while self.words and self.words[0] in ("OR", "/"):
            self.words.pop(0)
            # Both are read, whatever the first one is.
            allowed = self.all_of() or allowed
        return allowed

    def all_of(self):
        allowed = self.one()
        while self.words and self.words[0] == "AND":
            self.words.pop(0)
            allowed = self.one() and allowed
        return allowed

    def one(self):
        word = self.words.pop(0)
        if word == "(":
            allowed = self.any_of()
            if self.words.pop(0) != ")":
                raise ValueError("a parenthesis is not closed")
            return allowed
        if self.words and self.words[0] == "WITH":
            word += f" WITH {self.words[1]}"
            del self.words[:2]
        return word in ALLOWED


def packages(workspace):
    """What cargo knows of a workspace's crates."""
    cargo = [ROOT / "scripts/cargo.sh", "metadata", "--locked", "--format-version=1", "--manifest-path",
             ROOT / workspace / "Cargo.toml"]
    return json.loads(subprocess.run(cargo, check=True, stdout=subprocess.PIPE).stdout)["packages"]


def fault(package):
    """What is wrong with a crate; None: nothing."""
    source = package["source"]
    if source is None:
        if not pathlib.Path(package["manifest_path"]).is_relative_to(ROOT):
            return f"lies outside of this project, {package['manifest_path']}"
    elif source != CRATES_IO:
        return f"comes from {source}"
    if TOOLS.get(package["name"]) == package["license"]:
        return None
    try:
        if not Expression(package["license"] or "none").is_allowed():
            return f"has the licence {package['license']}"
    except (ValueError, IndexError) as error:
        return f"has a licence that cannot be read, {package['license']}: {error}"
    return None


def check_itself():
    """That the check can fail."""
    for text, expected in (("MIT", True), ("GPL-3.0-only", False), ("MIT OR GPL-3.0-only", True), ("MIT/Apache-2.0", True),
                           ("MIT AND GPL-3.0-only", False), ("(MIT OR GPL-2.0-only) AND Unicode-3.0", True),
                           ("GPL-2.0-only OR (MIT AND AGPL-3.0-only)", False), ("none", False)):
        assert Expression(text).is_allowed() is expected, text
    stranger = {"name": "a", "source": "git+https://example.org/a#1", "license": "MIT", "manifest_path": "/"}
    assert fault(stranger) and fault({**stranger, "source": None}) and not fault({**stranger, "source": CRATES_IO})


def main():
    check_itself()
    passed = failed = 0
    for workspace in WORKSPACES:
        if not (ROOT / workspace / "Cargo.toml").exists():
            continue
        for package in packages(workspace):
            wrong = fault(package)
            if wrong:
                print(f"FAILED {package['name']} {package['version']} {wrong}")
                failed += 1
            else:
                passed += 1
    # What packagers copy from.
    linked = subprocess.run([ROOT / "packaging/licences.sh"], check=True, stdout=subprocess.PIPE, text=True).stdout
    if (ROOT / "packaging/licences.md").read_text() == linked:
        passed += 1
    else:
        print("FAILED packaging/licences.md is not what the lock files say: packaging/licences.sh >packaging/licences.md")
        failed += 1
    print(f"{passed} passed, {failed} failed")
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
