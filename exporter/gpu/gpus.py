"""The GPUs that there are, what is remembered of each, and one collection of all.

In tiers: what does not change, what changes with each collection, what the driver's sample buffers
tell, and what takes long.
"""

import logging
import math
import time
from dataclasses import dataclass, field

from exporter.gpu.counters import MICROSECONDS, BusyIntegral, Registers
from exporter.gpu.counts import Counts
from exporter.gpu.driver import (
    Accumulator,
    Device,
    DeviceLost,
    Driver,
    DriverBroken,
    Reading,
    Row,
    Versions,
)
from exporter.gpu.server import Server
from exporter.gpu.snapshots import Shown
from exporter.gpu.visibility import Visibility

# Of these a GPU is not asked again before the driver is opened anew.
GONE = frozenset({"gpu_is_lost", "reset_required"})
MOST_INCOMPLETE = 3
BUSY_FAMILIES = {False: "busy_seconds_total", True: "memory_busy_seconds_total"}

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Gpu:
    """What is known of one GPU between collections.

    `lost_at`: since when it does not answer; `is_gone` if no call is of use until the driver is
    opened anew. `slow_used`: the memory that was in use when the slow tier was read.
    """

    device: Device
    once: Reading = field(default_factory=Reading)
    slow: Reading = field(default_factory=Reading)
    slow_used: float | None = None
    slow_due: float = 0.0
    integrals: dict[bool, BusyIntegral] = field(
        default_factory=lambda: {False: BusyIntegral(), True: BusyIntegral()}
    )
    process_last_us: int = 0
    looked_at: float | None = None
    lost_at: float | None = None
    is_gone: bool = False


