"""The dashboard that asks: is it well, for whom not, since when."""

from grafana.model import Dashboard, Panel, Row, Target

_NOW = Row(
    "Now",
    (
        Panel(
            "Requests",
            "stat",
            "reqps",
            "Prediction requests answered, failures included.",
            (
                Target(
                    "sum(rate(inferometer_request_duration_seconds_count{S}[RI])) or on () MARK",
                    "",
                    "v0vv!",
                ),
            ),
        ),
        Panel(
            "Server errors",
            "stat",
            "percentunit",
            "Share of valid requests that failed, missed deadlines included.",
            (
                Target(
                    'sum(rate(inferometer_request_duration_seconds_count{S, outcome="server_error"}[RI])) / (sum(rate(inferometer_request_duration_seconds_count{S, outcome=~"ok|server_error"}[RI])) > 0) or on () MARK',
                    "",
                    "vxvv!",
                ),
            ),
            thresholds=((0.001, "orange"), (0.01, "red")),
        ),
        Panel(
            "p99 latency",
            "stat",
            "s",
            "Of requests that were answered well. An estimate: true to one bucket.",
            (
                Target(
                    'histogram_quantile(0.99, sum by (le) (rate(inferometer_request_duration_seconds_bucket{S, outcome="ok"}[RI]))) or on () MARK',
                    "p99",
                    "vnvv!",
                ),
            ),
        ),
        Panel(
            "Goodput",
            "stat",
            "reqps",
            "Answered well within $threshold seconds.",
            (
                Target(
                    'sum(rate(inferometer_request_duration_seconds_bucket{S, outcome="ok", le="$threshold"}[RI])) or on () MARK',
                    "",
                    "v0vv!",
                ),
            ),
        ),
        Panel(
            "Replicas ready",
            "stat",
            "none",
            "And how many have these models. One counts when each has a ready version or was unloaded on purpose, and its processes live and make progress.",
            (
                Target(
                    "count(min by (job, instance) (job_instance_model:inferometer_model_ready:max{SM}) == 1) or vector(0)",
                    "ready",
                    "vvv00",
                ),
                Target(
                    "count(up{SI} unless on (job, instance) (inferometer_model_state{SI} unless on (job, instance) inferometer_model_state{SM})) or vector(0)",
                    "expected",
                    "vvvvv",
                ),
            ),
        ),
        Panel(
            "Unreachable targets",
            "stat",
            "none",
            "Targets whose last scrape failed.",
            (Target("count(up{SI} == 0) or vector(0)", "", "0000v"),),
            thresholds=((1.0, "red"),),
        ),
        Panel(
            "Firing alerts",
            "stat",
            "none",
            "All severities, all jobs.",
            (
                Target(
                    'count(ALERTS{alertname=~"Inferometer.*", alertstate="firing"}) or vector(0)',
                    "",
                    "v0vvv",
                ),
            ),
            thresholds=((1.0, "red"),),
        ),
    ),
)

_SLO = Row(
    "SLO",
    (
        Panel(
            "Error budget left, 30 days",
            "bar gauge",
            "percentunit",
            "Below 0 the objective of the last 30 days is missed; what counts is said at the head of inferometer.yml.",
            (
                Target(
                    "1 - job_model:inferometer_slo_bad:ratio30d{R} / (job_model:inferometer_slo_allowed:ratio{R} > 0)",
                    "{{job}} {{model}} {{slo}}",
                    "v-vvv",
                ),
            ),
            # The first step begins where no budget can be, whatever the objective.
            thresholds=((-1e9, "red"), (0.0, "orange"), (0.25, "green")),
        ),
        Panel(
            "Burn rate, availability",
            "timeseries",
            "none",
            "1 uses the budget up in 30 days; lines at 1, 3, 6, 14.4.",
            (
                Target(
                    'job_model:inferometer_slo_bad:ratio5m{R, slo="availability"} / (job_model:inferometer_slo_allowed:ratio{R} > 0)',
                    "{{job}} {{model}} 5m",
                    "v-vvv",
                ),
                Target(
                    'job_model:inferometer_slo_bad:ratio1h{R, slo="availability"} / (job_model:inferometer_slo_allowed:ratio{R} > 0)',
                    "{{job}} {{model}} 1h",
                    "v-vvv",
                ),
                Target(
                    'job_model:inferometer_slo_bad:ratio6h{R, slo="availability"} / (job_model:inferometer_slo_allowed:ratio{R} > 0)',
                    "{{job}} {{model}} 6h",
                    "v-vvv",
                ),
                Target(
                    'job_model:inferometer_slo_bad:ratio3d{R, slo="availability"} / (job_model:inferometer_slo_allowed:ratio{R} > 0)',
                    "{{job}} {{model}} 3d",
                    "v-vvv",
                ),
            ),
            thresholds=((1.0, "yellow"), (3.0, "orange"), (6.0, "orange"), (14.4, "red")),
        ),
        Panel(
            "Burn rate, latency",
            "timeseries",
            "none",
            "The same for the latency objective.",
            (
                Target(
                    'job_model:inferometer_slo_bad:ratio5m{R, slo="latency"} / (job_model:inferometer_slo_allowed:ratio{R} > 0)',
                    "{{job}} {{model}} 5m",
                    "v-vvv",
                ),
                Target(
                    'job_model:inferometer_slo_bad:ratio1h{R, slo="latency"} / (job_model:inferometer_slo_allowed:ratio{R} > 0)',
                    "{{job}} {{model}} 1h",
                    "v-vvv",
                ),
                Target(
                    'job_model:inferometer_slo_bad:ratio6h{R, slo="latency"} / (job_model:inferometer_slo_allowed:ratio{R} > 0)',
                    "{{job}} {{model}} 6h",
                    "v-vvv",
                ),
            ),
            thresholds=((1.0, "yellow"), (3.0, "orange"), (6.0, "orange"), (14.4, "red")),
        ),
        Panel(
            "Answered within $threshold s",
            "timeseries",
            "percentunit",
            "Failures and missed deadlines are late answers.",
            (
                Target(
                    'sum by (model) (rate(inferometer_request_duration_seconds_bucket{S, outcome="ok", le="$threshold"}[RI])) / (sum by (model) (rate(inferometer_request_duration_seconds_count{S, outcome=~"ok|server_error"}[RI])) > 0)',
                    "{{model}}",
                    "v-vv-",
                ),
            ),
        ),
    ),
)

