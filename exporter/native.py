"""Native histogram buckets of schema 3: eight to each doubling, each 9 % wider than the last.

Bucket i is (2^((i-1)/8), 2^(i/8)]. Source: https://prometheus.io/docs/specs/native_histograms/.
"""

import math
from bisect import bisect_left
from functools import cache

SCHEMA = 3
FIRST_INDEX = -160  # 2^-20 s, about a microsecond: everything up to it is the zero bucket
LAST_INDEX = 56  # 2^7 s: everything above it is shown as the next bucket

# 2^(k/8 - 1), the constants that Prometheus's own libraries use.
_FRACTIONS = (
    0.5, 0.5452538663326288, 0.5946035575013605, 0.6484197773255048,
    0.7071067811865475, 0.7711054127039704, 0.8408964152537144, 0.9170040432046711,
)  # fmt: skip


def _edge(index: int) -> float:
    return math.ldexp(_FRACTIONS[index % 8], index // 8 + 1)


EDGES = tuple(_edge(index) for index in range(FIRST_INDEX, LAST_INDEX + 1))
ZERO_THRESHOLD = EDGES[0]


@cache
def edges_with(bounds: tuple[float, ...]) -> tuple[float, ...]:
    """Return the edges of cells from which both these classic bounds and schema 3 can be read."""
    return tuple(sorted({*bounds, *EDGES}))


@cache
def bucket_indices(edges: tuple[float, ...]) -> tuple[int, ...]:
    """Return for each cell, the one above the last edge included, its native bucket.

    FIRST_INDEX stands for the zero bucket.
    """
    inner = [FIRST_INDEX + bisect_left(EDGES, edge) for edge in edges]
    return (*inner, LAST_INDEX + 1)
