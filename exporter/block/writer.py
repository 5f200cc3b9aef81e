"""Writes one block: creates the file, publishes families and series, hands out their values.

The one writer of a block is the process that made it. Nothing here takes a lock: the recorder does.
"""

import contextlib
import fcntl
import mmap
import os
import secrets
import time
from pathlib import Path

from exporter import host
from exporter.block.layout import (
    COMMIT_WORD,
    CPU_WORD,
    EXIT_NOTE_WORD,
    EXIT_NOTES,
    HEADER_BYTES,
    HEARTBEAT_WORD,
    TABLE_BYTES,
    VALUES_BYTES,
    BlockHeader,
    SeriesEntry,
    encode_family,
    encode_series,
)
from exporter.errors import StoreError, StoreFull
from exporter.metric import Family

# Pages are reserved before they are touched, so that a full tmpfs is an error and not a SIGBUS.
RESERVE_BYTES = 64 << 10
BLOCK_BYTES = HEADER_BYTES + TABLE_BYTES + VALUES_BYTES


class BlockWriter:
    """A live block in a file of its own, locked for as long as this process lives.

    `values` is the whole block as float64, indexed by a series' index; `words` the same as uint64.
    """

    def __init__(self, directory: Path, role: str) -> None:
        """Create the block's file. Raises StoreError when the directory cannot take it."""
        self.header = _new_header(role)
        self.path = directory / f"{role}-{self.header.pid}-{self.header.block_id:016x}.block"
        self._families: dict[str, int] = {}
        self._committed = 0
        self._used_values = 0
        self._reserved = {"table": 0, "values": 0}
        self._is_closed = False
        try:
            self._descriptor, self._lock_descriptor = self._create_file()
        except OSError as error:
            raise StoreError(f"cannot create {self.path}: {error.strerror}") from error
        try:
            self._map = mmap.mmap(self._descriptor, self._file_bytes())
        except OSError as error:
            self.discard()
            raise StoreError(f"cannot map {self.path}: {error.strerror}") from error
        buffer = memoryview(self._map)
        self._bytes = buffer
        self.values = buffer.cast("d")
        self.words = buffer.cast("Q")
        self.beat()

    def add_series(self, family: Family, labels: tuple[str, ...], initial: float) -> int:
        """Publish a series whose value stands at `initial`; return the index of its `created` cell.

        Raises StoreFull when the block or the file system has no room.
        """
        family_id = self._family_id(family)
        index = (self.header.values_offset + self._used_values) // 8
        entry = encode_series(SeriesEntry(family_id, labels, index))
        end = self._used_values + family.cells * 8
        if end > self.header.values_bytes:
            raise StoreFull(f"the values of {self.path.name} are full")
        self._reserve("values", self.header.values_offset, end)
        self._reserve_entry(entry)
        self.values[index] = time.time()
        if initial:
            self.values[index + 1] = initial
        self._publish(entry)
        # Only now: what failed leaves no gap, so that a forked process finds the same indices.
        self._used_values = end
        return index

    def beat(self) -> None:
        """Write the sign of life and the CPU time used so far."""
        self.words[HEARTBEAT_WORD] = time.monotonic_ns()
        self.words[CPU_WORD] = time.process_time_ns()

    def note_exit(self, cause: str) -> None:
        """Note why this process ends; the first note wins. One store.

        Allowed in a signal handler.
        """
        if not self.words[EXIT_NOTE_WORD]:
            self.words[EXIT_NOTE_WORD] = EXIT_NOTES[cause]

    def close(self) -> None:
        """Give up the lock: from now on the block is a dead process's. Its values stay readable."""
        if not self._is_closed:
            self._is_closed = True
            os.close(self._lock_descriptor)
            os.close(self._descriptor)

    def discard(self) -> None:
        """Delete the block, in which nothing was recorded yet."""
        self.close()
        with contextlib.suppress(OSError):
            self.path.unlink()

    def abandon(self) -> None:
        """Let go of another process's block, in a process that was forked from it.

        From here on every access to `values` and `words` raises ValueError.
        """
        self.close()
        for view in (self.values, self.words, self._bytes):
            view.release()  # Once more does no harm.
        self._map.close()

    def _create_file(self) -> tuple[int, int]:
        new = self.path.with_suffix(".new")
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(new, flags, 0o600)
        opened = [descriptor]
        try:
            os.ftruncate(descriptor, self._file_bytes())
            os.posix_fallocate(descriptor, 0, HEADER_BYTES)
            os.pwrite(descriptor, self.header.encode(), 0)
            # A descriptor of its own: a lock on the mapped one would live on in a forked child.
            lock_descriptor = os.open(new, os.O_RDWR | os.O_CLOEXEC)
            opened.append(lock_descriptor)
            fcntl.flock(lock_descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            new.rename(self.path)
        except OSError:
            for each in opened:
                os.close(each)
            with contextlib.suppress(OSError):
                new.unlink()
            raise
        return descriptor, lock_descriptor

    def _file_bytes(self) -> int:
        return self.header.values_offset + self.header.values_bytes

    def _family_id(self, family: Family) -> int:
        family_id = self._families.get(family.name)
        if family_id is None:
            family_id = len(self._families)
            entry = encode_family(family_id, family)
            self._reserve_entry(entry)
            self._publish(entry)
            self._families[family.name] = family_id
        return family_id

    def _reserve_entry(self, entry: bytes) -> None:
        end = self._committed + len(entry)
        if end > self.header.table_bytes:
            raise StoreFull(f"the table of {self.path.name} is full")
        self._reserve("table", self.header.table_offset, end)

    def _publish(self, entry: bytes) -> None:
        end = self._committed + len(entry)
        start = self.header.table_offset + self._committed
        self._bytes[start : start + len(entry)] = entry
        self._committed = end
        self.words[COMMIT_WORD] = end

    def _reserve(self, region: str, offset: int, end: int) -> None:
        reserved = self._reserved[region]
        if end <= reserved:
            return
        more = -(-(end - reserved) // RESERVE_BYTES) * RESERVE_BYTES
        try:
            os.posix_fallocate(self._descriptor, offset + reserved, more)
        except OSError as error:
            raise StoreFull(f"no room for {self.path.name}: {error.strerror}") from error
        self._reserved[region] = reserved + more


def _new_header(role: str) -> BlockHeader:
    pid = os.getpid()
    return BlockHeader(
        block_id=secrets.randbits(64),
        pid=pid,
        start_time=_start_time(pid),
        pid_namespace=host.pid_namespace(),
        boot_id=host.boot_id(),
        role=role,
        created=time.time(),
        table_offset=HEADER_BYTES,
        table_bytes=TABLE_BYTES,
        values_offset=HEADER_BYTES + TABLE_BYTES,
        values_bytes=VALUES_BYTES,
    )


def _start_time(pid: int) -> int:
    """Return when a process started; 0 where that cannot be found out."""
    try:
        return host.start_time(pid) or 0
    except OSError:
        return 0
