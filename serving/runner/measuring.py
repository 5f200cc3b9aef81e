"""Counting what a version puts out, after its replies have left.

NumPy's overhead for a call is more than its work on a few rows, so batches wait and are counted
together.
"""

import logging
import time
from collections.abc import Callable, Mapping

import numpy as np

from exporter import Recorder
from exporter.quality import Measured, ScoreError, Sums, is_countable, output_series
from serving.model import ModelVersion
from serving.runner.declared import unmeasured

MOST_ROWS, MOST_BYTES, LONGEST_SECONDS = 256, 4 << 20, 1.0
# How long the device has been idle when it may be used for counting.
IDLE_SECONDS = 0.01

logger = logging.getLogger(__name__)


class Measurement:
    """What is measured of one version, and where it is recorded."""

    def __init__(
        self,
        recorder: Recorder,
        version: ModelVersion,
        measured: Measured,
        refuse: Callable[[], None],
    ) -> None:
        """Make the version's series stand at 0.

        `refuse` is called, once, when the outputs are not what was declared.
        """
        self._name = (version.model, version.version)
        self._measured = measured
        self._refuse = refuse
        self._is_refused = False
        self._series = output_series(recorder, *self._name, measured.task)
        self._without_task = unmeasured(version).task

    def rows_of(
        self, signature: str, outputs: Mapping[str, np.ndarray], rows: int
    ) -> np.ndarray | None:
        """Return what is measured of a batch's outputs, without padding; None where nothing is."""
        if signature != self._measured.signature:
            return None
        if not self._measured.output or self._is_refused:
            return _finiteness(outputs, rows)
        # A version that is not batched may put out anything.
        array = outputs[self._measured.output]
        return array[:rows] if array.ndim and len(array) >= rows else None

    def count(self, outputs: np.ndarray) -> None:
        """Count rows of outputs."""
        sums = Sums()
        try:
            task = self._without_task if self._is_refused else self._measured.task
            task.observe(outputs, sums)
        except ScoreError as error:
            # Outputs of another kind than was declared would be counted wrongly for ever.
            if not self._is_refused:
                self._is_refused = True
                logger.error(  # noqa: TRY400
                    "model %s version %s is not measured any more: %s", *self._name, error
                )
                self._refuse()
            return
        self._series.record(sums)


class Uncounted:
    """The outputs that one batch thread has not counted yet."""

    def __init__(self) -> None:
        """Nothing waits."""
        self._waiting: dict[Measurement, list[np.ndarray]] = {}
        self._rows = 0
        self._bytes = 0
        self._since = 0.0

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, measurement: Measurement, outputs: np.ndarray | None) -> None:
        """Take the outputs of a batch."""
        if outputs is None:
            return
        if not self._waiting:
            self._since = time.monotonic()
        self._waiting.setdefault(measurement, []).append(outputs)
        self._rows += len(outputs)
        self._bytes += outputs.nbytes

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
                measurement.count(together)


def _joined(parts: list[np.ndarray]) -> list[np.ndarray]:
    """Return batches as one array, apart where rows differ in shape or type."""
    alike: dict[tuple[object, ...], list[np.ndarray]] = {}
    for part in parts:
        alike.setdefault((part.dtype, part.shape[1:]), []).append(part)
    return [found[0] if len(found) == 1 else np.concatenate(found) for found in alike.values()]


def _finiteness(outputs: Mapping[str, np.ndarray], rows: int) -> np.ndarray | None:
    """Return 0 for each row whose outputs are finite, NaN for the others; None without numbers."""
    numbers = [
        array[:rows].reshape(rows, -1)
        for array in outputs.values()
        if is_countable(array) and len(array) >= rows and array.dtype.kind == "f"
    ]
    if not numbers:
        return np.zeros(rows)
    is_finite = np.logical_and.reduce([np.isfinite(array).all(axis=1) for array in numbers])
    return np.where(is_finite, 0.0, np.nan)
