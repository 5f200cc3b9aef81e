"""The dashboard that asks: what the device does meanwhile."""

from grafana.model import Dashboard, Panel, Row, Target

_STATE = Row(
    "State",
    (
        Panel(
            "GPUs",
            "stat",
            "none",
            "Each once, however many replicas share it. 0: no driver or library, which is no failure.",
            (
                Target(
                    'count(count by (gpu_uuid) (inferometer_gpu_info{SG, kind="gpu"})) or on () MARK',
                    "all",
                    "vvxv!v",
                ),
                Target(
                    "min(inferometer_gpu_devices{SI}) or on () MARK", "fewest on a host", "vv0v!v"
                ),
            ),
            absent="no GPU here, or one that does not tell this",
        ),
        Panel(
            "Age of the readings",
            "stat",
            "s",
            "Readings older than three intervals are dropped.",
            (
                Target(
                    "time() - min(inferometer_gpu_last_success_timestamp_seconds{SI}) or on () MARK",
                    "",
                    "vvxv!v",
                ),
            ),
            absent="no GPU here, or one that does not tell this",
        ),
        Panel(
            "Collector stuck",
            "stat",
            "none",
            "1: a driver call hangs; serving goes on.",
            (
                Target(
                    "max(inferometer_gpu_collect_stuck{SI}) or on () MARK",
                    "",
                    "0000!0",
                ),
            ),
            absent="no GPU here, or one that does not tell this",
            thresholds=((1.0, "red"),),
        ),
        Panel(
            "Devices",
            "table",
            "none",
            "One row per GPU or MIG instance, at most 100, those that do not answer first; visible: used by this server.",
            (
                Target(
                    "max by (instance, index, gpu_uuid, name, driver_version, simulated) (inferometer_gpu_info{SG}) and on (instance, gpu_uuid) LISTED_GPUS",
                    "",
                    "vv-v-v",
                ),
                Target(
                    "max by (instance, gpu_uuid) (inferometer_gpu_up{SG}) and on (instance, gpu_uuid) LISTED_GPUS",
                    "answers",
                    "vv-v-v",
                ),
                Target(
                    "max by (instance, gpu_uuid) (inferometer_gpu_visible{SG}) and on (instance, gpu_uuid) LISTED_GPUS",
                    "visible",
                    "vv-v-v",
                ),
                Target(
                    "max by (instance, gpu_uuid) (inferometer_gpu_processes{SG}) and on (instance, gpu_uuid) LISTED_GPUS",
                    "processes",
                    "**-*-0",
                ),
                Target(
                    "max by (instance, gpu_uuid) (inferometer_gpu_performance_state{SG}) and on (instance, gpu_uuid) LISTED_GPUS",
                    "performance state",
                    "**-*-v",
                ),
            ),
            absent="no GPU here, or one that does not tell this",
        ),
        Panel(
            "Clocks held back by",
            "state timeline",
            "none",
            "Reasons that there were in the range, but for idleness; hw_ reasons are heat or power supply.",
            (
                Target(
                    'max by (gpu_uuid, reason) (inferometer_gpu_clock_event_active{SG, reason!="idle"}) and on (gpu_uuid, reason) max by (gpu_uuid, reason) (max_over_time(inferometer_gpu_clock_event_active{SG, reason!="idle"}[$__range] @ end())) > 0 and on (gpu_uuid) topk(8, max by (gpu_uuid) (avg_over_time(inferometer_gpu_clock_event_active{SG, reason!~"idle|application_clocks"}[$__range] @ end())))',
                    "{{gpu_uuid}} {{reason}}",
                    "-----v",
                ),
            ),
            absent="nothing holds them back, or there is no GPU that tells this",
        ),
        Panel(
            "Time held back",
            "timeseries",
            "percentunit",
            "Share of time, from the driver's counters.",
            (
                Target(
                    "max by (gpu_uuid, reason) (rate(inferometer_gpu_clock_event_seconds_total{SG}[RI])) and on (gpu_uuid) WORST_GPUS(inferometer_gpu_clock_event_seconds_total{SG})",
                    "{{gpu_uuid}} {{reason}}",
                    "**-*-v",
                ),
            ),
            absent="no GPU here, or one that does not tell this",
        ),
    ),
)

