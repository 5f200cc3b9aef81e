"""Pages of memory in which one process tells the others of a host how it is.

Each is a file of aligned 8-byte integers in the store directory, written by one process and only
read by the others, so that the state of a process that hangs can be read all the same.
"""

import mmap
import os
import time
from enum import IntEnum
from pathlib import Path

from serving.process import store_path_of
from serving.settings import Settings

FIELD_BYTES = 8
NANOSECONDS = 1e9


class Phase(IntEnum):
    """How far the server's end has come."""

    SERVING = 0
    LEAVING = 1  # not ready any more, but predicting: routers need seconds to notice
    CLOSED = 2  # new requests are refused, those under way finish
    GIVING_UP = 3  # what still waits is refused, too


class Page:
    """A file of 8-byte integers, mapped into memory."""

    def __init__(self, path: Path, fields: int) -> None:
        """Map the file, which is made, with every field 0, where there is none."""
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            # Reserved: writing to a mapped page for which there is no room ends a process.
            os.posix_fallocate(descriptor, 0, fields * FIELD_BYTES)
            self.fields = memoryview(mmap.mmap(descriptor, fields * FIELD_BYTES)).cast("q")
        finally:
            os.close(descriptor)


class ServerState:
    """The phase of the whole server and a sign of life: the supervisor's, read by all others."""

    def __init__(self, settings: Settings) -> None:
        """Map the server's page."""
        self._fields = Page(store_path_of(settings) / "server.state", 2).fields

    @property
    def phase(self) -> int:
        """One of the phases; an integer, since it is asked for with every request."""
        return self._fields[0]

    @phase.setter
    def phase(self, phase: Phase) -> None:
        self._fields[0] = phase

    def beat(self) -> None:
        """Write the supervisor's sign of life."""
        self._fields[1] = time.monotonic_ns()

    def silent_seconds(self) -> float:
        """Return the age of the sign of life; 0 where there is no supervisor."""
        return _age(self._fields[1])


class RunnerStatus:
    """The status page of one runner, and what is said of each of its models."""

    _HEADER = ("heartbeat_ns", "batch_started_ns", "has_been_ready")
    _PER_MODEL = ("rows", "free_at_ns", "canary_failures")

    def __init__(self, settings: Settings, number: int) -> None:
        """Map the page of runner `number`."""
        width, head = len(self._PER_MODEL), len(self._HEADER)
        fields = head + width * len(settings.models)
        path = store_path_of(settings) / f"runner-{number}.status"
        self._fields = Page(path, fields).fields
        self._first_of = {
            model: head + width * index for index, model in enumerate(sorted(settings.models))
        }

    def clear(self) -> None:
        """Forget what a runner of that number said before it ended."""
        for index in range(len(self._fields)):
            self._fields[index] = 0

    def beat(self, *, batch_started_ns: int) -> None:
        """Write the sign of life, and since when the batch that runs longest has been running."""
        self._fields[1] = batch_started_ns
        self._fields[0] = time.monotonic_ns()

    @property
    def has_been_ready(self) -> bool:
        """Whether a model has been ready since the runner began."""
        return bool(self._fields[2])

    def note_ready(self) -> None:
        """Write that a model is ready."""
        self._fields[2] = 1

    def show_waiting(self, model: str, rows: int) -> None:
        """Write how many rows of a model wait."""
        self._fields[self._first_of[model]] = rows

    def show_wait(self, model: str, seconds: float) -> None:
        """Write how long a row that arrives now is expected to wait, as a point in time."""
        free_at_ns = time.monotonic_ns() + int(seconds * NANOSECONDS) if seconds else 0
        self._fields[self._first_of[model] + 1] = free_at_ns

    def show_canary_failures(self, model: str, number: int) -> None:
        """Write how often a model's canary has failed in a row."""
        self._fields[self._first_of[model] + 2] = number

    def rows(self, model: str) -> int:
        """Return how many rows of a model wait."""
        return self._fields[self._first_of[model]]

    def total_rows(self) -> int:
        """Return how many rows wait, of all models."""
        return sum(self._fields[first] for first in self._first_of.values())

    def wait_seconds(self, model: str) -> float:
        """Return how long a row that arrives now is expected to wait."""
        free_at_ns = self._fields[self._first_of[model] + 1]
        # What has taken longer than expected is expected to take as much longer again.
        return abs(free_at_ns - time.monotonic_ns()) / NANOSECONDS if free_at_ns else 0.0

    def canary_failures(self, model: str) -> int:
        """Return how often a model's canary has failed in a row."""
        return self._fields[self._first_of[model] + 2]

    def overdue_seconds(self) -> tuple[float, float]:
        """Return the age of the sign of life and of the batch that runs; 0 where there is none."""
        return _age(self._fields[0]), _age(self._fields[1])


def _age(since_ns: int) -> float:
    return max(0, time.monotonic_ns() - since_ns) / NANOSECONDS if since_ns else 0.0
