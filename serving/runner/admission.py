"""Who may enter a queue: what has no room, or would come too late, is refused at once."""

import time

from serving.errors import PredictedLate, QueueFull
from serving.runner.job import LOW, Job
from serving.runner.limits import ByteBudget, QueueLimits
from serving.runner.workload import NANOSECONDS, Workload

# Low priority may not fill the queue.
LOW_SHARE = 0.5

# Under overload every job that is admitted is one that would just make it. Without a margin, half
# of them miss their deadline after the device has computed them: measured, 40 % of its time.
MARGIN_SHARE = 0.1
LEAST_MARGIN_SECONDS = 0.005


class Admission:
    """Checks a job against the limits and against what waits; called under the queue's lock."""

    def __init__(
        self, model: str, *, limits: QueueLimits, budget: ByteBudget, workload: Workload
    ) -> None:
        """Judge for one model's queue."""
        self._model = model
        self._limits = limits
        self._budget = budget
        self._workload = workload

    def admit(self, job: Job) -> None:
        """Take the job's bytes, or raise QueueFull or PredictedLate."""
        limits, workload = self._limits, self._workload
        share = 1.0
        if job.priority == LOW:
            share = LOW_SHARE
            room = int(LOW_SHARE * limits.rows)
            # What is larger than its room is admitted to an empty queue.
            if workload.rows and workload.rows + job.rows > room:
                what = f"{workload.rows:,} rows are waiting; low priority has {room:,}"
                excess = min(workload.rows, workload.rows + job.rows - room)
                raise self._full(what, workload.seconds_until_room(excess))
        if workload.rows + job.rows > limits.rows:
            # A request that is as large as the room waits for an empty queue.
            excess = min(workload.rows, workload.rows + job.rows - limits.rows)
            what = f"{workload.rows:,} of {limits.rows:,} rows are waiting"
            raise self._full(what, workload.seconds_until_room(excess))
        if job.key not in workload.lanes and len(workload.lanes) >= limits.keys:
            what = f"{limits.keys} different row shapes are waiting"
            raise self._full(what, workload.seconds_until_room(1))
        self._refuse_late(job)
        if not self._budget.take(job.size_bytes, share=share):
            what = "the bytes that may wait are waiting"
            raise self._full(what, workload.seconds_until_room(1))

    def _refuse_late(self, job: Job) -> None:
        # An idle device admits everything: a wrong estimate cannot lock the door, since the next
        # call corrects it.
        if self._limits.admits_late or self._workload.is_idle:
            return
        expected = self._workload.wait_seconds(job) + self._workload.own_seconds(job)
        margin = max(LEAST_MARGIN_SECONDS, MARGIN_SHARE * expected)
        left = (job.deadline_ns - time.monotonic_ns()) / NANOSECONDS
        # What is late already is no prediction: the queue drops it for what it is.
        if expected + margin > left > 0:
            retry = expected + margin - left
            raise PredictedLate(
                f"model {self._model}: an answer is expected in {expected:.3f} s, the deadline is"
                f" in {left:.3f} s; retry in {retry:.2f} s or allow more time",
                retry_after_seconds=retry,
            )

    def _full(self, what: str, wait: float) -> QueueFull:
        return QueueFull(
            f"model {self._model}: {what}; retry in {wait:.2f} s", retry_after_seconds=wait
        )
