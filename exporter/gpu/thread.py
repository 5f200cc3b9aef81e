"""The thread that opens the driver, has the GPUs read, and opens it anew when it breaks.

A driver that hangs holds up this thread and nobody else.
"""

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
LOST_SECONDS = 60.0
REPLACED = "lib_rm_version_mismatch"

logger = logging.getLogger(__name__)


class Report(NamedTuple):
    """What can be said of the GPUs now, and why that is not all; empty if it is."""

    rows: tuple[Shown, ...]
    failure: str = ""


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
        self._thread = threading.Thread(target=self._run, name="gpu", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def stuck(self) -> tuple[str, float] | None:
        """Return the call that has been running for too long, and for how many seconds."""
        in_flight = self._driver.in_flight
        if in_flight is None:
            return None
        seconds = time.monotonic() - in_flight[1]
        return (in_flight[0], seconds) if seconds >= self._settings.timeout_seconds else None

    def can_end(self) -> bool:
        """Return whether the thread would end with its process.

        It would not while it sleeps uninterruptibly in the kernel (D in proc_pid_stat(5)).
        """
        try:
            stat = Path(f"/proc/self/task/{self._thread.native_id}/stat").read_text()
        except OSError:
            return True
        return stat.rpartition(")")[2].split()[0] != "D"

    def report(self) -> Report:
        """Return what can be said now, without a call of the driver."""
        stuck = self.stuck()
        if stuck is not None:
            gone: list[Shown] = [("up", (one.uuid,), 0.0) for one in self._gpus.devices()]
            rows = (("collect_stuck", (), 1.0), *gone)
            return Report(rows, "the driver hangs")
        snapshot = self.snapshots.latest()
        rows = (("collect_stuck", (), 0.0),)
        if snapshot is None:
            return Report(rows, "there is no recent reading")
        return Report((*rows, *snapshot.rows), "" if snapshot.is_whole else "a GPU does not answer")

    def _run(self) -> None:
        back_off = FIRST_BACK_OFF_SECONDS
        while True:
            try:
                self._open()
                while True:
                    self._collect()
                    back_off = FIRST_BACK_OFF_SECONDS
                    self.snapshots.wait_until_wanted(self._settings.interval_seconds)
            except DriverMissing as missing:
                logger.info("no GPU is shown: %s", missing)
                self.snapshots.publish([("devices", (), 0.0)], is_lasting=True)
                time.sleep(LOOK_AGAIN_SECONDS)
            except Exception as broken:
                self._give_up(broken, back_off)
                time.sleep(back_off)
                back_off = min(2 * back_off, LONGEST_BACK_OFF_SECONDS)

    def _open(self) -> None:
        versions = self._driver.open()
        self._opened_at = time.monotonic()
        self._gpus.find(versions)
        # Handles of before are void: those that do not answer have none.
        self._watcher.begin(self._gpus.devices(answering=True))

    def _collect(self) -> None:
        begun = time.monotonic()
        rows = self._gpus.read()
        ended = time.monotonic()
        rows.append(("collect_duration_seconds", (), ended - begun))
        rows.append(("last_success_timestamp_seconds", (), time.time()))
        self._counts.errors(self._driver.take_errors())
        lost_at = self._gpus.lost_at
        # A call that took longer than is allowed has been told as stuck meanwhile: what it brought
        # is not mixed with what has changed since.
        if ended - begun < self._settings.timeout_seconds:
            self.snapshots.publish(rows, is_whole=lost_at is None)
        if lost_at is not None and ended - max(lost_at, self._opened_at) > LOST_SECONDS:
            raise DriverBroken("gpu_is_lost", "a GPU was lost; it may be back")

    def _give_up(self, broken: Exception, back_off: float) -> None:
        """Close the driver after a failure."""
        is_replaced = (
            isinstance(broken, DriverBroken)
            and broken.error == REPLACED
            and self._driver.is_replaced()
        )
        # A defect of ours as well: without this thread the rows would never come back.
        is_expected = isinstance(broken, (DriverBroken, DeviceLost))
        logger.warning(
            "the GPU driver is opened anew in %.0f s: %s",
            back_off, broken, exc_info=not is_expected,
        )  # fmt: skip
        self._counts.errors(self._driver.take_errors())
        known: list[Shown] = [("up", (one.uuid,), 0.0) for one in self._gpus.devices()]
        self.snapshots.publish(known or [("up", ("",), 0.0)], is_whole=False, is_lasting=True)
        self._watcher.end()
        self._driver.close()
        if is_replaced:
            logger.warning("the driver was replaced: another process loads the new library")
            self._leave("exit")
