"""The thread that looks after the one that reads GPUs: whether it hangs, and what others may see.

Front-ends show the same rows, which they read from a file that this thread replaces.
"""

import logging
import threading
from collections.abc import Callable
from pathlib import Path

from exporter.gpu.counts import Counts
from exporter.gpu.relay import remove_relayed, write_relayed
from exporter.gpu.settings import GpuSettings
from exporter.gpu.thread import GpuThread

LOOK_SECONDS = 1.0

logger = logging.getLogger(__name__)


class GpuWatch:
    """Looks at least once a second."""

    def __init__(
        self,
        thread: GpuThread,
        counts: Counts,
        settings: GpuSettings,
        *,
        store_path: Path,
        leave: Callable[[str], None],
    ) -> None:
        """`leave` ends this process, for the given cause, so that another takes its place."""
        self._watched = thread
        self._counts = counts
        self._settings = settings
        self._store_path = store_path
        self._leave = leave
        self._stuck_in = ""
        self._problem = ""
        self._passing_on = threading.Lock()
        self._has_ended = False
        self._thread = threading.Thread(target=self._run, name="gpu-watch", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def end(self) -> None:
        """Pass nothing on any more."""
        with self._passing_on:
            self._has_ended = True
            remove_relayed(self._store_path)

    def _run(self) -> None:
        # A call that may take long is not told much later than it may.
        look_seconds = min(LOOK_SECONDS, self._settings.timeout_seconds)
        while True:
            try:
                self._note_stuck()
                self._pass_on()
                self._problem = ""
            except Exception as error:
                # Without this thread a hang would never be told.
                if str(error) != self._problem:
                    self._problem = str(error)
                    is_expected = isinstance(error, OSError)
                    logger.warning(
                        "other processes cannot show the GPUs now: %s",
                        error, exc_info=not is_expected,
                    )  # fmt: skip
            self._watched.snapshots.wait_for_another(look_seconds)

    def _note_stuck(self) -> None:
        stuck = self._watched.stuck()
        if stuck is None:
            self._stuck_in = ""
            return
        function, seconds = stuck
        if not self._stuck_in:
            self._stuck_in = function
            self._counts.errors(["stuck"])
            logger.error("the GPU driver does not return from %s; its rows are hidden", function)
        # A process that cannot end is not replaced either: then this one goes on answering.
        if 0 < self._settings.hang_restart_seconds <= seconds and self._watched.can_end():
            self._leave("timeout")

    def _pass_on(self) -> None:
        with self._passing_on:
            if not self._has_ended:
                write_relayed(self._store_path, self._watched.report())
