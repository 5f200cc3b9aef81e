"""What a collector is, and how all of them are run so that none can break or delay a scrape."""

import logging
import queue
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from exporter.catalogue import CATALOGUE
from exporter.scrape_request import ScrapeRequest
from exporter.view import MergedFamily, View

FAMILIES = {family.name: family for family in CATALOGUE}

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CollectorSettings:
    """What collectors are told.

    The serving addresses whose accept queue is shown, and which collectors are off.
    """

    backlog_addresses: tuple[tuple[str, int], ...] = ()
    disabled: frozenset[str] = frozenset()


class Collector(Protocol):
    """Reads one subject. `names` are the families it yields."""

    names: tuple[str, ...]

    def collect(self, view: View) -> Iterable[MergedFamily]:
        """Yield families; `view` is the merged store of the same scrape."""


def family_of(name: str) -> MergedFamily:
    """Return an empty family of the catalogue, to be filled with `add`."""
    return MergedFamily(FAMILIES[name])


class GuardedCollectors:
    """Runs collectors, each in a thread of its own.

    One that raises or is late costs its own rows and nothing else.
    """

    def __init__(self, collectors: Mapping[str, Collector]) -> None:
        """Take collectors by name; the name is the label value on /metrics."""
        self.names = tuple(collectors)
        self._workers = {name: _Worker(name, collectors[name]) for name in collectors}

    def states(self) -> dict[str, bool | None]:
        """Return for each collector whether its last run succeeded; None before the first."""
        return {name: worker.succeeded for name, worker in self._workers.items()}

    def collect(self, view: View, request: ScrapeRequest, deadline: float) -> list[MergedFamily]:
        """Return the families that are asked for, and how each collector fared.

        `deadline` (monotonic seconds) is when a collector is late.
        """
        success = family_of("inferometer_collector_success")
        duration = family_of("inferometer_collector_duration_seconds")
        chosen = {
            name: worker
            for name, worker in self._workers.items()
            if (not request.collectors or name in request.collectors) and worker.is_wanted(request)
        }
        begun = {name for name, worker in chosen.items() if worker.begin(view)}
        families: list[MergedFamily] = []
        for name, worker in chosen.items():
            # One that still hangs from a scrape before is not waited for.
            found = worker.wait(deadline if name in begun else 0.0)
            success.add([name], found is not None)
            duration.add([name], worker.seconds)
            families += found or []
        return [merged for merged in (*families, success, duration) if request.wants(merged.family)]


class _Worker:
    """One collector and the thread that runs it; while it hangs it is not asked again."""

    def __init__(self, name: str, collector: Collector) -> None:
        self.seconds = 0.0
        self.succeeded: bool | None = None
        self._name = name
        self._collector = collector
        self._families = [FAMILIES[family] for family in collector.names]
        self._requests: queue.SimpleQueue[View] = queue.SimpleQueue()
        self._done = threading.Event()
        self._done.set()
        self._begun = 0.0
        self._is_mine = False  # whether what is found will be of the present scrape
        self._found: list[MergedFamily] | None = None
        self._is_logged = False
        self._thread: threading.Thread | None = None

    def is_wanted(self, request: ScrapeRequest) -> bool:
        return not request.names or any(map(request.wants, self._families))

    def begin(self, view: View) -> bool:
        """Start a run for this view; return whether it could, the one before being over."""
        self._is_mine = self._done.is_set()
        if not self._is_mine:
            return False
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._run, name=f"collector-{self._name}", daemon=True
            )
            self._thread.start()
        self._done.clear()
        self._begun = time.monotonic()
        self._requests.put(view)
        return True

    def wait(self, deadline: float) -> list[MergedFamily] | None:
        """Return what was collected; None when it failed or is not there in time."""
        if self._is_mine and self._done.wait(max(0.0, deadline - time.monotonic())):
            self.succeeded = self._found is not None
            return self._found
        self.succeeded = False
        self.seconds = time.monotonic() - self._begun
        self._log("collector %s is late; its metrics are missing", self._name)
        return None

    def _run(self) -> None:
        while True:
            view = self._requests.get()
            try:
                self._found = list(self._collector.collect(view))
                self._is_logged = False
            except Exception:
                self._found = None
                self._log("collector %s failed; its metrics are missing", self._name, exc_info=True)
            self.seconds = time.monotonic() - self._begun
            self._done.set()

    def _log(self, message: str, *arguments: object, exc_info: bool = False) -> None:
        """Log once per failure, not once per scrape."""
        if not self._is_logged:
            self._is_logged = True
            logger.error(message, *arguments, exc_info=exc_info)
