"""What bounds a queue, and what /metrics shows of it."""

import threading
from dataclasses import dataclass

from exporter import Child


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """How much may wait: rows and distinct keys of one model, and how long an idle device waits."""

    rows: int
    keys: int
    max_delay_seconds: float


@dataclass(frozen=True, slots=True)
class QueueGauges:
    """What /metrics shows of the queue."""

    rows: Child
    oldest: Child
    predicted_wait: Child


class ByteBudget:
    """The bytes of tensors that all queues of a runner may hold together."""

    def __init__(self, limit: int) -> None:
        """Start empty."""
        self._limit = limit
        self._used = 0
        self._lock = threading.Lock()

    def take(self, size: int) -> bool:
        """Reserve `size` bytes if they fit."""
        with self._lock:
            if self._used + size > self._limit:
                return False
            self._used += size
            return True

    def give_back(self, size: int) -> None:
        """Return what was reserved."""
        with self._lock:
            self._used -= size
