"""The series of this process: which there are, where they stand, and their move to another block.

Children and bundles are kept by those who record with them, so a move binds them all anew. Nothing
here takes the recorder's lock for growth: the recorder does.
"""

import math
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from exporter.block.writer import BlockWriter
from exporter.bundle import Bundle
from exporter.child import Child
from exporter.errors import StoreFull
from exporter.metric import Family
from exporter.place import Lock, Memory, Place, Reopen

Key = tuple[str, tuple[str, ...]]
Carried = Literal["everything", "gauges", "nothing"]


class OwnSeries:
    """All series of one process, in one block.

    A series for which there was no room records into the block's scratch room, where nobody reads.
    """

    def __init__(self, writer: BlockWriter, lock: Lock, reopen: Reopen) -> None:
        """Begin without series; `reopen` is called by a record that finds its memory released."""
        self._writer = writer
        self._reopen = reopen
        self._children: dict[Key, Child] = {}
        self._shown: dict[str, int] = {}  # series by family, without the removed
        self._ended: set[Key] = set()
        # Those that others may still hold although the series has no place any more.
        self._homeless: weakref.WeakSet[Place] = weakref.WeakSet()
        self._bundles: weakref.WeakSet[Bundle] = weakref.WeakSet()
        self.memory = _memory_of(writer, lock, reopen)

    def get(self, name: str, values: tuple[str, ...]) -> Child | None:
        """Return the child of a series that there is, removed or not."""
        return self._children.get((name, values))

    def having(self, labels: Mapping[str, str]) -> list[Child]:
        """Return the children of the series that are shown and have these labels."""
        return [
            child
            for child in list(self._children.values())
            if not child.is_ended
            and labels.items()
            <= dict(
                zip((label.name for label in child.family.labels), child.values, strict=True)
            ).items()
        ]

    def count(self, name: str) -> int:
        """Return how many series of a family are shown."""
        return self._shown.get(name, 0)

    def add(self, family: Family, values: tuple[str, ...]) -> Child:
        """Publish a new series and return its child. Raises StoreFull."""
        index = self._writer.add_series(family, values, _initial(family))
        return self._keep(family, values, index)

    def add_unseen(self, family: Family, values: tuple[str, ...]) -> Child:
        """Return a child of a series for which there is no room."""
        child = self._keep(family, values, self._writer.scratch_index)
        self._homeless.add(child.place)
        return child

    def end(self, child: Child) -> None:
        """Remove a series."""
        key = self._key_of(child)
        if key is not None and not child.is_ended:
            child.end()
            self._ended.add(key)
            self._shown[child.family.name] -= 1

    def forget(self, child: Child) -> None:
        """Take a series out that is in no block of this process."""
        key = self._key_of(child)
        if key is not None:
            del self._children[key]
            self._shown[child.family.name] -= not child.is_ended
            self._ended.discard(key)
            self._homeless.add(child.place)

    def begin_again(self, child: Child) -> None:
        """Show a series again that was removed."""
        key = self._key_of(child)
        if key is not None and child.is_ended:
            child.begin_again()
            self._ended.discard(key)
            self._shown[child.family.name] += 1

    def bundle(self, counters: Sequence[Child], histograms: Sequence[Child]) -> Bundle:
        """Return children that are updated together."""
        bundle = Bundle(counters, histograms, self.memory)
        self._bundles.add(bundle)
        return bundle

    @property
    def would_shrink(self) -> bool:
        """Whether another block would have clearly more room, without the removed series."""
        return len(self._ended) * 4 >= len(self._children)

    def move(self, writer: BlockWriter, switch: Callable[[], None], carried: Carried) -> None:
        """Go on in another block, without the removed series.

        `carried` says whose values are taken along. `switch` is called when the new block holds
        them, while nothing can be recorded. Raises StoreFull, and moves nothing, when the new block
        has no room for a series that has a place in the old one.
        """
        places = self._publish(writer)
        memory = _memory_of(writer, self.memory.lock, self._reopen)
        memory.lock.acquire()
        try:
            # A signal handler may come in between although the lock is held, and finds no memory.
            self._release_views()
            for child, index in places:
                if carried in {"everything", f"{child.family.kind}s"}:
                    self._copy(child, writer, index)
            switch()
            self._writer = writer
            self._bind(memory, places)
        finally:
            memory.lock.release()

    def release(self, lock: Lock) -> None:
        """Make every record fail inside and reopen, after a fork; `lock` is a fresh one."""
        self._release_views()
        self.memory = Memory(self.memory.cells, self.memory.words, lock, self._reopen)
        for place in (*(child.place for child in self._children.values()), *self._homeless):
            place.bind(self.memory, 0)
        for bundle in self._bundles:
            bundle.bind(self.memory)

    def _release_views(self) -> None:
        for view in (self.memory.cells, self.memory.words):
            view.release()

    def _keep(self, family: Family, values: tuple[str, ...], index: int) -> Child:
        child = Child(family, values, Place(self.memory, index))
        self._children[family.name, values] = child
        self._shown[family.name] = self.count(family.name) + 1
        return child

    def _key_of(self, child: Child) -> Key | None:
        key = (child.family.name, child.values)
        return key if self._children.get(key) is child else None

    def _publish(self, writer: BlockWriter) -> list[tuple[Child, int]]:
        places = []
        for child in self._children.values():
            if child.is_ended:
                continue
            try:
                index = writer.add_series(child.family, child.values, _initial(child.family))
            except StoreFull:
                if child.place not in self._homeless:
                    raise
            else:
                places.append((child, index))
        return places

    def _copy(self, child: Child, writer: BlockWriter, index: int) -> None:
        """Take a series along as it stands, unless it has stood nowhere."""
        if child.place not in self._homeless:
            first, count = child.place.index - 1, child.family.cells
            writer.values[index : index + count] = self._writer.values[first : first + count]

    def _bind(self, memory: Memory, places: list[tuple[Child, int]]) -> None:
        self.memory = memory
        for key in self._ended:
            self._homeless.add(self._children.pop(key).place)
        self._ended.clear()
        for place in self._homeless:
            place.bind(memory, self._writer.scratch_index)
        for child, index in places:
            child.place.bind(memory, index)
            self._homeless.discard(child.place)
        for bundle in self._bundles:
            bundle.bind(memory)


def _memory_of(writer: BlockWriter, lock: Lock, reopen: Reopen) -> Memory:
    """Return views of a block that can be released while the writer keeps its own."""
    return Memory(writer.values[:], writer.words[:], lock, reopen)


def _initial(family: Family) -> float:
    """Return the value of a series that nothing has been recorded in."""
    return math.nan if family.kind == "gauge" and family.merge != "sum" else 0.0
