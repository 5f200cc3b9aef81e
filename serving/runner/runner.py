"""Queues, batch threads and models of one device, behind no particular door.

Sockets or direct calls.
"""

import threading
import time
from collections.abc import Callable

from exporter import Recorder
from serving.runner.batcher import Batcher
from serving.runner.catalog import ModelCatalog
from serving.runner.limits import ByteBudget, QueueGauges, QueueLimits
from serving.runner.queue import BatchQueue
from serving.runner.sizes import BatchSizes
from serving.settings import Settings

HEARTBEAT_SECONDS = 1.0
HEARTBEAT_OVERDUE_SECONDS = 5.0
STOP_SECONDS = 5.0


class Runner:
    """Queues, batch threads and models of one device, without any socket."""

    def __init__(
        self, settings: Settings, recorder: Recorder, *, device: str, has_gpu: bool
    ) -> None:
        """Build everything; nothing runs before `start`."""
        self._settings = settings
        self._stalled = recorder.child("inferometer_runner_stalled")
        self._recorder = recorder
        self._device = device
        budget = ByteBudget(settings.queue_limit_bytes)
        self.queues = {
            name: _make_queue(name, settings, recorder, budget, has_gpu=has_gpu)
            for name in settings.models
        }
        self._batchers: list[Batcher] = []
        self._ended = threading.Event()

    def start(
        self, *, changed: Callable[[], None], after_batch: Callable[[], None]
    ) -> ModelCatalog:
        """Start the batch threads and the sign of life; return the catalog, not yet loading."""
        catalog = ModelCatalog(
            self._settings.models,
            recorder=self._recorder,
            queues=self.queues,
            device=self._device,
            changed=changed,
        )
        self._batchers = [
            Batcher(queue, find=catalog.find, after_batch=after_batch)
            for queue in self.queues.values()
        ]
        for batcher in self._batchers:
            batcher.start()
        threading.Thread(target=self._beat, name="heartbeat", daemon=True).start()
        return catalog

    def stop(self) -> None:
        """Finish what is queued within the time that is given for it."""
        deadline = time.monotonic() + STOP_SECONDS
        for queue in self.queues.values():
            queue.drain()
        for batcher in self._batchers:
            batcher.join(max(0.0, deadline - time.monotonic()))
        self._ended.set()

    def _beat(self) -> None:
        while True:
            due = time.monotonic() + HEARTBEAT_OVERDUE_SECONDS
            for batcher in self._batchers:
                started = batcher.clock.started
                if started is not None:
                    due = min(due, started + self._settings.stall_seconds)
            self._stalled.set(due)
            self._recorder.tick()
            if self._ended.wait(HEARTBEAT_SECONDS):
                return


def _make_queue(
    name: str, settings: Settings, recorder: Recorder, budget: ByteBudget, *, has_gpu: bool
) -> BatchQueue:
    recorder.child("inferometer_queue_limit_rows", model=name).set(settings.queue_limit_rows)
    return BatchQueue(
        name,
        limits=QueueLimits(
            settings.queue_limit_rows, settings.queue_limit_keys, settings.max_delay_seconds
        ),
        sizes=BatchSizes(_allowed_sizes(settings, has_gpu=has_gpu), settings.max_batch_rows),
        budget=budget,
        gauges=QueueGauges(
            rows=recorder.child("inferometer_queue_rows", model=name),
            oldest=recorder.child("inferometer_queue_oldest_age_seconds", model=name),
            predicted_wait=recorder.child("inferometer_predicted_wait_seconds", model=name),
        ),
    )


def _allowed_sizes(settings: Settings, *, has_gpu: bool) -> tuple[int, ...]:
    if settings.allowed_batch_rows or not has_gpu:
        return settings.allowed_batch_rows
    most = settings.max_batch_rows
    powers = [1 << power for power in range(most.bit_length()) if 1 << power < most]
    return (*powers, most)
