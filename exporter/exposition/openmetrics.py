"""OpenMetrics 1.0.0: the text format with units, exemplars and an end mark.

Source: https://prometheus.io/docs/specs/om/open_metrics_spec/. The bytes are those that
prometheus_client's renderer writes for the same families.
"""

from collections.abc import Iterable

from exporter.exposition.lines import (
    LineBeginnings,
    escape,
    number,
    sample_beginnings,
    sample_values,
)
from exporter.exposition.text import created_line
from exporter.view import Exemplar, MergedFamily


class OpenMetricsRenderer:
    """Renders scrapes as OpenMetrics 1.0.0. Not for concurrent use."""

    def __init__(self, *, with_created: bool) -> None:
        """`with_created` adds a `_created` sample to each counter and histogram."""
        self._with_created = with_created
        self._beginnings = LineBeginnings(sample_beginnings)

    def render(self, families: Iterable[MergedFamily]) -> bytes:
        """Return the exposition."""
        parts: list[str] = []
        for merged in families:
            self._family(parts, merged)
        parts.append("# EOF\n")
        return "".join(parts).encode()

    def _family(self, parts: list[str], merged: MergedFamily) -> None:
        family = merged.family
        name = family.base_name
        type_ = family.openmetrics_form or family.kind
        parts.append(f"# HELP {name} {escape(family.help)}\n# TYPE {name} {type_}\n")
        if family.unit:
            parts.append(f"# UNIT {name} {family.unit}\n")
        created = self._with_created and family.kind != "gauge"
        lines = self._beginnings.of(merged)
        for labels, (beginnings, series) in zip(merged.series, lines, strict=True):
            values = sample_values(family, series)
            if series.exemplars:
                for place, (beginning, value) in enumerate(zip(beginnings, values, strict=True)):
                    exemplar = exemplar_text(series.exemplars.get(place))
                    parts += (beginning, number(value), exemplar, "\n")
            else:
                for beginning, value in zip(beginnings, values, strict=True):
                    parts += (beginning, number(value), "\n")
            if created and series.created:
                parts.append(created_line(f"{name}_created", family.label_names, labels, series))


def exemplar_text(exemplar: Exemplar | None) -> str:
    """Return what follows a sample that has an exemplar; far below the 128 characters allowed."""
    if exemplar is None:
        return ""
    trace_id = exemplar.trace_id.hex()
    return f' # {{trace_id="{trace_id}"}} {number(exemplar.value)} {exemplar.timestamp}'
