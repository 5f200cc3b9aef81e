"""What each GPU does, as its driver tells, and which part of it this server uses.

A row that the driver does not offer is absent. With instances (MIG), memory, processes and ratios
stand at the instances, everything else at the GPU. Join with `inferometer_gpu_info` for names.
"""

from dataclasses import replace

from exporter.define import counter, gauge, info
from exporter.gpu import names
from exporter.gpu.driver import ERRORS
from exporter.metric import Family, Label

BY = ("exporter",)
GPU = Label("gpu_uuid")
CLOCK = Label("clock", tuple(names.CLOCKS))
REASON = Label("reason", tuple(names.EVENT_REASONS))
TIMED_REASON = Label("reason", tuple(names.EVENT_FIELDS.values()))


def _counter(name: str, text: str, *labels: Label) -> Family:
    """Describe a register of the driver, read at scrape."""
    return counter(f"inferometer_gpu_{name}", text, *labels)


def _kept(name: str, text: str, *labels: Label) -> Family:
    """Describe a counter that the exporter keeps, so that it survives the exporter's end."""
    return counter(f"inferometer_gpu_{name}", text, *labels, by=BY)


def _gauge(name: str, text: str, *labels: Label) -> Family:
    return gauge(f"inferometer_gpu_{name}", text, *labels, merge="max", absent=True)


FAMILIES = (
    info(
        "inferometer_gpu_info",
        "1, with what is known of a GPU; kind is gpu, or mig for an instance.",
        *map(
            Label,
            (
                "gpu_uuid", "index", "name", "pci_bus_id", "driver_version", "cuda_version",
                "compute_capability", "cuda_visible_index", "kind", "parent_gpu_uuid", "simulated",
            ),
        ),
    ),
    _gauge("devices", "GPUs there are; 0 without a driver."),
    _gauge("visible", "1 if this server's processes may use the GPU.", GPU),
    _gauge("up", "1 if the last reading of the GPU succeeded, else 0.", GPU),
    _gauge("memory_total_bytes", "Memory.", GPU),
    _gauge("memory_reserved_bytes", "Memory that driver and firmware keep for themselves.", GPU),
    _gauge("memory_used_bytes", "Memory in use, without what is reserved.", GPU),
    _gauge("memory_free_bytes", "Memory free.", GPU),
    _kept("busy_seconds_total", "Time in which a kernel was resident: busy, not efficient.", GPU),
    _kept("memory_busy_seconds_total", "Time in which memory was being read or written.", GPU),
    _gauge("utilization_ratio", "Share of the last moment in which a kernel was resident.", GPU),
    _gauge("memory_utilization_ratio", "The same of memory traffic.", GPU),
    _counter("energy_joules_total", "Energy used.", GPU),
    _gauge("power_watts", "Power drawn now.", GPU),
    _gauge("power_limit_watts", "Power the GPU may draw.", GPU),
    _gauge("temperature_celsius", "Temperature.", GPU, Label("sensor", ("gpu", "memory"))),
    _gauge(
        "temperature_threshold_celsius",
        "Temperature at which the GPU acts.",
        GPU, Label("threshold", tuple(names.THRESHOLDS)),
    ),
    _gauge("clock_hertz", "Clock rate now.", GPU, CLOCK),
    _gauge("clock_max_hertz", "Highest clock rate.", GPU, CLOCK),
    _gauge("performance_state", "Performance state, 0 the fastest to 15.", GPU),
    _gauge("fan_ratio", "Speed of the fastest fan, of its full speed.", GPU),
    _gauge("clock_event_active", "1 while the reason holds the clocks down.", GPU, REASON),
    _counter("clock_event_seconds_total", "Time in which the reason did.", GPU, TIMED_REASON),
    _counter("pcie_transmit_bytes_total", "Bytes the GPU has sent over PCIe.", GPU),
    _counter("pcie_receive_bytes_total", "Bytes the GPU has received over PCIe.", GPU),
    _counter("pcie_replays_total", "Packets that had to be sent again over PCIe.", GPU),
    _counter("nvlink_transmit_bytes_total", "Bytes sent over all NVLinks.", GPU),
    _counter("nvlink_receive_bytes_total", "Bytes received over all NVLinks.", GPU),
    _counter(
        "ecc_errors_total",
        "Memory errors since the driver was loaded.",
        GPU, Label("severity", tuple(names.SEVERITIES)),
    ),
    _gauge(
        "remapped_rows",
        "Memory rows that were replaced.",
        GPU, Label("cause", ("correctable", "uncorrectable")),
    ),
    _gauge("row_remap_pending", "1 if a row will be replaced at the next reset.", GPU),
    _gauge("row_remap_failed", "1 if a row could not be replaced: the GPU is to be changed.", GPU),
    _kept("xid_errors_total", "Errors that the driver reported, by XID.", GPU, Label("xid")),
    replace(
        gauge(
            "inferometer_gpu_xid_last_timestamp_seconds",
            "When the driver last reported the error.",
            GPU, Label("xid"), by=BY, merge="max", absent=True,
        ),
        outlives_process=True,
    ),
    _gauge("sm_active_ratio", "Multiprocessors with work, mean since the last reading.", GPU),
    _gauge("sm_occupancy_ratio", "Warps resident, of the most there can be, likewise.", GPU),
    _gauge("tensor_active_ratio", "Time in which the tensor cores worked, likewise.", GPU),
    _gauge("dram_active_ratio", "Time in which memory was being moved, likewise.", GPU),
    _gauge("processes", "Processes that compute on the GPU.", GPU),
    _gauge("serving_memory_used_bytes", "Memory this server's processes hold.", GPU),
    _gauge("other_memory_used_bytes", "Memory in use by anything else.", GPU),
    _kept(
        "serving_sm_busy_seconds_total",
        "Time of the multiprocessors that this server's processes had; small loads read low.",
        GPU,
    ),
    _gauge("collect_duration_seconds", "How long the last reading of all GPUs took."),
    _gauge("last_success_timestamp_seconds", "When the GPUs were last read."),
    _gauge("collect_stuck", "1 while the driver does not return from a call."),
    _kept("errors_total", "Errors of the driver, and false values.", Label("error", ERRORS)),
)  # fmt: skip
