#!/usr/bin/env python3
"""Checks that each row of docs/cve.md names tests, that there are tests of these names, and that one has the row's own.

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


def is_named(published, names):
    """Whether there is a test with the number of each CVE, or, where there is none, with that of the report."""
    numbers = [number.replace("-", "_") for number in re.findall(r"CVE-(\d+-\d+)", published)]
    if numbers:
        return all(any(f"cve_{number}_" in name for name in names) for number in numbers)
    return any(f"_{number}_" in name for number in re.findall(r"#(\d+)", published) for name in names)


def faults(page, known):
    """What is wrong with a page."""
    for published, *_, named in rows(page):
        names = re.findall(r"`(\w+)`", named)
        if not names:
            yield f"{published.strip()} names no test"
        elif not is_named(published, names):
            yield f"{published.strip()}: no test has its name"
        yield from (f"{published.strip()}: there is no test {name}" for name in names if name not in known)


def main():
    one, two = "test_cve_2000_1_x", "test_systemd_7_x"
    assert list(faults(f"| systemd#7 | b | c | `{two}` |", {one})) and not list(faults(f"| systemd#7 | b | c | `{two}` |", {two}))
    assert list(faults(f"| CVE-2000-1 (systemd#7) | b | c | `{two}` |", {two}))
    assert not list(faults(f"| CVE-2000-1 | b | c | `{one}` |", {one}))
    page = (ROOT / "docs/cve.md").read_text()
    found = list(faults(page, tests()))
    for fault in found:
        print(f"FAILED {fault}")
    print(f"{len(rows(page)) - len(found)} passed, {len(found)} failed")
    return bool(found) or not rows(page)


if __name__ == "__main__":
    sys.exit(main())
