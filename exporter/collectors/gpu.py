"""The GPU collector as one of the collectors; what it does is in `exporter/gpu/`."""

import contextlib
import logging
import os
import threading
from collections.abc import Callable, Iterable
from functools import partial

from exporter.catalogue.gpu import FAMILIES
from exporter.collectors.base import Collector, CollectorSettings
from exporter.directory import try_gpu_lock
from exporter.errors import StoreError
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
from exporter.view import MergedFamily, View

COLLECTED = tuple(family for family in FAMILIES if not family.recorded_by)

# Between two looks whether the exporter that reads the GPUs has ended.
LOOK_SECONDS = 1.0

logger = logging.getLogger(__name__)


def make_gpu_collector(settings: CollectorSettings) -> Collector | None:
    """Return the collector; None where no process reads GPUs.

    One exporter of a store does, for as long as it lives: NVML is never to be opened in a process
    that forks or serves. Others show what that one passes on.
    """
    if settings.store_path is None:
        return None
    relayed = RelayedGpuCollector(settings.store_path, COLLECTED)
    if settings.gpu is None:
        return relayed
    return ExclusiveGpuCollector(relayed, partial(_own_collector, settings, settings.gpu))


class ExclusiveGpuCollector:
    """Reads the GPUs unless another exporter of the store does; takes over when that one ends."""

    def __init__(
        self, relayed: RelayedGpuCollector, take_over: Callable[[], Collector | None]
    ) -> None:
        """`take_over` returns None while it is not this process's turn; it may raise StoreError."""
        self.names = relayed.names
        self._relayed = relayed
        self._take_over = take_over
        self._problem = ""
        self._own: Collector | None = None
        if not self._is_in_charge():
            threading.Thread(target=self._wait, name="gpu-turn", daemon=True).start()

    def collect(self, view: View) -> Iterable[MergedFamily]:
        """Return the rows. Raises as the collector in charge does."""
        return (self._own or self._relayed).collect(view)

    def _wait(self) -> None:
        """Look now and then, whoever is scraped, until it is this process's turn."""
        pause = threading.Event()
        while not self._is_in_charge():
            pause.wait(LOOK_SECONDS)

    def _is_in_charge(self) -> bool:
        try:
            self._own = self._take_over()
        except (StoreError, OSError, RuntimeError) as error:
            if str(error) != self._problem:
                self._problem = str(error)
                logger.warning("this process does not read the GPUs: %s", error)
        return self._own is not None


def _own_collector(settings: CollectorSettings, gpu: GpuSettings) -> Collector | None:
    """Return what reads the GPUs; None if another process does.

    Raises StoreError, or RuntimeError where no thread can be started.
    """
    assert settings.store_path is not None
    lock = try_gpu_lock(settings.store_path)
    if lock is None:
        return None
    with contextlib.ExitStack() as undo:
        undo.callback(os.close, lock)
        counts, server = Counts(settings.recorder), Server(settings.store_path)
        driver, visibility = _driver(gpu, server)
        gpus = Gpus(
            driver, server, counts, visibility=visibility, slow_seconds=gpu.slow_interval_seconds
        )
        thread = GpuThread(driver, gpus, counts, gpu, leave=settings.leave)
        watch = GpuWatch(thread, counts, gpu, store_path=settings.store_path, leave=settings.leave)
        watch.start()
        undo.callback(watch.end)
        thread.start()
        # From here on the lock is held for as long as the process lives.
        undo.pop_all()
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
