"""Boxes in images, and how predicted ones are matched with true ones."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from exporter.quality.errors import LabelError

FORMATS = ("yxyx", "xyxy", "xywh")
MOST_BOXES = 1_000
CORNERS = 4


class Truth(NamedTuple):
    """True boxes of an image [T, 4] as corners (x, y, x, y), their classes, who is ignored."""

    corners: NDArray[np.float64]
    classes: tuple[int, ...]
    is_ignored: tuple[bool, ...]


def corners_of(boxes: Sequence[Sequence[float]], form: str) -> NDArray[np.float64]:
    """Return boxes [B, 4] of one of the formats as corners (x, y, x, y)."""
    array = np.asarray(boxes, dtype=np.float64).reshape(-1, CORNERS)
    if form == "yxyx":
        return array[:, [1, 0, 3, 2]]
    if form == "xywh":
        return np.concatenate([array[:, :2], array[:, :2] + array[:, 2:]], axis=1)
    return array


def checked_box(value: object, form: str) -> list[float]:
    """Return a true box's corners. Raises LabelError for what is none, or has no area."""
    is_box = isinstance(value, list) and len(value) == CORNERS
    if not is_box or not all(
        isinstance(each, int | float) and not isinstance(each, bool) and abs(each) <= 1e9  # noqa: PLR2004
        for each in value  # type: ignore[attr-defined]
    ):
        raise LabelError("box is to be four numbers")
    corners: list[float] = corners_of([value], form)[0].tolist()  # type: ignore[list-item]
    if not (corners[2] > corners[0] and corners[3] > corners[1]):
        raise LabelError("box is to have a width and a height above 0")
    return corners


def overlaps(boxes: NDArray[Any], others: NDArray[Any]) -> NDArray[np.float64]:
    """Return the intersection over union of each box with each other: [B, T]."""
    least = np.maximum(boxes[:, None, :2], others[None, :, :2])
    most = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    shared = np.clip(most - least, 0, None).prod(axis=2)
    areas = [np.clip(each[:, 2:] - each[:, :2], 0, None).prod(axis=1) for each in (boxes, others)]
    union = areas[0][:, None] + areas[1][None, :] - shared
    return np.asarray(np.divide(shared, union, out=np.zeros_like(shared), where=union > 0))


def matched(shared: NDArray[np.float64], least: float) -> list[int | None]:
    """Return for each box, in the order of their scores, the true one that it is matched with.

    Each takes the free one of the greatest overlap, if that is at least `least`.
    """
    free = np.ones(shared.shape[1], dtype=np.bool_)
    found: list[int | None] = []
    for row in shared:
        candidates = np.where(free, row, -1.0)
        best = int(candidates.argmax()) if candidates.size else 0
        if candidates.size and candidates[best] >= least:
            free[best] = False
            found.append(best)
        else:
            found.append(None)
    return found
