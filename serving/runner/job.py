"""One request inside the runner: its rows on the way in, its outputs and stamps on the way out."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from serving.errors import PredictionError
from serving.prediction import BatchFacts

# (signature, then datatype and row shape of each input): rows that may share a device call.
BatchKey = tuple[object, ...]
Outputs = Mapping[str, np.ndarray]


@dataclass(slots=True, eq=False)
class Job:
    """A request's rows and what has become of them.

    `inputs` are in the signature's order, first dimension `rows`. `answer` is called exactly once,
    with the job; then either `outputs` or `error` is set. Stamps are monotonic nanoseconds, 0 until
    reached.
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
    is_batchable: bool = True
    wanted: tuple[str, ...] | None = None
    arrived_ns: int = 0
    taken_ns: int = 0
    assembled_ns: int = 0
    computed_ns: int = 0
    next_row: int = 0
    parts: list[Outputs] = field(default_factory=list)
    outputs: Outputs | None = None
    error: PredictionError | None = None
    batch: BatchFacts | None = None
    is_done: bool = False

    def fail(self, error: PredictionError) -> None:
        """Answer with an error, unless the job has been answered."""
        if not self.is_done:
            self.is_done = True
            self.error = error
            self.answer(self)

    def add_part(self, outputs: Outputs, stop: int, facts: BatchFacts) -> None:
        """Take the outputs of the rows up to `stop`; answer when they are the last."""
        if self.is_done:
            return
        self.parts.append(outputs)
        self.batch = facts
        if stop == self.rows:
            self.is_done = True
            self.outputs = self.parts[0] if len(self.parts) == 1 else _join(self.parts)
            self.answer(self)


@dataclass(frozen=True, slots=True)
class Slice:
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
