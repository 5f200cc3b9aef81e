"""What the GPU thread has read last, and how scrapes ask for something newer."""

import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass

# A scrape that finds an old snapshot waits so long for a new one.
FRESH_SECONDS = 0.5

# A row of /metrics: the family's name without the prefix, its label values, its value.
Shown = tuple[str, tuple[str, ...], float]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What was read last, at `at` in monotonic seconds.

    `is_whole` says that every GPU answered, `is_lasting` that it holds until there is another.
    """

    at: float
    rows: tuple[Shown, ...] = ()
    is_whole: bool = True
    is_lasting: bool = False


class Snapshots:
    """Hands the latest snapshot from the thread that makes it to those that scrape."""

    def __init__(self, *, min_age_seconds: float, max_age_seconds: float) -> None:
        """Let one serve another scrape up to the first age, and any up to the second."""
        self._min_age_seconds = min_age_seconds
        self._max_age_seconds = max_age_seconds
        self._wanted = threading.Event()
        self._changed = threading.Condition()
        self._latest: Snapshot | None = None

    def publish(
        self, rows: Iterable[Shown], *, is_whole: bool = True, is_lasting: bool = False
    ) -> None:
        """Replace the latest."""
        with self._changed:
            self._latest = Snapshot(time.monotonic(), tuple(rows), is_whole, is_lasting)
            # Whoever has asked for a new one has got it.
            self._wanted.clear()
            self._changed.notify_all()

    def wait_until_wanted(self, seconds: float) -> None:
        """Return when a scrape wants a newer one, or after so many seconds."""
        self._wanted.wait(seconds)
        # Also if what is read now is not published: who still waits gets what comes after.
        self._wanted.clear()

    def wait_for_another(self, seconds: float) -> None:
        """Return when there is a newer one than now, or after so many seconds."""
        with self._changed:
            self._changed.wait(seconds)

    def refresh(self) -> None:
        """Wait a little for one that is young enough, unless there is one."""
        wanted_from = time.monotonic() - self._min_age_seconds
        deadline = time.monotonic() + FRESH_SECONDS
        with self._changed:
            while not self._is_from(wanted_from):
                self._wanted.set()
                left = deadline - time.monotonic()
                if left <= 0 or not self._changed.wait(left):
                    break

    def latest(self) -> Snapshot | None:
        """Return the last one; None without any, or if it is too old to be shown."""
        with self._changed:
            is_fit = self._is_from(time.monotonic() - self._max_age_seconds)
            return self._latest if is_fit else None

    def _is_from(self, oldest: float) -> bool:
        latest = self._latest
        return latest is not None and (latest.is_lasting or latest.at >= oldest)
