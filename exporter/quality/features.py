"""Features: into which bins of the reference profile each value falls, and which are none.

A bin's number is how many edges lie below the value. Values are cast to the model's own type before
edges are made and when they are counted: 0.1 is not the same number as a float32.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.metric import MAX_LABEL_CHARACTERS, OTHER
from exporter.quality.sums import Sums

# Fewer rows in a bin would tell of single rows, and be noise.
LEAST_ROWS, MOST_VALUES = 10, 11
# Outside of these shares of the reference a value is unusual.
LOWEST, HIGHEST = 0.001, 0.999
BIN_NAMES = tuple(f"{number:02}" for number in range(64))
NUMBER_REASONS = ("missing", "wrong_type", "non_finite", "below_min", "above_max")
CATEGORY_REASONS = ("missing", "wrong_type", "unseen_category")


@dataclass(frozen=True, slots=True)
class NumberFeature:
    """A column of numbers: edges of its bins, the reference's share of each, and usual limits.

    `missing` is the reference's share of rows without a value.
    """

    name: str
    dtype: str
    edges: tuple[float, ...]
    shares: tuple[float, ...]
    low: float
    high: float
    missing: float

    @property
    def bins(self) -> tuple[str, ...]:
        """The bins' label values."""
        return BIN_NAMES[: len(self.edges) + 1]

    def observe(self, column: NDArray[Any], sums: Sums) -> None:
        """Count the bins of a column [n] of the model's own type, and values that are none."""
        column = column.astype(self.dtype)
        is_missing = np.isnan(column)
        is_infinite = np.isinf(column)
        good = column[~(is_missing | is_infinite)]
        found = np.searchsorted(np.array(self.edges, dtype=self.dtype), good, side="left")
        counts = np.bincount(found, minlength=len(self.bins))
        for number in map(int, counts.nonzero()[0]):
            amount = float(counts[number])
            sums.add("feature_bin_total", amount, feature=self.name, bin=self.bins[number])
        for reason, amount in (
            ("missing", is_missing.sum()),
            ("non_finite", is_infinite.sum()),
            ("below_min", (good < self.low).sum()),
            ("above_max", (good > self.high).sum()),
        ):
            if amount:
                sums.add("feature_invalid_total", float(amount), feature=self.name, reason=reason)

    def declare(self, sums: Sums) -> None:
        """Make known every series."""
        _declare(sums, self.name, self.bins, NUMBER_REASONS)


@dataclass(frozen=True, slots=True)
class CategoryFeature:
    """A column of texts: the values that have bins, and the reference's share of each and the rest.

    `missing` is the reference's share of rows without a value.
    """

    name: str
    values: tuple[str, ...]
    shares: tuple[float, ...]
    missing: float

    @property
    def bins(self) -> tuple[str, ...]:
        """The bins' label values."""
        return (*self.values, OTHER)

    def observe(self, column: NDArray[Any], sums: Sums) -> None:
        """Count the bins of a column [n] of bytes or texts, and values that are none."""
        found, counts = np.unique(column.astype(object), return_counts=True)
        for value, amount in zip(found, map(float, counts), strict=True):
            text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
            if not text:
                sums.add("feature_invalid_total", amount, feature=self.name, reason="missing")
                continue
            is_known = text in self.values
            name = text if is_known else OTHER
            sums.add("feature_bin_total", amount, feature=self.name, bin=name)
            if not is_known:
                reason = "unseen_category"
                sums.add("feature_invalid_total", amount, feature=self.name, reason=reason)

    def declare(self, sums: Sums) -> None:
        """Make known every series."""
        _declare(sums, self.name, self.bins, CATEGORY_REASONS)


Feature = NumberFeature | CategoryFeature


