"""Objects in images: boxes [B, 4], scores [B] and classes [B] of each row.

Boxes whose score is above a threshold are matched by class, the highest score first, each with the
free true box of the greatest overlap.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from exporter.quality.boxes import (
    MOST_BOXES,
    Truth,
    checked_box,
    corners_of,
    matched,
    overlaps,
)
from exporter.quality.classes import Classes
from exporter.quality.errors import LabelError
from exporter.quality.sums import Sums

OVERLAPS = (0.5, 0.75)
RESULTS = ("tp", "fp", "fn")
MEMBERS = frozenset({"box", "class", "ignore"})


class Boxes(NamedTuple):
    """What was predicted for one image: boxes, scores and class numbers of equal length."""

    boxes: Sequence[Sequence[float]]
    scores: Sequence[float]
    classes: Sequence[int]


class Detection:
    """Counts right, wrong and missed boxes at two overlaps, and the overlap of the right ones."""

    is_correctable = False

    def __init__(
        self, names: Sequence[str], *, threshold: float = 0.5, box_format: str = "yxyx"
    ) -> None:
        """`box_format` is `yxyx`, `xyxy` or `xywh`, for predicted and true boxes alike."""
        self._classes = Classes(names)
        self._threshold = threshold
        self._form = box_format

    def observe(self, images: Sequence[Boxes], sums: Sums) -> None:
        """Count each box above the threshold by its class, and its score."""
        for image in images:
            for score, number in zip(image.scores, image.classes, strict=True):
                if score > self._threshold:
                    name = self._classes.shown_as(int(number))
                    sums.add("predictions_total", predicted=name)
                    sums.observe("prediction_confidence", [float(score)])

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
            corners.append(checked_box(each["box"], self._form))
            classes.append(self._classes.number_of(each["class"]))
            ignored.append(bool(each.get("ignore", False)))
        return Truth(np.array(corners).reshape(-1, 4), tuple(classes), tuple(ignored))

    def count(self, values: Boxes, label: Truth, sums: Sums) -> None:
        """Count a labelled image."""
        scores = np.asarray(values.scores, dtype=np.float64)
        order = np.argsort(-scores, kind="stable")
        order = order[scores[order] > self._threshold]
        corners = corners_of(values.boxes, self._form)[order]
        predicted = np.asarray(values.classes, dtype=np.int64)[order]
        truth = np.asarray(label.classes, dtype=np.int64)
        for number in sorted({*predicted.tolist(), *truth.tolist()}):
            ours, theirs = corners[predicted == number], truth == number
            ignored = np.asarray(label.is_ignored, dtype=np.bool_)[theirs]
            shared = overlaps(ours, label.corners[theirs])
            self._count_class(number, shared, ignored, sums)

    def declare(self, sums: Sums) -> None:
        """Make known every series."""
        for name in self._classes.shown:
            sums.add("predictions_total", 0.0, predicted=name)
            sums.add("detection_iou_sum_total", 0.0, **{"class": name})
            for least in OVERLAPS:
                for result in RESULTS:
                    labels = {"class": name, "iou": str(least), "result": result}
                    sums.add("detection_matches_total", 0.0, **labels)

    def _count_class(
        self, number: int, shared: NDArray[np.float64], ignored: NDArray[np.bool_], sums: Sums
    ) -> None:
        name = self._classes.shown_as(number)
        for least in OVERLAPS:
            found = matched(shared, least)
            pairs = [(box, true) for box, true in enumerate(found) if true is not None]
            right = [(box, true) for box, true in pairs if not ignored[true]]
            missed = int((~ignored).sum()) - len(right)
            amounts = {"tp": len(right), "fp": found.count(None), "fn": missed}
            for result, amount in amounts.items():
                labels = {"class": name, "iou": str(least), "result": result}
                sums.add("detection_matches_total", float(amount), **labels)
            if least == OVERLAPS[0]:
                total = float(sum(shared[pair] for pair in right))
                sums.add("detection_iou_sum_total", total, **{"class": name})
