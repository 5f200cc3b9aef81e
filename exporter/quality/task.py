"""What a task is: how outputs are observed, what a row's label needs, how labelled rows count."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from exporter.quality.sums import Sums

# What a row's token carries of its outputs: JSON.
Values = Any
# A label as a task reads it; equal labels are equal.
Label = Any
# Features of outputs.
PREDICTION, SCORE = "__prediction__", "__score__"
# What is predicted by a task without classes.
VALUE = "__value__"
# From scores to probabilities.
Calibrate = Callable[[NDArray[np.float64]], NDArray[np.float64]]


class Task(Protocol):
    """One kind of prediction. Rows are along the first axis of the outputs.

    Raises ScoreError when outputs are not what was declared.
    """

    # Whether there are classes, whose outcomes `retract` can take back.
    is_correctable: bool

    def observe(self, outputs: NDArray[Any], sums: Sums) -> None:
        """Count a batch of rows, of which no labels are known."""

    def columns(self, outputs: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Return features of the outputs of rows that are finite, by name."""

    def pack(self, outputs: NDArray[Any]) -> Sequence[Values | None]:
        """Return for each row what counting its label will need; None for one that cannot count."""

    def parse(self, label: object) -> Label:
        """Return a label as it counts. Raises LabelError saying what was expected."""

    def count(self, values: Values, label: Label, sums: Sums) -> None:
        """Count a labelled row."""

    def retract(self, values: Values, label: Label, sums: Sums) -> None:
        """Take back a label that was counted and is corrected: its outcomes, and nothing else."""

    def declare(self, sums: Sums) -> None:
        """Make known every series that there can be: they stand at 0 before the first row."""


@runtime_checkable
class Estimating(Protocol):
    """A task whose scores, once calibrated, tell how often it is right."""

    def scored(
        self, outputs: NDArray[Any], labels: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Return the scores to be calibrated, and for which of them the label is as scored."""

    def estimate(self, outputs: NDArray[Any], calibrate: Calibrate, sums: Sums) -> None:
        """Count what calibrated scores say of rows without labels."""

    def declare_estimate(self, sums: Sums) -> None:
        """Make known what `estimate` counts."""


def usable_rows(outputs: NDArray[Any], sums: Sums) -> NDArray[Any]:
    """Return the rows that are finite; count the others."""
    is_finite = finite_rows(outputs)
    sums.add("nonfinite_outputs_total", float((~is_finite).sum()))
    return np.asarray(outputs[is_finite])


def packed_rows(
    outputs: NDArray[Any], pack: Callable[[NDArray[Any]], Iterable[Values]]
) -> list[Values | None]:
    """Return what `pack` makes of the rows that are finite, None for each of the others.

    Tokens carry float32, in which large numbers are not.
    """
    finite = np.isfinite(_as_in_tokens(outputs))
    if finite.all():
        return list(pack(outputs))
    is_finite = finite.all(axis=tuple(range(1, outputs.ndim)))
    values = iter(pack(outputs[is_finite]))
    return [next(values) if is_good else None for is_good in is_finite]


def _as_in_tokens(outputs: NDArray[Any]) -> NDArray[Any]:
    if outputs.dtype == np.float32:
        return outputs
    with np.errstate(over="ignore"):
        return outputs.astype(np.float32)


def finite_rows(outputs: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which rows have no NaN or infinity."""
    return np.asarray(np.isfinite(outputs).all(axis=tuple(range(1, outputs.ndim))))