_TRAFFIC = Row(
    "Traffic",
    (
        Panel(
            "Requests by status",
            "timeseries",
            "reqps",
            "By HTTP status. 5xx are the server's fault, but for 501; Failures by reason tells why.",
            (
                Target(
                    "sum by (code) (rate(inferometer_requests_total{S}[RI]))", "{{code}}", "v0vv-"
                ),
            ),
            is_stacked=True,
        ),
        Panel(
            "Failures by reason",
            "timeseries",
            "reqps",
            "Why, in the words of the API.",
            (
                Target(
                    "sum by (reason) (rate(inferometer_request_failures_total{S}[RI]))",
                    "{{reason}}",
                    "v0vv-",
                ),
            ),
            is_stacked=True,
        ),
        Panel(
            "Latency",
            "timeseries",
            "s",
            "P50, p95, p99 and mean of requests that were answered well; points are traced ones.",
            (
                Target(
                    'histogram_quantile(0.5, sum by (le) (rate(inferometer_request_duration_seconds_bucket{S, outcome="ok"}[RI])))',
                    "p50",
                    "vnvv-",
                ),
                Target(
                    'histogram_quantile(0.95, sum by (le) (rate(inferometer_request_duration_seconds_bucket{S, outcome="ok"}[RI])))',
                    "p95",
                    "vnvv-",
                ),
                Target(
                    'histogram_quantile(0.99, sum by (le) (rate(inferometer_request_duration_seconds_bucket{S, outcome="ok"}[RI])))',
                    "p99",
                    "vnvv-",
                ),
                Target(
                    'sum(rate(inferometer_request_duration_seconds_sum{S, outcome="ok"}[RI])) / (sum(rate(inferometer_request_duration_seconds_count{S, outcome="ok"}[RI])) > 0)',
                    "mean",
                    "v-vv-",
                ),
            ),
            has_exemplars=True,
        ),
        Panel(
            "Rows",
            "timeseries",
            "cps",
            "Rows (instances) predicted per second.",
            (Target("sum by (model) (rate(inferometer_rows_total{S}[RI]))", "{{model}}", "v0vv-"),),
        ),
    ),
)

_MODELS = Row(
    "Models",
    (
        Panel(
            "Models",
            "table",
            "none",
            "One row per version; opens its quality.",
            (
                Target(
                    'sum by (model, version) (rate(inferometer_request_duration_seconds_count{S, version!="__unknown__"}[$__range]))',
                    "requests",
                    "v0vv-",
                    unit="reqps",
                ),
                Target(
                    'histogram_quantile(0.99, sum by (model, version, le) (rate(inferometer_request_duration_seconds_bucket{S, version!="__unknown__"}[$__range])))',
                    "p99",
                    "vnvv-",
                    unit="s",
                ),
                Target(
                    'sum by (model, version) (increase(inferometer_request_failures_total{S, version!="__unknown__"}[$__range]))',
                    "failures",
                    "v0vv-",
                    unit="short",
                ),
                Target(
                    "1000 * max by (model, version) (inferometer_model_loaded_timestamp_seconds{S})",
                    "loaded",
                    "vvv--",
                    unit="dateTimeAsIso",
                ),
                Target(
                    "max by (model, version, state) (inferometer_model_state{S}) == 1",
                    "",
                    "vvv--",
                ),
            ),
            link="quality",
            linked=("model", "version"),
            sorted_by="requests",
        ),
        Panel(
            "Alerts",
            "table",
            "none",
            "Alerts that fire; docs/runbook.md has a section for each.",
            (Target('ALERTS{alertname=~"Inferometer.*", alertstate="firing"}', "firing", "v-vvv"),),
            absent="none fires",
        ),
    ),
)

OVERVIEW = Dashboard(
    "overview",
    "Inferometer: overview and SLO",
    "Is it well, for whom not, since when?",
    (_NOW, _SLO, _TRAFFIC, _MODELS),
    variables=("job", "instance", "model", "version", "threshold", "filters"),
)