def number_feature(name: str, column: NDArray[Any], *, dtype: str, bins: int) -> NumberFeature:
    """Return a column's bins: by quantiles, without doubles, each with enough rows.

    A column of one value has bins below, at and above it.
    """
    cast = column.astype(dtype)
    good = np.sort(cast[np.isfinite(cast)])
    missing = 1 - len(good) / max(1, len(cast))
    if not len(good):
        return NumberFeature(name, dtype, (), (1.0,), 0.0, 0.0, missing)
    low, high = (_shown(good, _rank(len(good), share)) for share in (LOWEST, HIGHEST))
    edges = _edges_around(good[0]) if good[0] == good[-1] else _edges(good, bins)
    found = np.searchsorted(np.array(edges, dtype=dtype), good, side="left")
    shares = _shares(np.bincount(found, minlength=len(edges) + 1))
    return NumberFeature(name, dtype, tuple(edges), shares, low, high, missing)


def category_feature(name: str, column: Sequence[str]) -> CategoryFeature:
    """Return a column's bins: its most frequent values, each with enough rows."""
    present = [value for value in column if value]
    values, counts = np.unique(np.array(present, dtype=object), return_counts=True)
    order = np.argsort(-counts, kind="stable")
    chosen = [
        number
        for number in order
        if counts[number] >= LEAST_ROWS and _can_be_shown(str(values[number]))
    ][:MOST_VALUES]
    rest = len(present) - int(sum(counts[number] for number in chosen))
    shares = _shares(np.array([*(counts[number] for number in chosen), rest]))
    missing = 1 - len(present) / max(1, len(column))
    return CategoryFeature(name, tuple(str(values[number]) for number in chosen), shares, missing)


def _edges_around(value: np.floating[Any]) -> list[float]:
    """Return edges so that a value has a bin of its own, between what is below and above."""
    with np.errstate(over="ignore"):
        below = np.nextafter(value, type(value)(-np.inf))
    # Below the lowest number there is nothing.
    return [float(each) for each in (below, value) if np.isfinite(each)]


def _edges(ordered: NDArray[Any], bins: int) -> list[float]:
    """Return values of a sorted column between which lie enough rows each."""
    edges: list[float] = []
    below = 0
    for part in range(1, bins):
        edge = _shown(ordered, _rank(len(ordered), part / bins))
        count = int(np.searchsorted(ordered, edge, side="right"))
        if count - below >= LEAST_ROWS and len(ordered) - count >= LEAST_ROWS:
            edges.append(edge)
            below = count
    return edges


def _shown(ordered: NDArray[Any], rank: int) -> float:
    """Return the value at a rank of a sorted column, or what is near it and of no single row.

    A value that ten rows have may be shown as it is; else it is the mean of the ten around it.
    """
    value = ordered[rank]
    left, right = (int(np.searchsorted(ordered, value, side=side)) for side in ("left", "right"))
    if right - left >= LEAST_ROWS:
        return float(value)
    start = min(max(0, rank - LEAST_ROWS // 2), max(0, len(ordered) - LEAST_ROWS))
    mean = ordered[start : start + LEAST_ROWS].mean(dtype=np.float64)
    return float(mean.astype(ordered.dtype))


def _can_be_shown(value: str) -> bool:
    """Return whether a text can be a bin: not too long, and no bin's name already."""
    return len(value) <= MAX_LABEL_CHARACTERS and value != OTHER and value.isprintable()


def _rank(rows: int, share: float) -> int:
    return min(rows - 1, max(0, int(np.ceil(rows * share)) - 1))


def _shares(counts: NDArray[Any]) -> tuple[float, ...]:
    """Return shares with half a row more in each bin, so that none is 0."""
    return tuple(((counts + 0.5) / (counts.sum() + 0.5 * len(counts))).tolist())


def _declare(sums: Sums, name: str, bins: Sequence[str], reasons: Sequence[str]) -> None:
    for each in bins:
        sums.add("feature_bin_total", 0.0, feature=name, bin=each)
    for reason in reasons:
        sums.add("feature_invalid_total", 0.0, feature=name, reason=reason)
