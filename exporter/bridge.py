"""Lets metrics that a program declares with prometheus_client be recorded in a store.

Counter, Gauge, Histogram and Summary then appear in the exporter's scrape, merged over processes,
and the program's own code stays as it is. prometheus_client asks `values.ValueClass` for a place to
keep each number of a metric; this module gives it places in the store.

What else a registry has, registry_copies.py shows. Not carried: units, exemplars without a
`trace_id` of 32 hexadecimal digits, NaN (which unsets a gauge), and metrics that a store cannot
keep, which are named in a warning and go on in the process alone.
"""

import logging
import math
import os
import re
import threading
import weakref
from collections import Counter as Tally
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import prometheus_client
from prometheus_client import values
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.registry import CollectorRegistry

from exporter.child import Child
from exporter.errors import CatalogueError, ExporterError
from exporter.metric import Family, GaugeRule, Label
from exporter.registry_copies import RegistryCopies
from exporter.store_recorder import StoreRecorder

OWN_PREFIX = "inferometer_"
TICK_SECONDS = 1.0
_TRACE_ID = re.compile(r"[0-9a-f]{32}")
_RULES: dict[str, GaugeRule] = {"sum": "sum", "max": "max", "min": "min", "mostrecent": "latest"}

logger = logging.getLogger(__name__)


class _Exemplar(Protocol):
    labels: dict[str, str]
    value: float


def install(
    recorder: StoreRecorder,
    registries: Iterable[CollectorRegistry] = (prometheus_client.REGISTRY,),
) -> None:
    """Record from now on in `recorder` what metrics of prometheus_client count.

    Of `registries`, what has no number of its own is copied as well; see registry_copies.py.

    Call it before the program creates its metrics; those created earlier are named in a warning.
    Gauges follow their `multiprocess_mode`: `sum`, `max`, `min` and `mostrecent` outlive the
    process that set them, their `live…` forms do not, `all` and `liveall` have a label `pid` and
    show live processes. Raises ExporterError when PROMETHEUS_MULTIPROC_DIR is set, which asks for
    the opposite, and later when a metric's name begins with `inferometer_`.
    """
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ or "prometheus_multiproc_dir" in os.environ:
        raise ExporterError(
            "PROMETHEUS_MULTIPROC_DIR is set; metrics can be in its files or in a store, not both"
        )
    early = sorted(
        collector._name  # noqa: SLF001 - a metric tells its name no other way
        for collector in prometheus_client.REGISTRY._collector_to_names  # noqa: SLF001
        if isinstance(collector, MetricWrapperBase)
    )
    if early:
        logger.warning("created too early to be recorded in the store: %s", ", ".join(early))
    recorder.ensure_ticking(TICK_SECONDS)
    places = _Places(recorder)

    values.ValueClass = _value_class(places)
    recorder.on_tick(places.end_unused)
    for registry in registries:
        recorder.on_tick(RegistryCopies(recorder, registry).copy)
    recorder.on_fork(places.forget_parent)


def _value_class(places: "_Places") -> "type[_StoreValue]":
    """Return what prometheus_client will make each number of a metric of."""

    class StoreValue(_StoreValue):
        def __init__(  # noqa: PLR0917 - prometheus_client's own order
            self,
            kind: str,
            metric_name: str,
            name: str,
            labelnames: Sequence[str],
            labelvalues: Sequence[str],
            help_text: str,
            multiprocess_mode: str = "",
        ) -> None:
            super().__init__()
            metric = _Metric(kind, metric_name, help_text, multiprocess_mode)
            places.give(self, metric, name, dict(zip(labelnames, labelvalues, strict=True)))

    return StoreValue


class _StoreValue:
    """One number of a metric: a cell of a series in the store."""

    _multiprocess = False  # prometheus_client's own mode, which leaves things out

    def __init__(self) -> None:
        self.child: Child | None = None
        self.place = 0
        self.labels: dict[str, str] | None = None  # of a gauge that is told apart by pid
        self.pid = 0
        self.metric_name = ""
        self.places: _Places | None = None
        self._exemplar: _Exemplar | None = None
        # Where the number is while it has no place in the store.
        self._private: Any = values.MutexValue("", "", "", (), (), "")  # type: ignore[no-untyped-call]

    def inc(self, amount: float) -> None:
        child = self._child()
        if child is None:
            self._private.inc(amount)
        elif child.family.kind == "gauge":
            child.inc(amount)
        else:
            child.add(self.place, amount)

    def set(self, value: float, timestamp: float | None = None) -> None:
        child = self._child()
        if child is None:
            self._private.set(value, timestamp)
        elif child.family.kind == "gauge":
            child.set(value, stamp=timestamp or 0.0)
        else:
            child.put(self.place, value)

    def get(self) -> float:
        child = self._child()
        value = float(self._private.get() if child is None else child.get(self.place))
        return 0.0 if math.isnan(value) else value

    def set_exemplar(self, exemplar: _Exemplar) -> None:
        self._exemplar = exemplar
        trace_id = exemplar.labels.get("trace_id", "")
        if self.child is not None and _TRACE_ID.fullmatch(trace_id):
            self.child.keep_exemplar(exemplar.value, bytes.fromhex(trace_id))

    def get_exemplar(self) -> _Exemplar | None:
        return self._exemplar

    def _child(self) -> Child | None:
        if self.labels is not None and self.pid != os.getpid() and self.places is not None:
            self.places.place_by_pid(self)
        return self.child


