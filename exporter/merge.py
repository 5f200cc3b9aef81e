"""Merges the blocks of many processes into one view, by family rule.

Knows no file and no wire format.
"""

import math
import time
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache
from operator import add

from exporter.block.layout import SeriesEntry
from exporter.block.reader import BlockReader
from exporter.exemplar_slots import exemplars_in, has_exemplars
from exporter.metric import Family
from exporter.view import LabelValues, LiveProcess, MergedFamily, MergedSeries, View

EXITS = "inferometer_process_exits_total"
CPU_SECONDS = "inferometer_process_cpu_seconds_total"

_UNSET = -math.inf

STRETCH = 32  # cells
_ZEROS = bytes(8 * STRETCH)


@dataclass(slots=True)
class Admitted:
    """The label sets that have a row of their own, by family.

    It outlives the merges, so that a label set never wanders between its own row and `__other__`.
    """

    labels: dict[str, set[LabelValues]] = field(default_factory=dict)
    retired: BlockReader | None = None

    def admit_retired(self, retired: BlockReader) -> None:
        """Let the rows of the dead come first, as they were there first."""
        if retired is not self.retired:
            self.retired = retired
            for number, entries in retired.table.series.items():
                for entry in entries:
                    self.place(retired.table.families[number], entry.labels)

    def place(self, family: Family, labels: LabelValues) -> LabelValues:
        """Return the labels of the row in which these are shown."""
        known = self.labels.setdefault(family.name, set())
        if labels in known:
            return labels
        guarded = family.guarded(labels, has_room=len(known) < family.max_series)
        known.add(guarded)
        return guarded


def merge(
    retired: BlockReader | None,
    blocks: Iterable[BlockReader],
    *,
    admitted: Admitted,
    wants: Callable[[Family], bool] = lambda _family: True,
) -> View:
    """Return one view of the retired block and all others, of the families that are wanted.

    Counters and histograms add over live and dead alike; gauges count for live processes only. A
    family that two blocks define differently is shown as the younger one does.
    """
    view = View()
    blocks = list(blocks)
    # The retired block comes last: most of what it holds are zeros, and to add a zero to a row that
    # is there costs least.
    everything = [*blocks, *([retired] if retired else [])]
    if retired is not None:
        admitted.admit_retired(retired)
    for block in sorted(everything, key=lambda b: b.created if b is not retired else 0.0):
        for family in block.table.families.values():
            if wants(family):
                view.families.setdefault(family.name, MergedFamily(family)).family = family
    for group in _groups(everything):
        live = [block for block in group if block.is_alive and block is not retired]
        _add_group(view, group, live, admitted)
    for block in blocks:
        view.blocks += 1
        _add_process(view, block)
    view.families = {name: merged for name, merged in view.families.items() if merged.series}
    return view


def _groups(blocks: Iterable[BlockReader]) -> Iterable[list[BlockReader]]:
    """Return blocks by equal tables, as processes of one role usually have them.

    The same series stands at the same index in all blocks of a group, so a group is merged at once.
    """
    groups: dict[bytes, list[BlockReader]] = {}
    for block in blocks:
        groups.setdefault(block.table_digest, []).append(block)
    return groups.values()


def _add_group(
    view: View, group: list[BlockReader], live: list[BlockReader], admitted: Admitted
) -> None:
    first = group[0]
    start = first.values_start
    arrays = [block.values for block in group]
    totals = _sum(arrays)
    is_single = len(arrays) == 1
    for number, entries in first.table.series.items():
        family = first.table.families[number]
        merged = view.families.get(family.name)
        if merged is None or not _is_mergeable(family, merged.family):
            continue
        if family.kind == "gauge":
            _add_gauges(merged, entries, live, admitted)
            continue
        moved = family.edges != merged.family.edges
        end, slots = family.value_cells, family.exemplar_slots
        known = merged.series
        for entry in entries:
            index = entry.index - start
            cells = totals[index + 1 : index + end]
            created = totals[index] if is_single else min([values[index] for values in arrays])
            series = known.get(entry.labels)
            if series is not None and not any(cells):
                series.created = min(series.created, created)
                continue
            if moved:
                cells = _move_cells(cells, family.edges, merged.family.edges)
            series = series or _series_of(merged, admitted, entry.labels)
            _add_cells(series, created, cells)
            if slots and has_exemplars(family, totals, index):
                for block in group:
                    _add_exemplars(series, merged.family, block, family, index)


