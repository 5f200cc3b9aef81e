"""The GPU rows of a scrape: the last snapshot that the thread has made, never NVML itself."""

from collections.abc import Iterable

from exporter.collectors.base import PartialFailure, family_of
from exporter.gpu.snapshots import Shown
from exporter.gpu.thread import PREFIX, GpuThread
from exporter.view import MergedFamily, View


class GpuCollector:
    """Shows what the thread has read."""

    def __init__(self, thread: GpuThread, names: tuple[str, ...]) -> None:
        """`names` are the families that are computed at scrape."""
        self.names = names
        self._thread = thread

    def collect(self, view: View) -> Iterable[MergedFamily]:
        """Return the rows of the last snapshot.

        Raises PartialFailure with what can be said while the driver hangs or a GPU does not answer.
        """
        snapshot = self._thread.fresh(view)
        stuck = self._thread.is_stuck
        rows: list[Shown] = [("collect_stuck", (), float(bool(stuck)))]
        if stuck:
            self._thread.note_stuck()
            rows += [("up", (device.uuid,), 0.0) for device in self._thread.known()]
            raise PartialFailure(_families(rows), f"the driver does not return from {stuck}")
        if snapshot is None:
            raise PartialFailure(_families(rows), "there is no recent reading")
        families = _families([*rows, *snapshot.rows])
        if not snapshot.is_whole:
            raise PartialFailure(families, "a GPU does not answer")
        return families


def _families(rows: Iterable[Shown]) -> list[MergedFamily]:
    families: dict[str, MergedFamily] = {}
    for name, labels, value in rows:
        if name not in families:
            families[name] = family_of(PREFIX + name)
        families[name].add(labels, value)
    return list(families.values())
