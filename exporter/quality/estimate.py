"""An estimate of accuracy without labels, from scores that were calibrated on the reference's data.

Each row adds the calibrated probability that it is right. It holds while scores mean what they
meant then: not where the relation of inputs and truth has changed.
"""

from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from exporter.quality.scores import Scores


class Calibration:
    """A map from score to probability that never falls, linear between its points."""

    def __init__(self, scores: Sequence[float], probabilities: Sequence[float]) -> None:
        """Take points, of which the scores rise."""
        self.scores = tuple(scores)
        self.probabilities = tuple(probabilities)

    def __call__(self, scores: Scores) -> Scores:
        """Return the probability of each score."""
        return np.interp(scores, self.scores, self.probabilities)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Calibration) and (self.scores, self.probabilities) == (
            other.scores,
            other.probabilities,
        )

    def __hash__(self) -> int:
        return hash((self.scores, self.probabilities))


def calibrated(
    scores: NDArray[np.float64], outcomes: NDArray[np.bool_], *, points: int = 50
) -> Calibration:
    """Return the isotonic map of labelled scores, by pooling adjacent violators.

    Ayer, Brunk, Ewing, Reid and Silverman, "An Empirical Distribution Function for Sampling with
    Incomplete Information" (1955). At most so many points are kept.
    """
    # Equal scores have one probability.
    found, places, rows = np.unique(scores, return_inverse=True, return_counts=True)
    right = np.bincount(places, weights=outcomes, minlength=len(found))
    blocks: list[_Block] = []
    for score, count, ones in zip(found.tolist(), rows.tolist(), right.tolist(), strict=True):
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
    if len(xs) > points:
        chosen = np.unique(np.linspace(0, len(xs) - 1, points).round().astype(int))
        xs, ys = ([values[place] for place in chosen] for values in (xs, ys))
    return Calibration(*_rising(xs, ys))


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
