"""One scrape: merge the blocks, run the collectors, render what the client asked for."""

import gzip
import itertools
import logging
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from exporter.collectors import make_collectors
from exporter.collectors.base import FAMILIES, CollectorSettings, family_of
from exporter.errors import ScrapeRequestError, StoreError, StoreUnreadable
from exporter.exposition.negotiation import Format, accepts_gzip, choose_format
from exporter.exposition.openmetrics import OpenMetricsRenderer
from exporter.exposition.protobuf import ProtobufRenderer
from exporter.exposition.text import TextRenderer
from exporter.metric import Family
from exporter.process_hooks import tell_after_fork
from exporter.scrape_request import LEAST_TIMEOUT_SECONDS, ScrapeRequest
from exporter.store_reader import StoreReader
from exporter.totals import Total, totals_of
from exporter.view import MergedFamily, View

logger = logging.getLogger(__name__)

# Measured on a full exposition: level 1 takes a third of the time of level 6 for 15 % more bytes.
GZIP_LEVEL = 1


class Renderer(Protocol):
    """Writes families in one format."""

    def render(self, families: Iterable[MergedFamily]) -> bytes:
        """Return the exposition."""


@dataclass(frozen=True, slots=True)
class Exposition:
    """A rendered scrape: its body and the headers that describe it."""

    body: bytes
    headers: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class ExpositionSettings:
    """What is in an exposition, and how long before the scraper's own limit it is answered."""

    with_created: bool = False
    with_native: bool = True
    timeout_offset_seconds: float = 0.5


class Scraper:
    """Answers scrapes of one store. Safe to use from many threads, and in forked processes.

    One merge runs at a time, and one rendering. Collectors are waited for outside of both.
    """

    def __init__(
        self,
        path: Path,
        collectors: CollectorSettings,
        *,
        folds: bool,
        settings: ExpositionSettings | None = None,
    ) -> None:
        """Read the store at `path`. `folds` makes this the process that folds the dead."""
        self._reader = StoreReader(path)
        self._collectors = make_collectors(collectors)
        self._folds = folds
        self._settings = settings or ExpositionSettings()
        openmetrics = OpenMetricsRenderer(with_created=self._settings.with_created)
        self._renderers: dict[Format, Renderer] = {
            Format.TEXT: TextRenderer(with_created=self._settings.with_created),
            Format.OPENMETRICS_1_0_0: openmetrics,
            Format.OPENMETRICS_0_0_1: openmetrics,
            Format.PROTOBUF: ProtobufRenderer(with_native=self._settings.with_native),
        }
        self._reading = threading.Lock()
        self._rendering = threading.Lock()
        self._render_seconds = 0.0
        self._fold_problem = ""
        self.is_ready = False
        tell_after_fork(self)

    def forget_parent(self) -> None:
        """Go on in a forked process, where the threads that held a lock or collected are not."""
        self._reading = threading.Lock()
        self._rendering = threading.Lock()
        self._collectors.forget_parent()

    def collector_states(self) -> dict[str, bool | None]:
        """Return for each collector whether its last run succeeded; None before the first."""
        return self._collectors.states()

    def scrape(self, request: ScrapeRequest) -> Exposition:
        """Return what is asked for, as it is now.

        Raises ScrapeRequestError when a collector is asked for that does not run here, and
        StoreUnreadable when for want of descriptors no total would be right.
        """
        format_ = choose_format(request.accept)
        families = self.families(request)
        with self._rendering:
            begun = time.monotonic()
            body = self._renderers[format_].render(families)
            self._render_seconds = time.monotonic() - begun
        headers = [("Content-Type", format_.value), ("Vary", "Accept, Accept-Encoding")]
        if accepts_gzip(request.accept_encoding):
            body = gzip.compress(body, GZIP_LEVEL)
            headers.append(("Content-Encoding", "gzip"))
        return Exposition(body, (*headers, ("Content-Length", str(len(body)))))

    def families(self, request: ScrapeRequest | None = None) -> list[MergedFamily]:
        """Return every family that is asked for, merged and collected. Raises as `scrape` does."""
        request = request or ScrapeRequest()
        deadline = self._deadline(request)
        unknown = request.collectors - set(self._collectors.names)
        if unknown:
            raise ScrapeRequestError(
                f"no collector {min(unknown)[:64]!r}; there are {', '.join(self._collectors.names)}"
            )
        with self._reading:
            begun = time.monotonic()
            view = self._view(request)
            itself = self._itself(view, time.monotonic() - begun)
        collected = self._collectors.collect(view, request, deadline)
        return [
            *view.families.values(),
            *collected,
            *(merged for merged in itself if request.wants(merged.family)),
        ]

    def totals(self, names: Iterable[str]) -> dict[str, list[Total]]:
        """Return what families of the store hold, added up over all processes.

        Raises StoreUnreadable when for want of descriptors no total would be right.
        """
        with self._reading:
            view = self._view(ScrapeRequest(names=frozenset(names)))
        return {name: totals_of(merged) for name, merged in view.families.items()}

    def fold(self) -> None:
        """Fold what dead processes have left.

        To be called on a timer as well as before a scrape.
        """
        with self._reading:
            self._fold()

    def _deadline(self, request: ScrapeRequest) -> float:
        allowed = request.timeout_seconds - self._settings.timeout_offset_seconds
        return time.monotonic() + max(allowed, LEAST_TIMEOUT_SECONDS)

    def _view(self, request: ScrapeRequest) -> View:
        try:
            self._fold()
            view = self._reader.view(lambda family: request.wants(family) and _is_stored(family))
        except StoreUnreadable:
            self.is_ready = False
            raise
        except StoreError:
            # The directory is gone: the scrape still answers, with the exporter's own families.
            self.is_ready = False
            return View()
        self.is_ready = True
        return view

    def _fold(self) -> None:
        if not self._folds:
            return
        problem = ""
        try:
            self._reader.fold()
        except StoreError as error:
            self.is_ready = False
            problem = str(error)
        except OSError as error:
            # No room for the folded block, for instance: the dead stay blocks and are counted so.
            problem = str(error)
        if problem and problem != self._fold_problem:
            logger.warning("dead processes' blocks cannot be folded now: %s", problem)
        self._fold_problem = problem

    def _itself(self, view: View, merge_seconds: float) -> list[MergedFamily]:
        skipped = family_of("inferometer_exporter_skipped_files")
        for reason, count in self._reader.skipped.items():
            skipped.add([reason], count)
        rows = [
            ("inferometer_exporter_merge_seconds", merge_seconds),
            ("inferometer_exporter_render_seconds", self._render_seconds),
            ("inferometer_exporter_series", view.series_count()),
            ("inferometer_exporter_blocks", view.blocks),
            ("inferometer_exporter_conflicting_families", len(view.conflicting)),
        ]
        return [*itertools.starmap(_single, rows), skipped]


def _is_stored(family: Family) -> bool:
    """Return whether a family of a block may be shown.

    One that is computed here would be there twice.
    """
    ours = FAMILIES.get(family.name)
    return ours is None or bool(ours.recorded_by)


def _single(name: str, value: float) -> MergedFamily:
    family = family_of(name)
    family.add([], value)
    return family
