"""What was measured so far."""

import statistics

US, MS = 1e6, 1e3

figures = []


def figure(group, title, unit, ours, other, whose="stock", **more):
    """Takes down one line of the table. The values are one per round, none where there is nothing to compare with;
    `target` is the largest ratio allowed, `below` the largest value of ours, `least` the least one."""
    figures.append({"group": group, "title": title, "unit": unit, "ours": ours, "other": other, "whose": whose, **more})
    compared = f", {whose} {statistics.median(other):.4g} {unit}" if other else ""
    print(f"{group}: {title}: {statistics.median(ours):.4g} {unit}{compared}", flush=True)
