"""Reads a store directory as one.

The retired block, every process's block, and what is no block.
"""

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

from exporter.admitted import Admitted
from exporter.block.reader import BlockReader
from exporter.catalogue.itself import SKIP_REASONS
from exporter.directory import (
    RETIRED_NAME,
    block_paths,
    delete_stale_new_files,
    try_fold_lock,
)
from exporter.errors import BlockError
from exporter.merge import merge, without_removed
from exporter.metric import Family
from exporter.retired import fold
from exporter.succession import settle
from exporter.view import View

# A fold during a read takes milliseconds, so one repeat is enough unless something is badly wrong.
READ_ATTEMPTS = 10
MOST_MOVES = 5
FOLD_INTERVAL_SECONDS = 1.0

logger = logging.getLogger(__name__)


class StoreReader:
    """Merged views of one store directory. Not for concurrent use.

    What was parsed is kept between reads.
    """

    def __init__(self, path: Path) -> None:
        """Name the directory; nothing is read before `view`."""
        self.path = path
        self.skipped: dict[str, int] = dict.fromkeys(SKIP_REASONS, 0)
        self._blocks: dict[Path, BlockReader] = {}
        self._logged: set[tuple[str, str]] = set()
        self._last_fold = 0.0
        self._admitted = Admitted()
        self._retired: BlockReader | None = None
        self._retired_read: tuple[int, int] | None = None

    def view(self, wants: Callable[[Family], bool] = lambda _family: True) -> View:
        """Return what all processes, alive and dead, have recorded in the families wanted.

        Raises StoreError when the directory cannot be listed, StoreUnreadable when blocks cannot be
        read for want of descriptors or memory.
        """
        for attempt in range(READ_ATTEMPTS):
            self.skipped = dict.fromkeys(SKIP_REASONS, 0)
            identity = self._retired_identity()
            retired = self._read_retired()
            blocks = self._read_blocks(retired.table.folded if retired else set())
            # One repeat finds the block that a process has moved to, unless it moves all the time.
            is_settled = self._settle(blocks) or attempt >= MOST_MOVES
            if is_settled and identity == self._retired_identity():
                break
        view = without_removed(merge(retired, blocks, wants=wants))
        for name in sorted(view.conflicting):
            self._log_once(name, "conflict", "some series are left out: %s is defined differently")
        return self._admitted.admit(view, retired, is_whole=True)

    def fold(self) -> None:
        """Fold what the dead have left, at most once a second, unless another process does."""
        now = time.monotonic()
        if now - self._last_fold < FOLD_INTERVAL_SECONDS:
            return
        self._last_fold = now
        lock = try_fold_lock(self.path)
        if lock is None:
            return
        try:
            delete_stale_new_files(self.path)
            retired = self._read_retired()
            if retired is None and self._retired_identity() is not None:
                return  # Unreadable: folding would replace what it holds. The dead stay blocks.
            # Read anew under the lock: a block seen dead now has its final values.
            blocks = self._read_blocks(set())
            settle(blocks)
            fold(self.path, retired, blocks, self._admitted)
        except BlockError as error:
            logger.debug("a block changed while it was read, the next fold takes it: %s", error)
        finally:
            os.close(lock)

    def _retired_identity(self) -> tuple[int, int] | None:
        """Return what changes with every fold.

        The retired block is replaced, never written in place.
        """
        try:
            status = (self.path / RETIRED_NAME).lstat()
        except OSError:
            return None
        return status.st_ino, status.st_mtime_ns

    def _read_retired(self) -> BlockReader | None:
        identity = self._retired_identity()
        if identity is None or identity != self._retired_read:
            self._retired_read, self._retired = None, None
            reader = BlockReader(self.path / RETIRED_NAME)
            try:
                reader.refresh()
            except BlockError as error:
                self._skip(reader.path, error)
                return None
            self._retired_read, self._retired = identity, reader
        return self._retired

    def _read_blocks(self, folded: set[int]) -> list[BlockReader]:
        paths = block_paths(self.path)
        self._blocks = {path: self._blocks.get(path) or BlockReader(path) for path in paths}
        readable = []
        for path, block in list(self._blocks.items()):
            try:
                block.refresh()
                block.check_name()
            except BlockError as error:
                del self._blocks[path]
                self._skip(path, error)
                continue
            if block.block_id not in folded:
                readable.append(block)
        return readable

    def _settle(self, blocks: list[BlockReader]) -> bool:
        try:
            return settle(blocks)
        except BlockError:
            return False

    def _skip(self, path: Path, error: BlockError) -> None:
        if error.reason != "gone":
            self.skipped[error.reason] += 1
            self._log_once(path.name, error.reason, "skipping %s: %s", error)

    def _log_once(self, name: str, reason: str, message: str, *arguments: object) -> None:
        if (name, reason) not in self._logged:
            self._logged.add((name, reason))
            logger.warning(message, name, *arguments)
