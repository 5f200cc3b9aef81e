"""Objects in images: outputs [n, B, 6], each box four numbers, a score and the number of a class.

Boxes whose score is above a threshold are matched by class, the highest score first, each with the
free true box of the greatest overlap. For the average precision all boxes are, binned by score.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from exporter.quality.boxes import (
    BOX_COLUMNS,
    CLASS_COLUMN,
    CORNERS,
    MEMBERS,
    MOST_BOXES,
    SCORE_COLUMN,
    Boxes,
    Truth,
    boxes_of,
    corners_of,
    matched,
    overlaps,
    true_corners,
)
from exporter.quality.classes import Classes
from exporter.quality.errors import LabelError, ScoreError
from exporter.quality.precision_bins import count_binned, declare_bins
from exporter.quality.scores import TOLERANCE
from exporter.quality.sums import Sums
from exporter.quality.task import Values, packed_rows, usable_rows

OVERLAPS = (0.5, 0.75)
RESULTS = ("tp", "fp", "fn")


class _OfClass(NamedTuple):
    """One class of one image: the boxes' scores, and their overlaps [B, T] with the true ones."""

    scores: NDArray[np.float32]
    shared: NDArray[np.float64]
    is_ignored: NDArray[np.bool_]

    def results(self, least: float) -> list[tuple[int, int | None]]:
        """Return boxes and the true ones they are matched with."""
        return matched(self.shared, self.is_ignored, least)

    def above(self, threshold: float) -> "_OfClass":
        """Return the boxes with a higher score; they are the first."""
        kept = int((self.scores > threshold).sum())
        return _OfClass(self.scores[:kept], self.shared[:kept], self.is_ignored)