_USE = Row(
    "Use",
    (
        Panel(
            "Busy",
            "timeseries",
            "percentunit",
            "A kernel was resident; memory was read or written. Not work done.",
            (
                Target(
                    "max by (gpu_uuid) (rate(inferometer_gpu_busy_seconds_total{SG}[RI])) and on (gpu_uuid) BUSIEST_GPUS",
                    "{{gpu_uuid}} computing",
                    "v0-v--",
                ),
                Target(
                    "max by (gpu_uuid) (rate(inferometer_gpu_memory_busy_seconds_total{SG}[RI])) and on (gpu_uuid) BUSIEST_GPUS",
                    "{{gpu_uuid}} memory",
                    "v0-v--",
                ),
            ),
            absent="no GPU here, or one that does not tell this",
        ),
        Panel(
            "Utilisation as nvidia-smi shows it",
            "timeseries",
            "percentunit",
            "A glimpse of under a second.",
            (
                Target(
                    "max by (gpu_uuid) (inferometer_gpu_utilization_ratio{SG}) and on (gpu_uuid) BUSIEST_GPUS",
                    "{{gpu_uuid}} computing",
                    "v0-v-v",
                ),
                Target(
                    "max by (gpu_uuid) (inferometer_gpu_memory_utilization_ratio{SG}) and on (gpu_uuid) BUSIEST_GPUS",
                    "{{gpu_uuid}} memory",
                    "v0-v-v",
                ),
            ),
            absent="no GPU here, or one that does not tell this",
        ),
        Panel(
            "Work done",
            "timeseries",
            "percentunit",
            "How much of the device works, by its profiling counters: Hopper and newer.",
            (
                Target(
                    "max by (gpu_uuid) (inferometer_gpu_sm_active_ratio{SG}) and on (gpu_uuid) WORST_GPUS(inferometer_gpu_sm_active_ratio{SG})",
                    "{{gpu_uuid}} SM active",
                    "v0-v-v",
                ),
                Target(
                    "max by (gpu_uuid) (inferometer_gpu_sm_occupancy_ratio{SG}) and on (gpu_uuid) WORST_GPUS(inferometer_gpu_sm_active_ratio{SG})",
                    "{{gpu_uuid}} SM occupancy",
                    "v0-v-v",
                ),
                Target(
                    "max by (gpu_uuid) (inferometer_gpu_tensor_active_ratio{SG}) and on (gpu_uuid) WORST_GPUS(inferometer_gpu_sm_active_ratio{SG})",
                    "{{gpu_uuid}} tensor",
                    "v0-v-v",
                ),
                Target(
                    "max by (gpu_uuid) (inferometer_gpu_dram_active_ratio{SG}) and on (gpu_uuid) WORST_GPUS(inferometer_gpu_sm_active_ratio{SG})",
                    "{{gpu_uuid}} DRAM",
                    "v0-v-v",
                ),
            ),
            absent="no GPU here, or one that does not tell this",
        ),
        Panel(
            "Our share",
            "timeseries",
            "percentunit",
            "By the driver, and by the runner's own clock (real GPU only).",
            (
                Target(
                    "sum by (gpu_uuid) (rate(inferometer_gpu_serving_sm_busy_seconds_total{SG}[RI])) and on (gpu_uuid) BUSIEST_GPUS",
                    "{{gpu_uuid}} driver's",
                    "*0-*--",
                ),
                Target(
                    'sum by (device) (rate(inferometer_device_active_seconds_total{SI, device!="cpu"}[RI])) and on (device) topk(8, sum by (device) (increase(inferometer_device_active_seconds_total{SI, device!="cpu"}[$__range] @ end())))',
                    "{{device}} runner's",
                    "------",
                ),
            ),
            absent="no GPU here, or one that does not tell this",
        ),
        Panel(
            "Rows per busy second",
            "timeseries",
            "short",
            "Efficiency: falls when batches are small. Of visible GPUs.",
            (
                Target(
                    "sum by (job) (rate(inferometer_rows_total{SI}[RI]) and on (job, instance) inferometer_gpu_visible{SG} == 1) / on (job) (sum by (job) (max by (job, gpu_uuid) (rate(inferometer_gpu_busy_seconds_total{SG}[RI]) and on (job, instance, gpu_uuid) inferometer_gpu_visible{SG} == 1)) > 0)",
                    "{{job}}",
                    "v--v--",
                ),
            ),
            absent="no GPU here, or one that does not tell this",
        ),
    ),
)

