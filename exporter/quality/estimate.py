"""An estimate of accuracy without labels, from scores that were calibrated on the reference's data.

Each row adds the calibrated probability that it is right. It holds while scores mean what they
meant then: not where the relation of inputs and truth has changed.
"""

from bisect import bisect_left
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from exporter.quality.scores import Scores

LEAST_ROWS = 10


@dataclass(frozen=True, slots=True)
class Calibration:
    """A map from score to probability that never falls, linear between its points.

    The points' scores rise.
    """

    scores: tuple[float, ...]
    probabilities: tuple[float, ...]

    def __call__(self, scores: Scores) -> Scores:
        """Return the probability of each score."""
        return np.interp(scores, self.scores, self.probabilities)


def calibrated(
    scores: NDArray[np.float64], outcomes: NDArray[np.bool_], *, points: int = 50
) -> Calibration:
    """Return the isotonic map of labelled scores, by pooling adjacent violators.

    It is made of groups of ten rows or more, so that it tells of none alone.

    Ayer, Brunk, Ewing, Reid and Silverman, "An Empirical Distribution Function for Sampling with
    Incomplete Information" (1955). There are at most so many groups.
    """
    order = np.argsort(scores, kind="stable")
    ordered, right = scores[order], outcomes[order].astype(np.float64)
    starts = _starts(ordered, max(LEAST_ROWS, -(-len(ordered) // points)))
    rows = np.diff([*starts, len(ordered)])
    blocks: list[_Block] = []
    for group in zip(
        np.add.reduceat(right, starts).tolist(),
        rows.tolist(),
        (np.add.reduceat(ordered, starts) / rows).tolist(),
        strict=True,
    ):
        ones, count, score = group
        block = _Block(ones, count, score, score)
        while blocks and blocks[-1].right * block.rows >= block.right * blocks[-1].rows:
            last = blocks.pop()
            block = _Block(
                last.right + block.right, last.rows + block.rows, last.lowest, block.highest
            )
        blocks.append(block)
    # Both ends: within a block the probability is the same, between two it rises.
    xs = [score for block in blocks for score in (block.lowest, block.highest)]
    ys = [block.right / block.rows for block in blocks for _ in range(2)]
    return Calibration(*map(tuple, _rising(xs, ys)))


def _starts(ordered: NDArray[np.float64], least: int) -> list[int]:
    """Return where groups of sorted scores begin: of so many rows, equal scores together."""
    starts = [0]
    while True:
        after = starts[-1] + least
        if after >= len(ordered):
            break
        # What equals the group's last score belongs to it.
        after = int(np.searchsorted(ordered, ordered[after - 1], side="right"))
        if len(ordered) - after < least:
            break
        starts.append(after)
    return starts


class _Block(NamedTuple):
    """Neighbours of one probability: the right ones, all, and between which scores they lie."""

    right: float
    rows: int
    lowest: float
    highest: float


def _rising(xs: list[float], ys: list[float]) -> tuple[list[float], list[float]]:
    """Return points whose scores rise: of equal ones the last."""
    kept: list[float] = []
    values: list[float] = []
    for x, y in zip(xs, ys, strict=True):
        place = bisect_left(kept, x)
        kept[place:], values[place:] = [x], [y]
    return kept, values
