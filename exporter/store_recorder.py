"""The recorder of one process, which writes to a block of its own in a store directory."""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import product
from pathlib import Path

from exporter.block.layout import SCRATCH_BYTES
from exporter.block.writer import BlockWriter, PrivateBlock
from exporter.bundle import Record
from exporter.catalogue.itself import DROPPED_SERIES
from exporter.child import Child, Lock
from exporter.errors import BlockFull, CatalogueError, StoreError, StoreFull
from exporter.family_check import check_family, check_role
from exporter.metric import Family
from exporter.own_series import Carried, OwnSeries
from exporter.process_hooks import start_ticking, tell_after_fork

STARTS = "inferometer_process_starts_total"

logger = logging.getLogger(__name__)


class StoreRecorder:
    """The recorder of one process, writing to its own block in the store directory.

    A forked process goes on with the same children: its first record opens a block of its own, so a
    process that never records leaves none. So does a process whose block is full, if series have
    been removed. While the directory has no room for a block, the process records in memory of its
    own; a tick then tries again every `retry_seconds`, and what was recorded is taken along.
    """

    retry_seconds = 60.0

    def __init__(
        self,
        directory: Path,
        role: str,
        families: Iterable[Family],
        make_lock: Callable[[], Lock],
        tick_seconds: float | None,
    ) -> None:
        """Open the block. Use `open_recorder`, which declares what every process records."""
        check_role(role)
        self._directory = directory
        self._role = role
        self._families: dict[str, Family] = {}
        self._by_base_name: dict[str, Family] = {}
        for family in families:
            self.add_family(family)
        self._families.setdefault(DROPPED_SERIES.name, DROPPED_SERIES)
        self._make_lock = make_lock
        self._tick_seconds = tick_seconds
        self._growth = threading.Lock()
        self._tick_calls: list[Callable[[], None]] = []
        self._fork_calls: list[Callable[[], None]] = []
        self._retried = time.monotonic()
        self._is_full_logged = False
        self._is_forked = self._is_closed = False
        try:
            self._writer = BlockWriter(directory, role)
        except StoreFull as error:
            self._writer = PrivateBlock(directory, role)
            logger.error("this process is not on /metrics for now: %s", error)  # noqa: TRY400
        self._series = OwnSeries(self._writer, make_lock(), self._reopen)
        tell_after_fork(self)

    def child(self, name: str, /, **labels: str) -> Child:
        """Return the child of a family for these labels, at 0 (or unset) if it is new.

        A value outside a closed set, and a new label set of a family that has its most already, is
        taken as `__other__` and counted as dropped. Values are cut at 128 characters. Raises
        CatalogueError for an unknown family or a wrong label name.
        """
        family = self._families.get(name)
        if family is None:
            raise CatalogueError(f"no metric family {name}")
        values = family.label_values(labels)
        child = self._series.get(name, values)
        if child is None or child.is_ended:
            return self._new_child(family, values)
        return child

    def add_family(self, family: Family) -> None:
        """Let another family be recorded.

        Raises CatalogueError if its name is taken by another, or if it is none that can be shown.
        """
        check_family(family)
        if family.cells * 8 > SCRATCH_BYTES:
            raise CatalogueError(f"a series of {family.name} takes {family.cells * 8} bytes")
        if self._by_base_name.setdefault(family.base_name, family) != family:
            raise CatalogueError(f"{family.base_name} is there already, defined differently")
        self._families.setdefault(family.name, family)

    def on_tick(self, call: Callable[[], None]) -> None:
        """Have `call` made with every tick."""
        self._tick_calls.append(call)

    def on_fork(self, call: Callable[[], None]) -> None:
        """Have `call` made in every forked process, before anything is recorded there."""
        self._fork_calls.append(call)

    def ensure_ticking(self, seconds: float) -> None:
        """Let a thread tick if nobody was asked to."""
        if self._tick_seconds is None:
            self._tick_seconds = seconds
            start_ticking(self.tick, seconds)

    def remove(self, child: Child) -> None:
        """End a series: it is shown no more, unless another process still has it.

        Ask for the child anew to record in it again. What it had counted is kept for that case,
        while there is room.
        """
        with self._growth:
            if self._is_forked:
                self._series.forget(child)  # This process shows nothing yet.
            else:
                self._series.end(child)

    def bundle(self, counters: Sequence[Child], histograms: Sequence[Child]) -> Record:
        """Return one call that adds to all counters and observes in all histograms under one lock.

        Raises CatalogueError when one of the children is another recorder's.
        """
        with self._growth:
            if any(child.memory is not self._series.memory for child in (*counters, *histograms)):
                raise CatalogueError("a bundle takes the children of one recorder")
            return self._series.bundle(counters, histograms).record

    def declare(self, /, **labels: str) -> None:
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
                if self._series.get(family.name, values) is None:
                    self._new_child(family, values)

    def tick(self) -> None:
        """Write the sign of life and CPU time, and do what is to be done now and then."""
        with self._growth:  # A block that has given way must not be written.
            if not self._is_forked:
                self._writer.beat()
        if not self._writer.is_shared and time.monotonic() - self._retried > self.retry_seconds:
            self._retry()
        for call in self._tick_calls:
            call()

    def note_exit(self, cause: str) -> None:
        """Note why the process ends; the first note wins. Allowed in a signal handler."""
        if not self._is_forked:
            self._writer.note_exit(cause)

    def note_end(self) -> None:
        """Note that the interpreter ends. What is still recorded until then counts."""
        with self._growth:
            self._note_end()

    def close(self) -> None:
        """Note a clean exit and give the block up; its counts stay in every later scrape.

        What is recorded afterwards is not shown.
        """
        with self._growth:
            self._note_end()
            self._writer.close()
            self._is_closed = True

    def _note_end(self) -> None:
        if not self._is_forked:
            self._writer.beat()
            self._writer.note_exit("exit")

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
        self._series.release(self._make_lock())
        self._writer.abandon()
        self._is_forked = True
        for call in self._fork_calls:
            call()

    def _reopen(self) -> None:
        """Open a block of this process's own if it was forked and has none yet."""
        if not self._is_forked:
            return
        problem = None
        with self._growth:
            if not self._is_forked:
                return  # Another thread was first.
            try:
                writer = BlockWriter(self._directory, self._role)
            except StoreError as error:
                problem = error
                writer = PrivateBlock(self._directory, self._role)
            self._move(writer, lambda: None, "nothing")
            self._is_forked = False
        if problem is not None:  # A handler of the log may record, too.
            logger.error("this process is not on /metrics for now: %s", problem)
        self.start()

    def _retry(self) -> None:
        """Go from private memory to a block if there is room for one by now."""
        with self._growth:
            self._retried = time.monotonic()
            try:
                writer = BlockWriter(self._directory, self._role)
            except StoreError:
                return
            self._move(writer, lambda: None, "everything")
        logger.warning("this process is on /metrics now")

    def _rotate(self) -> bool:
        """Go on in an empty block if that has clearly more room; return whether it was done.

        The full one is then a dead process's, whose counts are in every scrape.
        """
        if self._is_closed or not self._series.would_shrink:
            return False
        old = self._writer
        try:
            if not old.is_shared:
                self._move(PrivateBlock(self._directory, self._role), lambda: None, "everything")
                return True
            block_id = old.header.block_id
            new = BlockWriter(self._directory, self._role, predecessor=block_id)
        except StoreError:
            return False
        self._move(new, lambda: new.succeed(old), "gauges")
        old.close()
        return True

    def _move(self, writer: BlockWriter, switch: Callable[[], None], carried: Carried) -> None:
        self._series.move(writer, switch, carried)
        self._writer = writer

    def _new_child(self, family: Family, values: tuple[str, ...]) -> Child:
        """Return a new child, or one that was removed, or that of `__other__`."""
        dropped = self._dropped_of(family)
        self._reopen()
        problem = None
        with self._growth:
            has_room = self._series.count(family.name) < family.max_series
            guarded = family.guarded(values, has_room=has_room)
            try:
                child = self._series_of(family, guarded)
            except StoreFull as error:
                problem = error
                guarded = family.guarded(values, has_room=False)
                try:
                    child = self._series_of(family, guarded)
                except StoreFull:
                    child = self._series.add_unseen(family, guarded)
        if guarded != values and dropped is not None:
            dropped.inc()
        if problem is not None and not self._is_full_logged:  # A handler of the log may record.
            self._is_full_logged = True
            logger.error("new label sets are recorded as __other__: %s", problem)
        return child

    def _series_of(self, family: Family, values: tuple[str, ...]) -> Child:
        child = self._series.get(family.name, values)
        if child is not None:
            self._series.begin_again(child)
            return child
        try:
            return self._series.add(family, values)
        except BlockFull:
            if not self._rotate():
                raise
            return self._series.add(family, values)

    def _dropped_of(self, family: Family) -> Child | None:
        """Return what counts a family's dropped label sets; it stands at 0 before the first."""
        if not family.labels or family.name == DROPPED_SERIES.name:
            return None
        return self.child(DROPPED_SERIES.name, family=family.name)
