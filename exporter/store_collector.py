"""The store for those who keep their own prometheus_client registry and endpoint."""

import threading
from collections.abc import Iterator
from pathlib import Path

from prometheus_client.core import (
    CounterMetricFamily,
    Exemplar,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.registry import Collector

from exporter import view
from exporter.exposition.lines import cumulative_counts, go_float
from exporter.process_hooks import tell_after_fork
from exporter.store_reader import StoreReader
from exporter.view import MergedFamily, MergedSeries


class StoreCollector(Collector):
    """Yields what all processes recorded into a store, in prometheus_client's types.

    Register it in one registry of one process. It folds nothing: an exporter does.
    """

    def __init__(self, path: Path) -> None:
        """Read the store at `path`."""
        self._reader = StoreReader(path)
        self._lock = threading.Lock()
        tell_after_fork(self)

    def forget_parent(self) -> None:
        """Get a lock of its own in a process that was just forked."""
        self._lock = threading.Lock()

    def collect(self) -> Iterator[Metric]:
        """Yield every family. Raises StoreError when the directory cannot be read."""
        with self._lock:
            families = self._reader.view().families
        yield from map(as_metric, families.values())


def as_metric(merged: MergedFamily, *, with_created: bool = False) -> Metric:
    """Return a family in prometheus_client's types, exemplars included."""
    family = merged.family
    metric: Metric
    if family.kind == "histogram":
        metric = HistogramMetricFamily(
            family.name, family.help, labels=family.label_names, unit=family.unit
        )
        for labels, series in merged.series.items():
            buckets = _buckets(merged, series)
            metric.add_metric(labels, buckets, series.cells[0])
    elif family.kind == "summary":
        metric = SummaryMetricFamily(
            family.name, family.help, labels=family.label_names, unit=family.unit
        )
        for labels, series in merged.series.items():
            count = cumulative_counts(family, series)[-1]
            metric.add_metric(labels, int(count), series.cells[0])
    elif family.kind == "counter":
        metric = CounterMetricFamily(
            family.base_name,
            family.help,
            labels=family.label_names,
            unit=family.unit,
        )
        for labels, series in merged.series.items():
            created = series.created if with_created and series.created else None
            exemplar = _exemplar(series.exemplars.get(0))
            metric.add_metric(labels, series.cells[0], created, exemplar=exemplar)
        return metric
    elif family.openmetrics_form:
        return _as_samples(merged)
    else:
        metric = GaugeMetricFamily(
            family.name, family.help, labels=family.label_names, unit=family.unit
        )
        for labels, series in merged.series.items():
            metric.add_metric(labels, series.cells[0])
    return metric


def _as_samples(merged: MergedFamily) -> Metric:
    """Return an info or state set, which prometheus_client's own families would check again."""
    family = merged.family
    metric = Metric(family.base_name, family.help, family.openmetrics_form)
    for labels, series in merged.series.items():
        pairs = dict(zip(family.label_names, labels, strict=True))
        metric.add_sample(family.name, pairs, series.cells[0])
    return metric


def _buckets(
    merged: MergedFamily, series: MergedSeries
) -> list[tuple[str, float] | tuple[str, float, Exemplar]]:
    bounds = [*map(go_float, merged.family.buckets), "+Inf"]
    counts = cumulative_counts(merged.family, series)
    buckets: list[tuple[str, float] | tuple[str, float, Exemplar]] = []
    for place, (bound, count) in enumerate(zip(bounds, counts, strict=True)):
        exemplar = _exemplar(series.exemplars.get(place))
        buckets.append((bound, count, exemplar) if exemplar else (bound, count))
    return buckets


def _exemplar(exemplar: view.Exemplar | None) -> Exemplar | None:
    if exemplar is None:
        return None
    return Exemplar({"trace_id": exemplar.trace_id.hex()}, exemplar.value, exemplar.timestamp)