class _Metric:
    """What prometheus_client says of a metric each time it asks for a place."""

    def __init__(self, kind: str, name: str, text: str, mode: str) -> None:
        if name.startswith(OWN_PREFIX):
            raise ExporterError(f"{name}: names that begin with {OWN_PREFIX} are Inferometer's")
        self.kind, self.name, self.text, self.mode = kind, name, text, mode

    def family(self, labels: Sequence[str], bounds: tuple[float, ...] = ()) -> Family:
        label_rows = tuple(map(Label, labels))
        if self.kind == "counter":
            return Family(
                f"{self.name}_total", "counter", self.text, label_rows, has_exemplars=True
            )
        if self.kind == "gauge":
            rule = _RULES.get(self.mode.removeprefix("live"), "sum")
            outlives = self.mode in _RULES
            return Family(
                self.name, "gauge", self.text, label_rows, rule, outlives_process=outlives
            )
        if self.kind == "summary":
            return Family(self.name, "summary", self.text, label_rows)
        return Family(
            self.name,
            "histogram",
            self.text,
            label_rows,
            buckets=bounds,
            has_exemplars=True,
        )


class _Places:
    """Gives out cells, and ends series that no metric uses any more."""

    def __init__(self, recorder: StoreRecorder) -> None:
        self._recorder = recorder
        # The numbers of a histogram come one by one; its bounds are known with the last.
        self._pending: dict[tuple[str, tuple[str, ...]], list[tuple[_StoreValue, float]]] = {}
        # Of the tally, and of what it counts; a finaliser must not take it.
        self._lock = threading.Lock()
        self._left_out: set[str] = set()
        self._by_pid: weakref.WeakSet[_StoreValue] = weakref.WeakSet()
        self._users: Tally[Child] = Tally()
        self._unused: deque[Child] = deque()

    def give(self, value: _StoreValue, metric: _Metric, name: str, labels: dict[str, str]) -> None:
        try:
            with self._lock:
                self._give(value, metric, name, labels)
        except CatalogueError as error:
            if metric.name not in self._left_out:
                self._left_out.add(metric.name)
                logger.warning("%s stays in this process, not in the store: %s", metric.name, error)

    def _give(self, value: _StoreValue, metric: _Metric, name: str, labels: dict[str, str]) -> None:
        if metric.kind == "histogram":
            self._give_of_histogram(value, metric, labels)
        elif metric.kind == "gauge" and metric.mode in {"all", "liveall"}:
            self._recorder.add_family(metric.family((*labels, "pid")))
            value.labels, value.places, value.metric_name = labels, self, metric.name
            self._place_by_pid(value)
        else:
            family = metric.family(tuple(labels))
            self._recorder.add_family(family)
            # A summary's count stands behind its sum.
            place = 1 if name.endswith("_count") and metric.kind == "summary" else 0
            self._bind(value, self._recorder.child(family.name, **labels), place)

    def place_by_pid(self, value: _StoreValue) -> None:
        with self._lock:
            self._place_by_pid(value)

    def _place_by_pid(self, value: _StoreValue) -> None:
        assert value.labels is not None
        value.pid = os.getpid()
        labels = {**value.labels, "pid": str(value.pid)}
        self._bind(value, self._recorder.child(value.metric_name, **labels), 0)
        self._by_pid.add(value)

    def forget_parent(self) -> None:
        """Leave the parent its rows, and the lock to a thread that does not exist here."""
        self._lock = threading.Lock()
        for value in self._by_pid:
            if value.child is not None:
                self._recorder.remove(value.child)
        self._by_pid.clear()

    def end_unused(self) -> None:
        """End the series whose last number has gone; a finaliser may not do so itself."""
        while self._unused:
            child = self._unused.popleft()
            with self._lock:
                self._users[child] -= 1
                if self._users[child] <= 0:
                    del self._users[child]
                    self._recorder.remove(child)

    def _give_of_histogram(
        self, value: _StoreValue, metric: _Metric, labels: dict[str, str]
    ) -> None:
        bound = labels.pop("le", None)
        key = (metric.name, tuple(labels.values()))
        if bound is None:
            self._pending[key] = [(value, 0.0)]
            return
        pending = self._pending[key]
        pending.append((value, float(bound)))
        if bound != "+Inf":
            return
        del self._pending[key]
        family = metric.family(tuple(labels), tuple(bound for _, bound in pending[1:-1]))
        self._recorder.add_family(family)
        child = self._recorder.child(family.name, **labels)
        for place, (each, _) in enumerate(pending):
            self._bind(each, child, place)

    def _bind(self, value: _StoreValue, child: Child, place: int) -> None:
        value.child, value.place = child, place
        self._users[child] += 1
        weakref.finalize(value, self._unused.append, child).atexit = False
