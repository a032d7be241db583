#!/usr/bin/env python3
"""Checks that each row of docs/cve.md names tests, and that there are tests of these names.

usage: cve.py
"""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent


def tests():
    """The names of all tests, in Python and in Rust."""
    files = [*ROOT.glob("tests/**/*.py"), *(path for path in ROOT.glob("*/src/**/*.rs") if path.parts[len(ROOT.parts)] != "target")]
    return {name for path in files for name in re.findall(r"^ *(?:def|fn|async fn) (\w+)", path.read_text(), re.MULTILINE)}


def rows(page):
    """The rows of the page's tables, each as its cells."""
    lines = [line for line in page.splitlines() if line.startswith("| ") and not line.startswith("| Published")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def faults(page, known):
    """What is wrong with a page."""
    for published, *_, named in rows(page):
        names = re.findall(r"`(\w+)`", named)
        if not names:
            yield f"{published.strip()} names no test"
        yield from (f"{published.strip()}: there is no test {name}" for name in names if name not in known)


def main():
    assert list(faults("| a | b | c | `gone` |", {"here"})) and not list(faults("| a | b | c | `here` |", {"here"}))
    page = (ROOT / "docs/cve.md").read_text()
    found = list(faults(page, tests()))
    for fault in found:
        print(f"FAILED {fault}")
    print(f"{len(rows(page)) - len(found)} passed, {len(found)} failed")
    return bool(found) or not rows(page)


if __name__ == "__main__":
    sys.exit(main())
