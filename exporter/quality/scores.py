"""A model's scores, checked and made probabilities; and as they travel with a row's token."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.quality.errors import ScoreError

Scores = NDArray[np.float64]

# Rounding of float32 may leave the interval, and sums, by as much.
TOLERANCE, SUM_TOLERANCE = 1e-6, 1e-3
LEAST_PROBABILITY = 1e-7


def sigmoid(logits: Scores) -> Scores:
    """Return 1 / (1 + e^-x) of each, without overflow."""
    small = np.exp(-np.abs(logits))
    return np.where(logits >= 0, 1 / (1 + small), small / (1 + small))


def softmax(logits: Scores) -> Scores:
    """Return e^x / Σ e^x of each row."""
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))


def checked(scores: Scores, *, sums_to_one: bool = False) -> Scores:
    """Return probabilities clipped to 0 and 1.

    Raises ScoreError when one lies outside by more than rounding, or a row's sum is not 1.
    """
    if len(scores) == 1 and _are_probabilities(scores.tolist()[0], sums_to_one=sums_to_one):
        # A token of one row is a part of every prediction, and NumPy's calls are most of its cost.
        return scores.astype(np.float32).astype(np.float64)
    if scores.size and (scores.min() < -TOLERANCE or scores.max() > 1 + TOLERANCE):
        worst = scores.flat[np.abs(scores - 0.5).argmax()]
        raise ScoreError(f"score {worst:g} is no probability; logits are to be declared as such")
    if sums_to_one and scores.size:
        off = np.abs(scores.sum(axis=1) - 1).max()
        if off > SUM_TOLERANCE:
            raise ScoreError(f"a row's scores add up to 1 ± {off:g}")
    # As tokens carry them, so that a label is judged by the very numbers that were predicted.
    clipped = np.minimum(np.maximum(scores, 0.0), 1.0)  # np.clip takes several times as long
    return clipped.astype(np.float32).astype(np.float64)


def _are_probabilities(row: float | list[float], *, sums_to_one: bool) -> bool:
    """Return whether a row's scores need no more than a look."""
    if isinstance(row, float):
        return 0 <= row <= 1
    is_whole = not sums_to_one or abs(sum(row) - 1) <= SUM_TOLERANCE
    return bool(row) and is_whole and min(row) >= 0 and max(row) <= 1


def packed(values: NDArray[Any]) -> list[float]:
    """Return numbers as the shortest decimals that are the same float32: few characters each."""
    return [float(str(value)) for value in values.astype(np.float32)]


def unpacked(values: object, count: int) -> list[float]:
    """Return packed scores as the float32 that they were.

    Raises ValueError for what are not so many probabilities: a token of another build.
    """
    if (
        not isinstance(values, list)
        or len(values) != count
        or not all(type(one) in {int, float} and 0 <= one <= 1 for one in values)
    ):
        raise ValueError(f"{values!r:.80} are not {count} probabilities")
    numbers: list[float] = np.array(values, dtype=np.float32).tolist()
    return numbers


def unpacked_number(value: object) -> float:
    """Return a packed number as the float32 that it was. Raises ValueError for anything else."""
    if type(value) not in {int, float} or not math.isfinite(float(value)):  # type: ignore[arg-type]
        raise ValueError(f"{value!r:.80} is no number")
    return float(np.float32(value))  # type: ignore[arg-type]


def surprise(probability: float) -> float:
    """Return -ln p of what has happened, in nats, at most 16.1: one row is not to outweigh all."""
    return -math.log(min(max(probability, LEAST_PROBABILITY), 1.0))
