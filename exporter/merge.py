"""Merges the blocks of many processes into one view, by family rule.

Knows no file and no wire format.
"""

import math
import time
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from operator import add

from exporter.block.layout import SeriesEntry
from exporter.block.reader import BlockReader
from exporter.exemplar_slots import exemplars_in, has_exemplars
from exporter.gauge_rules import combined, reduced
from exporter.metric import Family
from exporter.view import UNSET, LabelValues, LiveProcess, MergedFamily, MergedSeries, View

EXITS = "inferometer_process_exits_total"
CPU_SECONDS = "inferometer_process_cpu_seconds_total"

STRETCH = 32  # cells
_ZEROS = bytes(8 * STRETCH)


def merge(
    retired: BlockReader | None,
    blocks: Iterable[BlockReader],
    *,
    wants: Callable[[Family], bool] = lambda _family: True,
) -> View:
    """Return one view of the retired block and all others, of the families that are wanted.

    Counters and histograms add over live and dead alike; gauges count for live processes only. A
    family that two blocks define differently is shown as the younger one does. Removed series are
    in the view; `without_removed` takes them out.
    """
    view = View()
    blocks = sorted(blocks, key=lambda block: block.created)
    # The retired block comes last: most of what it holds are zeros, and to add a zero to a row that
    # is there costs least.
    everything = [*blocks, *([retired] if retired else [])]
    for block in sorted(everything, key=lambda block: block.created):
        for family in block.table.families.values():
            if wants(family):
                view.families.setdefault(family.name, MergedFamily(family)).family = family
    for group in _groups(everything):
        live = [b for b in group if b.is_alive and b.is_current and b is not retired]
        _add_group(view, group, live)
    for block in blocks:
        view.blocks += 1
        _add_process(view, block)
    view.families = {name: merged for name, merged in view.families.items() if merged.series}
    return view


def without_removed(view: View) -> View:
    """Return the view without the series that are removed and that no process alive has."""
    for merged in view.families.values():
        if any(series.is_removed for series in merged.series.values()):
            merged.series = {
                labels: series
                for labels, series in merged.series.items()
                if series.is_active or not series.is_removed
            }
    return view


def _groups(blocks: Iterable[BlockReader]) -> Iterable[list[BlockReader]]:
    """Return blocks by equal tables, as processes of one role usually have them.

    The same series stands at the same index in all blocks of a group, so a group is merged at once.
    """
    groups: dict[tuple[bytes, int, int], list[BlockReader]] = {}
    for block in blocks:
        key = (block.table_digest, block.values_start, len(block.values))
        groups.setdefault(key, []).append(block)
    return groups.values()


@dataclass(slots=True)
class _Group:
    """Blocks of one table, and what is the same for all of their families."""

    blocks: list[BlockReader]
    live: list[BlockReader]
    arrays: list["array[float]"]
    totals: "array[float]"
    start: int


def _add_group(view: View, blocks: list[BlockReader], live: list[BlockReader]) -> None:
    first = blocks[0]
    arrays = [block.values for block in blocks]
    group = _Group(blocks, live, arrays, _sum(arrays), first.values_start)
    for number, entries in first.table.series.items():
        family = first.table.families[number]
        merged = view.families.get(family.name)
        if merged is None:
            continue
        if not _is_mergeable(family, merged.family):
            view.conflicting.add(family.name)
        elif family.kind == "gauge":
            _add_gauges(merged, entries, blocks if family.outlives_process else live)
        else:
            _add_counts(merged, family, entries, group)


def _add_counts(
    merged: MergedFamily, family: Family, entries: Iterable[SeriesEntry], group: _Group
) -> None:
    """Add counters, histograms or summaries of one family, as fast as can be."""
    known, arrays, totals, live = merged.series, group.arrays, group.totals, group.live
    is_single, slots = len(arrays) == 1, family.exemplar_slots
    for entry in entries:
        index = entry.index - group.start
        created = totals[index] if is_single else min([values[index] for values in arrays])
        cells = totals[index + 1 : index + family.value_cells]
        series = known.get(entry.labels)
        if series is None or any(cells):
            if family.edges != merged.family.edges:
                cells = _move_cells(cells, family.edges, merged.family.edges)
            series = series or _series_of(merged, entry.labels)
            _add_cells(series, abs(created), cells)
            if slots and has_exemplars(family, totals, index):
                for block in group.blocks:
                    _add_exemplars(series, merged.family, block, family, index)
        if created < 0:
            _note_removal(series, group, index)
        else:
            series.created = min(series.created, created)
            series.is_active = series.is_active or bool(live)


def _note_removal(series: MergedSeries, group: _Group, index: int) -> None:
    """Note that some process has removed a series."""
    series.created = min(series.created, *[abs(values[index]) for values in group.arrays])
    live = [block.values[index] for block in group.live]
    series.is_removed = series.is_removed or not live or min(live) < 0
    series.is_active = series.is_active or any(created > 0 for created in live)


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
    if not block.is_current:
        return  # Another block speaks for this process.
    if block.is_alive:
        header = block.header
        assert header is not None
        view.processes.append(LiveProcess(role, header.pid, header.pid_namespace))
        return
    exits = view.families.get(EXITS)
    if exits is not None and (role, block.exit_cause) in exits.series:
        exits.series[role, block.exit_cause].cells[0] += 1


def _series_of(merged: MergedFamily, labels: LabelValues) -> MergedSeries:
    series = merged.series.get(labels)
    if series is None:
        series = merged.series[labels] = MergedSeries(0.0, [])
    return series


def _add_cells(series: MergedSeries, created: float, cells: "array[float]") -> None:
    if not series.cells:
        series.created, series.cells = created, cells.tolist()
        return
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
    blocks: list[BlockReader],
) -> None:
    if not blocks:
        return
    family, now = merged.family, time.monotonic()
    start = blocks[0].values_start
    arrays = [block.values for block in blocks]
    for entry in entries:
        index = entry.index - start
        kept = [values for values in arrays if values[index] >= 0]  # not removed
        if family.outlives_process:
            _note_gauge(merged, entry.labels, blocks, index)
        if not kept:
            continue
        cells = [(values[index + 1], values[index + 2]) for values in kept]
        cells = [cell for cell in cells if not math.isnan(cell[0])]
        if cells:
            value, stamp = combined(family.merge, cells, now)
        elif family.is_absent_until_set:
            continue
        else:
            # Unset, but declared: the series shows 0 unless some process has set it.
            value, stamp = 0.0, UNSET
        series = _series_of(merged, entry.labels)
        if not series.cells or series.stamp == UNSET:
            series.created, series.cells, series.stamp = kept[0][index], [value], stamp
        elif stamp != UNSET:
            # Other processes have it too, in blocks of another table.
            both = [(series.cells[0], series.stamp), (value, stamp)]
            series.cells[0], series.stamp = reduced(family.merge, both)


def _note_gauge(
    merged: MergedFamily, labels: LabelValues, blocks: list[BlockReader], index: int
) -> None:
    """Note that some process has removed a gauge that others may have left, or has it still."""
    live = [block.values[index] for block in blocks if block.is_alive and block.is_current]
    is_removed = min(live or [block.values[index] for block in blocks]) < 0
    if is_removed or labels in merged.series:
        series = _series_of(merged, labels)
        if not series.cells:
            series.cells, series.stamp = [0.0], UNSET
        series.is_removed = series.is_removed or is_removed
        series.is_active = series.is_active or any(created >= 0 for created in live)


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
