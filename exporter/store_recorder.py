"""The recorder of one process, which writes to a block of its own in a store directory."""

import logging
import math
import threading
from collections.abc import Callable, Iterable, Sequence
from itertools import product
from pathlib import Path

from exporter.block.writer import BLOCK_BYTES, BlockWriter
from exporter.bundle import Bundle, Record, record_each
from exporter.child import Child, Lock, Memory, make_child
from exporter.errors import CatalogueError, StoreError, StoreFull
from exporter.metric import Family
from exporter.process_hooks import start_ticking, tell_after_fork

DROPPED_SERIES = "inferometer_dropped_series_total"
STARTS = "inferometer_process_starts_total"

logger = logging.getLogger(__name__)


class StoreRecorder:
    """The recorder of one process, writing to its own block in the store directory.

    A forked process goes on with the same children: its first record opens a block of its own, so a
    process that never records leaves none.
    """

    def __init__(
        self,
        directory: Path,
        role: str,
        families: Iterable[Family],
        make_lock: Callable[[], Lock],
        tick_seconds: float | None,
    ) -> None:
        """Open the block. Use `open_recorder`, which declares what every process records."""
        self._directory = directory
        self._role = role
        self._families = {family.name: family for family in families}
        self._make_lock = make_lock
        self._tick_seconds = tick_seconds
        self._growth = threading.Lock()
        self._children: dict[tuple[str, tuple[str, ...]], Child] = {}
        self._sizes: dict[str, int] = {}
        self._bundles: list[Bundle] = []
        self._tick_calls: list[Callable[[], None]] = []
        self._writer: BlockWriter | None = BlockWriter(directory, role)
        self._memory = self._memory_of(self._writer)
        self._nowhere = self._private_memory()
        self._is_forked = False
        tell_after_fork(self)

    def child(self, name: str, **labels: str) -> Child:
        """Return the child of a family for these labels, at 0 (or unset) if it is new.

        A value outside a closed set, and a new label set of a family that has its most already, is
        taken as `__other__` and counted as dropped. Values are cut at 128 characters. Raises
        CatalogueError for an unknown family or a wrong label name.
        """
        family = self._families.get(name)
        if family is None:
            raise CatalogueError(f"no metric family {name}")
        values = family.label_values(labels)
        child = self._children.get((name, values))
        if child is None:
            return self._new_child(family, values)
        if child.is_ended:
            child.begin_again()
        return child

    def add_family(self, family: Family) -> None:
        """Let another family be recorded. Raises CatalogueError if its name is taken by another."""
        if self._families.setdefault(family.name, family) != family:
            raise CatalogueError(f"{family.name} is there already, defined differently")

    def on_tick(self, call: Callable[[], None]) -> None:
        """Have `call` made with every tick."""
        self._tick_calls.append(call)

    def remove(self, child: Child) -> None:
        """End a series: it is shown no more, unless another process still has it.

        What it had counted is kept, in case it comes back.
        """
        child.end()

    def bundle(self, counters: Sequence[Child], histograms: Sequence[Child]) -> Record:
        """Return one call that adds to all counters and observes in all histograms under one lock.

        The children must all be this recorder's.
        """
        with self._growth:
            children = (*counters, *histograms)
            if any(child.memory is not self._memory for child in children):
                return record_each(counters, histograms)
            bundle = Bundle(counters, histograms, self._memory)
            self._bundles.append(bundle)
            return bundle.record

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
        if self._writer is not None:
            self._writer.beat()
        for call in self._tick_calls:
            call()

    def note_exit(self, cause: str) -> None:
        """Note why the process ends; the first note wins. Allowed in a signal handler."""
        if self._writer is not None:
            self._writer.note_exit(cause)

    def note_end(self) -> None:
        """Note that the interpreter ends. What is still recorded until then counts."""
        if self._writer is not None:
            self._writer.beat()
            self._writer.note_exit("exit")

    def close(self) -> None:
        """Note a clean exit and give the block up; its counts stay in every later scrape.

        What is recorded afterwards is not shown.
        """
        with self._growth:
            if self._writer is not None:
                self._writer.beat()
                self._writer.note_exit("exit")
                self._writer.close()

    def start(self) -> None:
        """Count this process's start and let its sign of life tick, if that was asked for."""
        if self._role in getattr(self._families.get(STARTS), "recorded_by", ()):
            self.child(STARTS, role=self._role).inc()
        if self._tick_seconds is not None:
            start_ticking(self.tick, self._tick_seconds)

    def forget_parent(self) -> None:
        """Let go of everything of the parent's, in a process that was just forked.

        Its lock may be held by a thread that does not exist here, so the children get a new one.
        """
        self._growth = threading.Lock()
        for view in (self._memory.cells, self._memory.words):
            view.release()
        if self._writer is not None:
            self._writer.abandon()
            self._writer = None
        self._is_forked = True
        self._bind(Memory(self._memory.cells, self._memory.words, self._make_lock(), self._reopen))

    def _reopen(self) -> None:
        """Open a block of this process's own if it was forked and has none yet."""
        if not self._is_forked:
            return
        problem = None
        with self._growth:
            if not self._is_forked:
                return  # Another thread was first.
            try:
                self._writer = self._own_block()
                cells, words = self._writer.values, self._writer.words
            except (StoreError, MemoryError) as error:
                problem = error
                private = self._private_memory()
                cells, words = private.cells, private.words
            # The lock stays: another thread may hold it, about to find the old memory released.
            lock = self._memory.lock
            lock.acquire()
            try:
                self._bind(Memory(cells, words, lock, self._reopen))
            finally:
                lock.release()
            self._is_forked = False
        if problem is not None:
            logger.error("this process is not on /metrics: %s", problem)
        self.start()

    def _own_block(self) -> BlockWriter:
        writer = BlockWriter(self._directory, self._role)
        try:
            self._publish_all(writer)
        except StoreError:
            writer.discard()
            raise
        return writer

    def _publish_all(self, writer: BlockWriter) -> None:
        """Publish every series in the order in which the parent did, so that no index changes."""
        for (_, values), child in self._children.items():
            if child.memory is not self._nowhere:
                index = writer.add_series(child.family, values, _initial(child.family))
                if index != child.index - 1:
                    raise StoreFull(f"{child.family.name} has moved to another place")
                if child.is_ended:
                    writer.values[child.index - 1] *= -1.0

    def _bind(self, memory: Memory) -> None:
        self._memory = memory
        for child in self._children.values():
            if child.memory is not self._nowhere:
                child.bind(memory)
        for bundle in self._bundles:
            bundle.bind(memory)

    def _new_child(self, family: Family, values: tuple[str, ...]) -> Child:
        guarded = family.guarded(
            values, has_room=self._sizes.get(family.name, 0) < family.max_series
        )
        dropped = self._dropped_of(family)
        if guarded != values and dropped is not None:
            dropped.inc()
        self._reopen()
        problem = None
        with self._growth:
            child = self._children.get((family.name, guarded))
            if child is not None:
                return child
            try:
                index = self._writer_now().add_series(family, guarded, _initial(family))
                child = make_child(family, self._memory, index)
            except StoreFull as error:
                problem = error
                child = make_child(family, self._nowhere, 0)
            self._children[family.name, guarded] = child
            self._sizes[family.name] = self._sizes.get(family.name, 0) + 1
        if problem is not None:  # A handler of the log may record, too.
            logger.error("%s%s is not shown on /metrics: %s", family.name, guarded, problem)
        return child

    def _writer_now(self) -> BlockWriter:
        if self._writer is None:
            raise StoreFull("this process has no block")
        return self._writer

    def _dropped_of(self, family: Family) -> Child | None:
        """Return what counts a family's dropped label sets; it stands at 0 before the first."""
        if not family.labels or family.name == DROPPED_SERIES:
            return None
        is_counted = DROPPED_SERIES in self._families
        return self.child(DROPPED_SERIES, family=family.name) if is_counted else None

    def _memory_of(self, writer: BlockWriter) -> Memory:
        return Memory(writer.values, writer.words, self._make_lock(), self._reopen)

    def _private_memory(self) -> Memory:
        """Return memory outside the block, for what nobody will see.

        It is as large as a block, so that every index fits; untouched pages cost nothing.
        """
        buffer = memoryview(bytearray(BLOCK_BYTES))
        return Memory(buffer.cast("d"), buffer.cast("Q"), self._make_lock(), self._reopen)


def _initial(family: Family) -> float:
    """Return the value of a series that nothing has been recorded in."""
    return math.nan if family.kind == "gauge" and family.merge != "sum" else 0.0
