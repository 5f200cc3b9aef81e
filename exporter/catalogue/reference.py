"""Renders the catalogue as the Markdown reference that users read."""

from exporter.catalogue import SECTIONS, Section
from exporter.metric import Family

HEAD = """# Metrics

Written by `make metrics` from `exporter/catalogue/`; do not edit.

Times are in seconds, sizes in bytes, ratios 0 to 1. Counters, histograms and summed gauges stand at
0 from start-up for every label value that is known, so that `rate()` sees their first increment.
Timestamps, info rows and other facts of which a 0 would be false are absent until they are known.

`model` and `version` are names that are served here; a request for anything else is counted under
`__unknown__`. Over processes counters and histograms add up, dead processes included; each gauge
says how it is merged.
"""


def metric_reference() -> str:
    """Return METRICS.md's text."""
    return HEAD + "".join(map(_section, SECTIONS))


def _section(section: Section) -> str:
    rows = "".join(map(_row, section.families))
    return (
        f"\n## {section.title}\n\n{section.introduction.strip()}\n\n"
        f"| metric | type | labels | meaning |\n| --- | --- | --- | --- |\n{rows}"
    )


def _row(family: Family) -> str:
    kind: str = family.kind
    if kind == "gauge" and family.recorded_by:
        kind = f"gauge ({family.merge})"
    labels = ", ".join(
        f"`{label.name}`"
        + (": " + ", ".join(f"`{v}`" for v in label.values) if label.values else "")
        for label in family.labels
    )
    meaning = family.help
    if family.buckets:
        meaning += " Buckets: " + ", ".join(f"{bound:.15g}" for bound in family.buckets) + "."
    if family.is_native:
        meaning += " Also as native histogram."
    if family.has_exemplars:
        meaning += " With exemplars."
    if family.is_absent_until_set:
        meaning += " Absent until known."
    return f"| `{family.name}` | {kind} | {labels or '–'} | {meaning} |\n"
