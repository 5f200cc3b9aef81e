"""A class for each pixel: outputs of ids [n, H, W], or scores [n, H, W, K] or [n, H, W, 1]."""

from collections.abc import Sequence
from math import log
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.quality.classes import Classes
from exporter.quality.declaration import IGNORED
from exporter.quality.errors import LabelError, ScoreError
from exporter.quality.masks import MOST_PIXELS, Mask, mask_of, read_mask, together
from exporter.quality.sums import Sums
from exporter.quality.task import VALUE, Values, packed_rows, usable_rows

ROW_DIMENSIONS = 3


class Segmentation:
    """Counts for each class the pixels that are its own on both sides, and on either."""

    is_correctable = False

    def __init__(
        self,
        names: Sequence[str],
        *,
        threshold: float = 0.5,
        are_logits: bool = False,
        ignored: int = IGNORED,
    ) -> None:
        """Pixels that are labelled `ignored` do not count."""
        self._classes = Classes(names)
        # Of a class that is not there, by one score; of several the highest is the same.
        self._threshold = log(threshold / (1 - threshold)) if are_logits else threshold
        self._ignored = ignored

    def observe(self, outputs: NDArray[Any], sums: Sums) -> None:
        """Count images, and those without a usable output."""
        usable = usable_rows(outputs, sums)
        if usable.size and usable.ndim <= ROW_DIMENSIONS:
            self._check(usable.min(), usable.max())
        sums.add("predictions_total", float(len(usable)), predicted=VALUE)

    def columns(self, outputs: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Return no features."""
        del outputs
        return {}

    def pack(self, outputs: NDArray[Any]) -> list[Values | None]:
        """Return each image's classes; None where they are more than a label can bring back."""
        height, width = outputs.shape[1:ROW_DIMENSIONS]
        if not 0 < height * width <= MOST_PIXELS:
            return [None] * len(outputs)
        return packed_rows(outputs, lambda images: (mask_of(self._ids(one)) for one in images))

    def echoed(self, prediction: object) -> Mask:
        """Return the classes of a prediction that came back. Raises LabelError."""
        return read_mask(prediction, "prediction")

    def canonical(self, values: Mask) -> bytes:
        """Return bytes that are the same for the same pixels."""
        parts = (np.array(values.shape), values.ids, values.lengths)
        return b"".join(part.astype("<i8").tobytes() for part in parts)

    def parse(self, label: object) -> Mask:
        """Return the classes of the pixels. Raises LabelError."""
        found = read_mask(label)
        wrong = found.ids[(found.ids >= len(self._classes)) & (found.ids != self._ignored)]
        if wrong.size:
            most = len(self._classes) - 1
            raise LabelError(f"label has class id {wrong[0]}; there are 0 to {most}")
        return found

    def count(self, values: Mask, label: Mask, sums: Sums) -> None:
        """Count a labelled image. Raises LabelError where its size is another."""
        if values.shape != label.shape:
            sizes = [list(side.shape) for side in (label, values)]
            raise LabelError(f"label is of {sizes[0]}, the image of {sizes[1]}")
        ours, theirs, lengths = together(values, label)
        counts = theirs != self._ignored
        ours, theirs, lengths = ours[counts], theirs[counts], lengths[counts]
        is_same = ours == theirs
        pixels = [
            np.bincount(ids, weights=found, minlength=len(self._classes))
            for ids, found in (
                (ours, lengths),
                (theirs, lengths),
                (ours[is_same], lengths[is_same]),
            )
        ]
        shared = pixels[2]
        either = pixels[0] + pixels[1] - shared
        for number in either.nonzero()[0].tolist():
            name = {"class": self._classes.shown_as(number)}
            sums.add("segmentation_intersection_pixels_total", float(shared[number]), **name)
            sums.add("segmentation_union_pixels_total", float(either[number]), **name)

    def retract(self, values: Mask, label: Mask, sums: Sums) -> None:  # noqa: ARG002
        """Nothing of an image can be taken back: a correction is a conflict."""
        raise LabelError("the label of an image cannot be corrected")

    def declare(self, sums: Sums) -> None:
        """Make known every series."""
        sums.add("nonfinite_outputs_total", 0.0)
        sums.add("predictions_total", 0.0, predicted=VALUE)
        for name in self._classes.shown:
            for side in ("intersection", "union"):
                sums.add(f"segmentation_{side}_pixels_total", 0.0, **{"class": name})

    def _ids(self, image: NDArray[Any]) -> NDArray[Any]:
        """Return an image's class ids [H, W]. Raises ScoreError for what is no class."""
        if image.ndim < ROW_DIMENSIONS:
            self._check(image.min(), image.max())
            return image
        if image.shape[-1] == 1:
            return np.asarray(image[..., 0] > self._threshold)
        return np.asarray(image.argmax(axis=-1))

    def _check(self, least: Any, most: Any) -> None:  # noqa: ANN401 - a number of any type
        for number in (least, most):
            if not 0 <= number < len(self._classes):
                raise ScoreError(f"{number} is none of the {len(self._classes)} classes' numbers")
