"""A version that is being served, with everything a batch needs of it resolved."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from exporter import Child, Record, Recorder
from serving.runner.device_time import DeviceTime
from serving.runner.loaded_model import LoadedModel
from serving.runner.measuring import Measurement

TRIGGERS = ("idle", "full", "delay", "deadline", "drain")


class BatchMetrics:
    """What each batch of one version records: one call, under one lock."""

    def __init__(
        self, recorder: Recorder, *, model: str, version: str, device_time: DeviceTime
    ) -> None:
        """Resolve the version's series; they stand at 0 from here on."""
        device = device_time.device
        recorder.declare(model=model, version=version, device=device)
        self._device_time = device_time
        names = {"model": model, "version": version}

        def child(name: str, **labels: str) -> Child:
            return recorder.child(name, **names, **labels)

        self.retries = child("inferometer_batch_retries_total")
        self._last_batch = child("inferometer_model_last_batch_timestamp_seconds")
        self._traces = child("inferometer_model_traces_total")
        self._records: dict[str, Record] = {
            trigger: recorder.bundle(
                (
                    child("inferometer_batches_total", trigger=trigger),
                    child("inferometer_batch_padding_rows_total"),
                    child("inferometer_device_busy_seconds_total", device=device),
                    device_time.counter,
                ),
                (
                    child("inferometer_batch_rows"),
                    child("inferometer_batch_compute_seconds"),
                ),
            )
            for trigger in TRIGGERS
        }

    def begin(self, at_ns: int) -> None:
        """Note a device call that begins at a monotonic time."""
        self._device_time.enter(at_ns)

    def batch(
        self, trigger: str, *, rows: int, padding_rows: int, seconds: float, ended_ns: int
    ) -> None:
        """Record one device call that has ended."""
        alone = self._device_time.leave(ended_ns)
        self._records[trigger]((1.0, padding_rows, seconds, alone), (rows, seconds))
        self._last_batch.set(time.time())

    def traces(self, number: int) -> None:
        """Record traces that happened after warm-up."""
        if number > 0:
            self._traces.inc(number)


@dataclass(slots=True, eq=False)
class ServedVersion:
    """One loaded version: the model, which of its signatures may be batched, and its metrics.

    `canary` is a signature and a row of its inputs that warm-up has computed, if there is one;
    `last_batch` the monotonic second in which a batch or the canary was last done.
    `canary_failures` is how often the canary has failed in a row, the next time at
    `canary_retry_at`.
    """

    model: str
    version: str
    loaded: LoadedModel
    metrics: BatchMetrics
    batchable: Mapping[str, bool]
    measurement: Measurement
    canary: tuple[str, tuple[np.ndarray, ...]] | None = None
    last_batch: float = field(default_factory=time.monotonic)
    failures_in_a_row: int = 0
    canary_failures: int = 0
    canary_retry_at: float = 0.0
    traces_seen: int = 0
