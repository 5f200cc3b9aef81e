"""One runner as a front-end sees it: two connections, its models, how much is under way there."""

from collections.abc import Callable
from pathlib import Path

import gevent

from serving.model_table import ModelTable
from serving.runner_link import RunnerLink
from serving.status_page import RunnerStatus
from serving.wire import Frame, LineLimits, Parts


class RunnerPeer:
    """A runner: one connection for ordinary requests, one for large ones."""

    def __init__(
        self,
        path: Path,
        status: RunnerStatus,
        *,
        limits: LineLimits,
        models_changed: Callable[[], None],
    ) -> None:
        """Know where the runner listens; `models_changed` is called with each of its tables."""
        self.status = status
        self.table = ModelTable()
        self.rows_under_way = 0
        # Whether the runner that has told the table is gone.
        self.is_lost = False
        self._models_changed = models_changed
        self._number = 0
        self._ordinary = RunnerLink(path, limits, self._take_table)
        self._large = RunnerLink(path, limits, self._take_table)
        self._links = (self._ordinary, self._large)

    @property
    def is_up(self) -> bool:
        """Whether both connections are up."""
        return self._ordinary.is_up and self._large.is_up

    @property
    def refusal(self) -> str:
        """Why the runner wants nothing of this front-end; empty if it does not say so."""
        return self._ordinary.refusal or self._large.refusal

    @property
    def load(self) -> int:
        """The rows that wait there and those that are on their way."""
        return self.status.total_rows() + self.rows_under_way

    def start(self) -> None:
        """Connect, and connect again whenever a connection ends."""
        for link in self._links:
            gevent.spawn(link.run, self._lost)

    def wait_until_known(self, seconds: float) -> None:
        """Return when the runner has told its models, or after so many seconds."""
        with gevent.Timeout(seconds, False):  # noqa: FBT003 - gevent's way not to raise
            for link in self._links:
                link.known.wait()

    def ask(self, request_id: int, frame: Parts, *, rows: int, deadline_ns: int) -> Frame:
        """Send a request and return the frame that answers it."""
        # What is large comes in parts.
        link = self._large if len(frame) > 1 else self._ordinary
        self.rows_under_way += rows
        try:
            return link.ask(request_id, frame, deadline_ns)
        finally:
            self.rows_under_way -= rows

    def _take_table(self, number: int, table: ModelTable) -> None:
        # Both connections bring every table; the first to bring a newer one is heeded.
        if number > self._number:
            self._number = number
            self.table = table
            self.is_lost = False
            self._models_changed()

    def _lost(self) -> None:
        """Begin to count anew: the next runner's tables have numbers of their own."""
        self._number = 0
        if not self.is_lost:
            self.is_lost = True
            self._models_changed()
