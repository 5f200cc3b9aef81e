"""Shows in a store what a prometheus_client registry has beside its counters, gauges and so on.

Info, Enum and the gauges of a program's own collectors have no number that could live in the store.
They are read now and then in each process and shown as gauges; of several processes' the latest.
Gauges with a function have a place in the store, which is filled in at the same time.
"""

import logging
import time
from collections.abc import Iterator

from prometheus_client import Counter, Gauge, Histogram, Summary
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector, CollectorRegistry
from prometheus_client.samples import Sample

from exporter.child import Child
from exporter.errors import CatalogueError
from exporter.metric import Family, Label, OpenMetricsForm
from exporter.store_recorder import StoreRecorder

COPY_SECONDS = 10.0
COPIED_TYPES = ("gauge", "info", "stateset", "unknown")
_FORMS: dict[str, OpenMetricsForm] = {"info": "info", "stateset": "stateset"}

logger = logging.getLogger(__name__)

_Key = tuple[str, tuple[tuple[str, str], ...]]


class RegistryCopies:
    """The rows copied from one registry."""

    def __init__(self, recorder: StoreRecorder, registry: CollectorRegistry) -> None:
        """Copy nothing before `copy`."""
        self._recorder = recorder
        self._registry = registry
        self._copied_at = float("-inf")
        self._children: dict[_Key, Child] = {}
        self._warned: set[str] = set()

    def copy(self) -> None:
        """Bring the rows up to date, unless that was done a moment ago."""
        now = time.monotonic()
        if now - self._copied_at < COPY_SECONDS:
            return
        self._copied_at = now
        present: dict[_Key, Child] = {}
        for metric, sample in self._samples():
            key = (sample.name, tuple(sorted(sample.labels.items())))
            try:
                child = self._child(key, metric)
            except CatalogueError as error:
                self._warn(sample.name, str(error))
                continue
            present[key] = child
            child.set(sample.value, stamp=now)
        for key, child in self._children.items():
            if key not in present:
                self._recorder.remove(child)
        self._children = present

    def _samples(self) -> Iterator[tuple[Metric, Sample]]:
        """Yield what is to be copied."""
        for collector in list(self._registry._collector_to_names):  # noqa: SLF001 - no other way
            try:
                if isinstance(collector, Gauge):
                    _call_functions(collector)
                metrics = list(collector.collect()) if _is_copied(collector) else []
            except Exception:
                name = getattr(collector, "_name", type(collector).__name__)
                self._warn(name, "it raises when it is collected", exc_info=True)
                continue
            for metric in metrics:
                if metric.type in COPIED_TYPES:
                    for sample in metric.samples:
                        yield metric, sample
                else:
                    self._warn(metric.name, f"a {metric.type} of a collector adds up to nothing")

    def _child(self, key: _Key, metric: Metric) -> Child:
        name, labels = key
        family = Family(
            name,
            "gauge",
            metric.documentation,
            tuple(Label(label) for label, _ in labels),
            "latest",
            is_absent_until_set=True,
            openmetrics_form=_FORMS.get(metric.type, ""),
        )
        self._recorder.add_family(family)
        return self._recorder.child(name, **dict(labels))

    def _warn(self, name: str, reason: str, *, exc_info: bool = False) -> None:
        if name not in self._warned:
            self._warned.add(name)
            logger.warning("%s is not in the store: %s", name, reason, exc_info=exc_info)


def _is_copied(collector: Collector) -> bool:
    """Return whether a collector has rows that are not in the store yet.

    What prometheus_client itself collects of the process would be that of some process.
    """
    if isinstance(collector, (Counter, Gauge, Histogram, Summary)):
        return False
    is_own = type(collector).__module__.startswith("prometheus_client.")
    return isinstance(collector, MetricWrapperBase) or not is_own


def _call_functions(gauge: Gauge) -> None:
    """Set a gauge, with all that have labels, to what its function returns if it has one."""
    for each in (gauge, *getattr(gauge, "_metrics", {}).values()):
        if "_child_samples" in vars(each):  # As `set_function` leaves it.
            for sample in each._child_samples():  # noqa: SLF001
                each._value.set(sample.value)  # noqa: SLF001
