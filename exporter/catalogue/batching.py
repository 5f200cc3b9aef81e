"""What the runner's batcher does.

How full the batches are, how long rows wait, how busy the device is.
"""

from exporter.catalogue.requests import LATENCY_SECONDS, MODEL, VERSION
from exporter.define import counter, gauge, histogram
from exporter.metric import Label

TRIGGERS = ("idle", "full", "delay", "deadline", "drain")
BATCH_ROWS = tuple(float(2**k) for k in range(11))  # 1 to 1024
BY = ("runner",)

FAMILIES = (
    histogram(
        "inferometer_batch_rows",
        "Real rows per batch, padding not counted.",
        MODEL, VERSION, buckets=BATCH_ROWS, by=BY,
    ),
    counter(
        "inferometer_batch_padding_rows_total",
        "Rows added to batches only to reach an allowed size.",
        MODEL, VERSION, by=BY,
    ),
    counter(
        "inferometer_batches_total",
        "Batches sent to the device, by what made them leave the queue.",
        MODEL, VERSION, Label("trigger", TRIGGERS), by=BY,
    ),
    counter(
        "inferometer_batch_retries_total",
        "Members of failed batches that were run alone to find the bad one.",
        MODEL, VERSION, by=BY,
    ),
    histogram(
        "inferometer_batch_compute_seconds",
        "One device call, from its inputs in host memory to its outputs in host memory.",
        MODEL, VERSION, buckets=LATENCY_SECONDS, by=BY, native=True,
    ),
    gauge("inferometer_queue_rows", "Rows waiting in the queue now.", MODEL, by=BY),
    gauge("inferometer_queue_limit_rows", "Rows the queue may hold.", MODEL, by=BY),
    gauge(
        "inferometer_queue_oldest_age_seconds",
        "How long the oldest waiting row has waited; it grows while the runner hangs.",
        MODEL, by=BY, merge="age",
    ),
    gauge(
        "inferometer_predicted_wait_seconds",
        "How long a row that arrives now is expected to wait before it is computed.",
        MODEL, by=BY, merge="max",
    ),
    gauge(
        "inferometer_runner_stalled",
        "1 while a batch or the runner's sign of life is overdue.",
        by=BY, merge="overdue",
    ),
    counter(
        "inferometer_device_busy_seconds_total",
        "Time the device spent in batches, each counted for itself when it ends; device is cpu, "
        "the GPU's uuid, or gpu and its number.",
        MODEL, VERSION, Label("device"), by=BY,
    ),
    counter(
        "inferometer_device_active_seconds_total",
        "Time in which the device had batches of a runner, however many at once. Counted when one "
        "ends, for those still under way as well: until they end, too, it can be ahead of the busy "
        "time.",
        Label("device"), by=BY,
    ),
    gauge(
        "inferometer_device_runners",
        "Runners that share the device; the active time is added up over them.",
        Label("device"), by=BY,
    ),
)  # fmt: skip
