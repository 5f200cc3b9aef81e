"""The numbers of a merged family for those who want numbers and no exposition."""

from typing import NamedTuple

from exporter.view import MergedFamily


class Total(NamedTuple):
    """One series: its labels, its value (a histogram's sum), and a histogram's observations."""

    labels: dict[str, str]
    value: float
    observations: float


def totals_of(merged: MergedFamily) -> list[Total]:
    """Return the totals of a family's series that are shown."""
    names = [label.name for label in merged.family.labels]
    return [
        Total(
            dict(zip(names, values, strict=True)),
            series.cells[0],
            sum(series.cells[1:]),
        )
        for values, series in merged.series.items()
        if not series.is_removed
    ]
