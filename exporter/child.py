"""One series of a process, ready to be updated.

A counter, gauge or histogram with its cells resolved.
"""

import sys
from bisect import bisect_left
from functools import partial
from math import isnan
from typing import Protocol

from exporter.errors import CatalogueError
from exporter.exemplar_slots import note_exemplar
from exporter.metric import EXEMPLAR_CELLS, Family
from exporter.place import Memory, Place

# Compared with, because an integer may be larger than any float.
_LARGEST = sys.float_info.max


class Increment(Protocol):
    """How a counter or gauge is counted up."""

    def __call__(self, amount: float = 1.0, trace_id: bytes | None = None, /) -> None:
        """Add to a counter or gauge; a gauge that is not set begins at 0.

        What a counter cannot count (negative, infinite or NaN amounts) is not recorded. `trace_id`
        (16 bytes) names a sampled trace, to be a counter's exemplar.
        """


class Observe(Protocol):
    """How a histogram or summary is given a value."""

    def __call__(self, value: float, trace_id: bytes | None = None, /) -> None:
        """Add one observation. Negative, infinite or NaN values are not recorded.

        `trace_id` (16 bytes) names a sampled trace, to be the bucket's exemplar.
        """


class SetGauge(Protocol):
    """How a gauge is set."""

    def __call__(self, value: float, *, stamp: float = 0.0) -> None:
        """Set a gauge; NaN unsets it. `stamp` (monotonic seconds) decides under rule `latest`."""


class Child:
    """One series of this process, with its place in the block resolved. Keep it.

    `inc`, `observe` and `set` are closures over the place, which are faster than methods: a counter
    by a fifth, a gauge by two fifths. A series has those that its kind has; the others raise
    CatalogueError.
    """

    __slots__ = ("family", "inc", "is_ended", "observe", "place", "set", "values")
    inc: Increment
    observe: Observe
    set: SetGauge

    def __init__(self, family: Family, values: tuple[str, ...], place: Place) -> None:
        """Take the series with these label values at a place."""
        self.family = family
        self.values = values
        self.place = place
        self.is_ended = False
        self.inc = self.observe = self.set = partial(_refuse, family)
        if family.kind == "gauge":
            self.inc, self.set = _gauge(place)
        elif family.kind == "counter":
            self.inc = _increment(family, place)
        else:
            self.observe = _observe(family, place)

    def dec(self, amount: float = 1.0) -> None:
        """Subtract from a gauge."""
        self.inc(-amount)

    def add(self, cell: int, amount: float) -> None:
        """Add to one cell: 0 is the value or sum, the next ones are a histogram's counts."""
        amount = float(amount)

        def change(cells: "memoryview[float]", index: int) -> None:
            cells[index + cell] += amount

        self.place.update(change)

    def put(self, cell: int, value: float) -> None:
        """Replace one cell, as when a program resets its counter."""
        value = float(value)

        def change(cells: "memoryview[float]", index: int) -> None:
            cells[index + cell] = value

        self.place.update(change)

    def get(self, cell: int) -> float:
        """Return what this process has in one cell; 0 in the middle of a move."""
        found = [0.0]
        self.place.update(lambda cells, index: found.append(cells[index + cell]))
        return found[-1]

    def keep_exemplar(self, value: float, trace_id: bytes) -> None:
        """Keep an exemplar of an observation that was recorded apart."""
        self.place.update(lambda *_: self.note(value, trace_id))

    def end(self) -> None:
        """Mark the series as removed."""
        self._begin_or_end(is_ended=True)

    def begin_again(self) -> None:
        """Show a series again that was removed, with what it held."""
        self._begin_or_end(is_ended=False)

    def _begin_or_end(self, *, is_ended: bool) -> None:
        def change(cells: "memoryview[float]", index: int) -> None:
            if is_ended != self.is_ended:
                cells[index - 1] *= -1.0
                self.is_ended = is_ended

        self.place.update(change)

    def note(self, value: float, trace_id: bytes) -> None:
        """Keep an exemplar of `value` if this series has room for one; under the lock."""
        _note(self.family, self.place.memory, self.place.index, value, trace_id)


def _note(family: Family, memory: Memory, index: int, value: float, trace_id: bytes) -> None:
    if family.has_exemplars:
        bucket = bisect_left(family.buckets, value) if family.buckets else 0
        slot = index - 1 + family.value_cells + EXEMPLAR_CELLS * bucket
        note_exemplar(memory.cells, memory.words, slot, value, trace_id)


