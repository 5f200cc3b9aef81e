"""Counting what a version takes in and puts out, after its replies have left.

NumPy's overhead for a call is more than its work on a few rows, so batches wait and are counted
together.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from exporter import Recorder
from exporter.quality import ScoreError, Sums, output_series
from serving.model import ModelVersion
from serving.runner.declared import unmeasured
from serving.runner.profiled import Profiled

MOST_ROWS, MOST_BYTES, LONGEST_SECONDS = 1_024, 4 << 20, 1.0
# How long the device has been idle when it may be used for counting.
IDLE_SECONDS = 0.01

logger = logging.getLogger(__name__)


class Rows(NamedTuple):
    """What is to be counted of a batch: outputs, and the inputs if they are profiled.

    First dimensions are `size`, without padding. Of a version with a task the outputs are those
    that are measured.
    """

    size: int
    outputs: Mapping[str, np.ndarray]
    inputs: Mapping[str, np.ndarray]

    @property
    def kind(self) -> tuple[object, ...]:
        """What rows must have in common to be counted together."""
        return (
            *self.outputs,
            *((array.dtype, array.shape[1:]) for array in self.arrays),
        )

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        """All arrays."""
        return (*self.outputs.values(), *self.inputs.values())


class Measurement:
    """What is measured of one version, and where it is recorded."""

    def __init__(
        self,
        recorder: Recorder,
        version: ModelVersion,
        profiled: Profiled,
        refuse: Callable[[], None],
    ) -> None:
        """Make the version's series stand at 0.

        `refuse` is called, once, when the outputs are not what was declared.
        """
        self._name = (version.model, version.version)
        self._measured = profiled.measured
        self._reference = profiled.reference
        self._refuse = refuse
        self._is_refused = False
        self._recorder = recorder
        self._series = output_series(recorder, *self._name, self._measured.task, self._reference)
        self._shown = profiled.show(recorder)
        self._without_task = unmeasured(version).task
        signature = version.signatures.get(self._measured.signature)
        self._inputs = [spec.name for spec in signature.inputs] if signature else []

    def rows_of(
        self,
        signature: str,
        inputs: Sequence[np.ndarray],
        outputs: Mapping[str, np.ndarray],
        rows: int,
    ) -> Rows | None:
        """Return what is to be counted of a batch; None where that is nothing."""
        if signature != self._measured.signature:
            return None
        seen = {}
        if self._reference is not None:
            named = zip(self._inputs, inputs, strict=True)
            seen = {name: array[:rows] for name, array in named}
        # A version that is not batched may put out anything.
        found = {
            name: array[:rows]
            for name, array in outputs.items()
            if name in (self._measured.outputs or outputs) and array.ndim and len(array) >= rows
        }
        if len(found) < len(self._measured.outputs):
            return None
        return Rows(rows, found, seen)

    def count(self, rows: Rows) -> None:
        """Count rows."""
        try:
            self._series.record(self._sums(rows, is_judged=not self._is_refused))
        except ScoreError as error:
            # Outputs of another kind than was declared would be counted wrongly for ever.
            if not self._is_refused:
                self._is_refused = True
                logger.error(  # noqa: TRY400
                    "model %s version %s is not measured any more: %s", *self._name, error
                )
                self._refuse()
            self._series.record(self._sums(rows, is_judged=False))

    def _sums(self, rows: Rows, *, is_judged: bool) -> Sums:
        """Return what rows count. Raises ScoreError when they are judged and cannot be."""
        sums = Sums()
        outputs = None
        if self._measured.outputs and is_judged:
            outputs = self._measured.read(rows.outputs)
            self._measured.task.observe(outputs, sums)
        else:
            self._without_task.observe(_finiteness(rows), sums)
        if self._reference is not None:
            self._reference.observe(rows.inputs, outputs, sums)
        return sums

    def close(self) -> None:
        """End the series that are true of a version only as long as it is loaded."""
        for child in self._shown:
            self._recorder.remove(child)


class Uncounted:
    """The rows that one batch thread has not counted yet."""

    def __init__(self) -> None:
        """Nothing waits."""
        self._waiting: dict[Measurement, list[Rows]] = {}
        self._rows = 0
        self._bytes = 0
        self._since = 0.0

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, measurement: Measurement, rows: Rows | None) -> None:
        """Take the rows of a batch."""
        if rows is None:
            return
        if not self._waiting:
            self._since = time.monotonic()
        self._waiting.setdefault(measurement, []).append(rows)
        self._rows += rows.size
        self._bytes += sum(map(_size_of, rows.arrays))

    def count_due(self) -> None:
        """Count if much waits, or has waited for long."""
        is_much = self._rows >= MOST_ROWS or self._bytes >= MOST_BYTES
        if is_much or (self._waiting and time.monotonic() - self._since >= LONGEST_SECONDS):
            self.count()

    def count(self) -> None:
        """Count all that waits."""
        waiting, self._waiting = self._waiting, {}
        self._rows = self._bytes = 0
        for measurement, parts in waiting.items():
            for together in _joined(parts):
                try:
                    measurement.count(together)
                except Exception:
                    logger.exception("rows could not be counted")


def _size_of(array: np.ndarray) -> int:
    """Return an array's bytes, those of its texts included."""
    if array.dtype != object:
        return array.nbytes
    return array.nbytes + sum(map(len, array.reshape(-1)))


def _joined(parts: list[Rows]) -> list[Rows]:
    """Return batches as one, apart where rows differ in shape or type."""
    alike: dict[tuple[object, ...], list[Rows]] = {}
    for part in parts:
        alike.setdefault(part.kind, []).append(part)
    return [found[0] if len(found) == 1 else _concatenated(found) for found in alike.values()]


def _concatenated(parts: list[Rows]) -> Rows:
    first = parts[0]
    return Rows(
        sum(part.size for part in parts),
        {name: np.concatenate([part.outputs[name] for part in parts]) for name in first.outputs},
        {name: np.concatenate([part.inputs[name] for part in parts]) for name in first.inputs},
    )


def _finiteness(rows: Rows) -> np.ndarray:
    """Return 0 for each row whose outputs are finite, NaN for the others."""
    numbers = [
        array.reshape(rows.size, -1) for array in rows.outputs.values() if array.dtype.kind == "f"
    ]
    if not numbers:
        return np.zeros(rows.size)
    is_finite = np.logical_and.reduce([np.isfinite(array).all(axis=1) for array in numbers])
    return np.where(is_finite, 0.0, np.nan)
