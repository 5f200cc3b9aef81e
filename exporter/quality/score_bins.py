"""Bins of scores from 0 to 1, equally wide in logit space, so that rare classes have theirs.

The edges are the logistic function of -9, -8 … 9: 20 bins, of which bin b holds
edge(b - 1) < score ≤ edge(b). What is counted in them gives calibration and, by ranks, the area
under the ROC curve within a bound.
"""

from bisect import bisect_left
from math import exp

from exporter.quality.sums import Sums

EDGES = tuple(1 / (1 + exp(-logit)) for logit in range(-9, 10))
NAMES = tuple(f"{number:02}" for number in range(len(EDGES) + 1))
# The upper edge of each bin, by its name.
UPPER_EDGES = dict(zip(NAMES, (*EDGES, 1.0), strict=True))
OUTCOMES = ("positive", "negative")


def bin_of(score: float) -> int:
    """Return the number of the bin that holds a score."""
    return bisect_left(EDGES, score)


def count_scored(sums: Sums, of_class: str, score: float, *, is_positive: bool) -> None:
    """Count a labelled score: its bin, its outcome and, for ranks, which bins lie above.

    A negative in bin j counts ½ there and 1 in every bin above: Σ positives × that is the number of
    pairs in order, ties in half, so that it adds over any rows.
    """
    found = bin_of(score)
    name = NAMES[found]
    outcome = OUTCOMES[not is_positive]
    sums.add("score_bin_total", **{"class": of_class}, bin=name, outcome=outcome)
    sums.add("score_bin_predicted_sum_total", score, **{"class": of_class}, bin=name)
    if is_positive:
        return
    sums.add("score_rank_below_total", 0.5, **{"class": of_class}, bin=name)
    for above in NAMES[found + 1 :]:
        sums.add("score_rank_below_total", 1.0, **{"class": of_class}, bin=above)


def declare(sums: Sums, of_class: str) -> None:
    """Make the series of a class known, so that they stand at 0 before the first label."""
    for name in NAMES:
        for outcome in OUTCOMES:
            sums.add("score_bin_total", 0.0, **{"class": of_class}, bin=name, outcome=outcome)
        sums.add("score_bin_predicted_sum_total", 0.0, **{"class": of_class}, bin=name)
        sums.add("score_rank_below_total", 0.0, **{"class": of_class}, bin=name)
