"""Where the panels of a dashboard stand, on a grid of 24 columns."""

from collections.abc import Iterator
from typing import NamedTuple

from grafana.model import Panel

COLUMNS = 24
STAT_HEIGHT, HEIGHT = 4, 8
MOST_STATS = 8


class Place(NamedTuple):
    """Left upper corner, width and height."""

    x: int
    y: int
    w: int
    h: int


def placed(panels: tuple[Panel, ...], top: int) -> Iterator[tuple[Panel, Place]]:
    """Yield panels with their places, line by line from `top` on; a line has no gap."""
    for line in _lines(panels):
        height = STAT_HEIGHT if all(panel.kind == "stat" for panel in line) else HEIGHT
        left = 0
        for panel, width in zip(line, _widths(line), strict=True):
            yield panel, Place(left, top, width, height)
            left += width
        top += height


def _lines(panels: tuple[Panel, ...]) -> Iterator[tuple[Panel, ...]]:
    """Yield stats together, tables alone, other panels in twos and threes."""
    rest = list(panels)
    while rest:
        kind = _shape(rest[0])
        alike = 1
        while alike < len(rest) and _shape(rest[alike]) == kind:
            alike += 1
        if kind == "stat" and alike == 1 and len(rest) > 1:
            # A lone stat beside graphs, as high as they are.
            graphs = [p for p in rest[1:3] if _shape(p) == "graph"]
            size = 1 + len(graphs)
        else:
            size = {"stat": min(alike, MOST_STATS), "table": 1}.get(
                kind, 3 if alike % 2 and alike > 1 else min(alike, 2)
            )
        yield tuple(rest[:size])
        del rest[:size]


def _shape(panel: Panel) -> str:
    return panel.kind if panel.kind in {"stat", "table"} else "graph"


def _widths(line: tuple[Panel, ...]) -> list[int]:
    if len(line) > 1 and line[0].kind == "stat" != line[1].kind:
        rest = (COLUMNS - STAT_HEIGHT) // (len(line) - 1)
        return [STAT_HEIGHT, *[rest] * (len(line) - 1)]
    width = COLUMNS // len(line)
    return [width] * (len(line) - 1) + [COLUMNS - width * (len(line) - 1)]
