"""Reads blocks that other processes write, trusting nothing in them.

Files are read with pread and never mapped: a file cut under a mapping would kill the reader.
"""

import errno
import fcntl
import hashlib
import os
import stat
from array import array
from pathlib import Path

from exporter import host
from exporter.block.layout import (
    BESIDE,
    CLOSING,
    COMMIT_WORD,
    EXIT_CAUSES,
    HEADER_BYTES,
    MUTABLE_WORDS,
    TABLE_BYTES,
    VALUES_BYTES,
    BlockHeader,
    Table,
    decode_table,
)
from exporter.directory import RETIRED_NAME
from exporter.errors import BlockError, StoreUnreadable

# Of this process or machine, and not of the file.
SHORTAGES = {errno.EMFILE, errno.ENFILE, errno.ENOMEM}


class BlockReader:
    """One block file, as last read. `refresh` reads what has changed.

    The table is only ever appended to. `is_current` says whether it is the block that its process
    records in, or did when it died, and no other of that recorder; `is_beside` that another
    recorder of the process speaks for it.
    """

    def __init__(self, path: Path) -> None:
        """Name the file; nothing is read before `refresh`."""
        self.path = path
        self.header: BlockHeader | None = None
        self.table = Table()
        self.values = array("d")
        self.values_again = array("d")
        self.cpu_seconds = 0.0
        self.exit_cause = "signal"
        self.generation = 0
        self.is_alive = False
        self.is_closing = False
        self.is_beside = False
        self.is_current = True
        self.predecessor = 0
        self.is_damaged = False
        self._parsed = 0
        self._digest = hashlib.blake2b(digest_size=16)

    def refresh(self) -> None:
        """Read the file as it is now. Raises BlockError when it is not a readable block."""
        descriptor = _open(self.path)
        try:
            # Liveness first: a process that dies while its values are read is seen as alive, and
            # its final values are read by the next refresh, never the other way round.
            alive = not _lock_is_free(descriptor)
            header = BlockHeader.decode(
                os.pread(descriptor, HEADER_BYTES, 0), os.fstat(descriptor).st_size
            )
            if self.header is not None and header.block_id != self.header.block_id:
                raise BlockError("corrupt", "the block changed under its name")
            is_live_size = (header.table_bytes, header.values_bytes) == (TABLE_BYTES, VALUES_BYTES)
            if self.path.name != RETIRED_NAME and not is_live_size:
                # No process of ours makes such a block, and a large one would take long to read.
                raise BlockError("corrupt", f"the header claims {header.values_bytes} value bytes")
            self.header = header
            self.is_alive = alive and not _is_gone(header)
            self._read_mutable(descriptor)
            self._read_values(descriptor)
        except OSError as error:
            if error.errno in SHORTAGES:
                raise StoreUnreadable(f"cannot be read now: {error.strerror}") from error
            raise BlockError("unreadable", f"cannot read: {error.strerror}") from error
        finally:
            os.close(descriptor)

    def check_name(self) -> None:
        """Raise BlockError when the file does not have the name that its writer gave it.

        A copy would be counted twice, and be folded under the name of the original.
        """
        assert self.header is not None
        name = f"{self.role}-{self.header.pid}-{self.block_id:016x}.block"
        if self.path.name != name:
            raise BlockError("foreign", f"the block is that of {name}")

    @property
    def role(self) -> str:
        """The role of the process that writes this block."""
        return self.header.role if self.header else ""

    @property
    def table_digest(self) -> bytes:
        """What is the same for two blocks only if their tables are: series, places and all."""
        return self._digest.digest()

    @property
    def created(self) -> float:
        """When the block was made, in seconds since 1970."""
        return self.header.created if self.header else 0.0

    @property
    def block_id(self) -> int:
        """The random number that tells this block from every other."""
        return self.header.block_id if self.header else 0

    def _read_mutable(self, descriptor: int) -> None:
        assert self.header is not None
        words = os.pread(descriptor, MUTABLE_WORDS.size, COMMIT_WORD * 8)
        if len(words) < MUTABLE_WORDS.size:
            raise BlockError("truncated", "the header was cut while it was read")
        committed, _heartbeat, cpu, note, self.generation, state, self.predecessor = (
            MUTABLE_WORDS.unpack(words)
        )
        self.is_closing = bool(state & CLOSING)
        self.is_beside = bool(state & BESIDE)
        self.cpu_seconds = cpu / 1e9
        self.exit_cause = EXIT_CAUSES.get(note, "signal")
        if committed > self.header.table_bytes or committed < self._parsed:
            raise BlockError("corrupt", f"{committed} bytes of table are said to be in use")
        if committed == self._parsed or self.is_damaged:
            return
        start = self.header.table_offset + self._parsed
        tail = os.pread(descriptor, committed - self._parsed, start)
        indices = range(
            self.header.values_offset // 8,
            (self.header.values_offset + self.header.values_bytes) // 8,
        )
        understood = decode_table(tail, self.table, indices)
        self._digest.update(tail[:understood])
        self._parsed += understood
        self.is_damaged = self._parsed < committed

    def _read_values(self, descriptor: int) -> None:
        """Read the values in use in one call.

        `values` is indexed like the block, less `values_start`.
        """
        assert self.header is not None
        start = self.header.values_offset
        wanted = max(0, self.table.values_end * 8 - start)
        self.values = _read_exactly(descriptor, wanted, start)
        if any(family.has_exemplars for family in self.table.families.values()):
            # An exemplar counts only if its sequence has not moved between two reads.
            self.values_again = _read_exactly(descriptor, wanted, start)

    @property
    def values_start(self) -> int:
        """The index of `values[0]` in the block."""
        return self.header.values_offset // 8 if self.header else 0


def _open(path: Path) -> int:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags)
    except FileNotFoundError as error:
        raise BlockError("gone", "the file has been removed") from error
    except OSError as error:
        if error.errno in SHORTAGES:
            raise StoreUnreadable(f"{path.name} cannot be read now: {error.strerror}") from error
        reason = "not_regular" if error.errno in {errno.ELOOP, errno.ENXIO} else "unreadable"
        raise BlockError(reason, f"cannot open: {error.strerror}") from error
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise BlockError("not_regular", "not a regular file")
    if status.st_uid != path.parent.stat().st_uid:
        os.close(descriptor)
        raise BlockError("owner", f"belongs to uid {status.st_uid}, not to the directory's owner")
    return descriptor


def _read_exactly(descriptor: int, size: int, offset: int) -> "array[float]":
    data = os.pread(descriptor, size, offset)
    if len(data) < size:
        raise BlockError("truncated", "the values were cut while they were read")
    return array("d", data)


def _lock_is_free(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return True


def _is_gone(header: BlockHeader) -> bool:
    """Return whether the writer is certainly dead although something still holds its lock."""
    if header.boot_id != host.boot_id():
        return True
    if header.pid_namespace != host.pid_namespace():
        return False
    if not header.start_time:
        return False
    try:
        return host.start_time(header.pid) != header.start_time
    except OSError:
        return False  # Unknown, for want of descriptors perhaps: the lock decides.
