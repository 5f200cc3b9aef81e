"""Writes one block: creates the file, publishes families and series, hands out their values.

The one writer of a block is the process that made it. Nothing here takes a lock: the recorder does.
"""

import contextlib
import errno
import fcntl
import mmap
import os
import secrets
import struct
import time
from dataclasses import dataclass
from pathlib import Path

from exporter import host
from exporter.block.layout import (
    BESIDE,
    CLOSING,
    COMMIT_WORD,
    CPU_WORD,
    EXIT_NOTE_WORD,
    EXIT_NOTES,
    HEADER_BYTES,
    HEARTBEAT_WORD,
    OPEN,
    PREDECESSOR_WORD,
    SCRATCH_BYTES,
    STATE_WORD,
    TABLE_BYTES,
    VALUES_BYTES,
    BlockHeader,
    SeriesEntry,
    encode_family,
    encode_series,
)
from exporter.errors import BlockFull, StoreError, StoreFull
from exporter.metric import OTHER, Family
from exporter.process_hooks import tell_after_fork

# Pages are reserved before they are touched, so that a full tmpfs is an error and not a SIGBUS.
RESERVE_BYTES = 64 << 10
BLOCK_BYTES = HEADER_BYTES + TABLE_BYTES + VALUES_BYTES
# What may pass: there may be room again later.
NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.ENOMEM, errno.EMFILE, errno.ENFILE}
# Only for the rows `__other__`, in which what a full block cannot take is recorded.
SPARE_TABLE_BYTES = 32 << 10
SPARE_VALUES_BYTES = 256 << 10


@dataclass
class _Speaking:
    """The process, this one or its parent, one block of which speaks for it."""

    pid: int = 0

    def is_taken(self) -> bool:
        """Return whether a block of this very process speaks for it already."""
        return self.pid == os.getpid()


_speaking = _Speaking()


