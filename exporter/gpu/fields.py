"""The fields that NVML is asked for in one batch, and the counters that some of them are."""

from collections.abc import Iterator, Mapping

import pynvml

from exporter.gpu.calls import Calls, FieldValue
from exporter.gpu.driver import Accumulator, Device
from exporter.gpu.names import EVENT_FIELDS

# What NVML says where it has no value: all ones.
NOT_AVAILABLE = frozenset({0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF})
ALL_LINKS = 0xFFFFFFFF
MILLI = 1e-3
KIBIBYTE = 1024

# Of the batch of fields: power, memory temperature, energy, PCIe replays.
POWER, MEMORY_TEMPERATURE, ENERGY, REPLAYS = 185, 82, 83, 94
PCIE_TRANSMIT, PCIE_RECEIVE, NVLINK_TRANSMIT, NVLINK_RECEIVE = 197, 198, 138, 139
# With their scopes.
FIELDS = (
    *((field, 0) for field in (
        POWER, MEMORY_TEMPERATURE, ENERGY, *EVENT_FIELDS, PCIE_TRANSMIT, PCIE_RECEIVE, REPLAYS,
    )),
    (NVLINK_TRANSMIT, ALL_LINKS),
    (NVLINK_RECEIVE, ALL_LINKS),
)  # fmt: skip

# What no hardware exceeds in a second.
MOST_PCIE_BYTES, MOST_NVLINK_BYTES, MOST_JOULES = 128e9, 2e12, 3_000

# Field: family, label, its unit in the family's own, and what no hardware exceeds in a second.
REGISTERS = {
    ENERGY: ("energy_joules_total", "", MILLI, MOST_JOULES),
    PCIE_TRANSMIT: ("pcie_transmit_bytes_total", "", 1, MOST_PCIE_BYTES),
    PCIE_RECEIVE: ("pcie_receive_bytes_total", "", 1, MOST_PCIE_BYTES),
    REPLAYS: ("pcie_replays_total", "", 1, 1e6),
    NVLINK_TRANSMIT: ("nvlink_transmit_bytes_total", "", KIBIBYTE, MOST_NVLINK_BYTES),
    NVLINK_RECEIVE: ("nvlink_receive_bytes_total", "", KIBIBYTE, MOST_NVLINK_BYTES),
    **{
        field: ("clock_event_seconds_total", reason, 1e-9, 1.1)
        for field, reason in EVENT_FIELDS.items()
    },
}


def read_fields(calls: Calls, device: Device) -> dict[int, FieldValue]:
    """Return the batch by field, each of which has its own code, with what stands in for some.

    Raises DeviceLost or DriverBroken.
    """
    values = {one.field: one for one in calls.fields(device, FIELDS)}
    for field, function, bits in (
        (ENERGY, pynvml.nvmlDeviceGetTotalEnergyConsumption, 64),
        (REPLAYS, pynvml.nvmlDeviceGetPcieReplayCounter, 32),
    ):
        if field not in values:
            found = calls.ask(device.uuid, function, device.handle)
            if found is not None:
                values[field] = FieldValue(field, 0, found, bits)
    return values


def registers_of(values: Mapping[int, FieldValue]) -> Iterator[Accumulator]:
    """Return the counters among the fields."""
    for field, (name, label, unit, most) in REGISTERS.items():
        found = values.get(field)
        if found is not None and found.value not in NOT_AVAILABLE:
            yield Accumulator(name, label, int(found.value), unit, found.bits, most)
