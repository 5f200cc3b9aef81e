"""The thread that reads the GPUs and leaves a snapshot.

In tiers: what changes with each collection, what is counted in the driver's sample buffers, and
what takes long. A driver that hangs holds up this thread and nobody else.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from exporter.gpu.attribution import busy_of_ours, memory_of_ours
from exporter.gpu.counters import BusyIntegral, Registers
from exporter.gpu.driver import (
    Accumulator,
    Device,
    DeviceLost,
    Driver,
    DriverBroken,
    DriverMissing,
    Reading,
    Row,
    Versions,
)
from exporter.gpu.settings import GpuSettings
from exporter.gpu.snapshots import Shown, Snapshot, Snapshots
from exporter.gpu.visibility import Visibility
from exporter.gpu.xid import XidWatcher
from exporter.recorder import Recorder
from exporter.view import View

PREFIX = "inferometer_gpu_"
STALE_INTERVALS = 3
FIRST_BACK_OFF_SECONDS, LONGEST_BACK_OFF_SECONDS = 1.0, 30.0
LOOK_AGAIN_SECONDS = 300.0
LOST_SECONDS = 60.0
BUSY_FAMILIES = {False: "busy_seconds_total", True: "memory_busy_seconds_total"}

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Gpu:
    """What is known of one GPU between collections."""

    device: Device
    once: Reading
    slow: Reading = field(default_factory=Reading)
    slow_at: float = 0.0
    integrals: dict[bool, BusyIntegral] = field(
        default_factory=lambda: {False: BusyIntegral(), True: BusyIntegral()}
    )
    process_last_us: int = 0
    lost_at: float | None = None


class GpuThread:
    """Reads the GPUs until the process ends."""

    def __init__(
        self,
        driver: Driver,
        settings: GpuSettings,
        recorder: Callable[[], Recorder | None],
        *,
        visibility: Visibility,
    ) -> None:
        """Take where integrated counters go: `recorder` returns it as soon as there is one."""
        self._driver = driver
        self._settings = settings
        self._recorder = recorder
        self._visibility = visibility
        self._versions: Versions | None = None
        self._gpus: dict[str, _Gpu] = {}
        self._registers = Registers()
        self._watcher = XidWatcher(driver, recorder)
        self._snapshots = Snapshots(
            min_age_seconds=settings.min_age_seconds,
            max_age_seconds=STALE_INTERVALS * settings.interval_seconds,
        )
        self._view = View()
        self._is_stuck_counted = False
        self._thread = threading.Thread(target=self._run, name="gpu", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    @property
    def is_stuck(self) -> str:
        """The name of the call that has been running for too long; empty if none has."""
        in_flight = self._driver.in_flight
        if in_flight is None or time.monotonic() - in_flight[1] < self._settings.timeout_seconds:
            return ""
        return in_flight[0]

    def known(self) -> list[Device]:
        """Return the GPUs that were there at the last look."""
        return [gpu.device for gpu in list(self._gpus.values())]

    def fresh(self, view: View) -> Snapshot | None:
        """Return a snapshot that is young enough, waiting a little for one; None without any."""
        self._view = view
        return self._snapshots.fresh()

    def _run(self) -> None:
        back_off = FIRST_BACK_OFF_SECONDS
        while True:
            try:
                self._versions = self._driver.open()
                self._find_gpus()
                self._watcher.begin(self.known())
                back_off = FIRST_BACK_OFF_SECONDS
                while True:
                    self._collect()
                    self._snapshots.wait_until_wanted(self._settings.interval_seconds)
            except DriverMissing as missing:
                logger.info("no GPU is shown: %s", missing)
                self._snapshots.publish([("devices", (), 0.0)], is_lasting=True)
                time.sleep(LOOK_AGAIN_SECONDS)
            except Exception as broken:
                # A defect of ours as well: without this thread the rows would never come back.
                is_expected = isinstance(broken, (DriverBroken, DeviceLost))
                logger.warning(
                    "the GPU driver is opened anew in %.0f s: %s",
                    back_off, broken, exc_info=not is_expected,
                )  # fmt: skip
                self._count_errors()
                self._snapshots.publish(self._broken_rows(), is_whole=False, is_lasting=True)
                self._watcher.end()
                self._driver.close()
                time.sleep(back_off)
                back_off = min(2 * back_off, LONGEST_BACK_OFF_SECONDS)

    def _find_gpus(self) -> None:
        """Look which GPUs there are; what is known of one stays with its UUID."""
        found = {device.uuid: device for device in self._driver.devices()}
        self._visibility.decide(list(found.values()))
        for uuid, device in found.items():
            known = self._gpus.get(uuid)
            try:
                once = self._driver.read_once(device)
            except DeviceLost:
                once = Reading()
            gpu = _Gpu(device, once)
            if known is not None:
                gpu.integrals, gpu.process_last_us = known.integrals, known.process_last_us
            self._gpus[uuid] = gpu
        for uuid in self._gpus.keys() - found.keys():
            gpu = self._gpus[uuid]
            gpu.lost_at = gpu.lost_at or time.monotonic()

    def _collect(self) -> None:
        begun = time.monotonic()
        rows: list[Shown] = []
        gpus = list(self._gpus.values())
        for gpu in gpus:
            rows += self._rows_of(gpu)
        there = [gpu for gpu in gpus if not gpu.device.parent_uuid and gpu.lost_at is None]
        rows.append(("devices", (), float(len(there))))
        ended = time.monotonic()
        rows.append(("collect_duration_seconds", (), ended - begun))
        rows.append(("last_success_timestamp_seconds", (), time.time()))
        self._count_errors()
        # A call that took longer than is allowed has been told as stuck meanwhile: what it brought
        # is not mixed with what has changed since.
        if ended - begun < self._settings.timeout_seconds:
            self._snapshots.publish(rows, is_whole=all(gpu.lost_at is None for gpu in gpus))
        self._is_stuck_counted = False
        lost = [gpu.lost_at for gpu in gpus if gpu.lost_at is not None]
        if lost and begun - max(lost) > LOST_SECONDS:
            raise DriverBroken("gpu_is_lost", "a GPU was lost; it may be back")

    def _rows_of(self, gpu: _Gpu) -> list[Shown]:
        uuid = gpu.device.uuid
        rows: list[Shown] = [self._info(gpu.device)]
        is_visible = self._visibility.is_visible(gpu.device)
        if is_visible is not None:
            rows.append(("visible", (uuid,), float(is_visible)))
        if gpu.lost_at is not None:
            return [*rows, ("up", (uuid,), 0.0)]
        try:
            fast = self._driver.read_fast(gpu.device)
            now = time.monotonic()
            if now - gpu.slow_at >= self._settings.slow_interval_seconds or not gpu.slow_at:
                gpu.slow, gpu.slow_at = self._driver.read_slow(gpu.device), now
            self._integrate(gpu)
        except DeviceLost as lost:
            logger.warning("GPU %s is lost: %s", uuid, lost.error)
            gpu.lost_at = time.monotonic()
            return [*rows, ("up", (uuid,), 0.0)]
        rows.append(("up", (uuid,), 1.0))
        for reading in (gpu.once, fast, gpu.slow):
            rows += [_labelled(uuid, row) for row in reading.rows]
            rows += [self._total(uuid, one, now) for one in reading.accumulators]
        rows += self._memory_of_processes(gpu, fast)
        return rows

    def _total(self, uuid: str, read: Accumulator, now: float) -> Shown:
        total = self._registers.total(uuid, read, now)
        return _labelled(uuid, Row(read.name, read.label, total))

    def _memory_of_processes(self, gpu: _Gpu, fast: Reading) -> list[Shown]:
        if gpu.slow.processes is None:
            return []
        ours = memory_of_ours(gpu.slow.processes, gpu.device, self._view)
        if ours is None:
            return []
        uuid = gpu.device.uuid
        rows: list[Shown] = [("serving_memory_used_bytes", (uuid,), float(ours))]
        used = next((row.value for row in fast.rows if row.name == "memory_used_bytes"), None)
        if used is not None:
            rows.append(("other_memory_used_bytes", (uuid,), max(0.0, used - ours)))
        return rows

    def _integrate(self, gpu: _Gpu) -> None:
        """Count the busy seconds that the driver's buffers tell of since the last time."""
        for of_memory, integral in gpu.integrals.items():
            samples = self._driver.samples(gpu.device, of_memory, integral.last_us)
            if samples is None:
                continue
            seconds, gaps = integral.add(samples)
            self._inc(BUSY_FAMILIES[of_memory], gpu.device.uuid, seconds)
            for _ in range(gaps):
                self._inc_error("sample_gap")
        busy = self._driver.process_busy(gpu.device, gpu.process_last_us)
        if busy:
            newest = max(one.time_us for one in busy)
            if gpu.process_last_us:
                seconds = (newest - gpu.process_last_us) / 1e6
                percent = busy_of_ours(busy, gpu.device, self._view)
                if percent is not None:
                    self._inc(
                        "serving_sm_busy_seconds_total", gpu.device.uuid, seconds * percent / 100
                    )
            gpu.process_last_us = newest

    def _info(self, device: Device) -> Shown:
        versions = self._versions or Versions("", "")
        labels = (
            device.uuid,
            "" if device.index is None else str(device.index),
            device.name,
            device.pci_bus_id,
            versions.driver,
            versions.cuda,
            device.compute_capability,
            self._visibility.cuda_index(device),
            device.kind,
            device.parent_uuid,
            str(self._driver.is_simulated).lower(),
        )
        return ("info", labels, 1.0)

    def _broken_rows(self) -> list[Shown]:
        known: list[Shown] = [("up", (gpu.device.uuid,), 0.0) for gpu in self._gpus.values()]
        return known or [("up", ("",), 0.0)]

    def _count_errors(self) -> None:
        for error in self._driver.take_errors():
            self._inc_error(error)

    def note_stuck(self) -> None:
        """Count a call that hangs, once."""
        if not self._is_stuck_counted:
            self._is_stuck_counted = True
            self._inc_error("stuck")

    def _inc(self, name: str, uuid: str, amount: float) -> None:
        recorder = self._recorder()
        if recorder is not None:
            recorder.child(PREFIX + name, gpu_uuid=uuid).inc(amount)

    def _inc_error(self, error: str) -> None:
        recorder = self._recorder()
        if recorder is not None:
            recorder.child(PREFIX + "errors_total", error=error).inc()


def _labelled(uuid: str, row: Row) -> Shown:
    return (row.name, (uuid, row.label) if row.label else (uuid,), row.value)
