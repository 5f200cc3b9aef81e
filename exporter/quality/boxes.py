"""Boxes in images: how they are read, and how predicted ones are matched with true ones."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from exporter.quality.errors import DeclarationError, LabelError, ScoreError

FORMATS = ("yxyx", "xyxy", "xywh")
MOST_BOXES = 1_000
CORNERS = 4
# The columns of a row's boxes: four numbers, a score and a class.
SCORE_COLUMN, CLASS_COLUMN, BOX_COLUMNS = 4, 5, 6
# What a model has these in, where it has them in outputs of their own.
BOX_PARTS = ("boxes", "scores", "classes")
# What models call these outputs, with or without a prefix.
BOX_PREFIXES = ("", "detection_")
USUAL_NAMES = tuple(tuple(prefix + part for part in BOX_PARTS) for prefix in BOX_PREFIXES)
FURTHEST = 1e9
MEMBERS = frozenset({"box", "class", "ignore"})

# The shape of one row; None is a dimension that is not known.
Shape = tuple[int | None, ...]
# Boxes [B, 6] of one image.
Boxes = NDArray[np.float32]


class Truth(NamedTuple):
    """True boxes of an image [T, 4] as corners (x, y, x, y), their classes, who is ignored."""

    corners: NDArray[np.float64]
    classes: tuple[int, ...]
    is_ignored: tuple[bool, ...]


def joined(boxes: NDArray[Any], scores: NDArray[Any], classes: NDArray[Any]) -> NDArray[np.float32]:
    """Return boxes [n, B, 4], scores [n, B] and classes [n, B] as one array [n, B, 6].

    Raises ScoreError where their shapes do not fit each other.
    """
    if boxes.shape != (*scores.shape, CORNERS) or scores.shape != classes.shape:
        shapes = ", ".join(str(list(each.shape)) for each in (boxes, scores, classes))
        raise ScoreError(f"boxes, scores and classes are of shapes that do not fit: {shapes}")
    parts = (boxes, scores[..., None], classes[..., None])
    with np.errstate(over="ignore"):
        return np.concatenate([part.astype(np.float32) for part in parts], axis=-1)


def joined_shape(boxes: Shape, scores: Shape, classes: Shape) -> Shape:
    """Return what `joined` makes of rows of these shapes. Raises DeclarationError."""
    are_one_each = len(scores) == len(classes) == 1
    if len(boxes) != 2 or boxes[1] not in {CORNERS, None} or not are_one_each:  # noqa: PLR2004
        raise DeclarationError(
            "outputs: boxes are to be [n, boxes, 4], scores and classes [n, boxes];"
            f" without n they are {list(boxes)}, {list(scores)} and {list(classes)}"
        )
    return (boxes[0], BOX_COLUMNS)


def boxes_of(prediction: object, names: Sequence[str]) -> Boxes:
    """Return the boxes of a prediction that came back as it was sent.

    `names` are the outputs that had boxes, scores and classes; one that had all is nested lists.
    Raises LabelError saying what was expected.
    """
    try:
        if isinstance(prediction, list) and len(names) == 1:
            return _finite(_numbers(prediction, BOX_COLUMNS))
        if not isinstance(prediction, Mapping):
            raise TypeError  # noqa: TRY301 - told below what was expected
        if names == ("",):
            # Of a version on disk only the declaration is known.
            names = next(each for each in USUAL_NAMES if prediction.keys() >= set(each))
        boxes, scores, classes = (prediction[name] for name in names)
        parts = (_numbers(boxes, CORNERS), _numbers(scores), _numbers(classes))
        return _finite(joined(*(part[None] for part in parts))[0])
    except (KeyError, OverflowError, ScoreError, StopIteration, TypeError, ValueError):
        expected = "rows of six numbers" if len(names) == 1 else f"an object of {', '.join(names)}"
        raise LabelError(
            f"prediction is to be what the reply had: {expected}, of at most {MOST_BOXES} boxes"
        ) from None


def _finite(boxes: Boxes) -> Boxes:
    if boxes.ndim != 2 or boxes.shape[1] != BOX_COLUMNS or not np.isfinite(boxes).all():  # noqa: PLR2004
        raise ValueError(boxes.shape)
    return boxes


def _numbers(value: object, *columns: int) -> NDArray[np.float32]:
    """Return a list of numbers, or of `columns` numbers each. Raises ValueError or TypeError."""
    if not isinstance(value, list) or len(value) > MOST_BOXES:
        raise ValueError(value)
    with np.errstate(over="ignore"):
        return np.array(value or np.zeros((0, *columns)), np.float32)


def corners_of(boxes: NDArray[Any], form: str) -> NDArray[np.float64]:
    """Return boxes [B, 4] of one of the formats as corners (x, y, x, y)."""
    array = boxes.astype(np.float64)
    if form == "yxyx":
        return array[:, [1, 0, 3, 2]]
    if form == "xywh":
        return np.concatenate([array[:, :2], array[:, :2] + array[:, 2:]], axis=1)
    return array


def true_corners(box: object, form: str) -> list[float]:
    """Return a true box's corners. Raises LabelError for what is none, or has no area."""
    if not isinstance(box, list) or len(box) != CORNERS or not all(map(_is_coordinate, box)):
        raise LabelError("box is to be four numbers")
    corners: list[float] = corners_of(np.array([box]), form)[0].tolist()
    if not (corners[2] > corners[0] and corners[3] > corners[1]):
        raise LabelError("box is to have a width and a height above 0")
    return corners


def _is_coordinate(value: object) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and abs(value) <= FURTHEST  # type: ignore[arg-type]


def overlaps(boxes: NDArray[Any], others: NDArray[Any]) -> NDArray[np.float64]:
    """Return the intersection over union of each box with each other: [B, T]."""
    least = np.maximum(boxes[:, None, :2], others[None, :, :2])
    most = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    shared = np.clip(most - least, 0, None).prod(axis=2)
    areas = [np.clip(each[:, 2:] - each[:, :2], 0, None).prod(axis=1) for each in (boxes, others)]
    union = areas[0][:, None] + areas[1][None, :] - shared
    return np.asarray(np.divide(shared, union, out=np.zeros_like(shared), where=union > 0))


def matched(
    shared: NDArray[np.float64], is_ignored: NDArray[np.bool_], least: float
) -> list[tuple[int, int | None]]:
    """Return boxes, in the order of their scores, and the true ones that they are matched with.

    Each takes the free one of the greatest overlap, if that is at least `least`. A box that finds
    none but lies on one that is ignored is left out, however many lie there.
    """
    free = ~is_ignored
    is_near = np.asarray(shared >= least)
    on_ignored = np.any(is_near & is_ignored, axis=1)
    found: list[tuple[int, int | None]] = []
    for box, may_match in enumerate(np.any(is_near & free, axis=1).tolist()):
        if may_match:
            candidates = np.where(free, shared[box], -1.0)
            best = int(candidates.argmax())
            if candidates[best] >= least:
                free[best] = False
                found.append((box, best))
                continue
        if not on_ignored[box]:
            found.append((box, None))
    return found
