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
        self._shown = 0

    def seconds_until_due(self) -> float:
        """Return when `run_due` has something to do."""
        now = time.monotonic()
        # A version that failed may have been unloaded; then that must not be shown for long.
        longest = RETRY_SECONDS if self._shown else self._canary_seconds
        due = [self._due_at(served) for served in self._versions() if served.canary]
        return max(0.0, min([*due, now + longest]) - now)

    def run_due(self) -> None:
        """Run the row of each version that has finished no batch for so long."""
        now = time.monotonic()
        for served in list(self._versions()):
            if served.canary and self._due_at(served) <= now:
                self.prove(served)
        self._show()

    def look(self) -> None:
        """Show what holds now; called after each batch, while nothing may be due for long."""
        if self._shown:
            self._show()

    def prove(self, served: ServedVersion) -> None:
        """Run a version's row; after three failures in a row the process is of no use."""
        if served.canary is None:
            return
        try:
            served.loaded.call(*served.canary)
        except Exception as error:
            served.canary_failures += 1
            served.canary_retry_at = time.monotonic() + RETRY_SECONDS
            logger.error(  # noqa: TRY400 - what a model raises has no use for our traceback
                "model %s version %s cannot compute its own warm-up row (%d of %d): %s",
                served.model, served.version, served.canary_failures, MOST_FAILURES, error,
            )  # fmt: skip
        else:
            served.canary_failures = 0
        served.last_batch = time.monotonic()
        self._show()
        if served.canary_failures >= MOST_FAILURES:
            self._give_up(f"model {served.model}: the canary failed {MOST_FAILURES} times")

    def _due_at(self, served: ServedVersion) -> float:
        if served.canary_failures:
            return served.canary_retry_at
        return served.last_batch + self._canary_seconds

    def _show(self) -> None:
        failures = max((served.canary_failures for served in self._versions()), default=0)
        if failures != self._shown:
            self._shown = failures
            self._show_failures(failures)
