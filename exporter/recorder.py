"""How instrumented code records: a recorder per process, its children, and bundles of them.

An update is one lock and a few 8-byte stores into this process's block. It never raises and does no
I/O; what is wrong with a name or a label is an error when the child is resolved.
"""

import atexit
import logging
import math
import threading
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from itertools import product
from pathlib import Path
from typing import Protocol

from exporter.block.writer import BlockWriter
from exporter.child import Cells, Child, Lock, make_child, private_cells
from exporter.directory import open_directory
from exporter.errors import CatalogueError, StoreFull
from exporter.metric import Family

logger = logging.getLogger(__name__)

_INFINITY = math.inf


Record = Callable[[Sequence[float], Sequence[float]], None]


class Recorder(Protocol):
    """What instrumented code needs of a recorder.

    `StoreRecorder` and `NullRecorder` are the two.
    """

    def child(self, name: str, **labels: str) -> Child:
        """Return the child of a family for these labels, at 0 if it is new."""

    def bundle(self, counters: Sequence[Child], histograms: Sequence[Child]) -> Record:
        """Return one call that adds to all counters and observes in all histograms."""

    def declare(self, **labels: str) -> None:
        """Make every series this role records with these open labels stand at 0."""

    def tick(self) -> None:
        """Write the sign of life and CPU time; to be called about once a second."""

    def note_exit(self, cause: str) -> None:
        """Note why the process ends: `exit` or `timeout`."""

    def close(self) -> None:
        """Note a clean exit and give the block up."""


class StoreRecorder:
    """The recorder of one process, writing to its own block in the store directory."""

    def __init__(self, writer: BlockWriter, families: Iterable[Family], lock: Lock) -> None:
        """Record the families of `writer`'s role.

        Use `open_recorder`, which also makes the writer.
        """
        self._writer = writer
        self._role = writer.header.role
        self._families = {family.name: family for family in families}
        self._lock = lock
        self._growth = threading.Lock()
        self._children: dict[tuple[str, tuple[str, ...]], Child] = {}
        self._is_closed = False

    def child(self, name: str, **labels: str) -> Child:
        """Return the child of a family for these labels, at 0 (or unset) if it is new.

        Raises CatalogueError for an unknown family, a wrong label or a value outside a closed set.
        """
        family = self._families.get(name)
        if family is None:
            raise CatalogueError(f"no metric family {name}")
        values = family.label_values(labels)
        child = self._children.get((name, values))
        return child or self._new_child(family, values)

    def bundle(self, counters: Sequence[Child], histograms: Sequence[Child]) -> Record:
        """Return one call that adds to all counters and observes in all histograms under one lock.

        The children must all be this recorder's.
        """
        if any(child.cells is not self._writer.values for child in (*counters, *histograms)):
            return _record_each(counters, histograms)
        return _record_together(self._writer.values, self._lock, counters, histograms)

    def declare(self, **labels: str) -> None:
        """Make the series this role records with these open labels stand at 0.

        Families whose open labels are all given are declared, each with every combination of its
        closed labels; families that are absent until set are left alone.
        """
        for family in self._families.values():
            if self._role not in family.recorded_by or family.is_absent_until_set:
                continue
            if not family.open_labels <= labels.keys():
                continue
            for values in product(
                *(label.values or (labels[label.name],) for label in family.labels)
            ):
                if (family.name, values) not in self._children:
                    self._new_child(family, values)

    def tick(self) -> None:
        """Write the sign of life and CPU time."""
        if not self._is_closed:
            self._writer.beat()

    def note_exit(self, cause: str) -> None:
        """Note why the process ends; the first note wins. Allowed in a signal handler."""
        self._writer.note_exit(cause)

    def close(self) -> None:
        """Note a clean exit and give the block up; its counts stay in every later scrape."""
        with self._growth:
            if self._is_closed:
                return
            self._is_closed = True
            self._writer.beat()
            self._writer.note_exit("exit")
            self._writer.close()

    def _new_child(self, family: Family, values: tuple[str, ...]) -> Child:
        with self._growth:
            key = (family.name, values)
            if key in self._children:
                return self._children[key]
            initial = 0.0
            if family.kind == "gauge" and family.merge != "sum":
                initial = math.nan
            try:
                index = self._writer.add_series(family, values, initial)
                child = make_child(family, self._writer.values, index, self._lock)
            except StoreFull as error:
                logger.error("%s%s is not shown on /metrics: %s", family.name, values, error)  # noqa: TRY400
                child = make_child(family, private_cells(family), 0, self._lock)
            self._children[key] = child
            return child


