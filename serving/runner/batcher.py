"""The batch thread of one model: take rows, assemble, compute, split, answer.

Work-conserving: it takes what is there as soon as the device is free. A batch that fails is run
again member by member, within a budget, so that one bad row costs its own request only.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

import numpy as np

from serving.errors import (
    DeadlineExceeded,
    InternalError,
    ModelError,
    PredictionError,
    UnknownVersion,
)
from serving.prediction import BatchFacts
from serving.runner.canary import Canary
from serving.runner.isolation import IsolationBudget
from serving.runner.job import Slice
from serving.runner.measuring import IDLE_SECONDS, Uncounted
from serving.runner.queue import Batch, BatchQueue, NoBatch
from serving.runner.served import ServedVersion
from serving.runner.workload import NANOSECONDS

MAX_REASON_CHARACTERS = 200
SUSPICIOUS_FAILURES = 3

logger = logging.getLogger(__name__)


class BatchClock:
    """When the batch that is on the device went there; read by the sign of life."""

    def __init__(self) -> None:
        """No batch is running."""
        self.started_ns = 0


class Batcher:
    """Runs batches of one model in a thread of its own until the queue is drained."""

    def __init__(
        self,
        queue: BatchQueue,
        *,
        find: Callable[[str, str], ServedVersion | None],
        after_batch: Callable[[], None],
        isolation: IsolationBudget,
        batch_ids: Iterator[int],
        canary: Canary | None = None,
        instance: int = 0,
    ) -> None:
        """`find` returns a version that is loaded.

        `after_batch` sends what the batch has answered; one instance of a model has its canary.
        `batch_ids` are those of the whole runner.
        """
        self.clock = BatchClock()
        self._queue = queue
        self._find = find
        self._after_batch = after_batch
        self._isolation = isolation
        self._batch_ids = batch_ids
        self._canary = canary
        self._instance = instance
        self._uncounted = Uncounted()
        self._thread = threading.Thread(
            target=self._run, name=f"batcher-{queue.model}-{instance}", daemon=True
        )

    def start(self) -> None:
        """Begin to take batches."""
        self._thread.start()

    def join(self, timeout_seconds: float) -> bool:
        """Wait for the thread to end after the queue was drained; return whether it did."""
        self._thread.join(timeout_seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            idle_seconds = self._canary.seconds_until_due() if self._canary else None
            if self._uncounted:
                idle_seconds = min(IDLE_SECONDS, idle_seconds or IDLE_SECONDS)
            batch = self._queue.take(self._instance, idle_seconds=idle_seconds)
            if isinstance(batch, Batch):
                self._run_batch(batch)
                self._uncounted.count_due()
                if self._canary is not None:
                    self._canary.look()
                continue
            self._uncounted.count()
            if batch is NoBatch.DRAINED:
                return
            if self._canary is not None:
                self._timed(self._canary.run_due)

    def _run_batch(self, batch: Batch) -> None:
        try:
            self._handle(batch)
        except Exception:
            logger.exception(
                "model %s: a batch failed for a reason of the server", self._queue.model
            )
            _fail(batch.slices, InternalError("the server failed; its log says why"))
        self._after_batch()

    def _handle(self, batch: Batch) -> None:
        served = self._find(self._queue.model, batch.key.version)
        if served is None:
            message = f"model {self._queue.model} has no version {batch.key.version} any more"
            _fail(batch.slices, UnknownVersion(message))
            return
        error = self._compute(served, batch)
        has_answered = error is None
        if error is not None:
            if len(batch.slices) > 1 and self._may_isolate(served, batch):
                has_answered = self._isolate(served, batch)
            else:
                _fail(batch.slices, error)
        served.last_batch = time.monotonic()
        self._suspect(served, has_answered=has_answered)

    def _suspect(self, served: ServedVersion, *, has_answered: bool) -> None:
        """Ask the canary after several batches in a row of which no member was answered.

        A CUDA context does not recover from a sticky error; bad inputs are no reason to restart.
        """
        served.failures_in_a_row = 0 if has_answered else served.failures_in_a_row + 1
        if served.failures_in_a_row >= SUSPICIOUS_FAILURES and self._canary is not None:
            served.failures_in_a_row = 0
            self._after_batch()
            self._timed(partial(self._canary.prove, served))

    def _timed(self, run: Callable[[], None]) -> None:
        """Run what occupies the device outside any batch, seen by the sign of life."""
        self.clock.started_ns = time.monotonic_ns()
        run()
        self.clock.started_ns = 0

    def _may_isolate(self, served: ServedVersion, batch: Batch) -> bool:
        estimate = self._queue.durations.of(served.version, batch.key.signature)
        return self._isolation.allows(sum(estimate.seconds(one.rows) for one in batch.slices))

    def _isolate(self, served: ServedVersion, batch: Batch) -> bool:
        """Run each member of a failed batch alone, once, to find out which are bad.

        Return whether some were good.
        """
        begun = time.monotonic()
        has_answered = False
        for member in batch.slices:
            if member.job.deadline_ns <= time.monotonic_ns():
                member.job.fail(DeadlineExceeded("the deadline passed during the device call"))
            if member.job.is_done:
                continue
            served.metrics.retries.inc()
            padded = self._queue.sizes.round_up(member.rows)
            alone = Batch(batch.key, (member,), member.rows, padded, batch.trigger)
            error = self._compute(served, alone)
            if error is None:
                has_answered = True
            else:
                member.job.fail(error)
        self._isolation.spend(time.monotonic() - begun)
        return has_answered

    def _compute(self, served: ServedVersion, batch: Batch) -> PredictionError | None:
        """Run one device call and hand its outputs to the members.

        Return why it failed, if it did.
        """
        signature, is_batched = batch.key.signature, batch.key.is_batchable
        padding = batch.padded_rows - batch.rows if is_batched else 0
        inputs = _assemble(batch.slices, padding)
        assembled = time.monotonic_ns()
        self._note_begin(served, batch, assembled)
        outputs, error = _call(served, signature, inputs)
        computed = time.monotonic_ns()
        self.clock.started_ns = 0
        seconds = (computed - assembled) / NANOSECONDS
        served.metrics.batch(
            batch.trigger,
            rows=batch.rows,
            padding_rows=padding,
            seconds=seconds,
            ended_ns=computed,
        )
        self._count_traces(served)
        if error is None and is_batched:
            error = _check_rows(outputs, batch.rows + padding)
        if error is not None:
            for piece in batch.slices:
                # So that the phases of what fails say where it failed.
                piece.job.computed_ns = computed
            return error
        estimate = self._queue.durations.of(served.version, signature)
        estimate.learn(batch.rows + padding, seconds)
        facts = BatchFacts(next(self._batch_ids), batch.rows, padding, batch.trigger)
        _split(batch.slices, outputs, facts, computed=computed)
        measurement = served.measurement
        rows = measurement.rows_of(signature, inputs, outputs, batch.rows)
        self._uncounted.add(measurement, rows)
        return None

    def _note_begin(self, served: ServedVersion, batch: Batch, at_ns: int) -> None:
        self.clock.started_ns = at_ns
        for piece in batch.slices:
            # Before the call, so that what hangs or comes too late is known to be on the device.
            piece.job.assembled_ns = piece.job.assembled_ns or at_ns
            piece.job.computed_ns = 0
        served.metrics.begin(at_ns)

    def _count_traces(self, served: ServedVersion) -> None:
        traces = served.loaded.trace_count()
        served.metrics.traces(traces - served.traces_seen)
        served.traces_seen = traces


def _assemble(slices: Sequence[Slice], padding: int) -> tuple[np.ndarray, ...]:
    """Return each input of all members together; padding repeats the last real row.

    A real row cannot create a NaN or an index out of range, as zeros might.
    """
    if len(slices) == 1 and not padding:
        return slices[0].inputs
    columns = zip(*(piece.inputs for piece in slices), strict=True)
    if not padding:
        return tuple(np.concatenate(column) for column in columns)
    return tuple(
        np.concatenate([*column, np.repeat(column[-1][-1:], padding, axis=0)]) for column in columns
    )


def _call(
    served: ServedVersion, signature: str, inputs: tuple[np.ndarray, ...]
) -> tuple[Mapping[str, np.ndarray], PredictionError | None]:
    try:
        return served.loaded.call(signature, inputs), None
    except Exception as error:
        # What a model raises is the model's business: its callers are told, the runner goes on.
        logger.warning("model %s version %s raised: %s", served.model, served.version, error)
        reason = " ".join(str(error).split())[:MAX_REASON_CHARACTERS]
        return {}, ModelError(f"model {served.model} raised {type(error).__name__}: {reason}")


def _check_rows(outputs: Mapping[str, np.ndarray], rows: int) -> ModelError | None:
    for name, array in outputs.items():
        if array.ndim == 0 or array.shape[0] != rows:
            return ModelError(f'output "{name}" has shape {list(array.shape)} for {rows} rows')
    return None


def _split(
    slices: Sequence[Slice],
    outputs: Mapping[str, np.ndarray],
    facts: BatchFacts,
    *,
    computed: int,
) -> None:
    """Cut the outputs by offsets that the batcher computed itself."""
    offset = 0
    is_shared = len(slices) > 1 or facts.padding_rows > 0
    for piece in slices:
        end = offset + piece.rows
        job = piece.job
        job.computed_ns = computed
        part = (
            {name: array[offset:end] for name, array in outputs.items()} if is_shared else outputs
        )
        job.add_part(part, piece.start, piece.stop, facts)
        offset = end


def _fail(slices: Sequence[Slice], error: PredictionError) -> None:
    for piece in slices:
        piece.job.fail(error)
