"""A class for each pixel of an image, as runs: arithmetic is by runs, whatever the image's size.

Runs are in the order of rows. As JSON: rows of ids, or `{"shape": [H, W], "runs": [[id, length]]}`.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeGuard

import numpy as np
from numpy.typing import NDArray

from exporter.quality.errors import LabelError

MOST_PIXELS, MOST_RUNS = 1 << 24, 1 << 20
# A shape and a run are two numbers.
PAIR = 2
EXPECTED = "{} is to be rows of class ids, or a shape [H, W] and runs [[id, length], …]"


class Mask(NamedTuple):
    """Ids of runs [R] and their lengths [R]; neighbours differ, so an image has one such form."""

    shape: tuple[int, int]
    ids: NDArray[np.int64]
    lengths: NDArray[np.int64]


def mask_of(pixels: NDArray[Any]) -> Mask | None:
    """Return ids [H, W] as runs; None for noise, of which no label could bring back so many."""
    flat = pixels.ravel()
    # In the pixels' own type: there may be millions.
    differs = flat[1:] != flat[:-1]
    if np.count_nonzero(differs) >= MOST_RUNS:
        return None
    starts = np.concatenate([[0], np.flatnonzero(differs) + 1])
    lengths = np.diff(starts, append=flat.size)
    return Mask((pixels.shape[0], pixels.shape[1]), flat[starts].astype(np.int64), lengths)


def read_mask(value: object, what: str = "label") -> Mask:
    """Return the mask of JSON; `what` it is stands in messages.

    Raises LabelError. Lengths are added up before anything is allocated.
    """
    if isinstance(value, Mapping):
        return _of_runs(value, what)
    if not isinstance(value, list) or not value or not all(map(_are_whole, value)):
        raise LabelError(EXPECTED.format(what))
    width = len(value[0])
    if not 0 < width * len(value) <= MOST_PIXELS or any(len(row) != width for row in value):
        raise LabelError(f"{what} is to have rows of one length and at most {MOST_PIXELS} pixels")
    try:
        found = mask_of(np.array(value, dtype=np.int64))
    except OverflowError:
        raise LabelError(EXPECTED.format(what)) from None
    if found is None:
        raise LabelError(f"{what} is to have less than {MOST_RUNS} runs of one class")
    return found


def _of_runs(value: Mapping[str, Any], what: str) -> Mask:
    shape, runs = value.get("shape"), value.get("runs")
    are_read = value.keys() == {"shape", "runs"} and _are_whole(shape) and isinstance(runs, list)
    if not are_read or len(shape) != PAIR or not all(map(_is_run, runs)):  # type: ignore[arg-type]
        raise LabelError(EXPECTED.format(what))
    assert shape is not None
    assert runs is not None
    size = shape[0] * shape[1]
    if not 0 < size <= MOST_PIXELS or sum(length for _, length in runs) != size:
        raise LabelError(f"runs are to add up to the shape, of at most {MOST_PIXELS} pixels")
    try:
        table = np.array(runs, dtype=np.int64)
    except OverflowError:
        raise LabelError(EXPECTED.format(what)) from None
    return _merged((shape[0], shape[1]), table[:, 0], table[:, 1])


def _are_whole(values: object) -> TypeGuard[list[int]]:
    if not isinstance(values, list):
        return False
    # There may be millions: the types of a row are looked at together.
    return set(map(type, values)) <= {int} and min(values, default=0) >= 0


def _is_run(value: object) -> bool:
    return isinstance(value, list) and len(value) == PAIR and _are_whole(value)


def _merged(shape: tuple[int, int], ids: NDArray[np.int64], lengths: NDArray[np.int64]) -> Mask:
    """Return runs without empty ones, neighbours of one id put together."""
    ids, lengths = ids[lengths > 0], lengths[lengths > 0]
    starts = np.concatenate([[0], np.flatnonzero(np.diff(ids)) + 1])
    return Mask(shape, ids[starts], np.add.reduceat(lengths, starts))


def together(first: Mask, second: Mask) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.int64]]:
    """Return the ids of two masks of one shape, run by run, and the lengths of these runs."""
    ends = [mask.lengths.cumsum() for mask in (first, second)]
    both = np.union1d(*ends)
    ids = [
        mask.ids[np.searchsorted(end, both)]
        for mask, end in zip((first, second), ends, strict=True)
    ]
    return ids[0], ids[1], np.diff(both, prepend=0)
