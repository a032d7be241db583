#!/usr/bin/env -S python3 -B
"""Prints the figures of a measurement as a table."""

import argparse
import json
import statistics
import sys

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--check", action="store_true", help="end with status 1 if a target is missed")
parser.add_argument("file", help="figures.json")


def number(value):
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def value(values, unit, at_least=False):
    if not values:
        return ""
    if unit == "us" and statistics.median(values) >= 1e6:
        values, unit = [value / 1e6 for value in values], "s"
    text = f"{number(statistics.median(values))} {unit}"
    if at_least:
        return f"> {text}"
    if len(values) > 1:
        text += f" ({number(min(values))}..{number(max(values))})"
    return text


def ratio_of(figure):
    """The median of the rounds' ratios: what is divided was measured one after the other. None: nothing to compare."""
    if not figure["other"]:
        return None
    return statistics.median(ours / other for ours, other in zip(figure["ours"], figure["other"]))


def verdict(figure):
    """The target in words, and whether it is met; None where there is none."""
    if "target" in figure:
        target = figure["target"]
        words = f"<= {target:g}" if target >= 0.1 else f"<= 1/{1 / target:.0f}"
        return words, ratio_of(figure) <= target
    if "below" in figure:
        return f"< {figure['below']} {figure['unit']}", max(figure["ours"]) < figure["below"]
    if "least" in figure:
        return f">= {figure['least']}", min(figure["ours"]) >= figure["least"]
    return "", None


def line(figure):
    ratio = ratio_of(figure)
    words, met = verdict(figure)
    return (
        f"{figure['group']}: {figure['title']}",
        value(figure["ours"], figure["unit"]),
        f"{figure['whose']} {value(figure['other'], figure['unit'], figure.get('at_least', False))}" if ratio else "",
        ("< " if figure.get("at_least") else "") + (f"{ratio:.2f}" if ratio >= 0.1 else f"1/{1 / ratio:.0f}") if ratio else "",
        words,
        {None: "", True: "met", False: "MISSED"}[met],
    )


def main():
    options = parser.parse_args()
    with open(options.file, encoding="utf-8") as file:
        told = json.load(file)
    for figure in told["figures"]:
        figure["ratio"] = ratio_of(figure)
        figure["met"] = verdict(figure)[1]
    with open(options.file, "w", encoding="utf-8") as file:
        json.dump(told, file, indent=1)
        file.write("\n")
    conditions = told["conditions"]
    print(f"{conditions['systemd']}, {conditions['libc']}, Linux {conditions['kernel']}, "
          f"{conditions['processors']} processors; medians of {conditions['rounds']} rounds (least..most)")
    rows = [("figure", "ours", "compared with", "ratio", "target", ""), *map(line, told["figures"])]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    rows.insert(1, tuple("-" * width for width in widths))
    for row in rows:
        print(" | ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip(" |"))
    missed = sum(figure["met"] is False for figure in told["figures"])
    aimed = sum(figure["met"] is not None for figure in told["figures"])
    print(f"{aimed - missed} of {aimed} targets met")
    sys.exit(1 if missed and options.check else 0)


if __name__ == "__main__":
    main()
