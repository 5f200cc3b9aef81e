"""Queues, batch threads and models of one device, behind no particular door.

Sockets or direct calls.
"""

import itertools
import threading
import time
from collections.abc import Callable

from exporter import Child, Recorder
from serving.errors import Draining
from serving.process import store_path_of
from serving.runner.batcher import Batcher
from serving.runner.canary import Canary
from serving.runner.catalog import ModelCatalog
from serving.runner.device_time import DeviceTime
from serving.runner.isolation import IsolationBudget
from serving.runner.limits import ByteBudget, QueueLimits
from serving.runner.loader import Loader, LoaderOptions
from serving.runner.loader_memory import LoaderMemory
from serving.runner.loading import LoadOptions
from serving.runner.model_folder import ModelFolder
from serving.runner.queue import BatchQueue
from serving.runner.sizes import BatchSizes
from serving.settings import Settings
from serving.status_page import NANOSECONDS, Phase, RunnerStatus, ServerState

WATCH_SECONDS = 0.25
HEARTBEAT_SECONDS = 1.0
HEARTBEAT_OVERDUE_SECONDS = 5.0


class Runner:
    """Queues, batch threads and models of one device, without any socket."""

    def __init__(
        self,
        settings: Settings,
        recorder: Recorder,
        *,
        number: int,
        device: str,
        has_gpu: bool,
        give_up: Callable[[str], None],
    ) -> None:
        """Build everything; nothing runs before `start`.

        `give_up` ends the process when its device is of no use any more.
        """
        self._settings = settings
        self._number = number
        self._stalled = recorder.child("inferometer_runner_stalled")
        self._recorder = recorder
        self._device = device
        self._give_up = give_up
        self._state = ServerState(settings)
        self._status = RunnerStatus(settings, number)
        self._status.clear()
        budget = ByteBudget(settings.queue_limit_bytes)
        self.queues = {
            name: _make_queue(name, settings, recorder, budget, self._status, has_gpu=has_gpu)
            for name in settings.models
        }
        self.catalog = ModelCatalog(list(settings.models), recorder)
        self.loader: Loader
        self._send_answers: Callable[[], None]
        self._batchers: list[Batcher] = []
        self._ended = threading.Event()

    def start(self, *, announce: Callable[[], None], after_batch: Callable[[], None]) -> None:
        """Start the batch threads and the sign of life; models load when the loader is started."""
        settings = self._settings
        self._send_answers = after_batch
        self.loader = self._make_loader(announce)
        batch_ids = itertools.count(1)
        for name, queue in self.queues.items():
            isolation = IsolationBudget(settings.isolation_share)
            for instance in range(settings.instances):
                batcher = Batcher(
                    queue,
                    find=self.catalog.find_loaded,
                    after_batch=after_batch,
                    isolation=isolation,
                    batch_ids=batch_ids,
                    canary=self._canary(name) if instance == 0 else None,
                    instance=instance,
                )
                self._batchers.append(batcher)
                batcher.start()
        threading.Thread(target=self._watch, name="heartbeat", daemon=True).start()

    def stop(self) -> None:
        """Finish what is queued within the time that is given for it."""
        deadline = time.monotonic() + self._settings.runner_stop_seconds
        self.loader.stop()
        for queue in self.queues.values():
            queue.drain()
        for batcher in self._batchers:
            batcher.join(max(0.0, deadline - time.monotonic()))
        self._ended.set()

    def _make_loader(self, announce: Callable[[], None]) -> Loader:
        settings = self._settings

        def refuse_task(model: str, version: str) -> None:
            self.loader.later(lambda: self.catalog.refuse_task(model, version))
            self.loader.later(announce)

        return Loader(
            self.catalog,
            {
                name: (ModelFolder(path), settings.version_policy(name))
                for name, path in settings.models.items()
            },
            queues=self.queues,
            options=LoaderOptions(
                settings.poll_seconds,
                settings.load_retries,
                settings.load_retry_seconds,
                settings.swap,
                settings.drain_version_seconds,
            ),
            loading=LoadOptions(
                self._recorder,
                DeviceTime(self._recorder, self._device),
                settings.batching,
                refuse_task,
            ),
            announce=announce,
            memory=LoaderMemory.read(store_path_of(settings) / f"runner-{self._number}.loader"),
        )

    def _canary(self, name: str) -> Canary:
        return Canary(
            lambda: self.catalog.loaded(name),
            canary_seconds=self._settings.canary_seconds,
            show_failures=lambda number: self._status.show_canary_failures(name, number),
            give_up=self._give_up,
        )

    def _watch(self) -> None:
        """Give signs of life and heed how far the server's end has come."""
        beat_at = 0.0
        phase: int = Phase.SERVING
        while True:
            if time.monotonic() >= beat_at:
                beat_at = time.monotonic() + HEARTBEAT_SECONDS
                self._recorder.tick()
            self._beat()
            if self._state.phase != phase:
                phase = self._state.phase
                self._heed(phase)
            if self._ended.wait(WATCH_SECONDS):
                return

    def _beat(self) -> None:
        due = time.monotonic() + HEARTBEAT_OVERDUE_SECONDS
        started_ns = [b.clock.started_ns for b in self._batchers if b.clock.started_ns]
        oldest_ns = min(started_ns, default=0)
        if oldest_ns:
            due = min(due, oldest_ns / NANOSECONDS + self._settings.stall_seconds)
        self._stalled.set(due)
        self._status.beat(batch_started_ns=oldest_ns)
        if any(version.state == "ready" for version in self.catalog.versions()):
            self._status.note_ready()

    def _heed(self, phase: int) -> None:
        for queue in self.queues.values():
            if phase >= Phase.LEAVING:
                queue.hurry()
            if phase >= Phase.GIVING_UP:
                queue.fail_waiting(Draining("the server has shut down", retry_after_seconds=1.0))
        self._send_answers()


