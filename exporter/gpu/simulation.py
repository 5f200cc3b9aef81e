"""Simulated GPUs, for trying out dashboards and alerts where there is none.

They are as busy as the server's runners are by their own clock, each with its share. From that
follow power, temperature, clocks and traffic by a plain model, the same for the same load. Nothing
fails, and nothing of a real GPU is ever asked.
"""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from exporter.gpu.driver import (
    Accumulator,
    Device,
    Listing,
    Opened,
    ProcessBusy,
    ProcessMemory,
    Reading,
    Row,
    Sample,
    Versions,
)
from exporter.gpu.names import EVENT_FIELDS, EVENT_REASONS, SEVERITIES
from exporter.gpu.server import Server
from exporter.view import LiveProcess

GIB = 2**30
MEMORY = {"total": 80 * GIB, "reserved": GIB // 2}
# What each of the server's processes holds, on each GPU.
PROCESS_BYTES = 3 * GIB // 2
IDLE_WATTS, BUSY_WATTS, LIMIT_WATTS = 70.0, 560.0, 700.0
IDLE_CELSIUS, BUSY_CELSIUS = 34.0, 72.0
# Idle and busy, in hertz.
CLOCKS = {
    "graphics": (345e6, 1980e6), "sm": (345e6, 1980e6), "memory": (2619e6, 2619e6),
    "video": (765e6, 1545e6),
}  # fmt: skip
THRESHOLDS = {"shutdown": 95.0, "slowdown": 90.0, "memory_max": 95.0, "gpu_max": 87.0}
# Of a busy second: reads and writes of memory, and what passes the links.
MEMORY_SHARE = 0.4
BYTES_PER_BUSY_SECOND = {
    "pcie_transmit_bytes_total": 2e8, "pcie_receive_bytes_total": 9e8,
    "nvlink_transmit_bytes_total": 0.0, "nvlink_receive_bytes_total": 0.0,
}  # fmt: skip
# Profiling ratios of a GPU that is always busy.
RATIOS = {
    "sm_active_ratio": 0.7, "sm_occupancy_ratio": 0.35, "tensor_active_ratio": 0.2,
    "dram_active_ratio": MEMORY_SHARE,
}  # fmt: skip
MICROSECONDS = 1e6
SAMPLE_US, MOST_SAMPLES = 166_667, 10_000
# Batches are told of when they end: so long they may be in one lump.
MOST_WAITING_SECONDS = 5.0
BITS = 64


@dataclass(slots=True)
class _State:
    """One GPU: when it was looked at, its busy seconds until then, and its load since before.

    `waiting` is work that has been done faster than one GPU could; it is worked off later.
    """

    since: float
    at: float
    at_us: int
    busy_seconds: float = 0.0
    waiting: float = 0.0
    load: float = 0.0
    elapsed_us: int = 0


class SimulatedDriver:
    """As many GPUs as are wished."""

    is_simulated = True
    in_flight: tuple[str, float] | None = None

    def __init__(self, count: int, server: Server) -> None:
        """Take the server whose load the GPUs have."""
        self._count = count
        self._server = server
        self._states: dict[str, _State] = {}
        self._seen_seconds: dict[str, float] = {}

    def open(self) -> Versions:
        """Begin."""
        return Versions("simulated", "")

    def close(self) -> None:
        """Nothing is held."""

    def is_replaced(self) -> bool:
        """There is no library."""
        return False

    def is_ours(self, pid: int, device: Device, own: Sequence[LiveProcess]) -> bool | None:  # noqa: ARG002
        """Nobody else is on these GPUs."""
        return True

    def forget(self, device: Device) -> None:
        """Nothing is kept that could be another's."""

    def devices(self) -> Listing:
        """Return as many as are wished, always the same."""
        devices = [
            Device(
                uuid=f"GPU-{number:08x}-0000-0000-{self._server.mark}-{number:012d}",
                name="Simulated GPU",
                handle=None,
                index=number,
                pci_bus_id=f"00000000:{number:02X}:00.0",
                minor=None,
                compute_capability="9.0",
            )
            for number in range(self._count)
        ]
        return Listing(devices)

    def read_once(self, device: Device) -> Reading:  # noqa: ARG002
        """Return the highest clocks, and the temperatures of the model's board."""
        rows = [Row("clock_max_hertz", clock, most) for clock, (_, most) in CLOCKS.items()]
        rows += [
            Row("temperature_threshold_celsius", name, degrees)
            for name, degrees in THRESHOLDS.items()
        ]
        return Reading(rows)

    def read_fast(self, device: Device) -> Reading:
        """Look at the load; return what follows from it."""
        state = self._look(device)
        load, lifetime_seconds = state.load, state.at - state.since
        celsius = IDLE_CELSIUS + load * (BUSY_CELSIUS - IDLE_CELSIUS)
        rows = [
            *_memory_rows(len(self._own_pids())),
            Row("utilization_ratio", "", load),
            Row("memory_utilization_ratio", "", load * MEMORY_SHARE),
            Row("power_watts", "", IDLE_WATTS + load * (BUSY_WATTS - IDLE_WATTS)),
            Row("temperature_celsius", "gpu", celsius),
            Row("temperature_celsius", "memory", celsius + 6),
            Row("performance_state", "", 0.0 if load else 8.0),
            *(
                Row("clock_hertz", clock, most if load else least)
                for clock, (least, most) in CLOCKS.items()
            ),
            *(
                Row("clock_event_active", reason, float(reason == "idle" and not load))
                for reason in EVENT_REASONS
            ),
            *(Row(name, "", load * share) for name, share in RATIOS.items()),
        ]
        joules = IDLE_WATTS * lifetime_seconds + (BUSY_WATTS - IDLE_WATTS) * state.busy_seconds
        accumulators = [
            Accumulator("energy_joules_total", "", int(1000 * joules), 1e-3, BITS, 1e6),
            Accumulator("pcie_replays_total", "", 0, 1, BITS, 1e6),
            *(
                Accumulator("clock_event_seconds_total", reason, 0, 1, BITS, 1)
                for reason in EVENT_FIELDS.values()
            ),
            *(
                Accumulator(name, "", int(each * state.busy_seconds), 1, BITS, 1e12)
                for name, each in BYTES_PER_BUSY_SECOND.items()
            ),
        ]
        return Reading(rows, accumulators)

    def read_slow(self, device: Device) -> Reading:  # noqa: ARG002
        """Return the processes and what is always the same."""
        pids = self._own_pids()
        rows = [
            Row("processes", "", len(pids)),
            Row("power_limit_watts", "", LIMIT_WATTS),
            Row("fan_ratio", "", 0.3),
            Row("remapped_rows", "correctable", 0),
            Row("remapped_rows", "uncorrectable", 0),
            Row("row_remap_pending", "", 0),
            Row("row_remap_failed", "", 0),
        ]
        errors = [
            Accumulator("ecc_errors_total", severity, 0, 1, BITS, 1e12) for severity in SEVERITIES
        ]
        return Reading(rows, errors, [ProcessMemory(pid, PROCESS_BYTES) for pid in pids])

    def samples(self, device: Device, memory: bool, since_us: int) -> list[Sample] | None:  # noqa: ARG002, FBT001
        """Return the load since the last look, in samples as close together as a driver's."""
        state = self._states[device.uuid]
        percent = 100 * state.load * (MEMORY_SHARE if memory else 1.0)
        number = min(MOST_SAMPLES, max(1, round(state.elapsed_us / SAMPLE_US)))
        step = state.elapsed_us / number
        return [Sample(state.at_us - round(step * back), percent) for back in range(number)]

    def process_busy(self, device: Device, since_us: int) -> list[ProcessBusy] | None:  # noqa: ARG002
        """Return the same load as the server's own."""
        state = self._states[device.uuid]
        return [ProcessBusy(pid, state.at_us, 100 * state.load) for pid in self._own_pids()[:1]]

    def open_events(self, devices: Sequence[Device]) -> Opened:
        """Watch for errors that never come, so that their counters stand at 0."""
        return Opened(_Silence(devices))

    def take_errors(self) -> list[str]:
        """There are none."""
        return []

    def take_longest(self) -> float:
        """No call takes long."""
        return 0.0

    def _own_pids(self) -> list[int]:
        return [one.pid for one in self._server.processes or () if one.role == "runner"]

    def _look(self, device: Device) -> _State:
        now, now_us = time.monotonic(), int(MICROSECONDS * time.time())
        total = self._server.busy_seconds
        seen = self._seen_seconds.get(device.uuid, total)
        self._seen_seconds[device.uuid] = total
        state = self._states.get(device.uuid)
        if state is None:
            state = self._states[device.uuid] = _State(now, now, now_us)
            return state
        # By the monotonic clock, since the wall clock may be set; in the samples' own microseconds.
        state.elapsed_us = max(1, round(MICROSECONDS * (now - state.at)))
        elapsed = state.elapsed_us / MICROSECONDS
        # What more than one GPU could have done is not done later, when there is no load.
        more = max(0.0, total - seen) / self._count
        state.waiting = min(state.waiting + more, elapsed + MOST_WAITING_SECONDS)
        worked = min(state.waiting, elapsed)
        state.waiting -= worked
        state.busy_seconds += worked
        state.load = worked / elapsed
        state.at += elapsed
        state.at_us += state.elapsed_us
        return state


def _memory_rows(processes: int) -> list[Row]:
    used = processes * PROCESS_BYTES
    free = MEMORY["total"] - MEMORY["reserved"] - used
    sizes = {**MEMORY, "used": used, "free": free}
    return [Row(f"memory_{kind}_bytes", "", size) for kind, size in sizes.items()]


class _Silence:
    """Events that never come."""

    in_flight = None

    def __init__(self, devices: Sequence[Device]) -> None:
        self.watched = frozenset(device.uuid for device in devices)
        self._closed = threading.Event()

    def next(self, milliseconds: int) -> tuple[str, int] | None:
        self._closed.wait(milliseconds / 1000)
        return None

    def close(self) -> None:
        self._closed.set()
