"""The GPU collector as one of the collectors; what it does is in `exporter/gpu/`."""

import os

from exporter.catalogue.gpu import FAMILIES
from exporter.collectors.base import Collector, CollectorSettings
from exporter.gpu.collector import GpuCollector
from exporter.gpu.thread import GpuThread
from exporter.gpu.visibility import Visibility


def make_gpu_collector(settings: CollectorSettings) -> Collector | None:
    """Return the collector, its thread running; None in a process that is not to read GPUs.

    One process of a host does. NVML is never to be opened in one that forks or serves.
    """
    if settings.gpu is None:
        return None
    # Imported here, in the one process that needs it.
    from exporter.gpu.nvml import NvmlDriver  # noqa: PLC0415

    visible = Visibility(
        os.environ.get("CUDA_VISIBLE_DEVICES"), os.environ.get("CUDA_DEVICE_ORDER", "")
    )
    thread = GpuThread(NvmlDriver(), settings.gpu, settings.recorder, visibility=visible)
    thread.start()
    return GpuCollector(thread, tuple(one.name for one in FAMILIES if not one.recorded_by))
