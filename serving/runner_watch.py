"""What the supervisor knows of a runner beside its process: does it hang, was it ever ready."""

import logging
import signal
import time

from exporter import note_timeout
from serving.children import Child
from serving.process import store_path_of
from serving.settings import Settings
from serving.status_page import RunnerStatus

# Time to write where every thread stands.
ABORT_SECONDS = 5.0
# Time to give a sign of life after everything was paused, this process too.
CONFIRM_SECONDS = 3.0

logger = logging.getLogger("supervisor")


class RunnerWatch:
    """One runner under the supervisor's eyes."""

    def __init__(self, child: Child, status: RunnerStatus, settings: Settings) -> None:
        """Watch a process by the page that it writes."""
        self.child = child
        self.failed_starts = 0
        self._status = status
        self._settings = settings
        self._was_ready = False
        self._kill_at: float | None = None
        self._hangs_since: float | None = None

    def note_end(self) -> None:
        """Note that the process has ended."""
        self._was_ready = self._was_ready or self._status.has_been_ready
        self.failed_starts = 0 if self._was_ready else self.failed_starts + 1
        self._kill_at = self._hangs_since = None
        # What it said last is no longer true; the next one has not begun to speak.
        self._status.clear()

    def end_if_hung(self) -> None:
        """End a process whose batch or sign of life is far too old, so that it is restarted."""
        process = self.child.process
        if process is None:
            return
        if self._kill_at is not None:
            if time.monotonic() >= self._kill_at:
                process.kill()
            return
        heartbeat_age, batch_age = self._status.overdue_seconds()
        now = time.monotonic()
        if max(heartbeat_age, batch_age) <= self._settings.hang_seconds:
            self._hangs_since = None
            return
        self._hangs_since = self._hangs_since or now
        if now - self._hangs_since < CONFIRM_SECONDS:
            return
        what = "batch" if batch_age >= heartbeat_age else "sign of life"
        logger.error(
            "%s hangs: its %s is %.0f s old; it is ended and started anew",
            self.child.name,
            what,
            max(heartbeat_age, batch_age),
        )
        note_timeout(store_path_of(self._settings), process.pid)
        process.send_signal(signal.SIGABRT)
        self._kill_at = time.monotonic() + ABORT_SECONDS
