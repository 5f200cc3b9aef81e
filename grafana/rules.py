"""The recording rules of quality: every figure over the last day, of counts by the hour.

Long windows read recorded counts and not the raw counters, of which there may be a thousand times
as many. A count of the day is the mean of its hours' sums: 60 evaluations see each event.
"""

import re

from grafana.expansion import Count, counts, expanded
from grafana.figures import FIGURES

HEAD = """---
# Prediction quality over the last day, for Prometheus 2.42 and later.
#
# Written by `make dashboards` from grafana/figures.py; do not edit. The groups must be evaluated
# each minute: a count of the day is the sum of its 1,440 counts of an hour, divided by 60.
"""
EVALUATIONS_AN_HOUR = 60


def rules_text() -> str:
    """Return the rules file."""
    lines = ["groups:"]
    lines += _group("inferometer.quality.counts", _hourly())
    lines += _group("inferometer.quality.figures", _daily())
    return HEAD + "\n".join(lines) + "\n"


def recorded_name(figure: str) -> str:
    """Return what a figure is recorded as."""
    return f"{_level(FIGURES[figure].labels)}:inferometer_{figure}:1d"


def _hourly() -> dict[str, str]:
    """Return each metric's count of the last hour, with every label that a figure needs."""
    labels: dict[str, set[str]] = {}
    for figure in FIGURES.values():
        for count in counts(figure.expression):
            needed = {*count.labels, *re.findall(r"(\w+)=", count.selector)}
            labels.setdefault(count.metric, set()).update(needed)
    found = {}
    for metric, names in labels.items():
        kept = ", ".join(("job", "model", "version", *sorted(names)))
        record = _hourly_name(metric, names)
        found[record] = f"sum by ({kept}) (increase(inferometer_{metric}[1h]))"
    return found


def _daily() -> dict[str, str]:
    names = {record.split(":inferometer_")[1]: record for record in _hourly()}

    def render(count: Count) -> str:
        record = names[f"{count.metric}:increase1h"]
        kept = ", ".join(("job", "model", "version", *count.labels))
        summed = f"sum by ({kept}) (sum_over_time({record}{count.selector}[1d]))"
        return f"({summed} / {EVALUATIONS_AN_HOUR})"

    return {
        recorded_name(name): expanded(figure.expression, render) for name, figure in FIGURES.items()
    }


def _hourly_name(metric: str, labels: set[str]) -> str:
    return f"{_level(sorted(labels))}:inferometer_{metric}:increase1h"


def _level(labels: object) -> str:
    assert isinstance(labels, list | tuple)
    return "_".join(("job", "model", "version", *labels))


def _group(name: str, rules: dict[str, str]) -> list[str]:
    lines = [f"  - name: {name}", "    interval: 1m", "    rules:"]
    for record, expression in rules.items():
        lines += [f"      - record: {record}", "        expr: >-", f"          {expression}"]
    return lines