_MEMORY = Row(
    "Memory",
    (
        Panel(
            "Memory",
            "timeseries",
            "bytes",
            "Ours, others', driver's, free.",
            (
                Target(
                    "sum by (gpu_uuid) (inferometer_gpu_serving_memory_used_bytes{SG}) and on (gpu_uuid) WORST_GPUS(inferometer_gpu_memory_used_bytes{SG})",
                    "{{gpu_uuid}} ours",
                    "vv-v-0",
                ),
                Target(
                    "clamp_min(max by (gpu_uuid) (inferometer_gpu_serving_memory_used_bytes{SG} + inferometer_gpu_other_memory_used_bytes{SG}) - sum by (gpu_uuid) (inferometer_gpu_serving_memory_used_bytes{SG}), 0) and on (gpu_uuid) WORST_GPUS(inferometer_gpu_memory_used_bytes{SG})",
                    "{{gpu_uuid}} others'",
                    "00-*-v",
                ),
                Target(
                    "max by (gpu_uuid) (inferometer_gpu_memory_reserved_bytes{SG}) and on (gpu_uuid) WORST_GPUS(inferometer_gpu_memory_used_bytes{SG})",
                    "{{gpu_uuid}} driver's",
                    "vv-v-v",
                ),
                Target(
                    "max by (gpu_uuid) (inferometer_gpu_memory_free_bytes{SG}) and on (gpu_uuid) WORST_GPUS(inferometer_gpu_memory_used_bytes{SG})",
                    "{{gpu_uuid}} free",
                    "vv-v-v",
                ),
            ),
            absent="no GPU here, or one that does not tell this",
            is_stacked=True,
        ),
        Panel(
            "Memory used",
            "timeseries",
            "percentunit",
            "TensorFlow may hold more than it needs.",
            (
                Target(
                    "max by (gpu_uuid) (inferometer_gpu_memory_used_bytes{SG} / inferometer_gpu_memory_total_bytes{SG}) and on (gpu_uuid) WORST_GPUS(inferometer_gpu_memory_used_bytes{SG})",
                    "{{gpu_uuid}}",
                    "vv-v-v",
                ),
            ),
            absent="no GPU here, or one that does not tell this",
        ),
    ),
)

