"""The canary: a row of warm-up that an idle or suspicious version must still be able to compute.

A failure of it is the device's or the process's, not a caller's.
"""

import logging
import time
from collections.abc import Callable, Iterable

from serving.runner.served import ServedVersion

RETRY_SECONDS = 1.0
MOST_FAILURES = 3

logger = logging.getLogger(__name__)


class Canary:
    """Proves the versions of one model; called by its batch thread alone."""

    def __init__(
        self,
        versions: Callable[[], Iterable[ServedVersion]],
        *,
        canary_seconds: float,
        show_failures: Callable[[int], None],
        give_up: Callable[[str], None],
    ) -> None:
        """Watch what `versions` returns.

        `show_failures` gets how often it has failed in a row; `give_up` ends the process.
        """
        self._versions = versions
        self._canary_seconds = canary_seconds
        self._show_failures = show_failures
        self._give_up = give_up
        self._failures = 0
        self._retry_at = 0.0

    def seconds_until_due(self) -> float:
        """Return when `run_due` has something to do."""
        now = time.monotonic()
        if self._failures:
            return max(0.0, self._retry_at - now)
        idle_since = min(
            (served.last_batch for served in self._versions() if served.canary), default=now
        )
        return max(0.0, idle_since + self._canary_seconds - now)

    def run_due(self) -> None:
        """Run the row of each version that has finished no batch for so long."""
        now = time.monotonic()
        for served in list(self._versions()):
            is_idle = served.last_batch + self._canary_seconds <= now
            if served.canary and (is_idle or self._failures):
                self.prove(served)

    def prove(self, served: ServedVersion) -> None:
        """Run a version's row; after three failures in a row the process is of no use."""
        if served.canary is None:
            return
        try:
            served.loaded.call(*served.canary)
        except Exception as error:
            self._failures += 1
            self._retry_at = time.monotonic() + RETRY_SECONDS
            logger.error(  # noqa: TRY400 - what a model raises has no use for our traceback
                "model %s version %s cannot compute its own warm-up row (%d of %d): %s",
                served.model, served.version, self._failures, MOST_FAILURES, error,
            )  # fmt: skip
        else:
            self._failures = 0
        served.last_batch = time.monotonic()
        self._show_failures(self._failures)
        if self._failures >= MOST_FAILURES:
            self._give_up(f"model {served.model}: the canary failed {self._failures} times")
