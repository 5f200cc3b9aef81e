"""One series of a process, ready to be updated.

A counter, gauge or histogram with its cells resolved.
"""

import array
import math
from bisect import bisect_left
from typing import Protocol, TypeAlias

from exporter.metric import Family

Cells: TypeAlias = "memoryview[float] | array.array[float]"

_INFINITY = math.inf


class Lock(Protocol):
    """A lock of the standard library, or one that stands in for it."""

    def acquire(self) -> bool:
        """Take the lock."""

    def release(self) -> None:
        """Give the lock back."""


class Child:
    """One series of this process, with its place in the block resolved. Keep it.

    The lock's methods are kept bound and called by hand: `with` costs twice as much as the update.
    """

    __slots__ = ("acquire", "bounds", "cells", "family", "index", "lock", "release")

    def __init__(self, family: Family, cells: Cells, index: int, lock: Lock) -> None:
        """Bind the series whose `created` cell is at `index` of `cells`."""
        self.family = family
        self.cells = cells
        self.index = index + 1  # of the value; a histogram's sum
        self.bounds = family.buckets
        self.lock = lock
        self.acquire = lock.acquire
        self.release = lock.release

    def inc(self, amount: float = 1.0) -> None:
        """Add to a counter. Negative, infinite or NaN amounts are not recorded."""
        if 0.0 <= amount < _INFINITY:
            self.acquire()
            try:
                self.cells[self.index] += amount
            finally:
                self.release()

    def observe(self, value: float) -> None:
        """Add one observation to a histogram. Negative, infinite or NaN values are not recorded."""
        if 0.0 <= value < _INFINITY:
            bucket = self.index + 1 + bisect_left(self.bounds, value)
            self.acquire()
            try:
                # The sum first: a kill in between leaves the count, which is derived, whole.
                self.cells[self.index] += value
                self.cells[bucket] += 1.0
            finally:
                self.release()

    def dec(self, amount: float = 1.0) -> None:
        """Subtract from a gauge."""
        self.acquire()
        try:
            self.cells[self.index] -= amount
        finally:
            self.release()

    def set(self, value: float, *, stamp: float = 0.0) -> None:
        """Set a gauge; NaN unsets it.

        `stamp` (monotonic seconds) decides under the rule `latest`.
        """
        self.acquire()
        try:
            self.cells[self.index + 1] = stamp
            self.cells[self.index] = value
        finally:
            self.release()


class GaugeChild(Child):
    """A gauge, which may also fall."""

    __slots__ = ()

    def inc(self, amount: float = 1.0) -> None:
        """Add to the gauge."""
        self.acquire()
        try:
            self.cells[self.index] += amount
        finally:
            self.release()


def make_child(family: Family, cells: Cells, index: int, lock: Lock) -> Child:
    """Return the child of a series whose `created` cell is at `index`."""
    return (GaugeChild if family.kind == "gauge" else Child)(family, cells, index, lock)


def private_cells(family: Family) -> Cells:
    """Return cells outside the block, for a series that nobody will see."""
    return array.array("d", bytes(8 * family.cells))
