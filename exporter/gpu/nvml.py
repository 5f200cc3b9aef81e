"""The real driver: NVML by way of nvidia-ml-py.

Names, units and codes are those of https://docs.nvidia.com/deploy/nvml-api/. What a device does not
support is asked for once; what it answers beyond reason is left out.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import pynvml

from exporter.gpu import attribution, fields, library
from exporter.gpu.calls import VALUE_TYPES, Calls
from exporter.gpu.driver import (
    Accumulator,
    Device,
    DriverMissing,
    Listing,
    Opened,
    ProcessBusy,
    ProcessMemory,
    Reading,
    Row,
    Sample,
    Versions,
)
from exporter.gpu.events import open_events
from exporter.gpu.gpm import Gpm
from exporter.gpu.inventory import find_devices, text_of
from exporter.gpu.names import CLOCKS, EVENT_REASONS, SEVERITIES, THRESHOLDS
from exporter.gpu.nvlink import NvLinks

MEGA, PERCENT = 1e6, 100
LIBRARY_NOT_FOUND = 12
# A driver's clock may be ahead of this process's by as much.
MICROSECONDS, AHEAD_SECONDS = 1e6, 60.0
GPU_SAMPLES, MEMORY_SAMPLES, VOLATILE = 1, 2, 0
NO_PERFORMANCE_STATE = 32

# Beyond these a value is no measurement.
COLDEST, HOTTEST, MOST_WATTS, MOST_HERTZ = -50, 200, 5_000, 10e9

Found = TypeVar("Found")


class NvmlDriver:
    """NVML, kept open for as long as the collector lives: opening costs seconds on some hosts."""

    is_simulated = False
    is_ours = staticmethod(attribution.is_ours)

    def __init__(self) -> None:
        """Open nothing yet."""
        self._calls = Calls()
        self._gpm: dict[str, Gpm] = {}
        self._links: dict[str, NvLinks] = {}

    @property
    def in_flight(self) -> tuple[str, float] | None:
        """The call that is under way and since when, in monotonic seconds."""
        return self._calls.in_flight

    def open(self) -> Versions:
        """Load the library and initialise it. Raises DriverMissing or DriverBroken."""
        self._calls = Calls()
        self._gpm, self._links = {}, {}
        try:
            self._calls.must("nvmlInitWithFlags", pynvml.nvmlInitWithFlags, 0)
        except pynvml.NVMLError as error:
            if error.value == LIBRARY_NOT_FOUND:
                raise DriverMissing("libnvidia-ml.so.1 was not found") from None
            raise
        driver = self._calls.ask("", pynvml.nvmlSystemGetDriverVersion) or ""
        # Not the call with _v2, which loads CUDA.
        cuda = self._calls.ask("", pynvml.nvmlSystemGetCudaDriverVersion) or 0
        return Versions(text_of(driver), f"{cuda // 1000}.{cuda % 1000 // 10}" if cuda else "")

    def close(self) -> None:
        """Give the library up."""
        for gpm in self._gpm.values():
            gpm.close()
        self._gpm = {}
        self._calls.quietly("nvmlShutdown", pynvml.nvmlShutdown)

    def is_replaced(self) -> bool:
        """Return whether another library would be loaded by now."""
        return library.is_replaced()

    def take_errors(self) -> list[str]:
        """Return the errors since the last time."""
        return self._calls.take_errors()

    def take_longest(self) -> float:
        """Return how many seconds the longest call since the last time took."""
        return self._calls.take_longest()

    def open_events(self, devices: Sequence[Device]) -> Opened:
        """Have devices report their XIDs."""
        return open_events(self._calls, devices)

    def devices(self) -> Listing:
        """Return the GPUs, each followed by its instances."""
        return find_devices(self._calls)

    def forget(self, device: Device) -> None:
        """Let go of a device's samples, and of what it did not support."""
        self._calls.forget(device.uuid)
        self._links.pop(device.uuid, None)
        gpm = self._gpm.pop(device.uuid, None)
        if gpm is not None:
            gpm.close()

    def read_once(self, device: Device) -> Reading:
        """Return the highest clocks and the temperatures at which a GPU acts."""
        reading = Reading()
        if device.parent_uuid:
            return reading
        for clock, number in CLOCKS.items():
            megahertz = self._of(device, pynvml.nvmlDeviceGetMaxClockInfo, number)
            self._add(reading, "clock_max_hertz", clock, megahertz, MEGA, 0, MOST_HERTZ)
        for threshold, number in THRESHOLDS.items():
            degrees = self._of(device, pynvml.nvmlDeviceGetTemperatureThreshold, number)
            name = "temperature_threshold_celsius"
            self._add(reading, name, threshold, degrees, 1, COLDEST, HOTTEST)
        return reading

    def read_fast(self, device: Device) -> Reading:
        """Return memory, utilisation, clocks, power, temperature and the registers."""
        reading = Reading()
        if not device.has_instances:
            self._read_memory(device, reading)
            self._read_gpm(device, reading)
        if device.parent_uuid:
            return reading
        self._read_utilization(device, reading)
        self._read_fields(device, reading)
        self._read_clocks(device, reading)
        degrees = self._first(
            device,
            (pynvml.nvmlDeviceGetTemperatureV, 0),
            (pynvml.nvmlDeviceGetTemperature, 0),
        )
        self._add(reading, "temperature_celsius", "gpu", degrees, 1, COLDEST, HOTTEST)
        return reading

    def read_slow(self, device: Device) -> Reading:
        """Return processes, errors of the memory, fans and the power limit."""
        reading = Reading()
        if not device.has_instances:
            found = self._of(device, pynvml.nvmlDeviceGetComputeRunningProcesses_v3)
            if found is not None:
                reading.processes = [ProcessMemory(one.pid, one.usedGpuMemory) for one in found]
                reading.rows.append(Row("processes", "", len(found)))
        if device.parent_uuid:
            return reading
        limit = self._of(device, pynvml.nvmlDeviceGetEnforcedPowerLimit)
        self._add(reading, "power_limit_watts", "", limit, fields.MILLI, 0, MOST_WATTS)
        for severity, number in SEVERITIES.items():
            errors = self._of(device, pynvml.nvmlDeviceGetTotalEccErrors, number, VOLATILE)
            if errors is not None and errors not in fields.NOT_AVAILABLE:
                read = Accumulator("ecc_errors_total", severity, errors, 1, 64, 1e12)
                reading.accumulators.append(read)
        self._read_remapped(device, reading)
        fans = range(self._of(device, pynvml.nvmlDeviceGetNumFans) or 0)
        speeds = [self._of(device, pynvml.nvmlDeviceGetFanSpeed_v2, fan) for fan in fans]
        known = [speed for speed in speeds if speed is not None]
        self._add(reading, "fan_ratio", "", max(known, default=None), 1 / PERCENT, 0, 10)
        return reading

    def samples(self, device: Device, memory: bool, since_us: int) -> list[Sample] | None:  # noqa: FBT001
        """Return the utilisation samples after a time; percent over the time since each before."""
        kind = MEMORY_SAMPLES if memory else GPU_SAMPLES
        found = self._of(device, pynvml.nvmlDeviceGetSamples, kind, since_us)
        if found is None:
            return None
        value_type, samples = found
        field, _ = VALUE_TYPES.get(value_type, ("uiVal", 32))
        return [
            Sample(one.timeStamp, percent)
            for one in samples
            for percent in [float(getattr(one.sampleValue, field))]
            if self._is_within(percent, 0, PERCENT)
        ]

    def process_busy(self, device: Device, since_us: int) -> list[ProcessBusy] | None:
        """Return the processes' shares of the multiprocessors after a time."""
        found = self._of(device, pynvml.nvmlDeviceGetProcessUtilization, since_us)
        if found is None:
            return None
        latest = MICROSECONDS * (time.time() + AHEAD_SECONDS)
        # The driver's buffer has places that were never filled.
        return [
            ProcessBusy(one.pid, one.timeStamp, one.smUtil)
            for one in found
            if one.pid and one.timeStamp <= latest and one.smUtil <= PERCENT
        ]

    def _read_memory(self, device: Device, reading: Reading) -> None:
        memory_v2 = pynvml.nvmlMemory_v2
        memory = self._of(device, pynvml.nvmlDeviceGetMemoryInfo, memory_v2)
        kinds = ["total", "reserved", "used", "free"]
        if self._calls.lacks_call(device.uuid, pynvml.nvmlDeviceGetMemoryInfo, memory_v2):
            # An older driver, which counts what is reserved as used.
            memory = self._of(device, pynvml.nvmlDeviceGetMemoryInfo)
            kinds.remove("reserved")
        if memory is None:
            return
        for kind in kinds:
            size = getattr(memory, kind)
            self._add(reading, f"memory_{kind}_bytes", "", size, 1, 0, memory.total)

    def _read_utilization(self, device: Device, reading: Reading) -> None:
        found = self._of(device, pynvml.nvmlDeviceGetUtilizationRates)
        if found is not None:
            self._add(reading, "utilization_ratio", "", found.gpu, 1 / PERCENT, 0, 1)
            self._add(reading, "memory_utilization_ratio", "", found.memory, 1 / PERCENT, 0, 1)

    def _read_clocks(self, device: Device, reading: Reading) -> None:
        for clock, number in CLOCKS.items():
            megahertz = self._of(device, pynvml.nvmlDeviceGetClockInfo, number)
            self._add(reading, "clock_hertz", clock, megahertz, MEGA, 0, MOST_HERTZ)
        state = self._of(device, pynvml.nvmlDeviceGetPerformanceState)
        if state is not None and state != NO_PERFORMANCE_STATE:
            self._add(reading, "performance_state", "", state, 1, 0, 15)
        reasons = self._first(
            device,
            (pynvml.nvmlDeviceGetCurrentClocksEventReasons,),
            (pynvml.nvmlDeviceGetCurrentClocksThrottleReasons,),
        )
        if reasons is not None:
            for reason, bit in EVENT_REASONS.items():
                reading.rows.append(Row("clock_event_active", reason, float(bool(reasons & bit))))

    def _read_fields(self, device: Device, reading: Reading) -> None:
        """Read the batch of fields, each of which has its own code, and what stands in for them."""
        values = fields.read_fields(self._calls, device)
        power = values.get(fields.POWER)
        watts = self._of(device, pynvml.nvmlDeviceGetPowerUsage) if power is None else power.value
        self._add(reading, "power_watts", "", watts, fields.MILLI, 0, MOST_WATTS)
        degrees = values.get(fields.MEMORY_TEMPERATURE)
        if degrees is not None:
            name = "temperature_celsius"
            self._add(reading, name, "memory", degrees.value, 1, COLDEST, HOTTEST)
        reading.accumulators += fields.registers_of(values)
        # One source for as long as the device is the same: two would not count alike.
        if self._calls.lacks(device, (fields.NVLINK_TRANSMIT, fields.ALL_LINKS)):
            links = self._links.setdefault(device.uuid, NvLinks(self._calls, device))
            reading.accumulators += links.read()

    def _read_remapped(self, device: Device, reading: Reading) -> None:
        found = self._of(device, pynvml.nvmlDeviceGetRemappedRows)
        if found is not None and not device.has_instances:
            correctable, uncorrectable, pending, failed = found
            reading.rows += [
                Row("remapped_rows", "correctable", correctable),
                Row("remapped_rows", "uncorrectable", uncorrectable),
                Row("row_remap_pending", "", pending),
                Row("row_remap_failed", "", failed),
            ]

    def _read_gpm(self, device: Device, reading: Reading) -> None:
        gpm = self._gpm.get(device.uuid)
        if gpm is None:
            gpm = self._gpm[device.uuid] = Gpm(self._calls, device)
        for name, percent in gpm.read(device).items():
            self._add(reading, name, "", percent, 1 / PERCENT, 0, 1)

    def _add(  # noqa: PLR0917 - a table's columns
        self,
        reading: Reading,
        name: str,
        label: str,
        value: float | None,
        unit: float,
        least: float,
        most: float,
    ) -> None:
        """Add a row unless the value is unknown, or is none."""
        if value is not None and self._is_within(value * unit, least, most, raw=value):
            reading.rows.append(Row(name, label, value * unit))

    def _is_within(
        self, value: float, least: float, most: float, *, raw: float | None = None
    ) -> bool:
        is_within = least <= value <= most and raw not in fields.NOT_AVAILABLE
        if not is_within:
            self._calls.count("bad_value")
        return is_within

    def _of(self, device: Device, function: Callable[..., Found], *arguments: Any) -> Found | None:
        return self._calls.ask(device.uuid, function, device.handle, *arguments)

    def _first(self, device: Device, *calls: tuple[Any, ...]) -> Any:
        """Return what the first call that answers does."""
        for function, *arguments in calls:
            found = self._of(device, function, *arguments)
            if found is not None:
                return found
        return None
