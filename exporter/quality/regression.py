"""A number: outputs [n], [n, 1], or one column of [n, m]. Errors are prediction minus label."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.quality.errors import LabelError, ScoreError
from exporter.quality.scores import packed, unpacked_number
from exporter.quality.sums import Sums
from exporter.quality.task import PREDICTION, VALUE, Values, finite_rows, packed_rows, usable_rows

# Labels nearer to 0 have no relative error.
LEAST_RELATIVE = 1e-9
SIGNS = ("over", "under")
FURTHEST = 1e9
TABLE = 2


class Regression:
    """Counts errors and what R² needs, as sums that never fall."""

    is_correctable = False

    def __init__(
        self,
        *,
        label_min: float = -FURTHEST,
        label_max: float = FURTHEST,
        target_mean: float = 0.0,
        column: int = 0,
    ) -> None:
        """`target_mean` is where R² measures deviations from: near the labels' own it is precise.

        Labels outside of their range are refused: one huge error would swallow all later ones.
        """
        self._label_min, self._label_max = label_min, label_max
        self._target_mean = target_mean
        self._column = column

    def observe(self, outputs: NDArray[Any], sums: Sums) -> None:
        """Count rows, and those without a usable output."""
        sums.add("predictions_total", float(len(usable_rows(outputs, sums))), predicted=VALUE)

    def columns(self, outputs: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Return each usable row's number, as a feature."""
        return {PREDICTION: self._column_of(outputs[finite_rows(outputs)]).astype(np.float64)}

    def pack(self, outputs: NDArray[Any]) -> list[Values | None]:
        """Return each row's number."""
        column = self._column_of(outputs)
        is_finite = finite_rows(outputs)
        return packed_rows(np.where(is_finite, column, np.nan), packed)

    def _column_of(self, outputs: NDArray[Any]) -> NDArray[Any]:
        if outputs.ndim == 1:
            return outputs
        if outputs.ndim > TABLE or outputs.shape[1] <= self._column:
            shape = list(outputs.shape[1:])
            raise ScoreError(f"a row of shape {shape} has no column {self._column}")
        return np.asarray(outputs[:, self._column])

    def parse(self, label: object) -> float:
        """Return the number. Raises LabelError for what is none, or is out of range."""
        if isinstance(label, bool) or not isinstance(label, int | float):
            raise LabelError("label is to be a number")
        # Integers without limit: compared as they are, and not made a float before.
        if not (self._label_min <= label <= self._label_max):
            expected = f"{self._label_min:g} to {self._label_max:g}"
            raise LabelError(f"label is to be a number from {expected}")
        return float(label) + 0.0  # of -0.0 it makes 0.0, which is the same label

    def count(self, values: Values, label: float, sums: Sums) -> None:
        """Count a labelled row."""
        error, deviation = unpacked_number(values) - label, label - self._target_mean
        sums.observe("absolute_error", [abs(error)])
        sums.add("squared_error_sum_total", error**2)
        sums.add("error_sum_total", abs(error), sign=_sign(error))
        if abs(label) < LEAST_RELATIVE:
            sums.add("relative_error_skipped_total")
        else:
            sums.add("relative_error_sum_total", abs(error) / abs(label))
        sums.add("target_deviation_sum_total", abs(deviation), sign=_sign(deviation))
        sums.add("target_squared_deviation_sum_total", deviation**2)

    def retract(self, values: Values, label: float, sums: Sums) -> None:  # noqa: ARG002
        """Nothing of an error can be taken back: a correction is a conflict."""
        raise LabelError("the label of a number cannot be corrected")

    def declare(self, sums: Sums) -> None:
        """Make known every series."""
        sums.add("nonfinite_outputs_total", 0.0)
        sums.observe("absolute_error", ())
        sums.add("predictions_total", 0.0, predicted=VALUE)
        for name in (
            "squared_error_sum_total", "relative_error_sum_total", "relative_error_skipped_total",
            "target_squared_deviation_sum_total",
        ):  # fmt: skip
            sums.add(name, 0.0)
        for sign in SIGNS:
            sums.add("error_sum_total", 0.0, sign=sign)
            sums.add("target_deviation_sum_total", 0.0, sign=sign)


def _sign(number: float) -> str:
    return SIGNS[math.copysign(1.0, number) < 0]
