"""Bins of boxes' scores, of which the average precision is made: approximate, for it adds."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.quality.score_bins import EDGES, NAMES
from exporter.quality.sums import Sums

RESULTS = ("tp", "fp")


def count_binned(sums: Sums, least: str, scores: NDArray[Any], is_right: NDArray[np.bool_]) -> None:
    """Count boxes that were matched at an overlap of `least`, and those that were not.

    For each bin there are those in it, and those above it with half of its own: the order within a
    bin is not known.
    """
    for result, chosen in zip(RESULTS, (is_right, ~is_right), strict=True):
        own = np.bincount(np.searchsorted(EDGES, scores[chosen]), minlength=len(NAMES))
        at_least = own[::-1].cumsum()[::-1] - own / 2
        for place in at_least.nonzero()[0].tolist():
            labels = {"iou": least, "bin": NAMES[place], "result": result}
            sums.add("detection_score_bin_total", float(own[place]), **labels)
            sums.add("detection_score_at_least_total", float(at_least[place]), **labels)


def declare_bins(sums: Sums, least: str) -> None:
    """Make the series of an overlap known."""
    for name in NAMES:
        for result in RESULTS:
            labels = {"iou": least, "bin": name, "result": result}
            sums.add("detection_score_bin_total", 0.0, **labels)
            sums.add("detection_score_at_least_total", 0.0, **labels)
