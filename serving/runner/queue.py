"""The queue of one model: bounded, work-conserving, in order of priority and arrival.

The receiver offers jobs, the model's batch threads take batches. One lock and one condition guard
it.
"""

import threading
import time
from collections.abc import Callable
from enum import Enum, auto
from typing import NamedTuple

from serving.errors import DeadlineExceeded, Draining, PredictionError
from serving.runner.admission import Admission
from serving.runner.job import BatchKey, Job, Slice
from serving.runner.lanes import Lanes
from serving.runner.limits import ByteBudget, QueueGauges, QueueLimits
from serving.runner.sizes import BatchSizes
from serving.runner.workload import NANOSECONDS, Workload

DRAINING_RETRY_SECONDS = 1.0
# The answer still has to be split, sent and rendered.
DELIVERY_SECONDS = 0.02


class Batch(NamedTuple):
    """Rows taken for one device call, and what made it leave.

    `padded_rows` includes the padding.
    """

    key: BatchKey
    slices: tuple[Slice, ...]
    rows: int
    padded_rows: int
    trigger: str


class NoBatch(Enum):
    """Why `take` returned without a batch."""

    IDLE = auto()  # nothing was there for as long as the caller wanted to wait
    DRAINED = auto()  # nothing will ever be there again


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
        self.instances = limits.instances
        self._limits = limits
        self._budget = budget
        self._gauges = gauges
        self._condition = threading.Condition(threading.Lock())
        self._workload = Workload(
            max_rows=sizes.max_rows,
            instances=limits.instances,
            aging_seconds=limits.aging_seconds,
        )
        self.durations = self._workload.durations
        self._admission = Admission(model, limits=limits, budget=budget, workload=self._workload)
        self._draining_versions: set[str] = set()
        self._is_hurried = False
        self._is_draining = False

    def offer(self, job: Job) -> None:
        """Admit a job or raise QueueFull, PredictedLate or Draining; all its rows enter or none.

        The batch thread learns of it by `wake`, so that what arrives together shares a batch.
        """
        job.arrived_ns = job.queued_ns = time.monotonic_ns()
        with self._condition:
            if self._is_draining:
                raise _draining()
            self._admission.admit(job)
            self._workload.add(job)

    def wake(self) -> None:
        """Let the batch threads look at what has been offered, and /metrics with it."""
        with self._condition:
            if self._workload.rows:
                self._update_gauges()
                self._condition.notify(self.instances)

    def take(self, instance: int = 0, *, idle_seconds: float | None = None) -> Batch | NoBatch:
        """Wait for the next batch of an instance, whose last batch is done with this call.

        Jobs whose deadline has passed are dropped here: they never reach the device.
        """
        give_up_at = None if idle_seconds is None else time.monotonic() + idle_seconds
        while True:
            with self._condition:
                self._workload.end(instance)
                expired = self._drop_expired()
                batch: Batch | NoBatch | None = None if expired else self._next_batch()
                if isinstance(batch, Batch):
                    self._workload.begin(instance, batch.key, batch.padded_rows)
                    self._update_gauges()
                elif not expired:
                    batch = self._wait(give_up_at)
            for job in expired:
                job.fail(DeadlineExceeded("the deadline passed while the request was waiting"))
            if batch is not None:
                return batch

    def remove(self, job: Job) -> None:
        """Forget a job whose caller has gone, wherever it is."""
        job.settle()
        with self._condition:
            if self._workload.remove(job):
                self._budget.give_back(job.size_bytes)
                self._update_gauges()

    def hurry(self) -> None:
        """Cut every delay from now on: the server is about to stop."""
        with self._condition:
            self._is_hurried = True
            self._condition.notify_all()

    def drain(self) -> None:
        """Refuse new jobs, cut delays and let `take` end when what waits is done."""
        with self._condition:
            self._is_draining = self._is_hurried = True
            self._condition.notify_all()

    def drain_version(self, version: str) -> None:
        """Cut the delays of a version that goes."""
        with self._condition:
            self._draining_versions.add(version)
            self._condition.notify_all()

    def forget_version(self, version: str) -> None:
        """Forget what is known of a version that has gone."""
        with self._condition:
            self._draining_versions.discard(version)
            self.durations.forget(version)

    def holds(self, version: str) -> bool:
        """Return whether rows of a version wait or are being computed."""
        with self._condition:
            return self._workload.holds(version)

    def fail_waiting(self, error: PredictionError, version: str | None = None) -> None:
        """Answer what waits, of one version or of all, with an error."""
        self._fail(lambda job: version in (None, job.version), error)

    def _fail(self, is_meant: Callable[[Job], bool], error: PredictionError) -> None:
        with self._condition:
            meant = [job for job in self._workload.jobs() if is_meant(job)]
            self._drop(meant)
        for job in meant:
            job.fail(type(error)(error.message, retry_after_seconds=error.retry_after_seconds))

    def _wait(self, give_up_at: float | None) -> NoBatch | None:
        """Sleep until something may have changed; called when no batch may leave."""
        if self._is_draining and not self._workload.rows:
            return NoBatch.DRAINED
        seconds = self._seconds_to_delayed()
        if give_up_at is not None:
            left = give_up_at - time.monotonic()
            if left <= 0:
                return NoBatch.IDLE
            seconds = left if seconds is None else min(seconds, left)
        self._update_gauges()
        self._condition.wait(seconds)
        return None

    def _drop_expired(self) -> list[Job]:
        expired = self._workload.expired(time.monotonic_ns())
        self._drop(expired)
        return expired

    def _drop(self, jobs: list[Job]) -> None:
        for job in jobs:
            self._workload.remove(job)
            self._budget.give_back(job.size_bytes)
        if jobs:
            self._update_gauges()

    def _next_batch(self) -> Batch | None:
        """Return a batch of the key whose head is before all others, among those that may leave."""
        now = time.monotonic_ns()
        lanes = list(self._workload.lanes.values())
        if len(lanes) > 1:
            lanes.sort(key=lambda one: one.head_rank(now))
        for candidate in lanes:
            if not candidate.key.is_batchable:
                first = next(candidate.in_order(now))
                return self._leave(candidate, [first], first.rows, first.rows, "idle", now)
            jobs, rows, is_full = self._what_fits(candidate, now)
            trigger = "full" if is_full else self._leave_trigger(candidate, now)
            if trigger is not None:
                key = candidate.key
                estimate = self.durations.of(key.version, key.signature)
                take, padded = self.sizes.choose(rows, estimate)
                return self._leave(candidate, jobs, take, padded, trigger, now)
        return None

    def _what_fits(self, lanes: Lanes, now: int) -> tuple[list[Job], int, bool]:
        """Return what one batch can take of a key's head: jobs, rows, and whether it is full."""
        most = self.sizes.max_rows
        jobs: list[Job] = []
        rows = 0
        for job in lanes.in_order(now):
            left = job.rows - job.next_row
            if rows == 0 and left >= most:
                return [job], most, True
            if rows + left > most:
                return jobs, rows, True
            jobs.append(job)
            rows += left
            if rows == most:
                return jobs, rows, True
        return jobs, rows, False

    def _leave_trigger(self, lanes: Lanes, now: int) -> str | None:
        """Return why a batch that is not full leaves now, or None while it should wait."""
        if self._limits.max_delay_seconds <= 0:
            return "idle"
        if self._is_hurried or lanes.key.version in self._draining_versions:
            return "drain"
        if now >= self._latest_start_ns(lanes):
            return "deadline"
        if now >= lanes.oldest_ns() + int(self._limits.max_delay_seconds * NANOSECONDS):
            return "delay"
        return None

    def _latest_start_ns(self, lanes: Lanes) -> int:
        """Return when the batch must leave for its earliest deadline to be met."""
        key = lanes.key
        expected = self.durations.of(key.version, key.signature).seconds(self.sizes.max_rows)
        margin = max(expected, DELIVERY_SECONDS)
        earliest = min(job.deadline_ns for job in lanes)
        return earliest - int((expected + margin) * NANOSECONDS)

    def _seconds_to_delayed(self) -> float | None:
        """Return when a delayed batch must be looked at again; None where none is delayed."""
        lanes = self._workload.lanes.values()
        if not lanes:
            return None
        delay_ns = int(self._limits.max_delay_seconds * NANOSECONDS)
        wake_ns = min(min(one.oldest_ns() + delay_ns, self._latest_start_ns(one)) for one in lanes)
        return max(0.0, (wake_ns - time.monotonic_ns()) / NANOSECONDS)

    def _leave(  # noqa: PLR0917 - all of it is the caller's
        self, lanes: Lanes, jobs: list[Job], rows: int, padded: int, trigger: str, now: int
    ) -> Batch:
        """Take rows off the jobs that head a key."""
        slices = []
        left = rows
        for job in jobs:
            taken = min(job.rows - job.next_row, left)
            if not taken:
                break
            slices.append(Slice(job, job.next_row, job.next_row + taken))
            job.taken_ns = job.taken_ns or now
            # A large request waits again for each slice, so that small ones wait for one of them.
            lanes.take(job, taken, rest_to_tail=taken == self.sizes.max_rows, now=now)
            self._workload.note_taken(job, taken)
            left -= taken
            if job.next_row == job.rows:
                self._budget.give_back(job.size_bytes)
        self._workload.drop_empty(lanes)
        return Batch(lanes.key, tuple(slices), rows, padded, trigger)

    def _update_gauges(self) -> None:
        self._show_waiting()
        self._gauges.show_wait(self._workload.wait_seconds())

    def _show_waiting(self) -> None:
        self._gauges.show_waiting(self._workload.rows, self._workload.oldest_ns() / NANOSECONDS)


def _draining() -> Draining:
    return Draining("the server is shutting down", retry_after_seconds=DRAINING_RETRY_SECONDS)