class _QueueDisplay:
    """Shows a queue on /metrics and on the status page."""

    def __init__(self, model: str, recorder: Recorder, status: RunnerStatus) -> None:
        def child(name: str) -> Child:
            return recorder.child(name, model=model)

        self._model = model
        self._status = status
        self._rows = child("inferometer_queue_rows")
        self._oldest = child("inferometer_queue_oldest_age_seconds")
        self._wait = child("inferometer_predicted_wait_seconds")

    def show_waiting(self, rows: int, oldest: float) -> None:
        self._rows.set(rows)
        self._oldest.set(oldest)
        self._status.show_waiting(self._model, rows)

    def show_wait(self, seconds: float) -> None:
        self._wait.set(seconds)
        self._status.show_wait(self._model, seconds)


def _make_queue(
    name: str,
    settings: Settings,
    recorder: Recorder,
    budget: ByteBudget,
    status: RunnerStatus,
    *,
    has_gpu: bool,
) -> BatchQueue:
    recorder.child("inferometer_queue_limit_rows", model=name).set(settings.queue_limit_rows)
    return BatchQueue(
        name,
        limits=QueueLimits(
            settings.queue_limit_rows,
            settings.queue_limit_keys,
            settings.max_delay_seconds,
            settings.priority_aging_seconds,
            settings.instances,
            admits_late=not settings.admission_control,
        ),
        sizes=BatchSizes(_allowed_sizes(settings, has_gpu=has_gpu), settings.max_batch_rows),
        budget=budget,
        gauges=_QueueDisplay(name, recorder, status),
    )


def _allowed_sizes(settings: Settings, *, has_gpu: bool) -> tuple[int, ...]:
    if settings.allowed_batch_rows or not has_gpu:
        return settings.allowed_batch_rows
    most = settings.max_batch_rows
    powers = [1 << power for power in range(most.bit_length()) if 1 << power < most]
    return (*powers, most)