_POWER = Row(
    "Power",
    (
        Panel(
            "Power",
            "timeseries",
            "watt",
            "From the energy counter, measured, limit.",
            (
                Target(
                    "max by (gpu_uuid) (rate(inferometer_gpu_energy_joules_total{SG}[RI])) and on (gpu_uuid) BUSIEST_GPUS",
                    "{{gpu_uuid}} from energy",
                    "vv-v-v",
                ),
                Target(
                    "max by (gpu_uuid) (inferometer_gpu_power_watts{SG}) and on (gpu_uuid) BUSIEST_GPUS",
                    "{{gpu_uuid}} measured",
                    "vv-v-v",
                ),
                Target(
                    "max by (gpu_uuid) (inferometer_gpu_power_limit_watts{SG}) and on (gpu_uuid) BUSIEST_GPUS",
                    "{{gpu_uuid}} limit",
                    "vv-v-v",
                ),
            ),
            absent="no GPU here, or one that does not tell this",
        ),
        Panel(
            "Energy per row",
            "timeseries",
            "joule",
            "Visible GPUs, idle power included.",
            (Target("job:inferometer_gpu_energy_per_row_joules:ratio5m{RJ}", "{{job}}", "v--v--"),),
            absent="no GPU here, or one that does not tell this",
        ),
        Panel(
            "Temperature",
            "timeseries",
            "celsius",
            "And where the device slows itself down and shuts itself off.",
            (
                Target(
                    'max by (gpu_uuid, sensor) (inferometer_gpu_temperature_celsius{SG}) and on (gpu_uuid) WORST_GPUS(inferometer_gpu_temperature_celsius{SG, sensor="gpu"})',
                    "{{gpu_uuid}} {{sensor}}",
                    "vv-v-v",
                ),
                Target(
                    'max by (gpu_uuid, threshold) (inferometer_gpu_temperature_threshold_celsius{SG, threshold=~"slowdown|shutdown"}) and on (gpu_uuid) WORST_GPUS(inferometer_gpu_temperature_celsius{SG, sensor="gpu"})',
                    "{{gpu_uuid}} limit: {{threshold}}",
                    "vv-v-v",
                ),
            ),
            absent="no GPU here, or one that does not tell this",
        ),
        Panel(
            "Clocks",
            "timeseries",
            "hertz",
            "Far below the maximum under load: held back.",
            (
                Target(
                    'max by (gpu_uuid, clock) (inferometer_gpu_clock_hertz{SG, clock=~"sm|memory"}) and on (gpu_uuid) BUSIEST_GPUS',
                    "{{gpu_uuid}} {{clock}}",
                    "vv-v-v",
                ),
                Target(
                    'max by (gpu_uuid, clock) (inferometer_gpu_clock_max_hertz{SG, clock=~"sm|memory"}) and on (gpu_uuid) BUSIEST_GPUS',
                    "{{gpu_uuid}} {{clock}} most",
                    "vv-v-v",
                ),
            ),
            absent="no GPU here, or one that does not tell this",
        ),
        Panel(
            "Fan",
            "timeseries",
            "percentunit",
            "Absent on passive boards.",
            (
                Target(
                    "max by (gpu_uuid) (inferometer_gpu_fan_ratio{SG}) and on (gpu_uuid) WORST_GPUS(inferometer_gpu_fan_ratio{SG})",
                    "{{gpu_uuid}}",
                    "**-*-v",
                ),
            ),
            absent="no GPU here, or one that does not tell this",
        ),
    ),
)

_LINKS = Row(
    "Links",
    (
        Panel(
            "PCIe",
            "timeseries",
            "Bps",
            "Bytes over PCIe as the GPU sees them; inputs go there with every batch.",
            (
                Target(
                    "max by (gpu_uuid) (rate(inferometer_gpu_pcie_transmit_bytes_total{SG}[RI])) and on (gpu_uuid) BUSIEST_GPUS",
                    "{{gpu_uuid}} sent",
                    "v0-v-0",
                ),
                Target(
                    "max by (gpu_uuid) (rate(inferometer_gpu_pcie_receive_bytes_total{SG}[RI])) and on (gpu_uuid) BUSIEST_GPUS",
                    "{{gpu_uuid}} received",
                    "v0-v-0",
                ),
            ),
            absent="no GPU here, or one that does not tell this",
        ),
        Panel(
            "NVLink",
            "timeseries",
            "Bps",
            "Absent without NVLink.",
            (
                Target(
                    "max by (gpu_uuid) (rate(inferometer_gpu_nvlink_transmit_bytes_total{SG}[RI])) and on (gpu_uuid) BUSIEST_GPUS",
                    "{{gpu_uuid}} sent",
                    "**-*-0",
                ),
                Target(
                    "max by (gpu_uuid) (rate(inferometer_gpu_nvlink_receive_bytes_total{SG}[RI])) and on (gpu_uuid) BUSIEST_GPUS",
                    "{{gpu_uuid}} received",
                    "**-*-0",
                ),
            ),
            absent="no GPU here, or one that does not tell this",
        ),
    ),
)