class Gpus:
    """All GPUs of one driver. For the one thread that calls it, but for `devices`."""

    def __init__(
        self,
        driver: Driver,
        server: Server,
        counts: Counts,
        *,
        visibility: Visibility,
        slow_seconds: float,
    ) -> None:
        """Know none yet. `slow_seconds` is the period of what takes long."""
        self._driver = driver
        self._server = server
        self._counts = counts
        self._visibility = visibility
        self._slow_seconds = slow_seconds
        self._versions = Versions("", "")
        self._registers = Registers()
        self._gpus: dict[str, _Gpu] = {}
        self._listed_at = -math.inf
        self._incomplete = 0
        # What was logged last of a GPU that does not answer.
        self._told: dict[str, str] = {}

    def devices(self, *, answering: bool = False) -> list[Device]:
        """Return the GPUs that have been seen, or those of them that answer."""
        gpus = list(self._gpus.values())
        return [gpu.device for gpu in gpus if not answering or gpu.lost_at is None]

    def silent(self) -> list[Shown]:
        """Return the rows of the GPUs that have been seen while the driver says nothing."""
        rows: list[Shown] = []
        for device in self.devices():
            rows += [("up", (device.uuid,), 0.0), *self._is_visible(device)]
        return rows

    @property
    def gone_at(self) -> float | None:
        """Since when the last one that is gone has been, in monotonic seconds; None: none is."""
        gone = [gpu.lost_at for gpu in self._gpus.values() if gpu.is_gone]
        return max(filter(None, gone), default=None)

    @property
    def is_whole(self) -> bool:
        """Whether all answer."""
        return all(gpu.lost_at is None for gpu in self._gpus.values())

    def find(self, versions: Versions) -> None:
        """Look which GPUs there are, after the driver was opened: all handles are new."""
        self._versions = versions
        self._list(is_opened=True)

    def read(self) -> list[Shown]:
        """Read all that answer; return the rows. Raises DriverBroken, also when none answers."""
        self._server.look()
        if time.monotonic() - self._listed_at >= self._slow_seconds:
            self._list(is_opened=False)
        gpus = list(self._gpus.values())
        rows = [row for gpu in gpus for row in self._rows_of(gpu)]
        if gpus and not any(gpu.lost_at is None or gpu.is_gone for gpu in gpus):
            raise DriverBroken("unknown", "no GPU answers")
        there = [gpu for gpu in gpus if not gpu.device.parent_uuid and gpu.lost_at is None]
        return [*rows, ("devices", (), float(len(there)))]

    def _list(self, *, is_opened: bool) -> None:
        """Take up new GPUs and instances; what is known of one stays with its UUID."""
        listing = self._driver.devices()
        self._listed_at = time.monotonic()
        if listing.is_complete:
            self._incomplete = 0
        elif self._incomplete < MOST_INCOMPLETE:
            # Some could not be asked. They are asked again at once, and not taken for gone.
            self._incomplete += 1
            self._listed_at = -math.inf
            if not is_opened:
                return
        found = {device.uuid: device for device in listing.devices}
        missing = [gpu for uuid, gpu in self._gpus.items() if uuid not in found]
        # Those that do not answer have their places in CUDA's numbering, unless one that does has
        # been put there.
        taken = {device.pci_bus_id for device in listing.devices}
        lost = [gpu.device for gpu in missing if not gpu.device.parent_uuid]
        whole = [device for device in lost if device.pci_bus_id not in taken]
        self._visibility.decide([*listing.devices, *whole])
        for place, device in enumerate(listing.devices):
            self._take_up(device, is_opened=is_opened, delay_share=place / len(found))
        for gpu in missing:
            if gpu.device.parent_uuid:
                self._driver.forget(gpu.device)
                # An instance that was taken away is not missed.
                del self._gpus[gpu.device.uuid]
            elif listing.is_complete or is_opened:
                # After an opening its handle is void, whether it is gone or could not be asked.
                gpu.lost_at = gpu.lost_at or time.monotonic()
                gpu.is_gone = gpu.is_gone or listing.is_complete
                gpu.looked_at = None

    def _take_up(self, device: Device, *, is_opened: bool, delay_share: float) -> None:
        known = self._gpus.get(device.uuid)
        if known is None or is_opened or known.device != device:
            if known is not None and not is_opened:
                self._driver.forget(known.device)
            # Their slow tiers are not all read in the same collection, but for the first time.
            gpu = _Gpu(device, slow_due=-delay_share * self._slow_seconds)
            if known is not None:
                gpu.integrals, gpu.process_last_us = known.integrals, known.process_last_us
            self._gpus[device.uuid] = known = gpu
        known.device = device  # Its handle may be new.
        if not known.is_gone:
            known.lost_at = None
            try:
                known.once = self._driver.read_once(device)
            except DeviceLost as lost:
                self._lose(known, lost)

    def _lose(self, gpu: _Gpu, lost: DeviceLost) -> None:
        uuid = gpu.device.uuid
        if self._told.get(uuid) != lost.error:
            self._told[uuid] = lost.error
            logger.warning("GPU %s does not answer: %s", uuid, lost.error)
        gpu.lost_at, gpu.looked_at = time.monotonic(), None
        gpu.is_gone = lost.error in GONE

    def _rows_of(self, gpu: _Gpu) -> list[Shown]:
        uuid = gpu.device.uuid
        rows: list[Shown] = [self._info(gpu.device), *self._is_visible(gpu.device)]
        if gpu.lost_at is None:
            try:
                return [*rows, ("up", (uuid,), 1.0), *self._readings_of(gpu)]
            except DeviceLost as lost:
                self._lose(gpu, lost)
        return [*rows, ("up", (uuid,), 0.0)]

    def _is_visible(self, device: Device) -> list[Shown]:
        is_visible = self._visibility.is_visible(device)
        return [] if is_visible is None else [("visible", (device.uuid,), float(is_visible))]

    def _readings_of(self, gpu: _Gpu) -> list[Shown]:
        """Return what the tiers read. Raises DeviceLost."""
        fast = self._driver.read_fast(gpu.device)
        if not (fast.rows or gpu.device.has_instances):
            raise DeviceLost("unknown")  # All was refused for reasons that name no loss.
        now = time.monotonic()
        if gpu.slow_due <= 0 or now - gpu.slow_due >= self._slow_seconds:
            gpu.slow = self._driver.read_slow(gpu.device)
            used = (row.value for row in fast.rows if row.name == "memory_used_bytes")
            gpu.slow_used = next(used, None)
            gpu.slow_due = now + min(0.0, gpu.slow_due)
        if not (gpu.device.has_instances or gpu.device.parent_uuid):
            self._integrate(gpu, now)
        uuid = gpu.device.uuid
        self._told.pop(uuid, None)
        rows: list[Shown] = []
        for reading in (gpu.once, fast, gpu.slow):
            rows += [_labelled(uuid, row) for row in reading.rows]
            rows += [self._total(uuid, one, now) for one in reading.accumulators]
        return [*rows, *self._memory_of_processes(gpu)]

    def _total(self, uuid: str, read: Accumulator, now: float) -> Shown:
        total = self._registers.total(uuid, read, now)
        return _labelled(uuid, Row(read.name, read.label, total))

    def _is_ours(self, pid: int, device: Device) -> bool | None:
        own = self._server.processes
        return None if own is None else self._driver.is_ours(pid, device, own)

    def _memory_of_processes(self, gpu: _Gpu) -> list[Shown]:
        """Return what this server's processes hold; nothing where that cannot be known."""
        if gpu.slow.processes is None:
            return []
        ours = 0
        for process in gpu.slow.processes:
            found = self._is_ours(process.pid, gpu.device)
            if found is None or (found and process.used_bytes is None):
                return []
            ours += (process.used_bytes or 0) if found else 0
        uuid = gpu.device.uuid
        rows: list[Shown] = [("serving_memory_used_bytes", (uuid,), float(ours))]
        if gpu.slow_used is not None:
            others = max(0.0, gpu.slow_used - ours)
            rows.append(("other_memory_used_bytes", (uuid,), others))
        return rows

    def _integrate(self, gpu: _Gpu, now: float) -> None:
        """Count the busy seconds that the driver's buffers tell of since the last time."""
        uuid = gpu.device.uuid
        most_seconds = math.inf
        for of_memory, integral in gpu.integrals.items():
            samples = self._driver.samples(gpu.device, of_memory, integral.clock.since_us(now))
            if samples is None:
                continue
            before = integral.clock.last_us
            seconds, gaps = integral.add(samples, now)
            if integral.clock.last_us < before:
                gpu.process_last_us = 0  # The driver's clock was set back.
            if gaps and not of_memory:
                # Of the processes nothing more is known than of the whole.
                most_seconds = integral.covered_seconds
            self._counts.inc(BUSY_FAMILIES[of_memory], seconds, gpu_uuid=uuid)
            self._counts.errors(gaps * ["sample_gap"])
        self._integrate_processes(gpu, now, most_seconds)

    def _integrate_processes(self, gpu: _Gpu, now: float, most_seconds: float) -> None:
        """Count this server's share: each is a mean over what is newer than was asked from."""
        since, gpu.looked_at = gpu.looked_at, now
        busy = self._driver.process_busy(gpu.device, gpu.process_last_us)
        if not busy:
            return
        before, newest = gpu.process_last_us, max(one.time_us for one in busy)
        gpu.process_last_us = max(before, newest)
        shares = [(self._is_ours(one.pid, gpu.device), one.percent) for one in busy]
        if any(found is None for found, _ in shares):
            return
        # What is newer than at the last look is no older than that look.
        elapsed = min((newest - before) / MICROSECONDS, now - since) if before and since else 0.0
        percent = min(100.0, sum(percent for found, percent in shares if found))
        amount = min(max(0.0, elapsed), most_seconds) * percent / 100
        self._counts.inc("serving_sm_busy_seconds_total", amount, gpu_uuid=gpu.device.uuid)

    def _info(self, device: Device) -> Shown:
        labels = (
            device.uuid,
            "" if device.index is None else str(device.index),
            device.name,
            device.pci_bus_id,
            self._versions.driver,
            self._versions.cuda,
            device.compute_capability,
            self._visibility.cuda_index(device),
            device.kind,
            device.parent_uuid,
            str(self._driver.is_simulated).lower(),
        )
        return ("info", labels, 1.0)


def _labelled(uuid: str, row: Row) -> Shown:
    return (row.name, (uuid, row.label) if row.label else (uuid,), row.value)
