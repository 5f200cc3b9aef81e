"""The thread that opens the driver, has the GPUs read, and opens it anew when it breaks.

A driver that hangs holds up this thread and nobody else.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from exporter.gpu.counts import Counts
from exporter.gpu.driver import DeviceLost, Driver, DriverBroken, DriverMissing
from exporter.gpu.gpus import Gpus
from exporter.gpu.settings import GpuSettings
from exporter.gpu.snapshots import Shown, Snapshots
from exporter.gpu.xid import XidWatcher

STALE_INTERVALS = 3
FIRST_BACK_OFF_SECONDS, LONGEST_BACK_OFF_SECONDS = 1.0, 30.0
LOOK_AGAIN_SECONDS = 300.0
# In slow intervals, after which a GPU that has gone is looked for; each time it is twice as long.
FIRST_LOOK, LONGEST_LOOK = 2, 120
REPLACED, NOT_LOADED = "lib_rm_version_mismatch", "driver_not_loaded"

logger = logging.getLogger(__name__)


class Report(NamedTuple):
    """What can be said of the GPUs now, and why that is not all; empty if it is."""

    rows: tuple[Shown, ...]
    failure: str = ""


class _LookAgain(Exception):
    """The driver is to be opened anew although nothing new has happened."""


class GpuThread:
    """Reads the GPUs until the process ends."""

    def __init__(
        self,
        driver: Driver,
        gpus: Gpus,
        counts: Counts,
        settings: GpuSettings,
        *,
        leave: Callable[[str], None],
    ) -> None:
        """`leave` ends this process, for the given cause, so that another takes its place."""
        self._driver = driver
        self._gpus = gpus
        self._counts = counts
        self._settings = settings
        self._leave = leave
        self._watcher = XidWatcher(driver, counts)
        self.snapshots = Snapshots(
            min_age_seconds=settings.min_age_seconds,
            max_age_seconds=STALE_INTERVALS * settings.interval_seconds,
        )
        self._opened_at = 0.0
        self._first_look_seconds = FIRST_LOOK * settings.slow_interval_seconds
        self._look_seconds = self._first_look_seconds
        self._told = ""
        self._thread = threading.Thread(target=self._run, name="gpu", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def stuck(self) -> tuple[str, float] | None:
        """Return the call that has been running for too long, and for how many seconds."""
        now = time.monotonic()
        for in_flight in (self._driver.in_flight, self._watcher.in_flight):
            if in_flight is not None and now - in_flight[1] >= self._settings.timeout_seconds:
                return in_flight[0], now - in_flight[1]
        return None

    def can_end(self) -> bool:
        """Return whether the threads would end with their process.

        One would not while it sleeps uninterruptibly in the kernel (D in proc_pid_stat(5)).
        """
        ids = (self._thread.native_id, self._watcher.native_id)
        return not any(map(_sleeps_uninterruptibly, filter(None, ids)))

    def report(self) -> Report:
        """Return what can be said now, without a call of the driver."""
        if self.stuck() is not None:
            return Report((("collect_stuck", (), 1.0), *self._gpus.silent()), "the driver hangs")
        rows = (("collect_stuck", (), 0.0),)
        snapshot = self.snapshots.latest()
        if snapshot is None:
            return Report(rows, "there is no recent reading")
        return Report((*rows, *snapshot.rows), "" if snapshot.is_whole else "a GPU does not answer")

    def _run(self) -> None:
        back_off = FIRST_BACK_OFF_SECONDS
        while True:
            try:
                self._gpus.find(self._driver.open())
                self._opened_at = time.monotonic()
                while True:
                    self._collect()
                    back_off = FIRST_BACK_OFF_SECONDS
                    self.snapshots.wait_until_wanted(self._settings.interval_seconds)
            except _LookAgain:
                with contextlib.suppress(Exception):
                    self._close()
            except DriverMissing as missing:
                self._tell(logging.INFO, f"no GPU is shown: {missing}")
                self.snapshots.publish([("devices", (), 0.0)], is_lasting=True)
                time.sleep(LOOK_AGAIN_SECONDS)
            except Exception as broken:
                # Whatever else fails now: without this thread the rows would never come back.
                with contextlib.suppress(Exception):
                    self._give_up(broken)
                time.sleep(back_off)
                back_off = min(2 * back_off, LONGEST_BACK_OFF_SECONDS)

    def _collect(self) -> None:
        begun = time.monotonic()
        self._driver.take_longest()
        rows = self._gpus.read()
        self._watcher.follow(self._gpus.devices(answering=True))
        ended = time.monotonic()
        rows.append(("collect_duration_seconds", (), ended - begun))
        rows.append(("last_success_timestamp_seconds", (), time.time()))
        self._counts.errors(self._driver.take_errors())
        # While a call took longer than it may, all was told to be hidden: what has been brought is
        # not mixed with what has changed since.
        if self._driver.take_longest() < self._settings.timeout_seconds:
            self.snapshots.publish(rows, is_whole=self._gpus.is_whole)
            self._told = ""
        self._look_for_gone(ended)

    def _look_for_gone(self, now: float) -> None:
        """Have the driver opened anew now and then if a GPU has gone: only so it can be back."""
        gone_at = self._gpus.gone_at
        if gone_at is None:
            self._look_seconds = self._first_look_seconds
        elif now - max(gone_at, self._opened_at) > self._look_seconds:
            most = LONGEST_LOOK * self._settings.slow_interval_seconds
            self._look_seconds = min(2 * self._look_seconds, most)
            raise _LookAgain

    def _give_up(self, broken: Exception) -> None:
        """Tell of a failure and close the driver."""
        error = broken.error if isinstance(broken, DriverBroken) else ""
        # A defect of ours as well: without this thread the rows would never come back.
        is_expected = isinstance(broken, (DriverBroken, DeviceLost))
        self._tell(
            logging.WARNING, f"the GPU driver is opened anew: {broken}", has_stack=not is_expected
        )
        self._counts.errors(self._driver.take_errors())
        known = self._gpus.silent()
        absent: list[Shown] = [("up", ("",), 0.0), ("devices", (), 0.0)]
        # A library alone, as in an image for GPUs on a host without: nothing is wrong with that.
        is_absent = error == NOT_LOADED and not known
        self.snapshots.publish(known or absent, is_whole=is_absent, is_lasting=True)
        is_replaced = error == REPLACED and self._driver.is_replaced()
        self._close()
        if is_replaced:
            logger.warning("the driver was replaced: another process loads the new library")
            self._leave("exit")

    def _close(self) -> None:
        self._watcher.end()
        self._driver.close()

    def _tell(self, level: int, message: str, *, has_stack: bool = False) -> None:
        """Log what is new: a driver that is not there is not there for long."""
        if message != self._told:
            self._told = message
            logger.log(level, "%s", message, exc_info=has_stack)


def _sleeps_uninterruptibly(thread_id: int) -> bool:
    try:
        stat = Path(f"/proc/self/task/{thread_id}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] == "D"