_FAULTS = Row(
    "Faults",
    (
        Panel(
            "Memory errors, replays",
            "timeseries",
            "short",
            "One uncorrected error is one too many.",
            (
                Target(
                    "max by (gpu_uuid, severity) (increase(inferometer_gpu_ecc_errors_total{SG}[RI])) and on (gpu_uuid) WORST_GPUS(inferometer_gpu_ecc_errors_total{SG})",
                    "{{gpu_uuid}} {{severity}}",
                    "00-0-*",
                ),
                Target(
                    "max by (gpu_uuid) (increase(inferometer_gpu_pcie_replays_total{SG}[RI])) and on (gpu_uuid) WORST_GPUS(inferometer_gpu_pcie_replays_total{SG})",
                    "{{gpu_uuid}} PCIe replays",
                    "00-0-0",
                ),
            ),
            absent="no GPU here, or one that does not tell this",
        ),
        Panel(
            "Rows remapped",
            "timeseries",
            "short",
            "Pending needs a reset, failed a new GPU.",
            (
                Target(
                    "max by (gpu_uuid, cause) (inferometer_gpu_remapped_rows{SG}) and on (gpu_uuid) WORST_GPUS(inferometer_gpu_remapped_rows{SG})",
                    "{{gpu_uuid}} {{cause}}",
                    "00-0-v",
                ),
                Target(
                    "max by (gpu_uuid) (inferometer_gpu_row_remap_pending{SG}) and on (gpu_uuid) WORST_GPUS(inferometer_gpu_row_remap_pending{SG})",
                    "{{gpu_uuid}} pending",
                    "00-0-v",
                ),
                Target(
                    "max by (gpu_uuid) (inferometer_gpu_row_remap_failed{SG}) and on (gpu_uuid) WORST_GPUS(inferometer_gpu_row_remap_failed{SG})",
                    "{{gpu_uuid}} failed",
                    "00-0-0",
                ),
            ),
            absent="no GPU here, or one that does not tell this",
        ),
        Panel(
            "XID errors",
            "table",
            "none",
            "Number and last time since the exporter started.",
            (
                Target(
                    "max by (gpu_uuid, xid) (inferometer_gpu_xid_errors_total{SG}) > 0",
                    "errors",
                    "-----v",
                    unit="short",
                ),
                Target(
                    "1000 * max by (gpu_uuid, xid) (inferometer_gpu_xid_last_timestamp_seconds{SG})",
                    "last",
                    "-----v",
                    unit="dateTimeAsIso",
                ),
            ),
            absent="none since the exporter started",
            sorted_by="last",
        ),
        Panel(
            "Collector",
            "timeseries",
            "s",
            "Duration; errors per second by kind.",
            (
                Target(
                    "max by (instance) (inferometer_gpu_collect_duration_seconds{SI}) and on (instance) topk(5, max by (instance) (max_over_time(inferometer_gpu_collect_duration_seconds{SI}[$__range] @ end())))",
                    "{{instance}} duration",
                    "vv-v-v",
                    unit="s",
                ),
                Target(
                    "sum by (error) (rate(inferometer_gpu_errors_total{SI}[RI]))",
                    "{{error}} errors",
                    "0000-v",
                    unit="ops",
                ),
            ),
            absent="no GPU here, or one that does not tell this",
        ),
    ),
)

GPU = Dashboard(
    "gpu",
    "Inferometer: GPU",
    "What the device does meanwhile?",
    (_STATE, _USE, _MEMORY, _POWER, _LINKS, _FAULTS),
    variables=("job", "instance", "model", "version", "gpu", "filters"),
)