def _sum(arrays: list["array[float]"]) -> "array[float]":
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


def _add_process(view: View, block: BlockReader) -> None:
    """Add what a block's header says of its process: CPU time always, its exit when it is dead."""
    role = block.role
    cpu = view.families.get(CPU_SECONDS)
    if cpu is not None and (role,) in cpu.series:
        cpu.series[role,].cells[0] += block.cpu_seconds
    if block.is_alive:
        header = block.header
        assert header is not None
        view.processes.append(LiveProcess(role, header.pid, header.pid_namespace))
        return
    exits = view.families.get(EXITS)
    if exits is not None and (role, block.exit_cause) in exits.series:
        exits.series[role, block.exit_cause].cells[0] += 1


def _series_of(merged: MergedFamily, admitted: Admitted, labels: LabelValues) -> MergedSeries:
    series = merged.series.get(labels)
    if series is None:
        labels = admitted.place(merged.family, labels)
        series = merged.series.get(labels)
        if series is None:
            series = merged.series[labels] = MergedSeries(0.0, [])
    return series


def _add_cells(series: MergedSeries, created: float, cells: "array[float]") -> None:
    if not series.cells:
        series.created, series.cells = created, cells.tolist()
        return
    series.created = min(series.created, created)
    series.cells = list(map(add, series.cells, cells))


def _add_exemplars(
    series: MergedSeries, shown: Family, block: BlockReader, family: Family, index: int
) -> None:
    """Keep the newest exemplar of each bucket."""
    for recorded, exemplar in exemplars_in(family, block.values, block.values_again, index):
        # Under other bounds it belongs where its value lies.
        place = recorded if family is shown else bisect_left(shown.buckets, exemplar.value)
        present = series.exemplars.get(place)
        if present is None or present.timestamp < exemplar.timestamp:
            series.exemplars[place] = exemplar


def _add_gauges(
    merged: MergedFamily,
    entries: Iterable[SeriesEntry],
    live: list[BlockReader],
    admitted: Admitted,
) -> None:
    if not live:
        return
    family, now = merged.family, time.monotonic()
    start = live[0].values_start
    arrays = [block.values for block in live]
    for entry in entries:
        index = entry.index - start
        cells = [(values[index + 1], values[index + 2]) for values in arrays]
        cells = [cell for cell in cells if not math.isnan(cell[0])]
        if cells:
            value, stamp = _combined(family.merge, cells, now)
        elif family.is_absent_until_set:
            continue
        else:
            # Unset, but declared: the series shows 0 unless some process has set it.
            value, stamp = 0.0, _UNSET
        series = _series_of(merged, admitted, entry.labels)
        if not series.cells or series.stamp == _UNSET:
            series.created, series.cells, series.stamp = arrays[0][index], [value], stamp
        elif stamp != _UNSET:
            # Other processes have it too, in blocks of another table.
            both = [(series.cells[0], series.stamp), (value, stamp)]
            series.cells[0], series.stamp = _reduced(family.merge, both)


Cell = tuple[float, float]


def _combined(rule: str, cells: list[Cell], now: float) -> Cell:
    """Return value and stamp of one gauge made of those of several processes."""
    if rule == "age":
        cells = [(max(0.0, now - value) if value else 0.0, stamp) for value, stamp in cells]
    elif rule == "overdue":
        cells = [(float(bool(value) and now > value), stamp) for value, stamp in cells]
    return _reduced(rule, cells)


def _reduced(rule: str, cells: list[Cell]) -> Cell:
    if len(cells) == 1:
        return cells[0]
    if rule == "sum":
        return sum([value for value, _ in cells]), 0.0
    if rule == "min":
        return min(cells)
    if rule == "latest":
        return max(cells, key=lambda cell: cell[1])
    return max(cells)


def _is_mergeable(recorded: Family, shown: Family) -> bool:
    """Return whether the series of one definition can be shown under another."""
    return recorded is shown or (
        (recorded.kind, recorded.label_names, recorded.merge)
        == (shown.kind, shown.label_names, shown.merge)
    )


def _move_cells(
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
