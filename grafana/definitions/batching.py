"""The dashboard that asks: how full, what limits."""

from grafana.model import Dashboard, Panel, Row, Target

_QUEUE = Row(
    "Queue",
    (
        Panel(
            "Rows waiting and their limit",
            "timeseries",
            "short",
            "Of one replica; at the limit requests are refused.",
            (
                Target("max by (model) (inferometer_queue_rows{SM})", "{{model}} most", "*0**-"),
                Target("avg by (model) (inferometer_queue_rows{SM})", "{{model}} mean", "*0**-"),
                Target(
                    "max by (model) (inferometer_queue_rows{SM} / (inferometer_queue_limit_rows{SM} > 0))",
                    "{{model}} of the limit, fullest",
                    "*0**-",
                    unit="percentunit",
                ),
            ),
        ),
        Panel(
            "Age of the oldest row",
            "timeseries",
            "s",
            "Grows while the runner hangs.",
            (
                Target(
                    "max by (model) (inferometer_queue_oldest_age_seconds{SM})",
                    "{{model}}",
                    "*0**-",
                ),
            ),
        ),
        Panel(
            "Predicted wait",
            "timeseries",
            "s",
            "What admission control expects of a new row.",
            (
                Target(
                    "max by (model) (inferometer_predicted_wait_seconds{SM})", "{{model}}", "*0**-"
                ),
            ),
        ),
        Panel(
            "Time in the queue",
            "timeseries",
            "s",
            "p50 and p99 of the waiting alone; it grows before requests are refused.",
            (
                Target(
                    'histogram_quantile(0.5, sum by (le) (rate(inferometer_request_phase_seconds_bucket{S, phase="queue"}[RI])))',
                    "p50",
                    "vnvv-",
                ),
                Target(
                    'histogram_quantile(0.99, sum by (le) (rate(inferometer_request_phase_seconds_bucket{S, phase="queue"}[RI])))',
                    "p99",
                    "vnvv-",
                ),
            ),
        ),
        Panel(
            "Refused and late",
            "timeseries",
            "reqps",
            "What overload and restarts cost callers.",
            (
                Target(
                    'sum by (reason) (rate(inferometer_request_failures_total{S, reason=~"queue_full|predicted_late|deadline_exceeded|draining|loading|runner_lost"}[RI]))',
                    "{{reason}}",
                    "v0vv-",
                ),
            ),
            is_stacked=True,
        ),
        Panel(
            "Little's law",
            "timeseries",
            "short",
            "Requests in flight, computed and counted; they agree, with all versions chosen, unless a metric is wrong.",
            (
                Target(
                    "sum(rate(inferometer_request_duration_seconds_sum{S}[RI]))",
                    "rate × duration",
                    "v0vv-",
                ),
                Target("sum(inferometer_requests_in_flight{SM})", "counted", "*0**-"),
            ),
        ),
    ),
)

_BATCHES = Row(
    "Batches",
    (
        Panel(
            "Rows per batch",
            "heatmap",
            "short",
            "Real rows, without padding.",
            (Target("sum by (le) (rate(inferometer_batch_rows_bucket{S}[RI]))", "", "v0vv-"),),
        ),
        Panel(
            "Mean rows per batch",
            "timeseries",
            "short",
            "1 under load: shapes differ.",
            (
                Target(
                    "sum by (model, version) (rate(inferometer_batch_rows_sum{S}[RI])) / (sum by (model, version) (rate(inferometer_batch_rows_count{S}[RI])) > 0)",
                    "{{model}} {{version}}",
                    "v-vv-",
                ),
            ),
        ),
        Panel(
            "Why batches leave",
            "timeseries",
            "ops",
            "Idle: capacity left; full: none.",
            (
                Target(
                    "sum by (trigger) (rate(inferometer_batches_total{S}[RI]))",
                    "{{trigger}}",
                    "v0vv-",
                ),
            ),
            is_stacked=True,
        ),
        Panel(
            "Padding",
            "timeseries",
            "percentunit",
            "Share of computed rows that are filling.",
            (
                Target(
                    "sum by (model) (rate(inferometer_batch_padding_rows_total{S}[RI])) / (sum by (model) (rate(inferometer_batch_padding_rows_total{S}[RI])) + sum by (model) (rate(inferometer_batch_rows_sum{S}[RI])) > 0)",
                    "{{model}}",
                    "v-vv-",
                ),
            ),
        ),
        Panel(
            "Device call",
            "timeseries",
            "s",
            "p50 and p99 of the computation of one batch.",
            (
                Target(
                    "histogram_quantile(0.5, sum by (le) (rate(inferometer_batch_compute_seconds_bucket{S}[RI])))",
                    "p50",
                    "vnvv-",
                ),
                Target(
                    "histogram_quantile(0.99, sum by (le) (rate(inferometer_batch_compute_seconds_bucket{S}[RI])))",
                    "p99",
                    "vnvv-",
                ),
            ),
        ),
        Panel(
            "Compute time per row",
            "timeseries",
            "s",
            "Falls as batches fill.",
            (
                Target(
                    "sum by (model, version) (rate(inferometer_batch_compute_seconds_sum{S}[RI])) / (sum by (model, version) (rate(inferometer_batch_rows_sum{S}[RI])) > 0)",
                    "{{model}} {{version}}",
                    "v-vv-",
                ),
            ),
        ),
        Panel(
            "Traces after warm-up",
            "timeseries",
            "short",
            "Each delays a whole batch.",
            (
                Target(
                    "sum by (model, version) (increase(inferometer_model_traces_total{S}[RI]))",
                    "{{model}} {{version}}",
                    "0000-",
                ),
            ),
        ),
        Panel(
            "Bad rows sought",
            "timeseries",
            "short",
            "Rows of failed batches that are computed again, alone, to find the one that fails.",
            (
                Target(
                    "sum by (model, version) (increase(inferometer_batch_retries_total{S}[RI]))",
                    "{{model}} {{version}}",
                    "0000-",
                ),
            ),
        ),
        Panel(
            "Runner stalled, age of the last batch",
            "timeseries",
            "s",
            "1 while a batch takes too long; and how long ago a version finished one.",
            (
                Target("max(inferometer_runner_stalled{SI})", "stalled", "000*-", unit="none"),
                Target(
                    'time() - max by (model, version) (inferometer_model_last_batch_timestamp_seconds{S} and on (job, instance, model, version) inferometer_model_state{S, state="ready"} == 1)',
                    "{{model}} {{version}}",
                    "v-vv-",
                ),
            ),
        ),
    ),
)

