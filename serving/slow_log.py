"""The slowest and the latest failed requests of every front-end, for `/debug/slow`.

Each front-end keeps its own in a file of fixed size in the store directory, from which any of them
answers for all. No inputs, outputs or addresses are in it.
"""

import contextlib
import heapq
import logging
import mmap
import os
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import orjson

WINDOW_SECONDS = 600
MOST_REQUESTS = 100

MINUTE_SECONDS = 60
# Ten whole minutes and the one that has begun.
MINUTES = WINDOW_SECONDS // MINUTE_SECONDS + 1
SLOTS = (MINUTES + 1) * MOST_REQUESTS  # the failed ones have the last
FIRST_FAILED = MINUTES * MOST_REQUESTS

SLOT_BYTES = 1024
# A sequence that is odd while the slot is written, and the length of the JSON that follows.
SLOT_HEAD = struct.Struct("<QI")
MOST_DEAD_FILES = 2

logger = logging.getLogger(__name__)


class SlowRequest(NamedTuple):
    """One request, as `/debug/slow` shows it."""

    request_id: str
    prediction_id: str | None
    trace_id: str | None
    model: str
    version: str
    protocol: str
    code: int
    reason: str | None
    rows: int
    started_at: float
    duration_seconds: float
    phases: dict[str, float]
    batch: dict[str, object] | None


class SlowLog:
    """What one front-end remembers of its requests."""

    def __init__(self, directory: Path) -> None:
        """Make this process's file, and remove those of processes that ended long ago."""
        _remove_dead(directory)
        self._memory = _reserved(directory / f"requests-{os.getpid()}.slow")
        # The slowest of the minute as (seconds, slot), the fastest of them first.
        self._minute = -1
        self._slowest: list[tuple[float, int]] = []
        self._failed = 0
        self._sequence = 0

    def wants(self, seconds: float, *, is_failure: bool) -> bool:
        """Return whether a request of that duration is worth keeping."""
        if is_failure or len(self._slowest) < MOST_REQUESTS or seconds > self._slowest[0][0]:
            return True
        return int(time.monotonic()) // MINUTE_SECONDS != self._minute

    def keep(self, request: SlowRequest) -> None:
        """Remember a request."""
        data = orjson.dumps(request._asdict())
        if len(data) > SLOT_BYTES - SLOT_HEAD.size:
            return  # A request's id is the only part that a caller makes longer, and it is bounded.
        if request.reason is not None:
            slot = FIRST_FAILED + self._failed % MOST_REQUESTS
            self._failed += 1
            self._write(slot, data)
        slot_of_slow = self._slot_for(request.duration_seconds)
        if slot_of_slow is not None:
            self._write(slot_of_slow, data)

    def _slot_for(self, seconds: float) -> int | None:
        """Return where to put a request among the slowest of this minute, if it is one of them."""
        minute = int(time.monotonic()) // MINUTE_SECONDS
        if minute != self._minute:
            self._minute = minute
            self._slowest = []
        first = minute % MINUTES * MOST_REQUESTS
        if len(self._slowest) < MOST_REQUESTS:
            slot = first + len(self._slowest)
            heapq.heappush(self._slowest, (seconds, slot))
            return slot
        if seconds <= self._slowest[0][0]:
            return None
        slot = self._slowest[0][1]
        heapq.heapreplace(self._slowest, (seconds, slot))
        return slot

    def _write(self, slot: int, data: bytes) -> None:
        start = slot * SLOT_BYTES
        self._sequence += 2
        SLOT_HEAD.pack_into(self._memory, start, self._sequence - 1, len(data))
        self._memory[start + SLOT_HEAD.size : start + SLOT_HEAD.size + len(data)] = data
        SLOT_HEAD.pack_into(self._memory, start, self._sequence, len(data))


def read_slow(directory: Path, kind: str, most: int) -> list[dict[str, Any]]:
    """Return requests of the last ten minutes: the slowest first, or the latest failed first."""
    since = time.time() - WINDOW_SECONDS
    is_failed = kind == "failed"
    found = [
        request
        for path in sorted(directory.glob("requests-*.slow"))
        for request in _read_file(path, is_failed=is_failed)
        if request["started_at"] >= since
    ]
    by = "started_at" if is_failed else "duration_seconds"
    return sorted(found, key=lambda request: request[by], reverse=True)[:most]


def _reserved(path: Path) -> mmap.mmap:
    """Map a new file, or memory that nobody else sees where there is no room for one.

    All of it is reserved: writing to a mapped page for which there is no room ends a process.
    """
    size = SLOTS * SLOT_BYTES
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    except OSError as error:
        return _private(error, size)
    try:
        os.posix_fallocate(descriptor, 0, size)
        return mmap.mmap(descriptor, size)
    except OSError as error:
        with contextlib.suppress(OSError):
            path.unlink()
        return _private(error, size)
    finally:
        os.close(descriptor)


def _private(error: OSError, size: int) -> mmap.mmap:
    logger.warning("this process's requests are not in /debug/slow: %s", error.strerror)
    return mmap.mmap(-1, size)


def _read_file(path: Path, *, is_failed: bool) -> Iterator[dict[str, Any]]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return
    try:
        for slot in range(FIRST_FAILED, SLOTS) if is_failed else range(FIRST_FAILED):
            request = _read_slot(descriptor, slot * SLOT_BYTES)
            if request is not None:
                yield request
    finally:
        os.close(descriptor)


def _read_slot(descriptor: int, start: int) -> dict[str, Any] | None:
    data = os.pread(descriptor, SLOT_BYTES, start)
    if len(data) < SLOT_BYTES:
        return None
    sequence, length = SLOT_HEAD.unpack_from(data)
    again = os.pread(descriptor, SLOT_HEAD.size, start)
    if not sequence or sequence % 2 or again != data[: SLOT_HEAD.size]:
        return None  # Empty, or being written just now.
    with contextlib.suppress(orjson.JSONDecodeError):
        request: dict[str, Any] = orjson.loads(data[SLOT_HEAD.size : SLOT_HEAD.size + length])
        return request
    return None


def _remove_dead(directory: Path) -> None:
    """Remove the files of front-ends that have ended, but for those of the last two."""
    dead = []
    for path in directory.glob("requests-*.slow"):
        pid = path.stem.partition("-")[2]
        if not Path(f"/proc/{pid}").exists():
            with contextlib.suppress(OSError):
                dead.append((path.stat().st_mtime, path))
    for _, path in sorted(dead)[:-MOST_DEAD_FILES]:
        path.unlink(missing_ok=True)
