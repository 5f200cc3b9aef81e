"""The XID watcher: errors that a GPU's driver reports as events, counted as they happen.

NVML keeps no history: what happened before, or while nobody waited, is not known. The numbers are
those of https://docs.nvidia.com/deploy/xid-errors/.
"""

import logging
import threading
import time
from collections.abc import Sequence

from exporter.gpu.counts import Counts
from exporter.gpu.driver import Device, Driver, DriverBroken, EventStream
from exporter.metric import OTHER

WAIT_SECONDS = 1.0
FIRST_BACK_OFF_SECONDS, LONGEST_BACK_OFF_SECONDS = 1.0, 30.0
# Mostly an application's: 13, 31, 43, 45; mostly the hardware's or the driver's: the others.
USUAL = ("13", "31", "43", "45", "48", "63", "64", "74", "79", "94", "95", "119")
MOST_KINDS = 32

logger = logging.getLogger(__name__)


class XidWatcher:
    """Waits for events in a thread of its own, for as long as the driver stays open."""

    def __init__(self, driver: Driver, counts: Counts) -> None:
        """Watch nothing yet."""
        self._driver = driver
        self._counts = counts
        self._kinds: dict[str, set[str]] = {}
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self, devices: Sequence[Device]) -> None:
        """Watch these devices, whose usual numbers then stand at 0. Raises DriverBroken."""
        gpus = [device for device in devices if not device.parent_uuid]
        events = self._driver.open_events(gpus)
        if events is None:
            return  # Nothing here reports events.
        for gpu in gpus:
            for xid in USUAL:
                self._count(gpu.uuid, xid, times=0)
        self._stopping = threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=(events, self._stopping), name="gpu-xid", daemon=True
        )
        self._thread.start()

    def end(self) -> None:
        """Stop, before the driver is closed: the events are those of one opening."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(2 * WAIT_SECONDS)
            self._thread = None

    def _run(self, events: EventStream, stopping: threading.Event) -> None:
        back_off = FIRST_BACK_OFF_SECONDS
        while not stopping.is_set():
            try:
                event = events.next(int(1000 * WAIT_SECONDS))
            except DriverBroken as broken:
                logger.warning("no XID errors are seen for %.0f s: %s", back_off, broken)
                stopping.wait(back_off)
                back_off = min(2 * back_off, LONGEST_BACK_OFF_SECONDS)
                continue
            back_off = FIRST_BACK_OFF_SECONDS
            if event is not None:
                uuid, xid = event
                logger.error("GPU %s reports XID %d", uuid, xid)
                self._count(uuid, str(xid), times=1)
        events.close()

    def _count(self, uuid: str, xid: str, *, times: int) -> None:
        kinds = self._kinds.setdefault(uuid, set())
        if xid not in kinds and len(kinds) >= MOST_KINDS:
            xid = OTHER
        else:
            kinds.add(xid)
        self._counts.inc("xid_errors_total", times, gpu_uuid=uuid, xid=xid)
        if times:
            self._counts.set("xid_last_timestamp_seconds", time.time(), gpu_uuid=uuid, xid=xid)
