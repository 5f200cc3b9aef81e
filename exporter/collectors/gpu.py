"""The GPU collector as one of the collectors; what it does is in `exporter/gpu/`."""

import logging
import os

from exporter.catalogue.gpu import FAMILIES
from exporter.collectors.base import Collector, CollectorSettings
from exporter.directory import try_gpu_lock
from exporter.gpu.collector import GpuCollector, RelayedGpuCollector
from exporter.gpu.counts import Counts
from exporter.gpu.driver import Driver
from exporter.gpu.gpus import Gpus
from exporter.gpu.server import Server
from exporter.gpu.settings import GpuSettings
from exporter.gpu.simulation import SimulatedDriver
from exporter.gpu.thread import GpuThread
from exporter.gpu.visibility import Visibility
from exporter.gpu.watch import GpuWatch

COLLECTED = tuple(family for family in FAMILIES if not family.recorded_by)

logger = logging.getLogger(__name__)


def make_gpu_collector(settings: CollectorSettings) -> Collector | None:
    """Return the collector, its threads running where this process is the one to read GPUs.

    One exporter of a store does, for as long as it lives: NVML is never to be opened in a process
    that forks or serves. Others show what that one passes on; None where there is none.
    """
    if settings.store_path is None:
        return None
    lock = try_gpu_lock(settings.store_path) if settings.gpu is not None else None
    if settings.gpu is None or lock is None:
        return RelayedGpuCollector(settings.store_path, COLLECTED)
    counts, server = Counts(settings.recorder), Server(settings.store_path)
    driver, visibility = _driver(settings.gpu, server)
    gpus = Gpus(
        driver, server, counts,
        visibility=visibility, slow_seconds=settings.gpu.slow_interval_seconds,
    )  # fmt: skip
    thread = GpuThread(driver, gpus, counts, settings.gpu, leave=settings.leave)
    watch = GpuWatch(
        thread, counts, settings.gpu, store_path=settings.store_path, leave=settings.leave
    )
    thread.start()
    watch.start()
    settings.at_end(watch.end)
    return GpuCollector(thread, COLLECTED)


def _driver(settings: GpuSettings, server: Server) -> tuple[Driver, Visibility]:
    if settings.simulated:
        logger.warning("GPUs are simulated: %d; real ones are not looked at", settings.simulated)
        return SimulatedDriver(settings.simulated, server), Visibility(None)
    # Imported here, in the one process that needs it.
    from exporter.gpu.nvml import NvmlDriver  # noqa: PLC0415

    visible = Visibility(
        os.environ.get("CUDA_VISIBLE_DEVICES"), os.environ.get("CUDA_DEVICE_ORDER", "")
    )
    return NvmlDriver(), visible
