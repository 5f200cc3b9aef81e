"""The GPU rows of a scrape: the last snapshot that the thread has made, never a call of the driver.

A process that does not read GPUs itself shows what another one has passed on.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from exporter.collectors.base import PartialFailure, family_of
from exporter.gpu.counts import PREFIX
from exporter.gpu.relay import Silence, read_relayed
from exporter.gpu.snapshots import Shown
from exporter.gpu.thread import GpuThread, Report
from exporter.metric import Family
from exporter.view import MergedFamily, View


class GpuCollector:
    """Shows what the thread has read."""

    def __init__(self, thread: GpuThread, families: Sequence[Family]) -> None:
        """Take the families that are computed at scrape."""
        self.names = tuple(family.name for family in families)
        self._thread = thread

    def collect(self, view: View) -> Iterable[MergedFamily]:  # noqa: ARG002
        """Return the rows of a snapshot that is young enough.

        Raises PartialFailure with what can be said while the driver hangs or a GPU does not answer.
        """
        if self._thread.stuck() is None:
            self._thread.snapshots.refresh()
        return _shown(self._thread.report())


class RelayedGpuCollector:
    """Shows what the process that reads the GPUs has passed on."""

    def __init__(self, store_path: Path, families: Sequence[Family]) -> None:
        """Take the families that are computed at scrape, and the store of both processes."""
        self.names = tuple(family.name for family in families)
        self._store_path = store_path
        self._families = families

    def collect(self, view: View) -> Iterable[MergedFamily]:  # noqa: ARG002
        """Return the rows, none if nothing is passed on.

        Raises PartialFailure as the process that reads them does, and when that one is not heard
        of; ValueError for a broken file.
        """
        try:
            report = read_relayed(self._store_path, self._families)
        except Silence as silence:
            raise PartialFailure([], str(silence)) from None
        return _shown(report) if report is not None else []


def _shown(report: Report) -> list[MergedFamily]:
    families = _families(report.rows)
    if report.failure:
        raise PartialFailure(families, report.failure, is_logged=True)
    return families


def _families(rows: Iterable[Shown]) -> list[MergedFamily]:
    families: dict[str, MergedFamily] = {}
    for name, labels, value in rows:
        if name not in families:
            families[name] = family_of(PREFIX + name)
        families[name].add(labels, value)
    return list(families.values())
