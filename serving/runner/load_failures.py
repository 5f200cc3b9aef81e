"""Which versions of a model could not be loaded, and when each may be tried again."""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

from serving.runner.model_folder import Fingerprint, ModelSource

LONGEST_RETRY_SECONDS = 300.0


@dataclass(slots=True)
class _Failure:
    """How often a version could not be loaded, as what, and when to try again."""

    fingerprint: Fingerprint
    count: int
    retry_at: float
    is_fatal: bool = False


class LoadFailures:
    """The failures of one model's versions; files that look otherwise are tried at once."""

    def __init__(self, retries: int, retry_seconds: float) -> None:
        """Allow so many further attempts, the first after so long, each wait twice the last."""
        self._retries = retries
        self._retry_seconds = retry_seconds
        self._failures: dict[str, _Failure] = {}

    def __iter__(self) -> Iterator[str]:
        return iter(self._failures)

    def may_try(self, source: ModelSource) -> bool:
        """Return whether a version's time has come, or come again."""
        failure = self._failures.get(source.version)
        is_known = failure is not None and failure.fingerprint == source.fingerprint
        return not is_known or (failure is not None and time.monotonic() >= failure.retry_at)

    def note(self, source: ModelSource) -> tuple[int, float]:
        """Note a failure; return how often this has been tried, and the seconds until again."""
        failure = self._failures.get(source.version)
        is_known = failure is not None and failure.fingerprint == source.fingerprint
        count = failure.count + 1 if failure is not None and is_known else 1
        wait = self._wait_after(count)
        self._failures[source.version] = _Failure(
            source.fingerprint, count, time.monotonic() + wait
        )
        return count, wait

    def note_fatal(self, version: str, fingerprint: Fingerprint, count: int) -> float:
        """Note that the process has died so often while it loaded a version.

        Return the seconds until it may be tried again.
        """
        wait = self._wait_after(count)
        retry_at = time.monotonic() + wait
        self._failures[version] = _Failure(fingerprint, count, retry_at, is_fatal=True)
        return wait

    def allow_fatal(self) -> bool:
        """Let versions that seemed fatal be tried at once; return whether there are any."""
        fatal = [failure for failure in self._failures.values() if failure.is_fatal]
        for failure in fatal:
            failure.retry_at, failure.is_fatal = 0.0, False
        return bool(fatal)

    def give_up(self) -> None:
        """Let nothing be tried again until its files change."""
        for failure in self._failures.values():
            failure.retry_at = math.inf

    def _wait_after(self, count: int) -> float:
        if count > self._retries:
            return math.inf
        return min(self._retry_seconds * 2.0 ** min(count - 1, 30), LONGEST_RETRY_SECONDS)

    def forget(self, version: str) -> None:
        """Note that a version has been loaded."""
        self._failures.pop(version, None)

    def clear(self) -> None:
        """Let every version be tried at once."""
        self._failures.clear()


def again(seconds: float) -> str:
    """Return in words when something is tried again."""
    return "no more until its files change" if math.isinf(seconds) else f"again in {seconds:.0f} s"
