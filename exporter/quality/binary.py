"""One of two classes: outputs [n], [n, 1] (the score of the positive class) or [n, 2]."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.quality import outcomes, score_bins
from exporter.quality.classes import Classes
from exporter.quality.errors import ScoreError
from exporter.quality.scores import Scores, checked, packed, sigmoid, softmax, surprise, unpacked
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

PAIR = 2


class Binary:
    """Counts right and wrong, losses, and the bins of the positive class's score."""

    is_correctable = True

    def __init__(
        self,
        names: Sequence[str] = ("0", "1"),
        *,
        positive: str = "",
        threshold: float = 0.5,
        are_logits: bool = False,
        is_binned: bool = True,
    ) -> None:
        """`positive` is by default the second class; a score above `threshold` predicts it."""
        self._classes = Classes(names)
        self._positive = self._classes.number_of(positive) if positive else 1
        self._threshold = threshold
        self._are_logits = are_logits
        self._is_binned = is_binned

    def observe(self, outputs: NDArray[Any], sums: Sums) -> None:
        """Count predicted classes and confidence, and rows without a usable output."""
        scores = self._scores(usable_rows(outputs, sums))
        if not len(scores):
            return
        positives = int((scores > self._threshold).sum())
        for number, amount in (
            (self._positive, positives),
            (1 - self._positive, len(scores) - positives),
        ):
            sums.add("predictions_total", float(amount), predicted=self._classes.names[number])
        sums.observe("prediction_confidence", np.maximum(scores, 1 - scores).tolist())

    def columns(self, outputs: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Return each usable row's predicted class and highest score, as features."""
        scores = self._scores(outputs[finite_rows(outputs)])
        names = np.array(self._classes.names, dtype=object)
        predicted = np.where(scores > self._threshold, self._positive, 1 - self._positive)
        return {PREDICTION: names[predicted], SCORE: np.maximum(scores, 1 - scores)}

    def scored(
        self, outputs: NDArray[Any], labels: NDArray[np.int64]
    ) -> tuple[Scores, NDArray[np.bool_]]:
        """Return the positive class's scores, and which rows are of that class."""
        return self._scores(outputs), labels == self._positive

    def estimate(self, outputs: NDArray[Any], calibrate: Calibrate, sums: Sums) -> None:
        """Count what calibrated scores say of rows without labels."""
        scores = self._scores(outputs[finite_rows(outputs)])
        positive = calibrate(scores)
        is_positive = scores > self._threshold
        right = np.where(is_positive, positive, 1 - positive)
        sums.add("estimated_rows_total", float(len(scores)))
        sums.add("estimated_correct_sum_total", float(right.sum()))
        for side, which in ((self._positive, is_positive), (1 - self._positive, ~is_positive)):
            total = float(positive[which].sum())
            for actual, amount in (
                (self._positive, total),
                (1 - self._positive, float(which.sum()) - total),
            ):
                names = self._classes.names
                sums.add(
                    "estimated_confusion_total",
                    max(0.0, amount),
                    predicted=names[side],
                    actual=names[actual],
                )

    def pack(self, outputs: NDArray[Any]) -> list[Values | None]:
        """Return each row's score of the positive class."""
        return packed_rows(outputs, lambda rows: packed(self._scores(rows)))

    def parse(self, label: object) -> int:
        """Return the class's number; true is the positive one. Raises LabelError."""
        if isinstance(label, bool):
            return self._positive if label else 1 - self._positive
        return self._classes.number_of(label)

    def count(self, values: Values, label: int, sums: Sums) -> None:
        """Count a labelled row."""
        (score,), is_positive = unpacked([values], 1), label == self._positive
        outcomes.count_outcome(sums, self._classes, self._predicted(score), label)
        sums.add("scored_labels_total")
        sums.add("log_loss_sum_total", surprise(score if is_positive else 1 - score))
        sums.add("brier_sum_total", (score - is_positive) ** 2)
        if self._is_binned:
            name = self._classes.names[self._positive]
            score_bins.count_scored(sums, name, score, is_positive=is_positive)

    def retract(self, values: Values, label: int, sums: Sums) -> None:
        """Take back the outcomes; losses, bins and the confusion keep the first label."""
        (score,) = unpacked([values], 1)
        outcomes.retract_outcome(sums, self._classes, self._predicted(score), label)

    def declare(self, sums: Sums) -> None:
        """Make known every series."""
        sums.add("nonfinite_outputs_total", 0.0)
        sums.observe("prediction_confidence", ())
        for name in self._classes.names:
            sums.add("predictions_total", 0.0, predicted=name)
        outcomes.declare(sums, self._classes)
        outcomes.declare_losses(sums)
        if self._is_binned:
            score_bins.declare(sums, self._classes.names[self._positive])

    def declare_estimate(self, sums: Sums) -> None:
        """Make known what `estimate` counts."""
        outcomes.declare_estimate(sums, self._classes)

    def _predicted(self, score: float) -> int:
        return self._positive if score > self._threshold else 1 - self._positive

    def _scores(self, outputs: NDArray[Any]) -> Scores:
        """Return the positive class's scores [n]."""
        scores = outputs.astype(np.float64)
        if scores.ndim > PAIR or (scores.ndim == PAIR and not 1 <= scores.shape[1] <= PAIR):
            raise ScoreError(f"a row of shape {list(scores.shape[1:])} is no score of two classes")
        if scores.ndim == PAIR and scores.shape[1] == PAIR:
            both = softmax(scores) if self._are_logits and len(scores) else scores
            return np.asarray(checked(both, sums_to_one=True)[:, self._positive])
        scores = scores.reshape(len(scores))
        return checked(sigmoid(scores) if self._are_logits else scores)