class NullRecorder:
    """The same face, recording nothing. It exists to measure what recording costs."""

    def __init__(self, families: Iterable[Family]) -> None:
        """Take the same families, so that wrong names are still errors."""
        self._families = {family.name: family for family in families}

    def child(self, name: str, **labels: str) -> Child:
        """Return a child that nobody reads."""
        family = self._families[name]
        family.label_values(labels)
        return _NullChild(family, private_cells(family), 0, threading.Lock())

    def bundle(self, counters: Sequence[Child], histograms: Sequence[Child]) -> Record:  # noqa: ARG002
        """Return a call that does nothing."""
        return lambda _increments, _observations: None

    def declare(self, **labels: str) -> None:
        """Do nothing."""

    def tick(self) -> None:
        """Do nothing."""

    def note_exit(self, cause: str) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


def open_recorder(
    path: Path,
    role: str,
    *,
    families: Iterable[Family],
    lock: Lock | None = None,
    tick_seconds: float | None = None,
) -> StoreRecorder:
    """Open this process's block and return its recorder. Call it once per process, after any fork.

    `lock` replaces the native lock; under gevent pass the unpatched one. With `tick_seconds` a
    daemon thread writes the sign of life. Raises StoreError when the directory cannot be used.
    """
    families = tuple(families)
    writer = BlockWriter(open_directory(path), role)
    recorder = StoreRecorder(writer, families, lock or threading.Lock())
    recorder.declare()
    if any(family.name == STARTS and role in family.recorded_by for family in families):
        recorder.child(STARTS, role=role).inc()
    atexit.register(recorder.close)
    if tick_seconds is not None:
        _start_ticking(recorder, tick_seconds)
    return recorder


STARTS = "inferometer_process_starts_total"


class _NullChild(Child):
    __slots__ = ()

    def inc(self, amount: float = 1.0) -> None:
        pass

    def dec(self, amount: float = 1.0) -> None:
        pass

    def set(self, value: float, *, stamp: float = 0.0) -> None:
        pass

    def observe(self, value: float) -> None:
        pass


def _record_together(
    cells: Cells, lock: Lock, counters: Sequence[Child], histograms: Sequence[Child]
) -> Record:
    counter_indices = tuple(child.index for child in counters)
    places = tuple((child.index, child.index + 1, child.bounds) for child in histograms)
    acquire, release = lock.acquire, lock.release

    def record(increments: Sequence[float], observations: Sequence[float]) -> None:
        acquire()
        try:
            for index, amount in zip(counter_indices, increments, strict=True):
                if 0.0 <= amount < _INFINITY:
                    cells[index] += amount
            for (index, first, bounds), value in zip(places, observations, strict=True):
                if 0.0 <= value < _INFINITY:
                    cells[index] += value
                    cells[first + bisect_left(bounds, value)] += 1.0
        finally:
            release()

    return record


def _record_each(counters: Sequence[Child], histograms: Sequence[Child]) -> Record:
    def record(increments: Sequence[float], observations: Sequence[float]) -> None:
        for child, amount in zip(counters, increments, strict=True):
            child.inc(amount)
        for child, value in zip(histograms, observations, strict=True):
            child.observe(value)

    return record


def _start_ticking(recorder: StoreRecorder, seconds: float) -> None:
    ended = threading.Event()
    atexit.register(ended.set)

    def run() -> None:
        while not ended.wait(seconds):
            recorder.tick()

    threading.Thread(target=run, name="metric-heartbeat", daemon=True).start()
