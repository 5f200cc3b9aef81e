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
        wait = min(self._retry_seconds * 2.0 ** min(count - 1, 30), LONGEST_RETRY_SECONDS)
        if count > self._retries:
            wait = math.inf
        self._failures[source.version] = _Failure(
            source.fingerprint, count, time.monotonic() + wait
        )
        return count, wait

    def note_fatal(self, version: str, fingerprint: Fingerprint) -> None:
        """Note that loading a version has ended the process, as far as anyone can tell."""
        retry_at = time.monotonic() + self._retry_seconds
        self._failures[version] = _Failure(fingerprint, 1, retry_at)

    def forget(self, version: str) -> None:
        """Note that a version has been loaded."""
        self._failures.pop(version, None)

    def clear(self) -> None:
        """Let every version be tried at once."""
        self._failures.clear()
