"""The XID watcher: errors that a GPU's driver reports as events, counted as they happen.

NVML keeps no history: what happened before, or while nobody waited, is not known. The numbers are
those of https://docs.nvidia.com/deploy/xid-errors/.
"""

import contextlib
import logging
import math
import threading
import time
from collections.abc import Iterable, Sequence

from exporter.gpu.counts import Counts
from exporter.gpu.driver import Device, Driver, DriverBroken, EventStream, NotOffered
from exporter.metric import OTHER

WAIT_SECONDS = 1.0
FIRST_BACK_OFF_SECONDS, LONGEST_BACK_OFF_SECONDS = 1.0, 30.0
# Mostly an application's: 13, 31, 43, 45; mostly the hardware's or the driver's: the others.
USUAL = ("13", "31", "43", "45", "48", "63", "64", "74", "79", "94", "95", "119")
MOST_KINDS = 32
MOST_DRAINED = 256
# After which GPUs that could not be watched are tried again.
AGAIN_SECONDS = 300.0
# So many lines in so many seconds for each GPU.
MOST_LINES, LOG_SECONDS = 20, 60.0

logger = logging.getLogger(__name__)


class XidWatcher:
    """Waits for events in a thread of its own, for as long as the driver stays open.

    One thread begins and ends it; others may ask for `in_flight` and `native_id`.
    """

    def __init__(self, driver: Driver, counts: Counts) -> None:
        """Watch nothing yet."""
        self._driver = driver
        self._counts = counts
        self._kinds: dict[str, set[str]] = {}
        self._quiet_until: dict[str, float] = {}
        self._lines: dict[str, int] = {}
        self._stopping = threading.Event()
        self._events: EventStream | None = None
        self._offered: frozenset[str] = frozenset()
        self._again_at = 0.0
        self._thread: threading.Thread | None = None

    @property
    def in_flight(self) -> tuple[str, float] | None:
        """The call that is under way and since when it takes longer than it is to."""
        events = self._events
        in_flight = events.in_flight if events is not None else None
        return (in_flight[0], in_flight[1] + WAIT_SECONDS) if in_flight is not None else None

    @property
    def native_id(self) -> int | None:
        """The thread's number in the kernel, None while there is none."""
        thread = self._thread
        return thread.native_id if thread is not None else None

    def follow(self, devices: Sequence[Device]) -> None:
        """Watch these devices; begin anew when they are others. Raises DriverBroken."""
        gpus = [device for device in devices if not device.parent_uuid]
        offered = frozenset(gpu.uuid for gpu in gpus)
        if offered == self._offered and time.monotonic() < self._again_at:
            return
        self.end()
        self._offered = offered
        opened = self._driver.open_events(gpus)
        # Whom it was not possible to watch may be watched later.
        is_complete = opened.is_complete
        self._again_at = math.inf if is_complete else time.monotonic() + AGAIN_SECONDS
        self._events = events = opened.events
        if events is None:
            return  # Nothing here reports events.
        stopping = threading.Event()
        thread = threading.Thread(
            target=self._run, args=(events, stopping), name="gpu-xid", daemon=True
        )
        try:
            thread.start()
        except RuntimeError as error:
            events.close()
            self._events = None
            raise DriverBroken("other", f"XID errors cannot be waited for: {error}") from None
        self._stopping, self._thread = stopping, thread

    def end(self) -> None:
        """Stop, before the driver is closed: the events are those of one opening.

        Waits for the thread: a driver is not to be closed under a call that does not return.
        """
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
        self._thread, self._events, self._offered = None, None, frozenset()

    def _run(self, events: EventStream, stopping: threading.Event) -> None:
        back_off = FIRST_BACK_OFF_SECONDS
        is_declared = False
        while not stopping.is_set():
            try:
                event = events.next(int(1000 * WAIT_SECONDS) if is_declared else 0)
                if not is_declared:
                    # Not before it is known that events can be waited for.
                    self._declare(events.watched)
                    is_declared = True
                self._note(event)
                back_off = FIRST_BACK_OFF_SECONDS
            except NotOffered as error:
                logger.info("XID errors are not seen: %s", error)
                stopping.wait()
            except Exception as broken:
                is_expected = isinstance(broken, DriverBroken)
                logger.warning(
                    "no XID errors are seen for %.0f s: %s",
                    back_off, broken, exc_info=not is_expected,
                )  # fmt: skip
                stopping.wait(back_off)
                back_off = min(2 * back_off, LONGEST_BACK_OFF_SECONDS)
        self._drain(events)
        events.close()

    def _declare(self, uuids: Iterable[str]) -> None:
        for uuid in uuids:
            for xid in USUAL:
                self._count(uuid, xid, times=0)

    def _drain(self, events: EventStream) -> None:
        """Take what has come already: it is the errors for which the driver is opened anew."""
        with contextlib.suppress(DriverBroken, NotOffered):
            for _ in range(MOST_DRAINED):
                event = events.next(0)
                if event is None:
                    return
                self._note(event)

    def _note(self, event: tuple[str, int] | None) -> None:
        if event is None:
            return
        uuid, xid = event
        self._log(uuid, xid)
        if uuid:
            self._count(uuid, str(xid), times=1)

    def _log(self, uuid: str, xid: int) -> None:
        """Log each event, but not a storm of them."""
        now = time.monotonic()
        if now >= self._quiet_until.get(uuid, 0.0):
            self._quiet_until[uuid], self._lines[uuid] = now + LOG_SECONDS, 0
        self._lines[uuid] += 1
        if self._lines[uuid] <= MOST_LINES:
            more = "; more are counted only" if self._lines[uuid] == MOST_LINES else ""
            logger.error("GPU %s reports XID %d%s", uuid or "(unknown)", xid, more)

    def _count(self, uuid: str, xid: str, *, times: int) -> None:
        kinds = self._kinds.setdefault(uuid, set())
        if xid not in kinds and len(kinds) >= MOST_KINDS:
            xid = OTHER
        else:
            kinds.add(xid)
        self._counts.inc("xid_errors_total", times, gpu_uuid=uuid, xid=xid)
        if times:
            self._counts.set("xid_last_timestamp_seconds", time.time(), gpu_uuid=uuid, xid=xid)
