"""Counting features of many rows at once: all numbers of one type in one pass.

What is counted is what each feature's own `observe` would count; only the way is shorter.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from exporter.quality.features import (
    BIN_NAMES,
    NUMBER_REASONS,
    CategoryFeature,
    Feature,
    NumberFeature,
)
from exporter.quality.sums import Cell, Sums

Columns = Mapping[str, NDArray[Any]]
# Beyond so many values, only some rows are looked at: shares stay as they are, with more noise.
MOST_CELLS = 64_000


_CHANCE = np.random.default_rng()


class _Group(NamedTuple):
    """Number features of one dtype.

    `edges` [most edges, features] are filled up with infinity; `bins` are the cells of all bins
    [features x (most edges + 1)] in a row, and `invalid` those of each reason.
    """

    dtype: str
    names: tuple[str, ...]
    edges: NDArray[Any]
    low: NDArray[Any]
    high: NDArray[Any]
    bins: tuple[Cell, ...]
    invalid: Mapping[str, tuple[Cell, ...]]


class FeatureCounts:
    """Counts the bins of columns, and values that have none or are unusual."""

    def __init__(self, features: Sequence[Feature]) -> None:
        """Take the features of a profile."""
        self._categories = [one for one in features if isinstance(one, CategoryFeature)]
        numbers = [one for one in features if isinstance(one, NumberFeature)]
        self._groups = [
            _group(dtype, [one for one in numbers if one.dtype == dtype])
            for dtype in sorted({one.dtype for one in numbers})
        ]

    def observe(self, columns: Columns, sums: Sums) -> None:
        """Count columns [n] by feature; every one of the features is there."""
        for feature in self._categories:
            feature.observe(columns[feature.name], sums)
        for group in self._groups:
            _observe(group, columns, sums)


def sample_of(
    rows: int, cells_a_row: int, most_cells: int = MOST_CELLS
) -> NDArray[np.int64] | None:
    """Return which rows are to be looked at, by chance; None for all of them.

    Not every second or third: what repeats itself must not fall together with that.
    """
    most = max(1, most_cells // max(1, cells_a_row))
    if rows <= most:
        return None
    return np.sort(_CHANCE.choice(rows, most, replace=False))


def _group(dtype: str, features: Sequence[NumberFeature]) -> _Group:
    most = max(len(feature.edges) for feature in features)
    edges = np.full((most, len(features)), np.inf, dtype=dtype)
    for number, feature in enumerate(features):
        edges[: len(feature.edges), number] = feature.edges
    names = tuple(feature.name for feature in features)
    return _Group(
        dtype,
        names,
        edges,
        np.array([feature.low for feature in features], dtype=np.float64),
        np.array([feature.high for feature in features], dtype=np.float64),
        tuple(
            ("feature_bin_total", (("feature", name), ("bin", bin_name)))
            for name in names
            for bin_name in BIN_NAMES[: most + 1]
        ),
        {
            reason: tuple(
                ("feature_invalid_total", (("feature", name), ("reason", reason))) for name in names
            )
            for reason in NUMBER_REASONS
        },
    )


def _observe(group: _Group, columns: Columns, sums: Sums) -> None:
    values = np.stack([columns[name] for name in group.names], axis=1).astype(group.dtype)
    is_good = np.isfinite(values)
    # How many edges lie below a value: [rows, features]. A pass for each edge is faster than one
    # over an array with all of them.
    bins = np.zeros(values.shape, dtype=np.int64)
    for edges in group.edges:
        bins += values > edges
    bins += (len(group.edges) + 1) * np.arange(len(group.names))
    counts = np.bincount(bins[is_good] if not is_good.all() else bins.reshape(-1))
    places = counts.nonzero()[0]
    for place, amount in zip(places.tolist(), counts[places].tolist(), strict=True):
        sums.add_cell(group.bins[place], float(amount))
    for reason, which in _invalid(group, values, is_good):
        amounts = which.sum(axis=0)
        for number in amounts.nonzero()[0].tolist():
            sums.add_cell(group.invalid[reason][number], float(amounts[number]))


def _invalid(
    group: _Group, values: NDArray[Any], is_good: NDArray[np.bool_]
) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    if not is_good.all():
        is_missing = np.isnan(values)
        yield "missing", is_missing
        yield "non_finite", ~(is_good | is_missing)
    yield "below_min", (values < group.low) & is_good
    yield "above_max", (values > group.high) & is_good
