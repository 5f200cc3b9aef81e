"""Any number of classes at once: outputs [n, K] of independent scores.

Above 64 classes a token carries the predicted set alone: right and wrong are exact, and there are
no losses.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.quality import outcomes, score_bins
from exporter.quality.classes import Classes
from exporter.quality.errors import LabelError
from exporter.quality.scores import Scores, checked, packed, sigmoid, surprise, unpacked
from exporter.quality.sums import Sums
from exporter.quality.task import SCORE, Values, finite_rows, packed_rows, usable_rows

NONE, SET = "__none__", "__set__"
MOST_SCORED = 64


class Multilabel:
    """Counts right and wrong by class and for whole sets, losses, and bins of named classes."""

    is_correctable = True

    def __init__(
        self,
        names: Sequence[str],
        *,
        threshold: float = 0.5,
        are_logits: bool = False,
        binned: Sequence[str] = (),
    ) -> None:
        """Predict the classes whose score is above `threshold`."""
        self._classes = Classes(names)
        self._threshold = threshold
        self._are_logits = are_logits
        self._binned = [self._classes.number_of(name) for name in binned]
        self._has_scores = len(names) <= MOST_SCORED

    def observe(self, outputs: NDArray[Any], sums: Sums) -> None:
        """Count each predicted class, `__none__` for a row without one, and confidence."""
        scores = self._scores(usable_rows(outputs, sums))
        if not len(scores):
            return
        is_predicted = scores > self._threshold
        for number, amount in enumerate(is_predicted.sum(axis=0)):
            if amount:
                name = self._classes.shown_as(number)
                sums.add("predictions_total", float(amount), predicted=name)
        sums.add("predictions_total", float((~is_predicted.any(axis=1)).sum()), predicted=NONE)
        sums.observe("prediction_confidence", scores.max(axis=1).tolist())

    def columns(self, outputs: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Return each usable row's highest score, as a feature."""
        scores = self._scores(outputs[finite_rows(outputs)])
        return {SCORE: scores.max(axis=1)}

    def pack(self, outputs: NDArray[Any]) -> list[Values | None]:
        """Return each row's scores, of many classes the numbers of the predicted ones."""
        return packed_rows(outputs, lambda rows: map(self._packed, self._scores(rows)))

    def parse(self, label: object) -> tuple[int, ...]:
        """Return the classes' numbers, rising. Raises LabelError."""
        if not isinstance(label, list):
            raise LabelError("label is to be a list of class names or indices; it may be empty")
        numbers = sorted(map(self._classes.number_of, label))
        if len(set(numbers)) < len(numbers):
            raise LabelError("label names a class twice")
        return tuple(numbers)

    def count(self, values: Values, label: tuple[int, ...], sums: Sums) -> None:
        """Count a labelled row."""
        self._count_outcomes(values, label, sums)
        is_right = self._predicted(values) == set(label)
        sums.add("confusion_total", predicted=SET, actual=SET, correct=str(is_right).lower())
        if not self._has_scores:
            return
        truth = [float(number in label) for number in range(len(values))]
        scores = unpacked(values, len(self._classes))
        pairs = list(zip(scores, truth, strict=True))
        losses = [surprise(score if actual else 1 - score) for score, actual in pairs]
        sums.add("scored_labels_total")
        sums.add("log_loss_sum_total", sum(losses) / len(losses))
        sums.add(
            "brier_sum_total", sum((score - actual) ** 2 for score, actual in pairs) / len(pairs)
        )
        for number in self._binned:
            score, name = scores[number], self._classes.names[number]
            score_bins.count_scored(sums, name, score, is_positive=number in label)

    def retract(self, values: Values, label: tuple[int, ...], sums: Sums) -> None:
        """Take back the outcomes; everything else keeps the first label."""
        counted = Sums()
        self._count_outcomes(values, label, counted)
        for _, labels, amount in counted.amounts():
            sums.add("outcomes_retracted_total", amount, **labels)

    def declare(self, sums: Sums) -> None:
        """Make known every series."""
        sums.add("nonfinite_outputs_total", 0.0)
        sums.observe("prediction_confidence", ())
        for name in (*self._classes.shown, NONE):
            sums.add("predictions_total", 0.0, predicted=name)
        outcomes.declare_outcomes(sums, self._classes)
        for correct in ("true", "false"):
            sums.add("confusion_total", 0.0, predicted=SET, actual=SET, correct=correct)
        if self._has_scores:
            outcomes.declare_losses(sums)
        for number in self._binned:
            score_bins.declare(sums, self._classes.names[number])

    def _count_outcomes(self, values: Values, label: tuple[int, ...], sums: Sums) -> None:
        predicted, actual = self._predicted(values), set(label)
        for outcome, numbers in (
            ("tp", predicted & actual),
            ("fp", predicted - actual),
            ("fn", actual - predicted),
        ):
            for number in numbers:
                name = self._classes.shown_as(number)
                sums.add("outcomes_total", **{"class": name}, outcome=outcome)

    def _predicted(self, values: Values) -> set[int]:
        if not self._has_scores:
            return {self._classes.known(number) for number in values}
        scores = unpacked(values, len(self._classes))
        return {number for number, score in enumerate(scores) if score > self._threshold}

    def _packed(self, scores: Scores) -> Values:
        if self._has_scores:
            return packed(scores)
        return np.flatnonzero(scores > self._threshold).tolist()

    def _scores(self, outputs: NDArray[Any]) -> Scores:
        scores = outputs.astype(np.float64)
        return checked(sigmoid(scores) if self._are_logits else scores)
