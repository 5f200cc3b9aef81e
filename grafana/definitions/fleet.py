"""The dashboard that asks: many replicas, their price, and whether the measuring works."""

from grafana.model import Dashboard, Panel, Row, Target

_FLEET = Row(
    "Fleet",
    (
        Panel(
            "Replicas by version",
            "timeseries",
            "short",
            "A rollout is two lines crossing.",
            (
                Target(
                    'sum by (model, version) (inferometer_model_state{S, state="ready"})',
                    "{{model}} {{version}}",
                    "vvvv-",
                ),
            ),
        ),
        Panel(
            "p99 over replicas",
            "timeseries",
            "s",
            "Slowest, median, fastest of those that answer.",
            (
                Target(
                    "max(histogram_quantile(0.99, sum by (job, instance, le) (rate(inferometer_request_duration_seconds_bucket{S}[RI]))) >= 0)",
                    "slowest",
                    "v-vv-",
                ),
                Target(
                    "quantile(0.5, histogram_quantile(0.99, sum by (job, instance, le) (rate(inferometer_request_duration_seconds_bucket{S}[RI]))) >= 0)",
                    "median",
                    "v-vv-",
                ),
                Target(
                    "min(histogram_quantile(0.99, sum by (job, instance, le) (rate(inferometer_request_duration_seconds_bucket{S}[RI]))) >= 0)",
                    "fastest",
                    "v-vv-",
                ),
            ),
        ),
        Panel(
            "Imbalance",
            "timeseries",
            "none",
            "Busiest replica of a job over their mean; 1 is even.",
            (
                Target(
                    "max by (job) (sum by (job, instance) (rate(inferometer_request_duration_seconds_count{S}[RI]))) / (avg by (job) (sum by (job, instance) (rate(inferometer_request_duration_seconds_count{S}[RI]))) > 0)",
                    "{{job}}",
                    "v-vv-",
                ),
            ),
        ),
        Panel(
            "Busiest replicas",
            "table",
            "reqps",
            "Requests a second of the ten busiest; a row opens that replica.",
            (
                Target(
                    "topk(10, sum by (job, instance) (rate(inferometer_request_duration_seconds_count{S}[$__range])))",
                    "requests",
                    "v0vv-",
                ),
            ),
            link="overview",
            linked=("instance",),
            sorted_by="requests",
        ),
        Panel(
            "Load time by step",
            "table",
            "s",
            "Of each step of loading the slowest replica.",
            (
                Target(
                    "max by (model, version, step) (inferometer_model_load_seconds{S})",
                    "seconds",
                    "vvv--",
                    unit="s",
                ),
            ),
            sorted_by="seconds",
        ),
        Panel(
            "Models",
            "table",
            "none",
            "Replicas, format, task and size of each version.",
            (
                Target(
                    "count by (model, version, format, task) (inferometer_model_info{S})",
                    "replicas",
                    "vvv--",
                    unit="none",
                ),
                Target(
                    "max by (model, version) (inferometer_model_parameters{S})",
                    "parameters",
                    "vvv--",
                    unit="short",
                ),
                Target(
                    "max by (model, version) (inferometer_model_size_bytes{S})",
                    "size",
                    "vvv--",
                    unit="bytes",
                ),
            ),
        ),
    ),
)

_COST = Row(
    "Cost",
    (
        Panel(
            "Cost of 1,000 good answers",
            "stat",
            "currencyUSD",
            "Hours of replicas in the range × price ÷ answers. A model that shares its replicas bears all of their price.",
            (
                Target(
                    '1000 * sum_over_time(sum(up{SI})[$__range:1m]) / 60 * $cost / (sum(increase(inferometer_request_duration_seconds_count{S, outcome="ok"}[$__range])) > 0) or on () MARK',
                    "",
                    "vxvv!",
                ),
            ),
        ),
        Panel(
            "Energy of 1,000 rows",
            "stat",
            "joule",
            "GPUs only; absent without GPU or traffic.",
            (
                Target(
                    "1000 * job:inferometer_gpu_energy_per_row_joules:ratio5m{RJ} or on () MARK",
                    "{{job}}",
                    "vxxv!",
                ),
            ),
        ),
        Panel(
            "GPU-hours idle",
            "stat",
            "h",
            "Visible and not used, over the range; of a GPU that replicas share once. Of whole jobs, whatever instance is chosen.",
            (
                Target(
                    "sum(sum_over_time(job:inferometer_gpu_idle:sum{RJ}[$__range])) / 60 or on () MARK",
                    "",
                    "vvxv!",
                ),
            ),
        ),
        Panel(
            "Headroom",
            "timeseries",
            "percentunit",
            "Of the busiest device; below 0.05 alerts.",
            (
                Target(
                    "1 - max by (job) (clamp_max(sum by (job, instance, device) (rate(inferometer_device_active_seconds_total{SI}[RI])) / sum by (job, instance, device) (max_over_time(inferometer_device_runners{SI}[RI]) > 0), 1))",
                    "{{job}}",
                    "vvvv-",
                ),
            ),
        ),
    ),
)

