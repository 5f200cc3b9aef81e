"""Merges the blocks of many processes into one view, by family rule.

Knows no file and no wire format.
"""

import math
import time
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from operator import add

from exporter.block.layout import SeriesEntry
from exporter.block.reader import BlockReader
from exporter.cells import moved_cells, sum_of
from exporter.exemplar_slots import exemplars_in, has_exemplars
from exporter.gauge_rules import combined, reduced
from exporter.metric import Family
from exporter.view import (
    DEAD_ACTIVE,
    DEAD_REMOVED,
    LIVE_ACTIVE,
    LIVE_REMOVED,
    RETIRED_REMOVED,
    UNSET,
    LabelValues,
    LiveProcess,
    MergedFamily,
    MergedSeries,
    View,
)

EXITS = "inferometer_process_exits_total"
CPU_SECONDS = "inferometer_process_cpu_seconds_total"

_REMOVED = RETIRED_REMOVED | DEAD_REMOVED | LIVE_REMOVED


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
    _leave_out_clashing(view)
    for group in _groups(everything):
        _add_group(view, group, retired)
    for block in blocks:
        view.blocks += 1
        _add_process(view, block)
    view.families = {name: merged for name, merged in view.families.items() if merged.series}
    return view


def _leave_out_clashing(view: View) -> None:
    """Leave out families that have a name in common with a younger one, which no format allows."""
    claimed: dict[str, str] = {}
    for name, merged in reversed(list(view.families.items())):
        names = merged.family.claimed_names
        if any(claimed.get(each, name) != name for each in names):
            view.conflicting.add(name)
            del view.families[name]
        else:
            claimed.update(dict.fromkeys(names, name))


def without_removed(view: View) -> View:
    """Return the view without the series that are removed."""
    for merged in view.families.values():
        if any(series.marks & _REMOVED and series.is_removed for series in merged.series.values()):
            merged.series = {
                labels: series for labels, series in merged.series.items() if not series.is_removed
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
    marks: list[tuple[int, int]]  # of each block's series: when active, when removed
    active: int  # the marks when all blocks have a series active
    arrays: list["array[float]"]
    totals: "array[float]"
    start: int


def _group_of(blocks: list[BlockReader], retired: BlockReader | None) -> _Group:
    live = [b for b in blocks if b.is_alive and b.is_current and b is not retired]
    marks = [
        (0, RETIRED_REMOVED) if block is retired
        else (LIVE_ACTIVE, LIVE_REMOVED) if block in live
        else (DEAD_ACTIVE, DEAD_REMOVED)
        for block in blocks
    ]  # fmt: skip
    arrays = [block.values for block in blocks]
    active = 0
    for mark, _ in marks:
        active |= mark
    return _Group(blocks, live, marks, active, arrays, sum_of(arrays), blocks[0].values_start)


def _add_group(view: View, blocks: list[BlockReader], retired: BlockReader | None) -> None:
    group, table = _group_of(blocks, retired), blocks[0].table
    for number, entries in table.series.items():
        family = table.families[number]
        merged = view.families.get(family.name)
        if merged is None:
            continue
        if not _is_mergeable(family, merged.family):
            view.conflicting.add(family.name)
        elif family.kind == "gauge":
            _add_gauges(merged, entries, group)
        else:
            _add_counts(merged, family, entries, group)


def _add_counts(
    merged: MergedFamily, family: Family, entries: Iterable[SeriesEntry], group: _Group
) -> None:
    """Add counters, histograms or summaries of one family, as fast as can be."""
    known, arrays, totals, active = merged.series, group.arrays, group.totals, group.active
    is_single, slots = len(arrays) == 1, family.exemplar_slots
    for entry in entries:
        index = entry.index - group.start
        created = totals[index] if is_single else min([values[index] for values in arrays])
        cells = totals[index + 1 : index + family.value_cells]
        series = known.get(entry.labels)
        if series is None or any(cells):
            if family.edges != merged.family.edges:
                cells = moved_cells(cells, family.edges, merged.family.edges)
            series = series or _series_of(merged, entry.labels)
            _add_cells(series, abs(created), cells)
            if slots and has_exemplars(family, totals, index):
                for block in group.blocks:
                    _add_exemplars(series, merged.family, block, family, index)
        if created < 0:
            series.created = min(series.created, *[abs(values[index]) for values in arrays])
            series.marks |= _marks_of(group, index)
        else:
            series.created = min(series.created, created)
            series.marks |= active


def _marks_of(group: _Group, index: int) -> int:
    """Return who has the series whose `created` stands at `index`, and who as a removed one."""
    marks = 0
    for values, (active, removed) in zip(group.arrays, group.marks, strict=True):
        marks |= removed if values[index] < 0 else active
    return marks


def _add_process(view: View, block: BlockReader) -> None:
    """Add what a block's header says of its process: CPU time always, its exit when it is dead."""
    if block.is_beside:
        return
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


def _add_gauges(merged: MergedFamily, entries: Iterable[SeriesEntry], group: _Group) -> None:
    family, now = merged.family, time.monotonic()
    # A process has its gauges in one block alone, even while it moves to another.
    blocks = [b for b in group.blocks if b.is_current] if family.outlives_process else group.live
    if not blocks:
        return
    arrays = [block.values for block in blocks]
    for entry in entries:
        index = entry.index - group.start
        kept = [values for values in arrays if values[index] >= 0]  # not removed
        if family.outlives_process:
            _note_gauge(merged, entry.labels, _marks_of(group, index))
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


def _note_gauge(merged: MergedFamily, labels: LabelValues, marks: int) -> None:
    """Note who has removed a gauge that outlives its processes, and who has not."""
    series = _series_of(merged, labels)
    series.marks |= marks
    if not series.cells:
        series.cells, series.stamp = [0.0], UNSET


def _is_mergeable(recorded: Family, shown: Family) -> bool:
    """Return whether the series of one definition can be shown under another."""
    return recorded is shown or (
        (recorded.kind, recorded.label_names, recorded.merge)
        == (shown.kind, shown.label_names, shown.merge)
    )
