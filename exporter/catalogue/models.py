"""The served models: which versions, in which state, how large, how long they took to load."""

from exporter.catalogue.requests import MODEL, VERSION
from exporter.define import counter, gauge
from exporter.metric import Label

STATES = ("loading", "warming", "ready", "draining", "failed", "unloaded")
LOAD_STEPS = ("read", "build", "warm_up")
BY = ("runner",)

FAMILIES = (
    gauge(
        "inferometer_model_info",
        "1 for each loaded version, with its format, default signature and quality task.",
        MODEL, VERSION, Label("format"), Label("signature"), Label("task"),
        by=BY, merge="max", absent=True,
    ),
    gauge(
        "inferometer_model_state",
        "1 for the state a version is in, 0 for the others. `__unknown__` is the version of a "
        "model of which a runner has found none.",
        MODEL, VERSION, Label("state", STATES), by=BY, merge="max",
    ),
    gauge(
        "inferometer_model_load_seconds",
        "How long each step of the last load took.",
        MODEL, VERSION, Label("step", LOAD_STEPS), by=BY, merge="max", absent=True,
    ),
    gauge(
        "inferometer_model_loaded_timestamp_seconds",
        "When the version became ready, in seconds since 1970.",
        MODEL, VERSION, by=BY, merge="max", absent=True,
    ),
    gauge(
        "inferometer_model_last_batch_timestamp_seconds",
        "When the version last finished a batch, in seconds since 1970.",
        MODEL, VERSION, by=BY, merge="max", absent=True,
    ),
    counter(
        "inferometer_model_load_failures_total",
        "Loads that did not end in a ready version.",
        MODEL, by=BY,
    ),
    gauge(
        "inferometer_model_parameters",
        "Trainable and other variables of the version, in elements.",
        MODEL, VERSION, by=BY, merge="max", absent=True,
    ),
    gauge(
        "inferometer_model_size_bytes",
        "Variables of the version, in bytes.",
        MODEL, VERSION, by=BY, merge="max", absent=True,
    ),
    counter(
        "inferometer_model_traces_total",
        "TensorFlow traces and compilations after warm-up: the usual cause of a slow request.",
        MODEL, VERSION, by=BY,
    ),
)  # fmt: skip
