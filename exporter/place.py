"""Where a series of this process stands, which may change under those who record in it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol


class Lock(Protocol):
    """A lock of the standard library, or one that stands in for it."""

    def acquire(self) -> bool:
        """Take the lock."""

    def release(self) -> None:
        """Give the lock back."""


Reopen = Callable[[Callable[[], None]], None]


@dataclass(frozen=True, slots=True)
class Memory:
    """Where the updates of a process go: a block's values as numbers and as words, and its lock.

    `reopen` is called, with the update to be made again, when the values turn out to be released,
    as they are in a forked process: every place is then given the memory of a new block.
    """

    cells: "memoryview[float]"
    words: "memoryview[int]"
    lock: Lock
    reopen: Reopen


class Place:
    """The memory and index of one series: that of its value, or of a histogram's sum.

    `rebind`, if there is one, is told of a new place. It must not refer to this object, nor to what
    does: a series that nobody uses any more shall go without the garbage collector's help.
    """

    __slots__ = ("__weakref__", "index", "memory", "rebind")

    def __init__(self, memory: Memory, index: int) -> None:
        """Begin with the series whose `created` cell is at `index` of the memory."""
        self.rebind: Callable[[Memory, int], None] | None = None
        self.bind(memory, index)

    def bind(self, memory: Memory, index: int) -> None:
        """Go on in another memory, or at another index; under the lock, if others record."""
        self.memory = memory
        self.index = index + 1
        if self.rebind is not None:
            self.rebind(memory, self.index)

    def update(self, change: Callable[["memoryview[float]", int], None]) -> None:
        """Make a change to the cells under the lock: the way of all but the most frequent updates.

        `change` is given the cells and the index.
        """
        try:
            lock = self.memory.lock
            lock.acquire()
            try:
                change(self.memory.cells, self.index)
            finally:
                lock.release()
        except ValueError:
            self.memory.reopen(partial(self.update, change))
