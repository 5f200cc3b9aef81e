"""One series of a process, ready to be updated.

A counter, gauge or histogram with its cells resolved.
"""

import sys
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from math import isnan
from typing import Protocol

from exporter.exemplar_slots import note_exemplar
from exporter.metric import EXEMPLAR_CELLS, Family

# Compared with, because an integer may be larger than any float.
_LARGEST = sys.float_info.max


class Lock(Protocol):
    """A lock of the standard library, or one that stands in for it."""

    def acquire(self) -> bool:
        """Take the lock."""

    def release(self) -> None:
        """Give the lock back."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Where the updates of a process go: a block's values as numbers and as words, and its lock.

    `reopen` is called when the values turn out to be released, as they are in a forked process. It
    gives every child and bundle of the recorder the memory of a new block, after which the update
    is made again.
    """

    cells: "memoryview[float]"
    words: "memoryview[int]"
    lock: Lock
    reopen: Callable[[], None]


class Child:
    """One series of this process, with its place in the block resolved. Keep it.

    The lock's methods are kept bound and called by hand: `with` costs twice as much as the update.
    """

    __slots__ = (
        "__weakref__",
        "acquire",
        "bounds",
        "cells",
        "family",
        "index",
        "is_ended",
        "memory",
        "release",
        "values",
    )

    def __init__(self, family: Family, values: tuple[str, ...], memory: Memory, index: int) -> None:
        """Bind the series with these label values; its `created` cell is at `index`."""
        self.family = family
        self.values = values
        self.bounds = family.edges
        self.is_ended = False
        self.bind(memory, index)

    def bind(self, memory: Memory, index: int) -> None:
        """Go on in another memory, or at another index; under the lock, if others record."""
        self.index = index + 1  # of the value; a histogram's sum
        self.memory = memory
        self.cells = memory.cells
        self.acquire = memory.lock.acquire
        self.release = memory.lock.release

    def inc(self, amount: float = 1.0, trace_id: bytes | None = None) -> None:
        """Add to a counter. Negative, infinite or NaN amounts are not recorded.

        `trace_id` (16 bytes) names a sampled trace, to be the counter's exemplar.
        """
        if 0.0 <= amount <= _LARGEST:
            try:
                self.acquire()
                try:
                    self.cells[self.index] += amount
                    if trace_id is not None:
                        self.note(amount, trace_id)
                finally:
                    self.release()
            except ValueError:
                self.memory.reopen()
                self.inc(amount, trace_id)

    def observe(self, value: float, trace_id: bytes | None = None) -> None:
        """Add one observation to a histogram. Negative, infinite or NaN values are not recorded.

        `trace_id` (16 bytes) names a sampled trace, to be the bucket's exemplar.
        """
        if 0.0 <= value <= _LARGEST:
            bucket = 1 + bisect_left(self.bounds, value)
            try:
                self.acquire()
                try:
                    # The sum first: a kill in between leaves the count, which is derived, whole.
                    index, cells = self.index, self.cells
                    cells[index] += value
                    cells[index + bucket] += 1.0
                    if trace_id is not None:
                        self.note(value, trace_id)
                finally:
                    self.release()
            except ValueError:
                self.memory.reopen()
                self.observe(value, trace_id)

    def dec(self, amount: float = 1.0) -> None:
        """Subtract from a gauge."""
        self.inc(-amount)

    def set(self, value: float, *, stamp: float = 0.0) -> None:
        """Set a gauge; NaN unsets it.

        `stamp` (monotonic seconds) decides under the rule `latest`.
        """
        try:
            self.acquire()
            try:
                self.cells[self.index + 1] = stamp
                self.cells[self.index] = value
            finally:
                self.release()
        except ValueError:
            value, stamp = float(value), float(stamp)  # What is no number would fail again.
            self.memory.reopen()
            self.set(value, stamp=stamp)

    def add(self, place: int, amount: float) -> None:
        """Add to one cell: place 0 is the value or sum, the next ones are a histogram's counts."""
        try:
            self.acquire()
            try:
                self.cells[self.index + place] += amount
            finally:
                self.release()
        except ValueError:
            self.memory.reopen()
            self.add(place, amount)

    def put(self, place: int, value: float) -> None:
        """Replace one cell, as when a program resets its counter."""
        self._under_lock(lambda: self.cells.__setitem__(self.index + place, value))

    def get(self, place: int) -> float:
        """Return what this process has in one cell."""
        found = []
        self._under_lock(lambda: found.append(self.cells[self.index + place]))
        return found[0]

    def keep_exemplar(self, value: float, trace_id: bytes) -> None:
        """Keep an exemplar of an observation that was recorded apart."""
        self._under_lock(lambda: self.note(value, trace_id))

    def end(self) -> None:
        """Mark the series as removed."""
        self._under_lock(lambda: self._begin_or_end(is_ended=True))

    def begin_again(self) -> None:
        """Show a series again that was removed, with what it held."""
        self._under_lock(lambda: self._begin_or_end(is_ended=False))

    def _begin_or_end(self, *, is_ended: bool) -> None:
        if is_ended != self.is_ended:
            self.cells[self.index - 1] *= -1.0
            self.is_ended = is_ended

    def _under_lock(self, update: Callable[[], None]) -> None:
        """Make one of the rare updates; the frequent ones spell this out, to save a call."""
        try:
            self.acquire()
            try:
                update()
            finally:
                self.release()
        except ValueError:
            self.memory.reopen()
            self._under_lock(update)

    def note(self, value: float, trace_id: bytes) -> None:
        """Keep an exemplar of `value` if this series has a place for it; under the lock."""
        family = self.family
        if family.has_exemplars:
            place = bisect_left(family.buckets, value) if family.buckets else 0
            slot = self.index - 1 + family.value_cells + EXEMPLAR_CELLS * place
            note_exemplar(self.cells, self.memory.words, slot, value, trace_id)


class GaugeChild(Child):
    """A gauge, which may also fall."""

    __slots__ = ()

    def inc(self, amount: float = 1.0, trace_id: bytes | None = None) -> None:  # noqa: ARG002
        """Add to the gauge; one that is not set begins at 0."""
        try:
            self.acquire()
            try:
                value = self.cells[self.index]
                self.cells[self.index] = amount if isnan(value) else value + amount
            finally:
                self.release()
        except ValueError:
            amount = float(amount)
            self.memory.reopen()
            self.inc(amount)


def make_child(family: Family, values: tuple[str, ...], memory: Memory, index: int) -> Child:
    """Return the child of a series whose `created` cell is at `index`."""
    kind = GaugeChild if family.kind == "gauge" else Child
    return kind(family, values, memory, index)