class BlockWriter:
    """A live block in a file of its own, locked for as long as this process lives.

    `values` is the whole block as float64, indexed by a series' index; `words` the same as uint64.
    At `scratch_index` begins room that no reader looks at, for one series of any family.
    """

    is_shared = True
    scratch_index = (BLOCK_BYTES - SCRATCH_BYTES) // 8

    def __init__(self, directory: Path, role: str, *, follows: "BlockWriter | None" = None) -> None:
        """Create the block's file. Raises StoreError when that cannot be, StoreFull when not now.

        `follows` is the block that the same recorder has recorded in until now.
        """
        self.header = _new_header(role)
        self.path = directory / f"{role}-{self.header.pid}-{self.header.block_id:016x}.block"
        self._is_first = follows is None
        self.is_beside: bool = follows.is_beside if follows else _speaking.is_taken()
        self._predecessor = follows.header.block_id if follows and follows.is_shared else 0
        self._families: dict[str, int] = {}
        self._committed = 0
        self._used_values = 0
        self._reserved = {"table": 0, "values": 0}
        self._cpu_ns_before = 0
        self._has_given_way = False
        self._descriptors: tuple[int, ...] = ()
        try:
            self._map = self._make_map()
        except OSError as error:
            self.discard()
            kind = StoreFull if error.errno in NO_ROOM else StoreError
            raise kind(f"cannot create {self.path}: {error.strerror}") from error
        buffer = memoryview(self._map)
        self._bytes = buffer
        self.values = buffer.cast("d")
        self.words = buffer.cast("Q")
        if not self.is_beside:
            _speaking.pid = self.header.pid
        if not self._predecessor:
            self.beat()
        tell_after_fork(self)

    def add_series(self, family: Family, labels: tuple[str, ...], initial: float) -> int:
        """Publish a series whose value stands at `initial`; return the index of its `created` cell.

        Raises StoreFull when the file system has no room, BlockFull when the block has none.
        """
        is_other = OTHER in labels
        family_id = self._family_id(family)
        index = (self.header.values_offset + self._used_values) // 8
        entry = encode_series(SeriesEntry(family_id, labels, index))
        end = self._used_values + family.cells * 8
        spare = SCRATCH_BYTES + (0 if is_other else SPARE_VALUES_BYTES)
        if end > self.header.values_bytes - spare:
            raise BlockFull(f"the values of {self.path.name} are full")
        self._reserve("values", self.header.values_offset, end)
        self._reserve_entry(entry, 0 if is_other else SPARE_TABLE_BYTES)
        self.values[index] = time.time()
        if initial:
            self.values[index + 1] = initial
        self._publish(entry)
        self._used_values = end  # Only now: what failed leaves no gap.
        return index

    def beat(self) -> None:
        """Write the sign of life and the CPU time used so far."""
        self.words[HEARTBEAT_WORD] = time.monotonic_ns()
        self.words[CPU_WORD] = time.process_time_ns() - self._cpu_ns_before

    def succeed(self, old: "BlockWriter") -> None:
        """Become the block of this process in place of its predecessor, by one store.

        Nothing is recorded in either meanwhile. The CPU time used until now stays the old one's.
        """
        self._cpu_ns_before = time.process_time_ns()
        self.words[EXIT_NOTE_WORD] = old.words[EXIT_NOTE_WORD]
        self.beat()
        old.give_way(self._cpu_ns_before)

    def give_way(self, cpu_ns: int) -> None:
        """Be the block of this process no more. It has used so much CPU time until now."""
        self.words[CPU_WORD] = cpu_ns - self._cpu_ns_before
        self.words[STATE_WORD] |= CLOSING
        self._has_given_way = True

    def note_exit(self, cause: str) -> None:
        """Note why this process ends; the first note wins. One store.

        Allowed in a signal handler.
        """
        if not self.words[EXIT_NOTE_WORD]:
            self.words[EXIT_NOTE_WORD] = EXIT_NOTES[cause]

    def close(self) -> None:
        """Give up the lock: from now on the block is a dead process's. Its values stay readable."""
        self._close_descriptors()
        if not (self.is_beside or self._has_given_way):
            _speaking.pid = 0

    def forget_parent(self) -> None:
        """Let go of the lock in a forked process, whichever block it is that was forked with."""
        self._close_descriptors()

    def discard(self) -> None:
        """Delete the block, in which nothing was recorded yet."""
        self._close_descriptors()
        if self._is_first and not self.is_beside:
            _speaking.pid = 0  # Else the block that this one should have followed still speaks.
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

    def _close_descriptors(self) -> None:
        descriptors, self._descriptors = self._descriptors, ()
        for descriptor in descriptors:
            os.close(descriptor)

    def _make_map(self) -> mmap.mmap:
        new = self.path.with_suffix(".new")
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(new, flags, 0o600)
        self._descriptors = (descriptor,)
        try:
            os.ftruncate(descriptor, BLOCK_BYTES)
            os.posix_fallocate(descriptor, 0, HEADER_BYTES)
            os.posix_fallocate(descriptor, BLOCK_BYTES - SCRATCH_BYTES, SCRATCH_BYTES)
            os.pwrite(descriptor, self._head(), 0)
            # A descriptor of its own: a lock on the mapped one would live on in a forked child.
            lock_descriptor = os.open(new, os.O_RDWR | os.O_CLOEXEC)
            self._descriptors = (lock_descriptor, descriptor)
            fcntl.flock(lock_descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            mapped = mmap.mmap(descriptor, BLOCK_BYTES)
            new.rename(self.path)
        except OSError:
            with contextlib.suppress(OSError):
                new.unlink()
            raise
        return mapped

    def _head(self) -> bytes:
        head = bytearray(self.header.encode())
        state = OPEN | BESIDE if self.is_beside else OPEN
        struct.pack_into("<Q", head, STATE_WORD * 8, state)
        struct.pack_into("<Q", head, PREDECESSOR_WORD * 8, self._predecessor)
        return bytes(head)

    def _family_id(self, family: Family) -> int:
        family_id = self._families.get(family.name)
        if family_id is None:
            family_id = len(self._families)
            entry = encode_family(family_id, family)
            self._reserve_entry(entry, 0)
            self._publish(entry)
            self._families[family.name] = family_id
        return family_id

    def _reserve_entry(self, entry: bytes, spare: int) -> None:
        end = self._committed + len(entry)
        if end > self.header.table_bytes - spare:
            raise BlockFull(f"the table of {self.path.name} is full")
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
        if not self._descriptors:
            raise StoreFull(f"{self.path.name} has been closed")
        more = -(-(end - reserved) // RESERVE_BYTES) * RESERVE_BYTES
        try:
            os.posix_fallocate(self._descriptors[-1], offset + reserved, more)
        except OSError as error:
            raise StoreFull(f"no room for {self.path.name}: {error.strerror}") from error
        self._reserved[region] = reserved + more


class PrivateBlock(BlockWriter):
    """A block in memory that nobody else sees, while the directory has no room for one."""

    is_shared = False

    def _make_map(self) -> mmap.mmap:
        return mmap.mmap(-1, BLOCK_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)

    def _reserve(self, region: str, offset: int, end: int) -> None:
        """Untouched pages of private memory cost nothing and need no reserving."""


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