class Detection:
    """Counts right, wrong and missed boxes at two overlaps, and the overlap of the right ones."""

    is_correctable = False

    def __init__(
        self,
        names: Sequence[str],
        *,
        threshold: float = 0.5,
        box_format: str = "yxyx",
        outputs: Sequence[str] = ("",),
        is_binned: bool = False,
    ) -> None:
        """`box_format` is `yxyx`, `xyxy` or `xywh`, for predicted and true boxes alike.

        `outputs` are the names of the one output, or of those of boxes, scores and classes.
        `is_binned` is for the average precision.
        """
        self._classes = Classes(names)
        self._threshold = threshold
        self._form = box_format
        self._outputs = tuple(outputs)
        self._is_binned = is_binned

    def observe(self, outputs: NDArray[Any], sums: Sums) -> None:
        """Count each box above the threshold by its class, and its score."""
        rows = self._checked(usable_rows(outputs, sums))
        kept = rows[rows[..., SCORE_COLUMN] > self._threshold]
        numbers, counts = np.unique(kept[:, CLASS_COLUMN].astype(np.int64), return_counts=True)
        for number, count in zip(numbers.tolist(), counts.tolist(), strict=True):
            name = self._classes.shown_as(number)
            sums.add("predictions_total", float(count), predicted=name)
        sums.observe("prediction_confidence", kept[:, SCORE_COLUMN].astype(np.float64).tolist())

    def columns(self, outputs: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Return no features."""
        del outputs
        return {}

    def pack(self, outputs: NDArray[Any]) -> list[Values | None]:
        """Return each image's boxes; None where there are more than a label can bring back."""
        if outputs.ndim > 1 and outputs.shape[1] > MOST_BOXES:
            return [None] * len(outputs)
        return packed_rows(outputs, lambda rows: self._checked(rows).astype(np.float32))

    def echoed(self, prediction: object) -> Boxes:
        """Return the boxes of a prediction that came back. Raises LabelError."""
        return boxes_of(prediction, self._outputs)

    def canonical(self, values: Boxes) -> bytes:
        """Return bytes that are the same for the same boxes in the same order."""
        # JSON's writers are not at one about -0.0.
        return len(values).to_bytes(8, "little") + (values + 0.0).astype("<f4").tobytes()

    def parse(self, label: object) -> Truth:
        """Return the true boxes. Raises LabelError."""
        if not isinstance(label, list) or len(label) > MOST_BOXES:
            raise LabelError(f"label is to be a list of at most {MOST_BOXES} objects")
        corners, classes, ignored = [], [], []
        for each in label:
            if not isinstance(each, Mapping) or not {"box", "class"} <= each.keys() <= MEMBERS:
                raise LabelError("an object is to have box and class, and may have ignore")
            if not isinstance(each.get("ignore", False), bool):
                raise LabelError("ignore is to be true or false")
            corners.append(true_corners(each["box"], self._form))
            classes.append(self._classes.number_of(each["class"]))
            ignored.append(bool(each.get("ignore", False)))
        return Truth(np.array(corners).reshape(-1, CORNERS), tuple(classes), tuple(ignored))

    def count(self, values: Boxes, label: Truth, sums: Sums) -> None:
        """Count a labelled image."""
        for number, found in self._by_class(self._checked(values), label):
            self._count_class(number, found.above(self._threshold), sums)
            if self._is_binned:
                _bin_class(found, sums)

    def retract(self, values: Values, label: Truth, sums: Sums) -> None:  # noqa: ARG002
        """Nothing of an image can be taken back: a correction is a conflict."""
        raise LabelError("the label of an image cannot be corrected")

    def declare(self, sums: Sums) -> None:
        """Make known every series."""
        sums.add("nonfinite_outputs_total", 0.0)
        sums.observe("prediction_confidence", ())
        for name in self._classes.shown:
            sums.add("predictions_total", 0.0, predicted=name)
            sums.add("detection_iou_sum_total", 0.0, **{"class": name})
            for least in OVERLAPS:
                for result in RESULTS:
                    labels = {"class": name, "iou": str(least), "result": result}
                    sums.add("detection_matches_total", 0.0, **labels)
        if self._is_binned:
            for least in OVERLAPS:
                declare_bins(sums, str(least))

    def _checked(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Return boxes [..., 6]. Raises ScoreError where one that counts is none."""
        if rows.shape[-1] != BOX_COLUMNS:
            raise ScoreError(f"a box is of {rows.shape[-1]} numbers; six are expected")
        kept = rows[rows[..., SCORE_COLUMN] > self._threshold]
        scores, numbers = kept[:, SCORE_COLUMN], kept[:, CLASS_COLUMN]
        if kept.size and scores.max() > 1 + TOLERANCE:
            raise ScoreError(f"score {scores.max():g} is no probability")
        is_class = (numbers >= 0) & (numbers < len(self._classes)) & (numbers % 1 == 0)
        if not is_class.all():
            wrong = numbers[~is_class][0]
            raise ScoreError(f"{wrong:g} is none of the {len(self._classes)} classes' numbers")
        return rows

    def _by_class(self, values: Boxes, label: Truth) -> Iterator[tuple[int, _OfClass]]:
        """Yield the classes that were predicted or labelled; boxes by their scores."""
        values = values[np.argsort(-values[:, SCORE_COLUMN], kind="stable")]
        corners = corners_of(values[:, :CORNERS], self._form)
        predicted = values[:, CLASS_COLUMN]
        truth = np.asarray(label.classes, dtype=np.int64)
        is_ignored = np.asarray(label.is_ignored, dtype=np.bool_)
        present = {*np.unique(predicted).tolist(), *label.classes}
        # Boxes that pad the others may have any class.
        for number in sorted(present.intersection(range(len(self._classes)))):
            ours, theirs = predicted == number, truth == number
            shared = overlaps(corners[ours], label.corners[theirs])
            scores = values[ours, SCORE_COLUMN]
            yield int(number), _OfClass(scores, shared, is_ignored[theirs])

    def _count_class(self, number: int, found: _OfClass, sums: Sums) -> None:
        name = self._classes.shown_as(number)
        for least in OVERLAPS:
            results = found.results(least)
            right = [(box, true) for box, true in results if true is not None]
            missed = int((~found.is_ignored).sum()) - len(right)
            amounts = {"tp": len(right), "fp": len(results) - len(right), "fn": missed}
            for result, amount in amounts.items():
                labels = {"class": name, "iou": str(least), "result": result}
                sums.add("detection_matches_total", float(amount), **labels)
            if least == OVERLAPS[0]:
                total = float(sum(found.shared[pair] for pair in right))
                sums.add("detection_iou_sum_total", total, **{"class": name})


def _bin_class(found: _OfClass, sums: Sums) -> None:
    for least in OVERLAPS:
        results = found.results(least)
        scores = found.scores[[box for box, _ in results]]
        is_right = np.array([true is not None for _, true in results], dtype=np.bool_)
        count_binned(sums, str(least), scores, is_right)
