"""What a collector is, and how all of them are run so that none can break or delay a scrape."""

import logging
import math
import queue
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from exporter.catalogue import CATALOGUE
from exporter.gpu.settings import GpuSettings
from exporter.recorder import Recorder
from exporter.scrape_request import ScrapeRequest
from exporter.view import MergedFamily, View

FAMILIES = {family.name: family for family in CATALOGUE}

# Between two messages about one collector.
LOG_SECONDS = 60.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CollectorSettings:
    """What collectors are told.

    The serving addresses whose accept queue is shown, which collectors are off, how GPUs are read
    (None: not by this process), where a collector records what it counts itself, the store where
    one process finds what another has collected (None: there is no other), how to end this process,
    for the given cause, so that another takes its place, and what registers a call for its end.
    """

    backlog_addresses: tuple[tuple[str, int], ...] = ()
    disabled: frozenset[str] = frozenset()
    gpu: GpuSettings | None = None
    recorder: Callable[[], Recorder | None] = lambda: None
    store_path: Path | None = None
    leave: Callable[[str], None] = lambda _cause: None
    at_end: Callable[[Callable[[], None]], object] = lambda _call: None


class Collector(Protocol):
    """Reads one subject. `names` are the families it yields."""

    names: tuple[str, ...]

    def collect(self, view: View) -> Iterable[MergedFamily]:
        """Yield families; `view` is the merged store of the same scrape."""


class PartialFailure(Exception):
    """A collector has failed, but there is something that it can say. `families` is that."""

    def __init__(
        self, families: Iterable[MergedFamily], reason: str, *, is_logged: bool = False
    ) -> None:
        """Say what is known, why that is not all, and whether the log says so already."""
        super().__init__(reason)
        self.families = list(families)
        self.is_logged = is_logged


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
        runs = {name: worker.begin(view) for name, worker in chosen.items()}
        families: list[MergedFamily] = []
        for name, run in runs.items():
            found = self._workers[name].wait(run, deadline)
            success.add([name], found is not None and not run.has_failed)
            duration.add([name], run.seconds)
            families += found or []
        return [merged for merged in (*families, success, duration) if request.wants(merged.family)]

    def forget_parent(self) -> None:
        """Begin anew in a forked process, in which the threads do not exist."""
        self._workers = {name: worker.anew() for name, worker in self._workers.items()}


class _Run:
    """One run of a collector, on which several scrapes may wait."""

    def __init__(self, view: View) -> None:
        self.view = view
        self.done = threading.Event()
        self.found: list[MergedFamily] | None = None
        self.is_late = False
        self.has_failed = False
        self._begun = time.monotonic()
        self._ended: float | None = None

    def end(self, found: list[MergedFamily] | None) -> None:
        self.found = found
        self._ended = time.monotonic()
        self.done.set()

    @property
    def seconds(self) -> float:
        """How long it took, or has taken until now."""
        return (self._ended or time.monotonic()) - self._begun


class _Worker:
    """One collector and the thread that runs it; while it hangs it is not asked again."""

    def __init__(self, name: str, collector: Collector) -> None:
        self.succeeded: bool | None = None
        self._name = name
        self._collector = collector
        self._families = [FAMILIES[family] for family in collector.names]
        self._lock = threading.Lock()
        self._requests: queue.SimpleQueue[_Run] = queue.SimpleQueue()
        self._run: _Run | None = None
        self._thread: threading.Thread | None = None
        self._logged_at = -math.inf

    def anew(self) -> "_Worker":
        return _Worker(self._name, self._collector)

    def is_wanted(self, request: ScrapeRequest) -> bool:
        return not request.names or any(map(request.wants, self._families))

    def begin(self, view: View) -> _Run:
        """Return the run that is under way, else a new one for this view."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._work, name=f"collector-{self._name}", daemon=True
                )
                self._thread.start()
            if self._run is None or self._run.done.is_set():
                self._run = _Run(view)
                self._requests.put(self._run)
            return self._run

    def wait(self, run: _Run, deadline: float) -> list[MergedFamily] | None:
        """Return what was collected; None when it failed or is not there in time.

        A run for which another scrape has waited in vain is not waited for.
        """
        allowed = 0.0 if run.is_late else max(0.0, deadline - time.monotonic())
        if run.done.wait(allowed):
            self.succeeded = run.found is not None and not run.has_failed
            return run.found
        run.is_late = True
        self.succeeded = False
        self._log("collector %s is late; its metrics are missing", self._name)
        return None

    def _work(self) -> None:
        while True:
            run = self._requests.get()
            found = None
            try:
                found = list(self._collector.collect(run.view))
            except PartialFailure as failure:
                found, run.has_failed = failure.families, True
                if not failure.is_logged:
                    self._log("collector %s: %s", self._name, failure)
            except Exception:
                self._log("collector %s failed; its metrics are missing", self._name, exc_info=True)
            run.end(found)

    def _log(self, message: str, *arguments: object, exc_info: bool = False) -> None:
        """Log now and then, not once per scrape: a client may ask for much in no time."""
        now = time.monotonic()
        if now - self._logged_at > LOG_SECONDS:
            self._logged_at = now
            logger.error(message, *arguments, exc_info=exc_info)
