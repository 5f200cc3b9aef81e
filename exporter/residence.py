"""Where a process records: a block of its own, and its moves to others.

It moves for three reasons: it was forked, its block is full, or there was no room for one and now
there is. Those who record keep their children and notice nothing.
"""

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from exporter.block.writer import BlockWriter, PrivateBlock
from exporter.bundle import Record
from exporter.child import Child
from exporter.errors import BlockFull, CatalogueError, StoreError, StoreFull
from exporter.metric import Family
from exporter.own_series import Carried, OwnSeries
from exporter.place import Lock

logger = logging.getLogger(__name__)


class Residence:
    """The block of one process.

    A forked process opens a block of its own with its first record, so one that never records
    leaves none. So does a process whose block is full, if series have been removed. While the
    directory has no room for a block, the process records in memory of its own; a beat then tries
    again every `retry_seconds`, and what was recorded is taken along.
    """

    def __init__(
        self, directory: Path, role: str, make_lock: Callable[[], Lock], begin: Callable[[], None]
    ) -> None:
        """Open the block. `begin` is called when a forked process has opened its own."""
        self.retry_seconds = 60.0
        self._directory = directory
        self._role = role
        self._make_lock = make_lock
        self._begin = begin
        self._growth = threading.Lock()
        self._retried = time.monotonic()
        self._movers: set[int] = set()  # threads that are moving to another block, or wait to
        self._postponed: deque[Callable[[], None]] = deque()
        self._is_forked = self._is_closed = False
        try:
            self._writer = BlockWriter(directory, role)
        except StoreFull as error:
            self._writer = PrivateBlock(directory, role)
            logger.error("this process is not on /metrics for now: %s", error)  # noqa: TRY400
        self.series = OwnSeries(self._writer, make_lock(), self._reopen)

    @property
    def is_beside(self) -> bool:
        """Whether another recorder of this process speaks for it: its start, end and CPU time."""
        return self._writer.is_beside

    def place(self, family: Family, values: tuple[str, ...]) -> tuple[Child, StoreFull | None]:
        """Return the child of a series, new or removed, and what was in the way of a new one.

        The family's cap, or a block without room, make it that of `__other__`.
        """
        self._ensure_open()
        with self._moving():
            has_room = self.series.count(family.name) < family.max_series
            try:
                return self._series_of(family, family.guarded(values, has_room=has_room)), None
            except StoreFull as error:
                other = family.guarded(values, has_room=False)
                try:
                    return self._series_of(family, other), error
                except StoreFull:
                    return self.series.add_unseen(family, other), error

    def end(self, child: Child) -> None:
        """Remove a series."""
        with self._growth:
            if self._is_forked:
                self.series.forget(child)  # This process shows nothing yet.
            else:
                self.series.end(child)

    def bundle(self, counters: Sequence[Child], histograms: Sequence[Child]) -> Record:
        """Return the one call that updates them all. Raises CatalogueError for others' children."""
        with self._growth:
            children = (*counters, *histograms)
            if any(child.place.memory is not self.series.memory for child in children):
                raise CatalogueError("a bundle takes the children of one recorder")
            return self.series.bundle(counters, histograms).record

    def beat(self) -> None:
        """Write the sign of life and CPU time, and look for room if there was none."""
        with self._growth:  # A block that has given way must not be written.
            if not self._is_forked:
                self._writer.beat()
            is_due = time.monotonic() - self._retried > self.retry_seconds
            is_retrying = is_due and not (self._writer.is_shared or self._is_closed)
        if is_retrying:
            self._retry()

    def note_exit(self, cause: str) -> None:
        """Note why the process ends; the first note wins. Allowed in a signal handler."""
        if not self._is_forked:
            self._writer.note_exit(cause)

    def note_end(self) -> None:
        """Note that the interpreter ends. What is still recorded until then counts."""
        with self._growth:
            self._note_end()

    def close(self) -> None:
        """Note a clean exit and give the block up."""
        with self._growth:
            self._note_end()
            self._writer.close()
            self._is_closed = True

    def _note_end(self) -> None:
        if not self._is_forked:
            self._writer.beat()
            self._writer.note_exit("exit")

    def forget_parent(self) -> None:
        """Let go of everything of the parent's, in a process that was just forked.

        Its lock may be held by a thread that does not exist here, so the children get a new one.
        """
        self._growth = threading.Lock()
        self._movers, self._postponed = set(), deque()
        self.series.release(self._make_lock())
        self._writer.abandon()
        self._is_forked = True

    def _reopen(self, update: Callable[[], None]) -> None:
        """Make an update that found no memory, as it does in a forked process or during a move.

        A process that was forked opens a block of its own first.
        """
        if threading.get_ident() in self._movers:
            # A signal handler of a thread that is moving; it cannot wait for itself.
            self._postponed.append(update)
            return
        self._ensure_open()
        update()

    @contextlib.contextmanager
    def _moving(self) -> Iterator[None]:
        """Hold what a move needs; what signal handlers record meanwhile is recorded afterwards."""
        thread = threading.get_ident()
        self._movers.add(thread)
        try:
            with self._growth:
                yield
        finally:
            self._movers.discard(thread)
            self._make_postponed()

    def _make_postponed(self) -> None:
        while self._postponed:
            self._postponed.popleft()()

    def _ensure_open(self) -> None:
        if not self._is_forked:
            return
        problem = None
        with self._moving():
            if not self._is_forked:
                return  # Another thread was first.
            try:
                self._move_to(BlockWriter(self._directory, self._role), "nothing")
            except StoreError as error:
                problem = error
                self._move_to(PrivateBlock(self._directory, self._role), "nothing")
            self._is_forked = False
        if problem is not None:  # A handler of the log may record, too.
            logger.error("this process is not on /metrics for now: %s", problem)
        self._begin()

    def _retry(self) -> None:
        """Go from private memory to a block if there is room for one by now."""
        with self._moving():
            self._retried = time.monotonic()
            try:
                new = BlockWriter(self._directory, self._role, follows=self._writer)
                self._move_to(new, "everything")
            except StoreError:
                return
        logger.warning("this process is on /metrics now")

    def _rotate(self) -> bool:
        """Go on in an empty block if that has clearly more room; return whether it was done.

        The full one is then a dead process's, whose counts are in every scrape.
        """
        if self._is_closed or not self.series.would_shrink:
            return False
        old = self._writer
        try:
            if old.is_shared:
                new = BlockWriter(self._directory, self._role, follows=old)
                self._move_to(new, "gauges", lambda: new.succeed(old))
                old.close()
            else:
                new = PrivateBlock(self._directory, self._role, follows=old)
                self._move_to(new, "everything")
        except StoreError:
            return False
        return True

    def _move_to(
        self, writer: BlockWriter, carried: Carried, switch: Callable[[], None] = lambda: None
    ) -> None:
        """Go on in another block. Raises StoreFull, with nothing changed, when it is too small."""
        try:
            self.series.move(writer, switch, carried)
        except StoreError:
            writer.discard()
            raise
        self._writer = writer
        self._make_postponed()

    def _series_of(self, family: Family, values: tuple[str, ...]) -> Child:
        child = self.series.get(family.name, values)
        if child is not None:
            self.series.begin_again(child)
            return child
        try:
            return self.series.add(family, values)
        except BlockFull:
            if not self._rotate():
                raise
            return self.series.add(family, values)
