"""The end of the exporter: it answers until one more scrape has seen the last counts."""

import threading
import time

# Whoever has not scraped for so long is not waited for.
RECENT_SECONDS = 120.0


class LastScrape:
    """When the metrics were last sent, and the wait for the next time."""

    def __init__(self) -> None:
        """Nobody has scraped yet."""
        self._condition = threading.Condition()
        self._count = 0
        self._at: float | None = None

    def note(self) -> None:
        """Note that the metrics have been sent."""
        with self._condition:
            self._count += 1
            self._at = time.monotonic()
            self._condition.notify_all()

    def wait_for_another(self, seconds: float) -> None:
        """Return after one more scrape or so many seconds, at once if nobody scrapes."""
        with self._condition:
            if self._at is None or time.monotonic() - self._at > RECENT_SECONDS:
                return
            seen = self._count
            self._condition.wait_for(lambda: self._count > seen, seconds)
