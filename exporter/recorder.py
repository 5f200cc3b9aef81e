"""How instrumented code records: the face of a recorder, and how a process opens its own.

An update is one lock and a few 8-byte stores into this process's block. With a number that a float
can hold it never raises, and it does no I/O, except for the first one after a fork; what is wrong
with a name or a label is an error when the child is resolved.
"""

import atexit
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Protocol

from exporter.bundle import Record
from exporter.child import Child
from exporter.directory import open_directory
from exporter.metric import Family
from exporter.place import Lock
from exporter.store_recorder import StoreRecorder


class Recorder(Protocol):
    """What instrumented code needs of a recorder.

    `StoreRecorder` and `NullRecorder` are the two.
    """

    def child(self, name: str, /, **labels: str) -> Child:
        """Return the child of a family for these labels, at 0 if it is new."""

    def bundle(self, counters: Sequence[Child], histograms: Sequence[Child]) -> Record:
        """Return one call that adds to all counters and observes in all histograms."""

    def declare(self, /, **labels: str) -> None:
        """Make every series this role records with these open labels stand at 0."""

    def remove(self, child: Child) -> None:
        """End a series; ask for its child anew to record in it again."""

    def forget(self, /, **labels: str) -> None:
        """Remove every series that has these labels, whatever others it has."""

    def tick(self) -> None:
        """Write the sign of life and CPU time; to be called about once a second."""

    def note_exit(self, cause: str) -> None:
        """Note why the process ends: `exit` or `timeout`."""

    def close(self) -> None:
        """Note a clean exit and give the block up."""


def open_recorder(
    path: Path,
    role: str,
    *,
    families: Iterable[Family],
    make_lock: Callable[[], Lock] = threading.RLock,
    tick_seconds: float | None = None,
) -> StoreRecorder:
    """Open this process's block and return its recorder.

    `make_lock` makes the lock of the hot path; under gevent pass the unpatched one. With
    `tick_seconds` a daemon thread writes the sign of life. Raises StoreError when the directory
    cannot be used.
    """
    recorder = StoreRecorder(open_directory(path), role, families, make_lock, tick_seconds)
    recorder.declare()
    recorder.start()
    atexit.register(recorder.note_end)
    return recorder