_EXPORTER = Row(
    "Exporter",
    (
        Panel(
            "Targets up",
            "timeseries",
            "percentunit",
            "Share of replicas that answer.",
            (Target("sum by (job) (up{SI}) / count by (job) (up{SI})", "{{job}}", "vvvv0"),),
        ),
        Panel(
            "Collectors",
            "table",
            "none",
            "Of each collector the worst replica. 0: it fails, and its panels are empty.",
            (
                Target(
                    "min by (collector) (inferometer_collector_success{SI})",
                    "success",
                    "vvvv-",
                    unit="none",
                ),
                Target(
                    "max by (collector) (inferometer_collector_duration_seconds{SI})",
                    "duration",
                    "vvvv-",
                    unit="s",
                ),
            ),
        ),
        Panel(
            "Series by replica",
            "timeseries",
            "short",
            "Largest, as Prometheus counts, and the share of its budget that the fullest replica has.",
            (
                Target("max(inferometer_exporter_series{SI})", "largest", "vvvv-"),
                Target(
                    "max(inferometer_exporter_series{SI} / on (job, instance) clamp_max(1500 * count by (job, instance) (inferometer_model_info{SI}), 8000))",
                    "of the budget",
                    "vvv*-",
                    unit="percentunit",
                ),
                Target(
                    "max(scrape_samples_post_metric_relabeling{SI})",
                    "as Prometheus counts",
                    "vvvv0",
                ),
            ),
        ),
        Panel(
            "Folded label values",
            "timeseries",
            "short",
            "Counted under `__other__`.",
            (
                Target(
                    "sum by (family) (increase(inferometer_dropped_series_total{SI}[RI])) and on (family) topk(20, sum by (family) (increase(inferometer_dropped_series_total{SI}[$__range] @ end())) > 0)",
                    "{{family}}",
                    "-----",
                ),
            ),
            absent="none: every series has its own row",
        ),
        Panel(
            "Scrape",
            "timeseries",
            "s",
            "As Prometheus sees it, and what merging and writing take of it.",
            (
                Target("max(scrape_duration_seconds{SI})", "whole", "vvvvv"),
                Target("max(inferometer_exporter_merge_seconds{SI})", "merging", "vvvv-"),
                Target("max(inferometer_exporter_render_seconds{SI})", "writing", "vvvv-"),
            ),
        ),
        Panel(
            "Blocks and processes",
            "timeseries",
            "short",
            "Blocks above processes, where they are most: the dead are not folded. Above 8 it alerts.",
            (
                Target("max(inferometer_exporter_blocks{SI})", "blocks, most", "vvvv-"),
                Target(
                    "max(inferometer_exporter_blocks{SI} - on (job, instance) sum by (job, instance) (inferometer_processes{SI}))",
                    "above processes, most",
                    "****-",
                ),
            ),
        ),
        Panel(
            "Files and families left out",
            "timeseries",
            "short",
            "Files of the store that are not read, and families that two processes define otherwise.",
            (
                Target(
                    "sum by (reason) (inferometer_exporter_skipped_files{SI})",
                    "{{reason}}",
                    "0000-",
                ),
                Target(
                    "max(inferometer_exporter_conflicting_families{SI})", "conflicting", "0000-"
                ),
            ),
        ),
        Panel(
            "Status against reasons",
            "timeseries",
            "reqps",
            "0, or the counters contradict each other. A moment of it where failures begin is extrapolation, what lasts is a defect.",
            (
                Target(
                    'sum(rate(inferometer_requests_total{S, code=~"5..|408", code!="501"}[RI])) - sum(rate(inferometer_request_failures_total{S, reason!~"invalid_input|unknown_model|unknown_version|too_large"}[RI]))',
                    "difference",
                    "*0**-",
                ),
            ),
        ),
        Panel(
            "Builds",
            "table",
            "none",
            "Replicas of each build of the server. Two rows are a roll-out, or one that stopped.",
            (
                Target(
                    "count by (version, python, tensorflow) (inferometer_build_info{SI})",
                    "replicas",
                    "vvvv-",
                ),
            ),
        ),
    ),
)

FLEET = Dashboard(
    "fleet",
    "Inferometer: fleet, cost and exporter",
    "Many replicas, their price, and whether the measuring works?",
    (_FLEET, _COST, _EXPORTER),
    variables=("job", "instance", "model", "version", "cost", "filters"),
)
