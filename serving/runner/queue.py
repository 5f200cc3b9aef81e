"""The queue of one model: bounded, work-conserving, first in first out where rows fit together.

The receiver offers jobs, the model's batch thread takes batches. One lock and one condition guard
it.
"""

import threading
import time
from collections import deque
from dataclasses import dataclass

from serving.errors import DeadlineExceeded, Draining, QueueFull
from serving.runner.durations import DurationEstimate
from serving.runner.job import BatchKey, Job, Slice
from serving.runner.limits import ByteBudget, QueueGauges, QueueLimits
from serving.runner.sizes import BatchSizes

NANOSECONDS = 1e9
LEAST_RETRY_SECONDS = 1.0
DELIVERY_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows taken for one device call, and what made it leave.

    `padded_rows` includes the padding.
    """

    slices: tuple[Slice, ...]
    rows: int
    padded_rows: int
    trigger: str


class BatchQueue:
    """The waiting jobs of one model."""

    def __init__(
        self,
        model: str,
        *,
        limits: QueueLimits,
        sizes: BatchSizes,
        budget: ByteBudget,
        gauges: QueueGauges,
    ) -> None:
        """Start empty."""
        self.model = model
        self.sizes = sizes
        self.durations = DurationEstimate()
        self._limits = limits
        self._budget = budget
        self._gauges = gauges
        self._condition = threading.Condition(threading.Lock())
        self._waiting: dict[BatchKey, deque[Job]] = {}
        self._rows = 0
        self._busy_until_ns = 0
        self._is_draining = False

    def offer(self, job: Job) -> None:
        """Admit a job or raise QueueFull or Draining; all its rows enter or none.

        The batch thread learns of it by `wake`, so that what arrives together shares a batch.
        """
        job.arrived_ns = time.monotonic_ns()
        with self._condition:
            if self._is_draining:
                raise Draining(
                    "the server is shutting down", retry_after_seconds=LEAST_RETRY_SECONDS
                )
            self._check_room(job)
            self._waiting.setdefault(job.key, deque()).append(job)
            self._rows += job.rows

    def wake(self) -> None:
        """Let the batch thread look at what has been offered, and /metrics with it."""
        with self._condition:
            if self._waiting:
                self._show_waiting()
                self._condition.notify()

    def take(self) -> Batch | None:
        """Wait for the next batch; None when the queue is draining and empty.

        Jobs whose deadline has passed or that were cancelled are dropped here: neither reaches the
        device.
        """
        while True:
            with self._condition:
                expired = self._drop_expired()
                batch = None if expired else self._next_batch()
                if not expired and batch is None:
                    if self._is_draining and not self._waiting:
                        return None
                    self._update_gauges()
                    self._condition.wait(self._wait_seconds())
            for job in expired:
                job.fail(DeadlineExceeded("the deadline passed while the request was waiting"))
            if batch is not None:
                return batch

    def remove(self, job: Job) -> None:
        """Forget a job whose caller has gone, wherever it is."""
        with self._condition:
            job.is_done = True
            if job in self._waiting.get(job.key, ()):
                self._forget(job)
                self._update_gauges()

    def computing(self, rows: int) -> None:
        """Note that a batch of `rows` rows goes to the device now."""
        self._busy_until_ns = time.monotonic_ns() + int(self.durations.seconds(rows) * NANOSECONDS)

    def drain(self) -> None:
        """Refuse new jobs, cut delays and let `take` end when what waits is done."""
        with self._condition:
            self._is_draining = True
            self._condition.notify_all()

    def _check_room(self, job: Job) -> None:
        limits = self._limits
        if self._rows + job.rows > limits.rows:
            raise self._full(f"{self._rows:,} of {limits.rows:,} rows are waiting")
        # A job that is computed alone has a key of its own, but no shape of its own.
        is_new_shape = job.is_batchable and job.key not in self._waiting
        if is_new_shape and len(self._waiting) >= limits.keys:
            raise self._full(f"{limits.keys} different row shapes are waiting")
        if not self._budget.take(job.size_bytes):
            raise self._full("the bytes that may wait are waiting")

    def _full(self, what: str) -> QueueFull:
        wait = max(self._predicted_wait(), 0.0)
        return QueueFull(
            f"model {self.model}: {what}; retry in {max(wait, LEAST_RETRY_SECONDS):.2f} s",
            retry_after_seconds=max(wait, LEAST_RETRY_SECONDS),
        )

    def _drop_expired(self) -> list[Job]:
        now = time.monotonic_ns()
        expired = [
            job
            for waiting in self._waiting.values()
            for job in waiting
            if job.is_done or job.deadline_ns <= now
        ]
        for job in expired:
            self._forget(job)
        if expired:
            self._update_gauges()
        return expired

    def _next_batch(self) -> Batch | None:
        """Return a batch of the key whose head has waited longest, among those that may leave."""
        for key in sorted(self._waiting, key=lambda key: self._waiting[key][0].arrived_ns):
            waiting = self._waiting[key]
            first = waiting[0]
            if not first.is_batchable:
                return self._leave(key, first.rows, first.rows, "idle")
            rows, is_full = self._rows_that_fit(waiting)
            trigger = "full" if is_full else self._leave_trigger(waiting)
            if trigger is not None:
                return self._leave(key, *self.sizes.choose(rows, self.durations), trigger)
        return None

    def _leave(self, key: BatchKey, take: int, padded: int, trigger: str) -> Batch:
        slices = self._cut(key, take)
        self._update_gauges()
        return Batch(slices, take, padded, trigger)

    def _rows_that_fit(self, waiting: deque[Job]) -> tuple[int, bool]:
        """Return how many rows one batch can take of the key's head, and whether it is full."""
        most = self.sizes.max_rows
        rows = 0
        for job in waiting:
            left = job.rows - job.next_row
            if rows == 0 and left >= most:
                return most, True
            if rows + left > most:
                return rows, True
            rows += left
        return rows, rows == most

    def _leave_trigger(self, waiting: deque[Job]) -> str | None:
        """Return why a batch that is not full leaves now, or None while it should wait."""
        if self._limits.max_delay_seconds <= 0:
            return "idle"
        if self._is_draining:
            return "drain"
        now = time.monotonic_ns()
        if now >= self._latest_start_ns(waiting):
            return "deadline"
        if now >= waiting[0].arrived_ns + int(self._limits.max_delay_seconds * NANOSECONDS):
            return "delay"
        return None

    def _latest_start_ns(self, waiting: deque[Job]) -> int:
        """Return when the batch must leave for its earliest deadline to be met."""
        expected = self.durations.seconds(self.sizes.max_rows)
        # The answer still has to be split, sent and rendered.
        margin = max(expected, DELIVERY_SECONDS)
        earliest = min(job.deadline_ns for job in waiting)
        return earliest - int((expected + margin) * NANOSECONDS)

    def _wait_seconds(self) -> float | None:
        """Return when a delayed batch must be looked at again.

        None to sleep until something happens.
        """
        if not self._waiting:
            return None
        wake_ns = min(
            min(
                waiting[0].arrived_ns + int(self._limits.max_delay_seconds * NANOSECONDS),
                self._latest_start_ns(waiting),
            )
            for waiting in self._waiting.values()
        )
        return max(0.0, (wake_ns - time.monotonic_ns()) / NANOSECONDS)

    def _cut(self, key: BatchKey, rows: int) -> tuple[Slice, ...]:
        """Take `rows` rows off the head of a key."""
        waiting = self._waiting[key]
        slices = []
        now = time.monotonic_ns()
        while rows:
            job = waiting[0]
            stop = min(job.rows, job.next_row + rows)
            slices.append(Slice(job, job.next_row, stop))
            rows -= stop - job.next_row
            self._rows -= stop - job.next_row
            job.taken_ns = job.taken_ns or now
            job.next_row = stop
            if stop == job.rows:
                waiting.popleft()
                self._budget.give_back(job.size_bytes)
            elif stop - slices[-1].start == self.sizes.max_rows:
                # A large request waits again for each slice, so that small ones wait for one of
                # them.
                waiting.rotate(-1)
        if not waiting:
            del self._waiting[key]
        return tuple(slices)

    def _forget(self, job: Job) -> None:
        waiting = self._waiting[job.key]
        waiting.remove(job)
        self._rows -= job.rows - job.next_row
        self._budget.give_back(job.size_bytes)
        if not waiting:
            del self._waiting[job.key]

    def _predicted_wait(self) -> float:
        rest = (
            max(0, self._busy_until_ns - time.monotonic_ns()) / NANOSECONDS
            if self._busy_until_ns
            else 0.0
        )
        full_batches = -(-self._rows // self.sizes.max_rows) if self._rows else 0
        return rest + full_batches * self.durations.seconds(self.sizes.max_rows)

    def _update_gauges(self) -> None:
        self._show_waiting()
        self._gauges.predicted_wait.set(self._predicted_wait())

    def _show_waiting(self) -> None:
        self._gauges.rows.set(self._rows)
        oldest = min((waiting[0].arrived_ns for waiting in self._waiting.values()), default=0)
        self._gauges.oldest.set(oldest / NANOSECONDS)
