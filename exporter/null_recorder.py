"""A recorder that records nothing. It exists to measure what recording costs."""

import threading
from collections.abc import Iterable, Sequence

from exporter.bundle import Record
from exporter.child import Child
from exporter.metric import Family
from exporter.place import Memory, Place


class NullRecorder:
    """The face of a recorder, and nothing behind it."""

    def __init__(self, families: Iterable[Family]) -> None:
        """Take the same families, so that wrong names are still errors."""
        self._families = {family.name: family for family in families}
        buffer = memoryview(bytearray(8))
        self._memory = Memory(buffer.cast("d"), buffer.cast("Q"), threading.Lock(), lambda _: None)

    def child(self, name: str, /, **labels: str) -> Child:
        """Return a child that nobody reads."""
        family = self._families[name]
        return _NullChild(family, family.label_values(labels), Place(self._memory, 0))

    def bundle(self, counters: Sequence[Child], histograms: Sequence[Child]) -> Record:  # noqa: ARG002
        """Return a call that does nothing."""
        return lambda _increments, _observations, _trace_id=None: None

    def declare(self, /, **labels: str) -> None:
        """Do nothing."""

    def remove(self, child: Child) -> None:
        """Do nothing."""

    def forget(self, /, **labels: str) -> None:
        """Do nothing."""

    def tick(self) -> None:
        """Do nothing."""

    def note_exit(self, cause: str) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class _NullChild(Child):
    __slots__ = ()

    def __init__(self, family: Family, values: tuple[str, ...], place: Place) -> None:
        super().__init__(family, values, place)
        self.inc = self.observe = _nothing
        self.set = _set_nothing

    def add(self, cell: int, amount: float) -> None:
        """Add nothing."""


def _nothing(_number: float = 1.0, _trace_id: bytes | None = None, /) -> None:
    pass


def _set_nothing(value: float, *, stamp: float = 0.0) -> None:
    del value, stamp