_SATURATION = Row(
    "Saturation",
    (
        Panel(
            "Device busy",
            "timeseries",
            "percentunit",
            "Share of time in which each device computes; 1 is no headroom. Of runners that share it the mean.",
            (
                Target(
                    "clamp_max(sum by (job, instance, device) (rate(inferometer_device_active_seconds_total{SI}[RI])) / sum by (job, instance, device) (max_over_time(inferometer_device_runners{SI}[RI]) > 0), 1) and on (job, instance, device) topk(20, sum by (job, instance, device) (increase(inferometer_device_active_seconds_total{SI}[$__range] @ end())))",
                    "{{instance}} {{device}}",
                    "v0vv-",
                ),
            ),
        ),
        Panel(
            "Device time by model",
            "timeseries",
            "none",
            "Devices' worth of computing, over all replicas; models beside each other are each counted.",
            (
                Target(
                    "sum by (model) (rate(inferometer_device_busy_seconds_total{S}[RI]))",
                    "{{model}}",
                    "v0vv-",
                ),
            ),
            is_stacked=True,
        ),
        Panel(
            "Connections not accepted",
            "timeseries",
            "short",
            "Held by the kernel; this wait is in no latency figure.",
            (
                Target(
                    "max by (job, instance) (inferometer_listen_backlog_connections{SI}) and on (job, instance) topk(20, max by (job, instance) (max_over_time(inferometer_listen_backlog_connections{SI}[$__range] @ end())))",
                    "{{instance}}",
                    "*0**-",
                ),
            ),
            thresholds=((16.0, "red"),),
        ),
        Panel(
            "Processes",
            "timeseries",
            "short",
            "Of a replica, by role: where fewest are alive, and where most. No runner: nothing is predicted.",
            (
                Target("min by (role) (inferometer_processes{SI})", "{{role}} fewest", "vvvv-"),
                Target("max by (role) (inferometer_processes{SI})", "{{role}} most", "vvvv-"),
            ),
        ),
        Panel(
            "Process exits and starts",
            "timeseries",
            "short",
            "Signal: killed; timeout: hung.",
            (
                Target(
                    "sum by (role, cause) (increase(inferometer_process_exits_total{SI}[RI]))",
                    "{{role}} ended: {{cause}}",
                    "000v-",
                ),
                Target(
                    "sum by (role) (increase(inferometer_process_starts_total{SI}[RI]))",
                    "{{role}} started",
                    "000*-",
                ),
            ),
        ),
        Panel(
            "Processor time by role",
            "timeseries",
            "short",
            "Processor cores in use, per replica: largest and mean. Front-ends at their cores: add workers.",
            (
                Target(
                    "max by (role) (sum by (job, instance, role) (rate(inferometer_process_cpu_seconds_total{SI}[RI])))",
                    "{{role}} largest",
                    "vvvv-",
                ),
                Target(
                    "avg by (role) (sum by (job, instance, role) (rate(inferometer_process_cpu_seconds_total{SI}[RI])))",
                    "{{role}} mean",
                    "vvvv-",
                ),
            ),
        ),
        Panel(
            "Memory by role",
            "timeseries",
            "bytes",
            "Per replica: largest and mean.",
            (
                Target(
                    "max by (role) (inferometer_process_resident_memory_bytes{SI})",
                    "{{role}} largest",
                    "vvvv-",
                ),
                Target(
                    "avg by (role) (inferometer_process_resident_memory_bytes{SI})",
                    "{{role}} mean",
                    "vvvv-",
                ),
            ),
        ),
        Panel(
            "Open files by role",
            "timeseries",
            "short",
            "Largest of all replicas.",
            (Target("max by (role) (inferometer_process_open_fds{SI})", "{{role}}", "vvvv-"),),
        ),
    ),
)

BATCHING = Dashboard(
    "batching",
    "Inferometer: batching and saturation",
    "How full, what limits?",
    (_QUEUE, _BATCHES, _SATURATION),
    variables=("job", "instance", "model", "version", "filters"),
)
