"""NVML's profiling metrics (GPM), which Hopper and newer have: means between two samples."""

import math
import time
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import pynvml

from exporter.gpu.calls import Calls
from exporter.gpu.driver import Device

GPM_METRICS = {
    "sm_active_ratio": 2, "sm_occupancy_ratio": 3, "tensor_active_ratio": 5,
    "dram_active_ratio": 10,
}  # fmt: skip
GPM_LEAST_SECONDS, GPM_MOST_SECONDS = 0.1, 600.0

Found = TypeVar("Found")


class Gpm:
    """The profiling metrics of one device: means between two samples, kept and swapped."""

    def __init__(self, calls: Calls, device: Device) -> None:
        """Ask nothing yet."""
        self._calls = calls
        self._device = device
        self._samples: list[Any] = []
        self._is_refused = False
        self._taken = [-math.inf, -math.inf]
        self._last: dict[str, float] = {}

    def close(self) -> None:
        """Give the samples back, before the library is closed."""
        for sample in self._samples:
            self._calls.quietly("nvmlGpmSampleFree", partial(pynvml.nvmlGpmSampleFree, sample))
        self._samples = []

    def read(self, device: Device) -> dict[str, float]:
        """Take a sample; return the means in percent since the one before, by family."""
        self._device = device  # Its handle may be new.
        if not self._samples and not self._prepare():
            return {}
        now = time.monotonic()
        window = now - self._taken[1]
        if window < GPM_LEAST_SECONDS:
            return self._last
        self._samples.reverse()
        self._taken = [self._taken[1], now]
        if self._take() is None:
            self._taken[1] = -math.inf
            return {}
        if window > GPM_MOST_SECONDS:
            return {}
        self._request.sample1, self._request.sample2 = self._samples
        self._last = {}
        if self._ask(pynvml.nvmlGpmMetricsGet, self._request) is not None:
            for slot, name in enumerate(GPM_METRICS):
                metric = self._request.metrics[slot]
                if metric.nvmlReturn == pynvml.NVML_SUCCESS:
                    self._last[name] = metric.value
        return self._last

    def _prepare(self) -> bool:
        """Ask whether there are any, and take room for two samples; what fails is tried again."""
        if self._is_refused:
            return False
        if not self._device.parent_uuid:
            support = self._ask(pynvml.nvmlGpmQueryDeviceSupport, self._device.handle)
            self._is_refused = support is not None and not support.isSupportedDevice
            if support is None or self._is_refused:
                return False
        samples = [self._ask(pynvml.nvmlGpmSampleAlloc) for _ in range(2)]
        self._samples = [sample for sample in samples if sample is not None]
        if len(self._samples) < len(samples):
            self.close()
            return False
        self._request = pynvml.c_nvmlGpmMetricsGet_t()
        self._request.version = pynvml.NVML_GPM_METRICS_GET_VERSION
        self._request.numMetrics = len(GPM_METRICS)
        for slot, number in enumerate(GPM_METRICS.values()):
            self._request.metrics[slot].metricId = number
        return True

    def _take(self) -> object:
        sample = self._samples[1]
        if not self._device.parent_uuid:
            return self._ask(pynvml.nvmlGpmSampleGet, self._device.handle, sample)
        if self._device.gpu_instance is None:
            return None
        # The parent's handle; the instance by its number.
        parent = self._ask(pynvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle, self._device.handle)
        if parent is None:
            return None
        return self._ask(pynvml.nvmlGpmMigSampleGet, parent, self._device.gpu_instance, sample)

    def _ask(self, function: Callable[..., Found], *arguments: Any) -> Found | None:
        return self._calls.ask(self._device.uuid, function, *arguments)
