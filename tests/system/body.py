#!/usr/bin/env -S python3 -B
"""The same tests against whichever daemon has the name on the bus. Prints one line per test, and counts."""

import argparse
import importlib
import os
import sys
import unittest

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--flavour", choices=("stock257", "stock262", "ours"), required=True, help="whose daemon is running")
parser.add_argument("--groups", help="which modules, separated by commas; all by default, but libvirt")
parser.add_argument("words", nargs="*", help="only the tests whose name contains one of these")

GROUPS = ("looking", "inside", "terminals", "opening", "rules", "copying", "spawning", "registering", "describing", "images", "changing", "importing", "statements", "surviving", "ending")
# What the original does not have; and what nobody would put it through: it waits for whoever lays such a trap.
OURS_ALONE = ("trapped", "killed", "progress")


def main():
    options = parser.parse_args()
    os.environ["FLAVOUR"] = options.flavour
    import gaps
    import scene
    from machines import shared
    unittest.defaultTestLoader.testNamePatterns = [f"*{word}*" for word in options.words] or None
    table = gaps.of(options.flavour)
    report = scene.Report(table)
    groups = options.groups.split(",") if options.groups else GROUPS + OURS_ALONE
    if options.flavour != "ours":
        groups = [group for group in groups if group not in OURS_ALONE]
    for group in groups:
        try:
            unittest.defaultTestLoader.loadTestsFromModule(importlib.import_module(group)).run(report)
        finally:
            if group == groups[-1]:
                shared.end()
    if not options.words and not options.groups:
        for sentence in table.keys() - report.used:
            report.failed += 1
            report.line("FAILED", f"the table of gaps has a sentence that is no test: {sentence}")
    print(f"{report.passed} passed, {report.failed} failed, {report.skipped} skipped")
    sys.exit(report.failed != 0)


if __name__ == "__main__":
    main()
