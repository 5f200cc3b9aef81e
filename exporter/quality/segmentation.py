"""A class for each pixel: outputs of ids [n, H, W], or scores [n, H, W, K] or [n, H, W, 1]."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from exporter.quality.classes import Classes
from exporter.quality.errors import LabelError
from exporter.quality.sums import Sums
from exporter.quality.task import VALUE, Values, packed_rows, usable_rows

MOST_PIXELS = 1 << 24
IGNORED = 255
ROW_DIMENSIONS, SHAPE_DIMENSIONS = 3, 2
Pixels = NDArray[np.int64]


class Segmentation:
    """Counts for each class the pixels that are its own on both sides, and on either."""

    is_correctable = False

    def __init__(
        self, names: Sequence[str], *, threshold: float = 0.5, ignored: int = IGNORED
    ) -> None:
        """Pixels that are labelled `ignored` do not count."""
        self._classes = Classes(names)
        self._threshold = threshold
        self._ignored = ignored

    def observe(self, outputs: NDArray[Any], sums: Sums) -> None:
        """Count images, and those without a usable output."""
        sums.add("predictions_total", float(len(usable_rows(outputs, sums))), predicted=VALUE)

    def columns(self, outputs: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Return no features."""
        del outputs
        return {}

    def pack(self, outputs: NDArray[Any]) -> list[Values | None]:
        """Return each image's ids, as runs."""
        return packed_rows(outputs, lambda images: (runs_of(self._ids(one)) for one in images))

    def parse(self, label: object) -> Pixels:
        """Return the ids [H, W]. Raises LabelError."""
        return pixels_of(label)

    def count(self, values: Values, label: Pixels, sums: Sums) -> None:
        """Count a labelled image. Raises LabelError where its size is another."""
        predicted = pixels_of(values)
        if predicted.shape != label.shape:
            raise LabelError(
                f"label is of {list(label.shape)}, the image of {list(predicted.shape)}"
            )
        counts = label != self._ignored
        for number, name in enumerate(self._classes.names):
            ours, theirs = (side[counts] == number for side in (predicted, label))
            both, either = (ours & theirs).sum(), (ours | theirs).sum()
            sums.add("segmentation_intersection_pixels_total", float(both), **{"class": name})
            sums.add("segmentation_union_pixels_total", float(either), **{"class": name})

    def retract(self, values: Values, label: Pixels, sums: Sums) -> None:  # noqa: ARG002
        """Nothing of an image can be taken back: a correction is a conflict."""
        raise LabelError("the label of an image cannot be corrected")

    def declare(self, sums: Sums) -> None:
        """Make known every series."""
        sums.add("nonfinite_outputs_total", 0.0)
        sums.add("predictions_total", 0.0, predicted=VALUE)
        for name in self._classes.names:
            for side in ("intersection", "union"):
                sums.add(f"segmentation_{side}_pixels_total", 0.0, **{"class": name})

    def _ids(self, image: NDArray[Any]) -> Pixels:
        if image.ndim < ROW_DIMENSIONS:
            return image.astype(np.int64)
        if image.shape[-1] == 1:
            return (image[..., 0] > self._threshold).astype(np.int64)
        return np.asarray(image.argmax(axis=-1), dtype=np.int64)


def runs_of(pixels: Pixels) -> dict[str, Any]:
    """Return ids [H, W] as a shape and runs of an id and its length, row after row."""
    flat = pixels.ravel()
    edges = np.flatnonzero(np.diff(flat)) + 1
    starts = np.concatenate([[0], edges]) if flat.size else np.array([], dtype=np.int64)
    lengths = np.diff(np.concatenate([starts, [flat.size]])) if flat.size else starts
    runs = [[int(flat[start]), int(length)] for start, length in zip(starts, lengths, strict=True)]
    return {"shape": list(pixels.shape), "runs": runs}


def pixels_of(value: object) -> Pixels:
    """Return ids [H, W] of nested lists or of runs.

    Raises LabelError. Lengths are added up before anything is allocated.
    """
    if isinstance(value, Mapping):
        return _of_runs(value)
    if not _are_rows(value):
        raise LabelError("label is to be rows of class ids, or a shape and runs")
    if len(value) * len(value[0]) > MOST_PIXELS or any(len(row) != len(value[0]) for row in value):
        raise LabelError(f"label is to have rows of one length and at most {MOST_PIXELS} pixels")
    if not all(type(each) is int and abs(each) < MOST_PIXELS for row in value for each in row):
        raise LabelError("label is to hold class ids, which are whole numbers")
    return np.array(value, dtype=np.int64)


def _of_runs(value: Mapping[str, Any]) -> Pixels:
    shape, runs = value.get("shape"), value.get("runs")
    if value.keys() != {"shape", "runs"} or not (_are_whole(shape) and isinstance(runs, list)):
        raise LabelError("label is to have a shape [H, W] and runs [[id, length], …]")
    if len(shape) != SHAPE_DIMENSIONS or not all(_are_whole(run) and len(run) == 2 for run in runs):  # noqa: PLR2004
        raise LabelError("label is to have a shape [H, W] and runs [[id, length], …]")
    size = shape[0] * shape[1]
    if not 0 < size <= MOST_PIXELS or sum(length for _, length in runs) != size:
        raise LabelError(f"runs are to add up to the shape, of at most {MOST_PIXELS} pixels")
    ids, lengths = zip(*runs, strict=True)
    if max(ids) >= MOST_PIXELS:
        raise LabelError("label is to hold class ids, which are small whole numbers")
    return np.repeat(np.array(ids, dtype=np.int64), lengths).reshape(shape)


def _are_whole(values: object) -> TypeGuard[list[int]]:
    return isinstance(values, list) and all(type(each) is int and each >= 0 for each in values)


def _are_rows(value: object) -> TypeGuard[list[list[Any]]]:
    are_lists = isinstance(value, list) and all(isinstance(row, list) for row in value)
    return bool(are_lists and value and value[0])  # type: ignore[index]
