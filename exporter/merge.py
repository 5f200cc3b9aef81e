"""Merges the blocks of many processes into one view, by family rule.

Knows no file and no wire format.
"""

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from exporter.block.reader import BlockReader
from exporter.metric import Family

EXITS = "inferometer_process_exits_total"
CPU_SECONDS = "inferometer_process_cpu_seconds_total"

LabelValues = tuple[str, ...]


@dataclass(slots=True)
class MergedSeries:
    """One series over all processes.

    `cells` are a counter's or gauge's value, or sum and buckets.
    """

    created: float
    cells: list[float]
    stamp: float = 0.0


@dataclass(slots=True)
class MergedFamily:
    """One family over all processes: its definition and its series by label values."""

    family: Family
    series: dict[LabelValues, MergedSeries] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LiveProcess:
    """A process whose block is alive."""

    role: str
    pid: int
    pid_namespace: int


@dataclass(slots=True)
class View:
    """What a scrape sees: merged families by name, and the processes alive."""

    families: dict[str, MergedFamily] = field(default_factory=dict)
    processes: list[LiveProcess] = field(default_factory=list)
    blocks: int = 0

    def series_count(self) -> int:
        """Return how many series there are."""
        return sum(len(merged.series) for merged in self.families.values())


def merge(retired: BlockReader | None, blocks: Iterable[BlockReader]) -> View:
    """Return one view of the retired block and all others.

    Counters and histograms add over live and dead alike; gauges count for live processes only.
    """
    view = View()
    if retired is not None:
        _add_block(view, retired, with_gauges=False)
    for block in blocks:
        view.blocks += 1
        _add_block(view, block, with_gauges=block.is_alive)
        _add_process(view, block)
    return view


def _add_block(view: View, block: BlockReader, *, with_gauges: bool) -> None:
    values, start = block.values, block.values_start
    now = time.monotonic()
    for entry in block.table.series:
        family = block.table.families[entry.family_id]
        index = entry.index - start
        if family.kind == "gauge":
            if with_gauges:
                _merge_gauge(view, family, entry.labels, values[index : index + 3], now)
            continue
        first = index + 1
        cells = values[first : first + family.cells - 1]
        _add_cells(view, family, entry.labels, values[index], cells)


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


def _add_cells(
    view: View, family: Family, labels: LabelValues, created: float, cells: Iterable[float]
) -> None:
    series = _series_of(view, family, labels)
    if series is None:
        return
    if not series.cells:
        series.created, series.cells = created, list(cells)
        return
    series.created = min(series.created, created)
    series.cells = [a + b for a, b in zip(series.cells, cells, strict=True)]


def _merge_gauge(
    view: View, family: Family, labels: LabelValues, values: Iterable[float], now: float
) -> None:
    created, value, stamp = values
    if math.isnan(value):
        if family.is_absent_until_set:
            return
        # Unset, but declared: the series is there and shows 0 unless some process has set it.
        value, is_set = 0.0, False
    else:
        is_set = True
    if family.merge == "age":
        value = max(0.0, now - value) if value else 0.0
    elif family.merge == "overdue":
        value = float(bool(value) and now > value)
    series = _series_of(view, family, labels)
    if series is None:
        return
    if not series.cells or series.stamp == _UNSET:
        series.created, series.cells, series.stamp = created, [value], stamp if is_set else _UNSET
    elif is_set:
        _combine(series, family.merge, value, stamp)


_UNSET = -math.inf


def _combine(series: MergedSeries, rule: str, value: float, stamp: float) -> None:
    if rule == "sum":
        series.cells[0] += value
    elif rule == "min":
        series.cells[0] = min(series.cells[0], value)
    elif rule == "latest":
        if stamp >= series.stamp:
            series.cells[0], series.stamp = value, stamp
    else:
        series.cells[0] = max(series.cells[0], value)


def _series_of(view: View, family: Family, labels: LabelValues) -> MergedSeries | None:
    """Return the series to add to; None when another process defines the family differently."""
    merged = view.families.get(family.name)
    if merged is None:
        merged = view.families[family.name] = MergedFamily(family)
    elif merged.family is not family and not _is_same_shape(merged.family, family):
        return None
    series = merged.series.get(labels)
    if series is None:
        series = merged.series[labels] = MergedSeries(0.0, [])
    return series


def _is_same_shape(one: Family, other: Family) -> bool:
    return (one.kind, one.label_names, one.buckets) == (
        other.kind,
        other.label_names,
        other.buckets,
    )
