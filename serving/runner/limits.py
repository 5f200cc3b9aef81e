"""What bounds a queue, and what is shown of it."""

import threading
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """How much may wait, and how long.

    `rows` and `keys` bound one model's queue; `max_delay_seconds` is how long an idle device waits
    for more rows, `aging_seconds` after how long a job moves up a class, `instances` how many
    batches are computed at once; `admits_late` takes what its deadline will catch in the queue.
    """

    rows: int
    keys: int
    max_delay_seconds: float = 0.0
    aging_seconds: float = 1.0
    instances: int = 1
    admits_late: bool = False


class QueueGauges(Protocol):
    """Where the state of a queue is shown."""

    def show_waiting(self, rows: int, oldest: float) -> None:
        """Show the rows that wait and the monotonic seconds at which the oldest arrived, or 0."""

    def show_wait(self, seconds: float) -> None:
        """Show how long a row that arrives now is expected to wait."""


class ByteBudget:
    """The bytes of tensors that all queues of a runner may hold together."""

    def __init__(self, limit: int) -> None:
        """Start empty."""
        self.limit = limit
        self._used = 0
        self._lock = threading.Lock()

    def take(self, size: int, *, share: float = 1.0) -> bool:
        """Reserve `size` bytes if they fit into that share of the limit, or nothing is held."""
        with self._lock:
            most = share * self.limit if self._used else self.limit
            if self._used + size > most:
                return False
            self._used += size
            return True

    def give_back(self, size: int) -> None:
        """Return what was reserved."""
        with self._lock:
            self._used -= size
