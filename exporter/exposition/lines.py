"""What the two line formats share: escaped labels, numbers, and line beginnings that are kept.

Everything of a line but its number stays the same from scrape to scrape, so it is made once.
"""

from collections.abc import Callable, Sequence
from itertools import accumulate

from prometheus_client.utils import floatToGoString

from exporter.metric import Family
from exporter.view import LabelValues, MergedFamily, MergedSeries

# From here on Go, and so the text formats, write an exponent where Python does not.
_FIRST_EXPONENT = 1e6


def number(value: float) -> str:
    """Return a sample's value as prometheus_client writes it."""
    if 0.0 <= value < _FIRST_EXPONENT:
        return repr(value)
    return go_float(value)


def go_float(value: float) -> str:
    """Return a number, or a bucket's bound, as Go's formatting has made it the custom."""
    return str(floatToGoString(value))  # type: ignore[no-untyped-call]


def escape(text: str) -> str:
    """Escape a label value, or a HELP text of OpenMetrics."""
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def escape_help(text: str) -> str:
    """Escape a HELP text of the text format, in which a quote is no special character."""
    return text.replace("\\", r"\\").replace("\n", r"\n")


def labels_text(names: Sequence[str], values: Sequence[str]) -> str:
    """Return `{a="1",b="2"}` with the labels sorted by name; empty without labels."""
    if not names:
        return ""
    pairs = sorted(zip(names, values, strict=True))
    return "{" + ",".join([f'{name}="{escape(value)}"' for name, value in pairs]) + "}"


def cumulative_counts(family: Family, series: MergedSeries) -> list[float]:
    """Return a histogram's counts as the formats carry them: up to each classic bound, then all."""
    running = list(accumulate(series.cells[1:]))
    return [running[place] for place in family.classic_places]


def sample_values(family: Family, series: MergedSeries) -> list[float]:
    """Return the numbers of one series' lines, in the order of their beginnings."""
    if family.kind in {"counter", "gauge"}:
        return series.cells
    counts = cumulative_counts(family, series)
    count_and_sum = [counts[-1], series.cells[0]]
    return count_and_sum if family.kind == "summary" else counts + count_and_sum


class LineBeginnings:
    """The beginnings of a family's lines, by label values.

    They are forgotten when the series has gone, so what is kept is bounded by what is shown.
    """

    def __init__(self, make: Callable[[Family, LabelValues], tuple[str, ...]]) -> None:
        """`make` returns the beginnings of one series' lines, in order."""
        self._make = make
        self._kept: dict[str, tuple[Family, dict[LabelValues, tuple[str, ...]]]] = {}

    def of(self, merged: MergedFamily) -> list[tuple[tuple[str, ...], MergedSeries]]:
        """Return each series of a family with the beginnings of its lines."""
        family, kept = self._kept.get(merged.family.name, (None, {}))
        if family is not merged.family and family != merged.family:
            kept = {}
        made = self._make
        beginnings = {
            labels: kept.get(labels) or made(merged.family, labels) for labels in merged.series
        }
        self._kept[merged.family.name] = (merged.family, beginnings)
        return list(zip(beginnings.values(), merged.series.values(), strict=True))


def sample_beginnings(family: Family, labels: LabelValues) -> tuple[str, ...]:
    """Return the beginnings of one series' lines.

    A counter or gauge has one; a histogram one for each bucket, then count and sum; a summary
    these alone.
    """
    text = labels_text(family.label_names, labels)
    if family.kind in {"counter", "gauge"}:
        return (f"{family.name}{text} ",)
    count_and_sum = (f"{family.name}_count{text} ", f"{family.name}_sum{text} ")
    if family.kind == "summary":
        return count_and_sum
    names = (*family.label_names, "le")
    bounds = [*map(go_float, family.buckets), "+Inf"]
    return (
        *(f"{family.name}_bucket{labels_text(names, (*labels, bound))} " for bound in bounds),
        *count_and_sum,
    )
