"""The dashboard that asks: where each millisecond goes."""

from grafana.model import Dashboard, Panel, Row, Target

_PHASES = Row(
    "Phases",
    (
        Panel(
            "Mean time by phase",
            "timeseries",
            "s",
            "The stack's height is the mean latency.",
            (
                Target(
                    "sum by (phase) (rate(inferometer_request_phase_seconds_sum{S}[RI])) / on () group_left () (sum(rate(inferometer_request_duration_seconds_count{S}[RI])) > 0)",
                    "{{phase}}",
                    "v-vv-",
                ),
            ),
            is_stacked=True,
        ),
        Panel(
            "Share of time by phase",
            "timeseries",
            "percentunit",
            "The same as shares of the whole: they add to 1.",
            (
                Target(
                    "sum by (phase) (rate(inferometer_request_phase_seconds_sum{S}[RI])) / on () group_left () (sum(rate(inferometer_request_phase_seconds_sum{S}[RI])) > 0)",
                    "{{phase}}",
                    "v-vv-",
                ),
            ),
            is_stacked=True,
        ),
        Panel(
            "p99 by phase",
            "timeseries",
            "s",
            "Percentiles do not add up.",
            (
                Target(
                    "histogram_quantile(0.99, sum by (phase, le) (rate(inferometer_request_phase_seconds_bucket{S}[RI])))",
                    "p99 {{phase}}",
                    "vnvv-",
                ),
            ),
            has_exemplars=True,
        ),
        Panel(
            "Total minus phases",
            "timeseries",
            "s",
            "Time nobody accounts for: 0 by construction. A moment of it where failures begin is extrapolation, what lasts is a defect.",
            (
                Target(
                    "(sum(rate(inferometer_request_duration_seconds_sum{S}[RI])) - sum(rate(inferometer_request_phase_seconds_sum{S}[RI]))) / (sum(rate(inferometer_request_duration_seconds_count{S}[RI])) > 0)",
                    "unaccounted",
                    "*-**-",
                ),
            ),
        ),
    ),
)

_SHAPE = Row(
    "Shape",
    (
        Panel(
            "Latency distribution",
            "heatmap",
            "s",
            "Two bands are two kinds of request.",
            (
                Target(
                    "sum by (le) (rate(inferometer_request_duration_seconds_bucket{S}[RI]))",
                    "",
                    "v0vv-",
                ),
            ),
            has_exemplars=True,
        ),
        Panel(
            "Time in the queue",
            "heatmap",
            "s",
            "Time that rows wait for their batch, and nothing else.",
            (
                Target(
                    'sum by (le) (rate(inferometer_request_phase_seconds_bucket{S, phase="queue"}[RI]))',
                    "",
                    "v0vv-",
                ),
            ),
            has_exemplars=True,
        ),
        Panel(
            "Slower than",
            "bar gauge",
            "percentunit",
            "Share of requests above each boundary over the range.",
            (
                Target(
                    'sort_desc(1 - sum by (le) (increase(inferometer_request_duration_seconds_bucket{S, le!~"[+]Inf|10.0"}[$__range])) / on () group_left () (sum(increase(inferometer_request_duration_seconds_count{S}[$__range])) > 0))',
                    "{{le}} s",
                    "v-vv-",
                ),
            ),
        ),
    ),
)

_COMPARE = Row(
    "Compare",
    (
        Panel(
            "p99 by version",
            "timeseries",
            "s",
            "Judge a canary here and under quality.",
            (
                Target(
                    "histogram_quantile(0.99, sum by (model, version, le) (rate(inferometer_request_duration_seconds_bucket{S}[RI])))",
                    "p99 {{model}} {{version}}",
                    "vnvv-",
                ),
            ),
        ),
        Panel(
            "p99 by outcome",
            "timeseries",
            "s",
            "Failures have a latency too.",
            (
                Target(
                    "histogram_quantile(0.99, sum by (outcome, le) (rate(inferometer_request_duration_seconds_bucket{S}[RI])))",
                    "p99 {{outcome}}",
                    "vnvv-",
                ),
            ),
        ),
        Panel(
            "p99 now and a week ago",
            "timeseries",
            "s",
            "Same hour, a week earlier.",
            (
                Target(
                    "histogram_quantile(0.99, sum by (le) (rate(inferometer_request_duration_seconds_bucket{S}[RI])))",
                    "now",
                    "vnvv-",
                ),
                Target(
                    "histogram_quantile(0.99, sum by (le) (rate(inferometer_request_duration_seconds_bucket{S}[RI] offset 1w)))",
                    "a week ago",
                    "-----",
                ),
            ),
        ),
        Panel(
            "Slowest replicas",
            "timeseries",
            "s",
            "90th percentile of the five slowest. One alone: look at its device.",
            (
                Target(
                    "histogram_quantile(0.9, sum by (job, instance, le) (rate(inferometer_request_duration_seconds_bucket{S}[RI]))) and on (job, instance) topk(5, histogram_quantile(0.9, sum by (job, instance, le) (increase(inferometer_request_duration_seconds_bucket{S}[$__range] @ end()))))",
                    "p90 {{instance}}",
                    "vnvv-",
                ),
            ),
        ),
        Panel(
            "Size of requests and replies",
            "timeseries",
            "bytes",
            "P99; large bodies explain parse and render.",
            (
                Target(
                    "histogram_quantile(0.99, sum by (le) (rate(inferometer_request_size_bytes_bucket{SM}[RI])))",
                    "requests",
                    "vnvv-",
                ),
                Target(
                    "histogram_quantile(0.99, sum by (le) (rate(inferometer_response_size_bytes_bucket{SM}[RI])))",
                    "replies",
                    "vnvv-",
                ),
            ),
        ),
    ),
)

LATENCY = Dashboard(
    "latency",
    "Inferometer: latency by phase",
    "Where each millisecond goes?",
    (_PHASES, _SHAPE, _COMPARE),
    variables=("job", "instance", "model", "version", "filters"),
)
