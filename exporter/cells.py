"""Arithmetic on the cells of blocks: whole arrays added up, histograms put under other bounds."""

from array import array
from bisect import bisect_left
from functools import cache

STRETCH = 32  # cells
_ZEROS = bytes(8 * STRETCH)


def sum_of(arrays: list["array[float]"]) -> "array[float]":
    """Return arrays of equal length added up element by element.

    Most cells of most histograms are 0 in most processes, so stretches of zeros are passed over.
    """
    if len(arrays) == 1:
        return arrays[0]
    images = [values.tobytes() for values in arrays]
    total = array("d", images[0])
    for start in range(0, len(total), STRETCH):
        end = start + STRETCH
        first, last = 8 * start, 8 * end
        found = [
            values[start:end]
            for values, image in zip(arrays, images, strict=True)
            if image[first:last] != _ZEROS
        ]
        if len(found) == 1:
            total[start:end] = found[0]
        elif found:
            total[start:end] = array("d", map(sum, zip(*found, strict=True)))
    return total


def moved_cells(
    cells: "array[float]", edges: tuple[float, ...], new_edges: tuple[float, ...]
) -> "array[float]":
    """Return a histogram's sum and counts under other edges; each count goes by its upper edge."""
    moved = array("d", bytes(8 * (len(new_edges) + 2)))
    moved[0] = cells[0]
    for place, count in zip(_places(edges, new_edges), cells[1:], strict=True):
        moved[1 + place] += count
    return moved


@cache
def _places(edges: tuple[float, ...], new_edges: tuple[float, ...]) -> tuple[int, ...]:
    return (*(bisect_left(new_edges, edge) for edge in edges), len(new_edges))
