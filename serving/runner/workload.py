"""What waits for one model and what is being computed: how much it is and how long it will take.

Not guarded by itself: the queue calls it under its lock.
"""

import time
from collections.abc import Iterator

from serving.runner.durations import Durations
from serving.runner.job import HIGH, LOW, BatchKey, Job
from serving.runner.lanes import Lanes

NANOSECONDS = 1e9
FAR_FUTURE = 1 << 63


class Workload:
    """The lanes of all keys that wait, and the batches that run, of one model."""

    def __init__(self, *, max_rows: int, instances: int, aging_seconds: float) -> None:
        """Start empty; `max_rows` is the most in one batch, `instances` how many run at once."""
        self.durations = Durations()
        self.lanes: dict[BatchKey, Lanes] = {}
        self.rows = 0
        self._max_rows = max_rows
        self._instances = instances
        self._aging_ns = int(aging_seconds * NANOSECONDS)
        # No job that waits has an earlier deadline, though those that have left may have had.
        self._no_deadline_before = FAR_FUTURE
        # Only a job of which rows have left may be answered while others of its rows wait.
        self._has_begun = False
        # By instance: the version it computes, and when it is expected to be done.
        self._running: dict[int, tuple[str, int]] = {}

    @property
    def is_idle(self) -> bool:
        """Whether an instance is free and nothing waits."""
        return not self.rows and len(self._running) < self._instances

    def add(self, job: Job) -> None:
        """Let a job wait."""
        lanes = self.lanes.get(job.key)
        if lanes is None:
            lanes = self.lanes[job.key] = Lanes(job.key, self._aging_ns)
        lanes.append(job)
        self.rows += job.rows
        self._no_deadline_before = min(self._no_deadline_before, job.deadline_ns)

    def note_taken(self, job: Job, rows: int) -> None:
        """Note that rows of a job have left."""
        self.rows -= rows
        if job.next_row < job.rows:
            self._has_begun = True

    def expired(self, now: int) -> list[Job]:
        """Return the jobs that wait in vain: their deadline has passed, or they are answered."""
        if now < self._no_deadline_before and not self._has_begun:
            return []
        expired = []
        earliest, has_begun = FAR_FUTURE, False
        for job in self.jobs():
            if job.is_done or job.deadline_ns <= now:
                expired.append(job)
            else:
                earliest = min(earliest, job.deadline_ns)
                has_begun = has_begun or job.next_row > 0
        self._no_deadline_before, self._has_begun = earliest, has_begun
        return expired

    def remove(self, job: Job) -> bool:
        """Forget a job; return whether it was waiting."""
        lanes = self.lanes.get(job.key)
        if lanes is None or job not in lanes:
            return False
        lanes.remove(job)
        self.rows -= job.rows - job.next_row
        self.drop_empty(lanes)
        return True

    def drop_empty(self, lanes: Lanes) -> None:
        """Forget a key that nothing waits for."""
        if not lanes:
            del self.lanes[lanes.key]

    def begin(self, instance: int, key: BatchKey, rows: int) -> None:
        """Note that an instance computes a batch from now on."""
        expected = self.durations.of(key.version, key.signature).seconds(rows)
        until = time.monotonic_ns() + int(expected * NANOSECONDS)
        self._running[instance] = (key.version, until)

    def end(self, instance: int) -> None:
        """Note that an instance is free."""
        self._running.pop(instance, None)

    def jobs(self) -> Iterator[Job]:
        """Yield every job that waits."""
        for lanes in self.lanes.values():
            yield from lanes

    def holds(self, version: str) -> bool:
        """Return whether rows of a version wait or are being computed."""
        return any(key.version == version for key in self.lanes) or any(
            running == version for running, _ in self._running.values()
        )

    def oldest_ns(self) -> int:
        """Return when the job that has waited longest arrived, 0 while nothing waits."""
        return min((lanes.oldest_ns() for lanes in self.lanes.values()), default=0)

    def wait_seconds(self, job: Job | None = None) -> float:
        """Return how long a job that arrives now is expected to wait; by default any normal one.

        The rest of the running batches and the full batches ahead, divided by the instances.
        """
        now = time.monotonic_ns()
        seconds = 0.0
        for _, until in self._running.values():
            # What has taken longer than expected is expected to take as much longer again.
            seconds += abs(until - now) / NANOSECONDS
        for lanes in self.lanes.values():
            seconds += self._seconds_of(lanes, job)
        return seconds / self._instances

    def own_seconds(self, job: Job) -> float:
        """Return how long the batches that carry a job are expected to be computed."""
        estimate = self.durations.of(job.version, job.signature)
        if not job.key.is_batchable:
            return estimate.seconds(job.rows)
        lanes = self.lanes.get(job.key)
        shared = self._rows_ahead(lanes, job) % self._max_rows if lanes else 0
        batches, rest = divmod(job.rows + shared, self._max_rows)
        return batches * estimate.seconds(self._max_rows) + (estimate.seconds(rest) if rest else 0)

    def seconds_until_room(self, rows: int) -> float:
        """Return how long it is expected to take until `rows` fewer rows wait."""
        batches = -(-rows // self._max_rows)
        waiting = max(1, -(-self.rows // self._max_rows))
        return self.wait_seconds() * min(1.0, batches / waiting)

    def _seconds_of(self, lanes: Lanes, job: Job | None) -> float:
        """Return how long the batches of a key take that are computed before a job's own."""
        rows = self._rows_ahead(lanes, job)
        if not rows:
            return 0.0
        key = lanes.key
        estimate = self.durations.of(key.version, key.signature)
        if not key.is_batchable:
            return len(lanes) * estimate.seconds(next(iter(lanes)).rows)
        is_own = job is not None and job.key == key
        # What does not fill a batch shares one with the job's own rows.
        batches = rows // self._max_rows if is_own else -(-rows // self._max_rows)
        return batches * estimate.seconds(self._max_rows)

    def _rows_ahead(self, lanes: Lanes, job: Job | None) -> int:
        """Return the rows that leave before a job's: those of its class and of higher ones."""
        high, normal, low = lanes.rows.values()
        if job is None or job.priority == LOW:
            return high + normal + low
        return high if job.priority == HIGH else high + normal
