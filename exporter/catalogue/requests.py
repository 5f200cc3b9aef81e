"""Prediction requests as the front-ends see them, over both protocols."""

from exporter.define import counter, gauge, histogram
from exporter.metric import Label

# Every configured service level objective must be a boundary; 0.25 s is the default one.
LATENCY_SECONDS = (
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
)  # fmt: skip
SIZE_BYTES = tuple(float(256 * 4**k) for k in range(10))  # 256 B to 64 MiB

PROTOCOLS = ("tf_serving", "open_inference")
CODES = ("200", "400", "404", "408", "413", "415", "500", "501", "503", "504")
REASONS = (
    "invalid_input", "unknown_model", "unknown_version", "too_large", "queue_full",
    "predicted_late", "deadline_exceeded", "draining", "loading", "model_error", "runner_lost",
    "internal",
)  # fmt: skip
OUTCOMES = ("ok", "client_error", "server_error")
PHASES = ("parse", "queue", "assemble", "compute", "deliver", "render")

MODEL = Label("model")
VERSION = Label("version")
BY = ("frontend",)

FAMILIES = (
    counter(
        "inferometer_requests_total",
        "Prediction requests answered, by HTTP status.",
        MODEL, VERSION, Label("protocol", PROTOCOLS), Label("code", CODES), by=BY,
    ),
    counter(
        "inferometer_request_failures_total",
        "Prediction requests that were not answered with a prediction, by reason.",
        MODEL, VERSION, Label("reason", REASONS), by=BY, exemplars=True,
    ),
    histogram(
        "inferometer_request_duration_seconds",
        "Whole prediction request, from its head to the rendered answer, failures included.",
        MODEL, VERSION, Label("outcome", OUTCOMES), buckets=LATENCY_SECONDS, by=BY,
        native=True, exemplars=True,
    ),
    histogram(
        "inferometer_request_phase_seconds",
        "The six phases of a prediction request; they add up to its duration.",
        MODEL, VERSION, Label("phase", PHASES), buckets=LATENCY_SECONDS, by=BY,
        native=True, exemplars=True,
    ),
    gauge(
        "inferometer_requests_in_flight",
        "Prediction requests received and not yet answered.",
        MODEL, by=BY,
    ),
    histogram(
        "inferometer_request_size_bytes",
        "Size of a prediction request's body as it was sent.",
        MODEL, buckets=SIZE_BYTES, by=BY,
    ),
    histogram(
        "inferometer_response_size_bytes",
        "Size of the body that answered a prediction request.",
        MODEL, buckets=SIZE_BYTES, by=BY,
    ),
    counter(
        "inferometer_rows_total",
        "Rows (instances) predicted: throughput.",
        MODEL, VERSION, by=BY,
    ),
)  # fmt: skip
