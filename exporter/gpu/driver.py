"""What the collector needs of a GPU driver, and what the driver answers with.

NVML is one (`nvml.py`). Another is a class beside it that answers in the same terms.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from exporter.view import LiveProcess

# The values of the label `error`.
ERRORS = (
    "uninitialized", "no_permission", "driver_not_loaded", "timeout", "gpu_is_lost",
    "reset_required", "lib_rm_version_mismatch", "gpu_not_found", "unknown", "stuck", "bad_value",
    "sample_gap", "other",
)  # fmt: skip


class DriverMissing(Exception):
    """There is no driver here, so there are no GPUs either."""


class DriverBroken(Exception):
    """The driver must be opened anew. `error` is the label's value."""

    def __init__(self, error: str, message: str) -> None:
        """Say what it answered."""
        super().__init__(message)
        self.error = error


class DeviceLost(Exception):
    """This GPU answers no more; others may. `error` is the label's value."""

    def __init__(self, error: str) -> None:
        """Say what the driver answered."""
        super().__init__(error)
        self.error = error


class NotOffered(Exception):
    """The driver does not offer this."""


@dataclass(frozen=True, slots=True)
class Device:
    """A GPU, or an instance of one (MIG).

    `minor` is the number in the name of its device file; `parent_uuid` is that of the GPU which an
    instance is a part of, `gpu_instance` and `compute_instance` are its numbers there. `handle` is
    the driver's own.
    """

    uuid: str
    name: str
    handle: object = field(compare=False, repr=False)
    index: int | None = None
    pci_bus_id: str = ""
    minor: int | None = None
    compute_capability: str = ""
    parent_uuid: str = ""
    has_instances: bool = False
    gpu_instance: int | None = None
    compute_instance: int | None = None

    @property
    def kind(self) -> str:
        """`gpu`, or `mig` for an instance."""
        return "mig" if self.parent_uuid else "gpu"


class Row(NamedTuple):
    """A gauge: the family's name without `inferometer_gpu_`, its label's value, its value."""

    name: str
    label: str
    value: float


class Accumulator(NamedTuple):
    """A counter that the driver keeps.

    `raw` counts in units of `unit` of the family's own; it wraps at 2^`bits`. `most_per_second`, in
    the family's unit, is what no hardware exceeds: it tells a wrap from a reset.
    """

    name: str
    label: str
    raw: int
    unit: float
    bits: int
    most_per_second: float


class Sample(NamedTuple):
    """A utilisation in percent over the time since the sample before; microseconds."""

    time_us: int
    percent: float


class ProcessMemory(NamedTuple):
    """A process on a GPU and the memory it holds, None where the driver does not say."""

    pid: int
    used_bytes: int | None


class ProcessBusy(NamedTuple):
    """A process's share of the multiprocessors, in percent, up to a time in microseconds."""

    pid: int
    time_us: int
    percent: float


@dataclass(slots=True)
class Reading:
    """What one tier has read of one GPU. `processes` is None where that is not known."""

    rows: list[Row] = field(default_factory=list)
    accumulators: list[Accumulator] = field(default_factory=list)
    processes: list[ProcessMemory] | None = None


class Listing(NamedTuple):
    """The GPUs that answer, each followed by its instances.

    It is not complete when one could not be asked although it is not lost: it may be there next
    time.
    """

    devices: list[Device]
    is_complete: bool = True


class EventStream(Protocol):
    """Errors that devices report; the one part of a driver that another thread calls."""

    # The GPUs that report.
    watched: frozenset[str]

    @property
    def in_flight(self) -> tuple[str, float] | None:
        """The call that is under way and since when, in monotonic seconds."""

    def next(self, milliseconds: int) -> tuple[str, int] | None:
        """Wait for an error; return the GPU's UUID and the XID, None without any.

        The UUID is empty if the GPU is not known. Raises DriverBroken or NotOffered.
        """

    def close(self) -> None:
        """Have nothing reported any more; raises nothing."""


class Opened(NamedTuple):
    """The events of those GPUs that report any; None where none does.

    It is not complete when one could not be asked, or registered, for a reason that may pass.
    """

    events: EventStream | None
    is_complete: bool = True


class Versions(NamedTuple):
    """The driver's version, and that of the CUDA it supports."""

    driver: str
    cuda: str


class Driver(Protocol):
    """Reads GPUs. One thread calls it; only `in_flight` is for others to look at.

    Raises DriverBroken and, where a device is asked for, DeviceLost.
    """

    is_simulated: bool

    @property
    def in_flight(self) -> tuple[str, float] | None:
        """The call that is under way and since when, in monotonic seconds."""

    def open(self) -> Versions:
        """Begin; raises DriverMissing where there is none."""

    def close(self) -> None:
        """End, so that it can be opened anew; raises nothing."""

    def is_replaced(self) -> bool:
        """Return whether only another process could load the driver that is installed by now."""

    def is_ours(self, pid: int, device: Device, own: Sequence[LiveProcess]) -> bool | None:
        """Return whether a process on a GPU is one of a server's; None where that is not known."""

    def devices(self) -> Listing:
        """Look which GPUs there are. Handles are as new as the list."""

    def forget(self, device: Device) -> None:
        """Let go of what is kept of a device that has gone, or is another one now."""

    def read_once(self, device: Device) -> Reading:
        """Return what does not change."""

    def read_fast(self, device: Device) -> Reading:
        """Return what every collection reads."""

    def read_slow(self, device: Device) -> Reading:
        """Return what takes long, or changes seldom."""

    def samples(self, device: Device, memory: bool, since_us: int) -> list[Sample] | None:  # noqa: FBT001
        """Return the utilisation samples after a time, None where there are none to be had."""

    def process_busy(self, device: Device, since_us: int) -> list[ProcessBusy] | None:
        """Return the processes' shares after a time, None where there are none to be had."""

    def open_events(self, devices: Sequence[Device]) -> Opened:
        """Have devices report their errors."""

    def take_errors(self) -> list[str]:
        """Return the errors since the last time, as values of the label."""

    def take_longest(self) -> float:
        """Return how many seconds the longest call since the last time took."""
