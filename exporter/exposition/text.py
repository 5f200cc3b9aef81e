"""The text format 0.0.4, which every scraper reads.

Source: https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format. The bytes
are those that prometheus_client's renderer writes for the same families.
"""

from collections.abc import Iterable

from exporter.exposition.lines import (
    LineBeginnings,
    escape_help,
    labels_text,
    number,
    sample_beginnings,
    sample_values,
)
from exporter.view import MergedFamily, MergedSeries


class TextRenderer:
    """Renders scrapes as text 0.0.4. Not for concurrent use."""

    def __init__(self, *, with_created: bool) -> None:
        """`with_created` adds a `_created` gauge for each counter and histogram."""
        self._with_created = with_created
        self._beginnings = LineBeginnings(sample_beginnings)

    def render(self, families: Iterable[MergedFamily]) -> bytes:
        """Return the exposition."""
        parts: list[str] = []
        for merged in families:
            self._family(parts, merged)
        return "".join(parts).encode()

    def _family(self, parts: list[str], merged: MergedFamily) -> None:
        family = merged.family
        parts.append(
            f"# HELP {family.name} {escape_help(family.help)}\n# TYPE {family.name} {family.kind}\n"
        )
        for beginnings, series in self._beginnings.of(merged):
            for beginning, value in zip(beginnings, sample_values(family, series), strict=True):
                parts += (beginning, number(value), "\n")
        if self._with_created and family.kind != "gauge":
            self._created(parts, merged)

    def _created(self, parts: list[str], merged: MergedFamily) -> None:
        """Add the times of creation as a gauge family of their own, which the format demands."""
        family = merged.family
        times = [item for item in merged.series.items() if item[1].created]
        if not times:
            return
        name = family.name.removesuffix("_total") + "_created"
        parts.append(f"# HELP {name} {escape_help(family.help)}\n# TYPE {name} gauge\n")
        parts += [created_line(name, family.label_names, *item) for item in times]


def created_line(
    name: str, label_names: tuple[str, ...], labels: tuple[str, ...], series: MergedSeries
) -> str:
    """Return the line that says when a series began, in seconds since 1970."""
    return f"{name}{labels_text(label_names, labels)} {number(series.created)}\n"
