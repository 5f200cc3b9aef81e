"""One request inside the runner: its rows on the way in, its outputs and stamps on the way out."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from serving.errors import PredictionError
from serving.prediction import BatchFacts

Outputs = Mapping[str, np.ndarray]

HIGH, NORMAL, LOW = PRIORITIES = (1, 2, 3)


class BatchKey(NamedTuple):
    """What rows must have in common to share a device call.

    `shapes` are datatype and row shape of each input. Jobs of a key that is not batchable are
    computed one by one.
    """

    version: str
    signature: str
    shapes: tuple[tuple[str, tuple[int, ...]], ...] = ()
    is_batchable: bool = True


@dataclass(slots=True, eq=False)
class Job:
    """A request's rows and what has become of them.

    `inputs` are in the signature's order, first dimension `rows`. `answer` is called exactly once,
    with the job; then either `outputs` or `error` is set. Stamps are monotonic nanoseconds, 0 until
    reached; `queued_ns` is when the job joined the tail of its list, for the last time.
    """

    model: str
    version: str
    signature: str
    inputs: tuple[np.ndarray, ...]
    rows: int
    size_bytes: int
    key: BatchKey
    deadline_ns: int
    answer: Callable[["Job"], None]
    wanted: tuple[str, ...] | None = None
    priority: int = NORMAL
    arrived_ns: int = 0
    queued_ns: int = 0
    taken_ns: int = 0
    assembled_ns: int = 0
    computed_ns: int = 0
    next_row: int = 0
    parts: dict[int, Outputs] = field(default_factory=dict)
    rows_done: dict[int, int] = field(default_factory=dict)
    outputs: Outputs | None = None
    error: PredictionError | None = None
    batch: BatchFacts | None = None
    # One item until the job is answered: popping it is one step, whichever threads try.
    _unanswered: list[bool] = field(default_factory=lambda: [True])

    @property
    def is_done(self) -> bool:
        """Whether the job has been answered or given up."""
        return not self._unanswered

    def settle(self) -> bool:
        """Take the right to answer; it is given once."""
        try:
            self._unanswered.pop()
        except IndexError:
            return False
        return True

    def fail(self, error: PredictionError) -> None:
        """Answer with an error, unless the job has been answered."""
        if self.settle():
            self.error = error
            self.answer(self)

    def add_part(self, outputs: Outputs, start: int, stop: int, facts: BatchFacts) -> None:
        """Take the outputs of some of the rows; answer when there are those of all.

        Several instances may bring parts at the same time, and in any order.
        """
        if self.is_done:
            return
        self.batch = facts
        if stop - start == self.rows:
            if self.settle():
                self.outputs = outputs
                self.answer(self)
            return
        self.parts[start] = outputs
        self.rows_done[start] = stop - start
        if sum(self.rows_done.values()) == self.rows and self.settle():
            self.outputs = _join([self.parts[first] for first in sorted(self.parts)])
            self.answer(self)


class Slice(NamedTuple):
    """Consecutive rows of one job: what one batch takes of it."""

    job: Job
    start: int
    stop: int

    @property
    def rows(self) -> int:
        """How many rows these are."""
        return self.stop - self.start

    @property
    def inputs(self) -> tuple[np.ndarray, ...]:
        """The rows' inputs, in the signature's order."""
        if self.rows == self.job.rows:
            return self.job.inputs
        return tuple(array[self.start : self.stop] for array in self.job.inputs)


def _join(parts: list[Outputs]) -> Outputs:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
