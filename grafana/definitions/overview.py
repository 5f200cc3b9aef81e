"""Is the service well: traffic, failures, latency by phase, batching and saturation."""

from grafana.model import Dashboard, Panel, Target

# Every selector is narrowed by the dashboard's variables.
SCOPE = 'job=~"$job", instance=~"$instance", model=~"$model"'
RATE = "[$__rate_interval]"


def _quantile(share: float) -> Target:
    rate = f"rate(inferometer_request_duration_seconds_bucket{{{SCOPE}}}{RATE})"
    return Target(f"histogram_quantile({share}, sum by (le) ({rate}))", f"p{100 * share:.0f}")


OVERVIEW = Dashboard(
    "overview",
    "Inferometer: overview",
    (
        Panel(
            "Requests by status",
            "Prediction requests a second by HTTP status. 5xx are the server's fault, but for 501.",
            "reqps",
            (
                Target(
                    f"sum by (code) (rate(inferometer_requests_total{{{SCOPE}}}{RATE}))", "{{code}}"
                ),
            ),
        ),
        Panel(
            "Failures by reason",
            "Requests that were not answered with a prediction. queue_full: add replicas. "
            "invalid_input: look at the callers. model_error, internal: look at the log.",
            "reqps",
            (
                Target(
                    f"sum by (reason) (rate(inferometer_request_failures_total{{{SCOPE}}}{RATE}))"
                    " > 0",
                    "{{reason}}",
                ),
            ),
        ),
        Panel(
            "Request duration",
            "Quantiles of the whole request, failures included.",
            "s",
            (_quantile(0.5), _quantile(0.9), _quantile(0.99)),
        ),
        Panel(
            "Where the time goes",
            "Mean seconds a request spends in each phase; they add up to its mean duration. queue "
            "grows when the device is busy, parse and render when the front-ends are.",
            "s",
            (
                Target(
                    f"sum by (phase) (rate(inferometer_request_phase_seconds_sum{{{SCOPE}}}{RATE}))"
                    " / on () group_left () "
                    f"(sum(rate(inferometer_request_duration_seconds_count{{{SCOPE}}}{RATE})) > 0)",
                    "{{phase}}",
                ),
            ),
        ),
        Panel(
            "Rows a batch",
            "Mean real rows of a device call. Near 1 under load means that rows do not gather.",
            "short",
            (
                Target(
                    f"sum by (model) (rate(inferometer_batch_rows_sum{{{SCOPE}}}{RATE}))"
                    " / "
                    f"(sum by (model) (rate(inferometer_batch_rows_count{{{SCOPE}}}{RATE})) > 0)",
                    "{{model}}",
                ),
            ),
        ),
        Panel(
            "Queue",
            "Rows waiting, and how many may wait. At the limit requests are refused with 503.",
            "short",
            (
                Target(f"sum(inferometer_queue_rows{{{SCOPE}}})", "waiting"),
                Target(f"sum(inferometer_queue_limit_rows{{{SCOPE}}})", "limit"),
            ),
        ),
    ),
)
