"""Several counters and histograms updated by one call, under one lock.

It is what a request or a batch records.
"""

import sys
from bisect import bisect_left
from collections.abc import Sequence
from functools import partial
from typing import Protocol

from exporter.child import Child
from exporter.place import Memory

_LARGEST = sys.float_info.max


class Record(Protocol):
    """The one call: amounts for the counters, values for the histograms, perhaps a trace id."""

    def __call__(
        self,
        increments: Sequence[float],
        observations: Sequence[float],
        trace_id: bytes | None = None,
        /,
    ) -> None:
        """Record; negative, infinite or NaN numbers are left out."""


class Bundle:
    """The places of some children of one block, resolved once. `record` is the call."""

    def __init__(
        self, counters: Sequence[Child], histograms: Sequence[Child], memory: Memory
    ) -> None:
        """Take children that all record into `memory`."""
        self._children = (*counters, *histograms)
        counter_indices, places = _places(counters, histograms)
        cells, acquire, release = memory.cells, memory.lock.acquire, memory.lock.release
        counts = (len(counters), len(histograms))

        # A closure, because its variables are read faster than an object's attributes.
        def record(
            increments: Sequence[float],
            observations: Sequence[float],
            trace_id: bytes | None = None,
            /,
        ) -> None:
            try:
                acquire()
                try:
                    for index, amount in zip(counter_indices, increments, strict=True):
                        if 0.0 <= amount <= _LARGEST:
                            cells[index] += amount
                    for (index, first, bounds), value in zip(places, observations, strict=True):
                        if 0.0 <= value <= _LARGEST:
                            cells[index] += value
                            cells[first + bisect_left(bounds, value)] += 1.0
                    if trace_id is not None:
                        self._note((*increments, *observations), trace_id)
                finally:
                    release()
            except ValueError:
                if (len(increments), len(observations)) != counts:
                    raise
                self._memory.reopen(partial(record, increments, observations, trace_id))

        def bind(new: Memory) -> None:
            nonlocal counter_indices, places, cells, acquire, release
            counter_indices, places = _places(counters, histograms)
            self._memory = new
            cells, acquire, release = new.cells, new.lock.acquire, new.lock.release

        self._memory = memory
        self.record: Record = record
        self.bind = bind

    def _note(self, values: Sequence[float], trace_id: bytes) -> None:
        for child, value in zip(self._children, values, strict=True):
            if child.family.has_exemplars and 0.0 <= value <= _LARGEST:
                child.note(value, trace_id)


def _places(
    counters: Sequence[Child], histograms: Sequence[Child]
) -> tuple[tuple[int, ...], tuple[tuple[int, int, tuple[float, ...]], ...]]:
    """Return the counters' indices; the histograms', with their first bucket's and the bounds."""
    return (
        tuple(child.place.index for child in counters),
        tuple(
            (child.place.index, child.place.index + 1, child.family.edges) for child in histograms
        ),
    )
