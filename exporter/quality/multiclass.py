"""One of three or more classes: outputs [n, K], the prediction is the highest score.

Above 32 classes a token carries the five best scores. An actual class outside of them is taken to
have an equal part of the rest: log loss and Brier score are then approximate, all else is exact.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.quality import outcomes, score_bins
from exporter.quality.classes import MOST_CONFUSED, Classes
from exporter.quality.scores import Scores, checked, packed, softmax, surprise, unpacked
from exporter.quality.sums import Sums
from exporter.quality.task import (
    PREDICTION,
    SCORE,
    Calibrate,
    Values,
    finite_rows,
    packed_rows,
    usable_rows,
)

TOP = "__top__"
MOST_PACKED = 5


class Multiclass:
    """Counts right and wrong, losses, and the bins of the top score or of named classes."""

    is_correctable = True

    def __init__(
        self,
        names: Sequence[str],
        *,
        are_logits: bool = False,
        binned: Sequence[str] = (TOP,),
    ) -> None:
        """Take the classes; scores of those that are `binned` are binned one against the rest.

        `__top__` is the score of the predicted class, positive when it is right.
        """
        self._classes = Classes(names)
        self._are_logits = are_logits
        self._has_top = TOP in binned
        self._binned = [self._classes.number_of(name) for name in binned if name != TOP]

    def observe(self, outputs: NDArray[Any], sums: Sums) -> None:
        """Count predicted classes and confidence, and rows without a usable output."""
        scores = self._scores(usable_rows(outputs, sums))
        if not len(scores):
            return
        predicted = np.bincount(scores.argmax(axis=1), minlength=len(self._classes))
        for number in map(int, predicted.nonzero()[0]):
            name = self._classes.shown_as(number)
            sums.add("predictions_total", float(predicted[number]), predicted=name)
        sums.observe("prediction_confidence", scores.max(axis=1).tolist())

    def columns(self, outputs: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Return each usable row's predicted class and highest score, as features."""
        scores = self._scores(outputs[finite_rows(outputs)])
        names = np.array(self._classes.names, dtype=object)
        return {PREDICTION: names[scores.argmax(axis=1)], SCORE: scores.max(axis=1)}

    def scored(
        self, outputs: NDArray[Any], labels: NDArray[np.int64]
    ) -> tuple[Scores, NDArray[np.bool_]]:
        """Return the highest scores, and which rows are of that class."""
        scores = self._scores(outputs)
        return scores.max(axis=1), scores.argmax(axis=1) == labels

    def estimate(self, outputs: NDArray[Any], calibrate: Calibrate, sums: Sums) -> None:
        """Count what calibrated scores say of rows without labels.

        The other classes have the rest, as their scores divide it.
        """
        scores = self._scores(outputs[finite_rows(outputs)])
        predicted, rows = scores.argmax(axis=1), np.arange(len(scores))
        top = calibrate(scores.max(axis=1))
        sums.add("estimated_rows_total", float(len(scores)))
        sums.add("estimated_correct_sum_total", float(top.sum()))
        if not self._classes.has_confusion or not len(scores):
            return
        others = scores.copy()
        others[rows, predicted] = 0.0
        rest = others.sum(axis=1)
        # Where the others have nothing, they have equal parts of what is left.
        others[rest == 0] = 1.0
        others[rows, predicted] = 0.0
        others *= ((1 - top) / others.sum(axis=1))[:, None]
        others[rows, predicted] = top
        table = np.zeros((len(self._classes), len(self._classes)))
        np.add.at(table, predicted, others)
        for number, actual in zip(*(found.tolist() for found in table.nonzero()), strict=True):
            names = {
                "predicted": self._classes.names[number],
                "actual": self._classes.names[actual],
            }
            sums.add("estimated_confusion_total", float(table[number, actual]), **names)

    def declare_estimate(self, sums: Sums) -> None:
        """Make known what `estimate` counts."""
        outcomes.declare_estimate(sums, self._classes)

    def pack(self, outputs: NDArray[Any]) -> list[Values | None]:
        """Return each row's scores, or pairs of class and score for the five best of many."""
        return packed_rows(outputs, lambda rows: map(self._packed, self._scores(rows)))

    def parse(self, label: object) -> int:
        """Return the class's number. Raises LabelError."""
        return self._classes.number_of(label)

    def count(self, values: Values, label: int, sums: Sums) -> None:
        """Count a labelled row."""
        predicted, scores, rest = self._unpacked(values)
        outcomes.count_outcome(sums, self._classes, predicted, label)
        of_actual = scores.get(label, rest)
        sums.add("scored_labels_total")
        sums.add("log_loss_sum_total", surprise(of_actual))
        others = len(self._classes) - len(scores)
        squares = sum(score**2 for score in scores.values()) + others * rest**2
        sums.add("brier_sum_total", max(0.0, squares - 2 * of_actual + 1))
        if self._has_top:
            top = scores[predicted]
            score_bins.count_scored(sums, TOP, top, is_positive=predicted == label)
        for number in self._binned:
            score, name = scores.get(number, rest), self._classes.names[number]
            score_bins.count_scored(sums, name, score, is_positive=number == label)

    def retract(self, values: Values, label: int, sums: Sums) -> None:
        """Take back the outcomes; losses, bins and the confusion keep the first label."""
        outcomes.retract_outcome(sums, self._classes, self._unpacked(values)[0], label)

    def declare(self, sums: Sums) -> None:
        """Make known every series."""
        sums.add("nonfinite_outputs_total", 0.0)
        sums.observe("prediction_confidence", ())
        for name in self._classes.shown:
            sums.add("predictions_total", 0.0, predicted=name)
        outcomes.declare(sums, self._classes)
        outcomes.declare_losses(sums)
        if self._has_top:
            score_bins.declare(sums, TOP)
        for number in self._binned:
            score_bins.declare(sums, self._classes.names[number])

    def _scores(self, outputs: NDArray[Any]) -> Scores:
        scores = outputs.astype(np.float64)
        return checked(softmax(scores) if self._are_logits else scores, sums_to_one=True)

    def _packed(self, scores: Scores) -> Values:
        if len(scores) <= MOST_CONFUSED:
            return packed(scores)
        # The lowest index first among equals, as argmax has it.
        best = np.argsort(-scores, kind="stable")[:MOST_PACKED]
        return [
            [int(number), score] for number, score in zip(best, packed(scores[best]), strict=True)
        ]

    def _unpacked(self, values: Values) -> tuple[int, dict[int, float], float]:
        """Return the predicted class, scores by class, and that of any class without one."""
        if len(self._classes) <= MOST_CONFUSED:
            scores = dict(enumerate(unpacked(values, len(self._classes))))
            return max(scores, key=lambda number: (scores[number], -number)), scores, 0.0
        numbers = [number for number, _ in values]
        if len(set(numbers)) != MOST_PACKED or not all(
            type(number) is int and 0 <= number < len(self._classes) for number in numbers
        ):
            raise ValueError(f"{numbers!r:.80} are not {MOST_PACKED} classes")
        best = unpacked([score for _, score in values], MOST_PACKED)
        scores = dict(zip(numbers, best, strict=True))
        rest = max(0.0, 1 - sum(scores.values())) / (len(self._classes) - len(scores))
        return next(iter(scores)), scores, rest