def _refuse(family: Family, *_: object) -> None:
    raise CatalogueError(f"{family.name} is a {family.kind}, for which this is not")


# The most frequent updates. The lock's methods are kept bound and called by hand: `with` costs
# twice as much as the update. None refers to itself, nor to a child, so as not to be garbage.


def _gauge(place: Place) -> tuple[Increment, SetGauge]:
    memory, index = place.memory, place.index
    cells, acquire, release = memory.cells, memory.lock.acquire, memory.lock.release

    def inc(amount: float = 1.0, _trace_id: bytes | None = None, /) -> None:
        amount = float(amount)
        try:
            acquire()
            try:
                value = cells[index]
                # NaN, the only value that is not its own equal, is a gauge that is not set.
                cells[index] = amount + value if value == value else amount  # noqa: PLR0124
            finally:
                release()
        except ValueError:
            memory.reopen(partial(_add_again, place, amount))

    def put(value: float, *, stamp: float = 0.0) -> None:
        value, stamp = float(value), float(stamp)
        try:
            acquire()
            try:
                cells[index + 1] = stamp
                cells[index] = value
            finally:
                release()
        except ValueError:
            memory.reopen(partial(_put_again, place, value, stamp))

    def rebind(new: Memory, new_index: int) -> None:
        nonlocal memory, index, cells, acquire, release
        memory, index = new, new_index
        cells, acquire, release = new.cells, new.lock.acquire, new.lock.release

    place.rebind = rebind
    return inc, put


def _increment(family: Family, place: Place) -> Increment:
    memory, index = place.memory, place.index
    cells, acquire, release = memory.cells, memory.lock.acquire, memory.lock.release

    def inc(amount: float = 1.0, trace_id: bytes | None = None, /) -> None:
        if 0.0 <= amount <= _LARGEST:
            try:
                acquire()
                try:
                    cells[index] += amount
                    if trace_id is not None:
                        _note(family, memory, index, amount, trace_id)
                finally:
                    release()
            except ValueError:
                memory.reopen(partial(_again, family, place, amount, trace_id, None))

    def rebind(new: Memory, new_index: int) -> None:
        nonlocal memory, index, cells, acquire, release
        memory, index = new, new_index
        cells, acquire, release = new.cells, new.lock.acquire, new.lock.release

    place.rebind = rebind
    return inc


def _observe(family: Family, place: Place) -> Observe:
    memory, index, bounds = place.memory, place.index, family.edges
    cells, acquire, release = memory.cells, memory.lock.acquire, memory.lock.release

    def observe(value: float, trace_id: bytes | None = None, /) -> None:
        if 0.0 <= value <= _LARGEST:
            cell = 1 + bisect_left(bounds, value)
            try:
                acquire()
                try:
                    # The sum first: a kill in between leaves the count, which is derived, whole.
                    cells[index] += value
                    cells[index + cell] += 1.0
                    if trace_id is not None:
                        _note(family, memory, index, value, trace_id)
                finally:
                    release()
            except ValueError:
                memory.reopen(partial(_again, family, place, value, trace_id, cell))

    def rebind(new: Memory, new_index: int) -> None:
        nonlocal memory, index, cells, acquire, release
        memory, index = new, new_index
        cells, acquire, release = new.cells, new.lock.acquire, new.lock.release

    place.rebind = rebind
    return observe


def _again(
    family: Family, place: Place, value: float, trace_id: bytes | None, cell: int | None
) -> None:
    """Make an update that found no memory where the series stands now."""

    def change(cells: "memoryview[float]", index: int) -> None:
        cells[index] += value
        if cell is not None:
            cells[index + cell] += 1.0
        if trace_id is not None:
            _note(family, place.memory, index, value, trace_id)

    place.update(change)


def _add_again(place: Place, amount: float) -> None:
    def change(cells: "memoryview[float]", index: int) -> None:
        value = cells[index]
        cells[index] = amount if isnan(value) else value + amount

    place.update(change)


def _put_again(place: Place, value: float, stamp: float) -> None:
    def change(cells: "memoryview[float]", index: int) -> None:
        cells[index + 1] = stamp
        cells[index] = value

    place.update(change)
