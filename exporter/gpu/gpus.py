"""The GPUs that there are, what is remembered of each, and one collection of all.

In tiers: what does not change, what changes with each collection, what the driver's sample buffers
tell, and what takes long.
"""

import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from exporter.gpu.counters import MICROSECONDS, BusyIntegral, Registers, SampleClock
from exporter.gpu.counts import Counts
from exporter.gpu.driver import Accumulator, Device, DeviceLost, Driver, Reading, Row, Versions
from exporter.gpu.server import Server
from exporter.gpu.snapshots import Shown
from exporter.gpu.visibility import Visibility

BUSY_FAMILIES = {False: "busy_seconds_total", True: "memory_busy_seconds_total"}

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Gpu:
    """What is known of one GPU between collections. `lost_at`: since when it does not answer."""

    device: Device
    once: Reading = field(default_factory=Reading)
    slow: Reading = field(default_factory=Reading)
    slow_due: float = 0.0
    integrals: dict[bool, BusyIntegral] = field(
        default_factory=lambda: {False: BusyIntegral(), True: BusyIntegral()}
    )
    process_clock: SampleClock = field(default_factory=SampleClock)
    lost_at: float | None = None


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
        self._listed_at = 0.0

    def devices(self, *, answering: bool = False) -> list[Device]:
        """Return the GPUs that have been seen, or those of them that answer."""
        gpus = list(self._gpus.values())
        return [gpu.device for gpu in gpus if not answering or gpu.lost_at is None]

    @property
    def lost_at(self) -> float | None:
        """Since when the last one that was lost has been, in monotonic seconds; None: none is."""
        lost = [gpu.lost_at for gpu in self._gpus.values() if gpu.lost_at is not None]
        return max(lost, default=None)

    def find(self, versions: Versions) -> None:
        """Look which GPUs there are, after the driver was opened: all handles are new."""
        self._versions = versions
        self._list(is_opened=True)

    def read(self) -> list[Shown]:
        """Read all that answer; return the rows. Raises DriverBroken."""
        now = time.monotonic()
        self._server.look()
        if now - self._listed_at >= self._slow_seconds:
            self._list(is_opened=False)
        gpus = list(self._gpus.values())
        rows = [row for gpu in gpus for row in self._rows_of(gpu)]
        there = [gpu for gpu in gpus if not gpu.device.parent_uuid and gpu.lost_at is None]
        return [*rows, ("devices", (), float(len(there)))]

    def _list(self, *, is_opened: bool) -> None:
        """Take up new GPUs and instances; what is known of one stays with its UUID."""
        now = self._listed_at = time.monotonic()
        found = {device.uuid: device for device in self._driver.devices()}
        self._visibility.decide(list(found.values()))
        for place, (uuid, device) in enumerate(found.items()):
            known = self._gpus.get(uuid)
            if known is not None and not is_opened and known.device == device:
                continue
            # Not all in the same collection.
            due = now - self._slow_seconds * place / len(found)
            gpu = _Gpu(device, slow_due=due)
            try:
                gpu.once = self._driver.read_once(device)
                gpu.slow = self._driver.read_slow(device)
            except DeviceLost as lost:
                self._lose(gpu, lost)
            if known is not None:
                gpu.integrals, gpu.process_clock = known.integrals, known.process_clock
            self._gpus[uuid] = gpu
        for uuid in self._gpus.keys() - found.keys():
            if self._gpus[uuid].device.parent_uuid:
                del self._gpus[uuid]  # An instance that was taken away is not missed.
            else:
                self._gpus[uuid].lost_at = self._gpus[uuid].lost_at or now

    def _lose(self, gpu: _Gpu, lost: DeviceLost) -> None:
        logger.warning("GPU %s is lost: %s", gpu.device.uuid, lost.error)
        gpu.lost_at = time.monotonic()

    def _rows_of(self, gpu: _Gpu) -> list[Shown]:
        uuid = gpu.device.uuid
        rows: list[Shown] = [self._info(gpu.device)]
        is_visible = self._visibility.is_visible(gpu.device)
        if is_visible is not None:
            rows.append(("visible", (uuid,), float(is_visible)))
        if gpu.lost_at is None:
            try:
                return [*rows, ("up", (uuid,), 1.0), *self._readings_of(gpu)]
            except DeviceLost as lost:
                self._lose(gpu, lost)
        return [*rows, ("up", (uuid,), 0.0)]

    def _readings_of(self, gpu: _Gpu) -> Iterable[Shown]:
        """Return what the tiers read. Raises DeviceLost."""
        fast = self._driver.read_fast(gpu.device)
        now = time.monotonic()
        if now - gpu.slow_due >= self._slow_seconds:
            gpu.slow, gpu.slow_due = self._driver.read_slow(gpu.device), now
        self._integrate(gpu, now)
        uuid = gpu.device.uuid
        rows: list[Shown] = []
        for reading in (gpu.once, fast, gpu.slow):
            rows += [_labelled(uuid, row) for row in reading.rows]
            rows += [self._total(uuid, one, now) for one in reading.accumulators]
        return [*rows, *self._memory_of_processes(gpu, fast)]

    def _total(self, uuid: str, read: Accumulator, now: float) -> Shown:
        total = self._registers.total(uuid, read, now)
        return _labelled(uuid, Row(read.name, read.label, total))

    def _is_ours(self, pid: int, device: Device) -> bool | None:
        own = self._server.processes
        return None if own is None else self._driver.is_ours(pid, device, own)

    def _memory_of_processes(self, gpu: _Gpu, fast: Reading) -> list[Shown]:
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
        used = next((row.value for row in fast.rows if row.name == "memory_used_bytes"), None)
        if used is not None:
            rows.append(("other_memory_used_bytes", (uuid,), max(0.0, used - ours)))
        return rows

    def _integrate(self, gpu: _Gpu, now: float) -> None:
        """Count the busy seconds that the driver's buffers tell of since the last time."""
        uuid = gpu.device.uuid
        for of_memory, integral in gpu.integrals.items():
            samples = self._driver.samples(gpu.device, of_memory, integral.clock.since_us(now))
            if samples is None:
                continue
            seconds, gaps = integral.add(samples, now)
            self._counts.inc(BUSY_FAMILIES[of_memory], seconds, gpu_uuid=uuid)
            self._counts.errors(gaps * ["sample_gap"])
        busy = self._driver.process_busy(gpu.device, gpu.process_clock.since_us(now))
        if not busy:
            return
        newest = max(one.time_us for one in busy)
        before = gpu.process_clock.see(newest, now)
        shares = [(self._is_ours(one.pid, gpu.device), one.percent) for one in busy]
        if all(found is not None for found, _ in shares):
            # Each is a mean since the time that was asked from.
            seconds = (newest - before) / MICROSECONDS if before else 0.0
            percent = min(100.0, sum(percent for found, percent in shares if found))
            self._counts.inc(
                "serving_sm_busy_seconds_total", seconds * percent / 100, gpu_uuid=uuid
            )

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
