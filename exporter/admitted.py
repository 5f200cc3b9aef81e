"""Which label sets have a row of their own, over all processes."""

from dataclasses import dataclass, field
from operator import add

from exporter.block.reader import BlockReader
from exporter.gauge_rules import reduced
from exporter.metric import OTHER, Family
from exporter.view import UNSET, LabelValues, MergedFamily, MergedSeries, View


@dataclass(slots=True)
class Admitted:
    """The label sets that have a row of their own, and those that have none, by family.

    It outlives the merges: a label set stays where it is for as long as some block has it, so that
    what it counts never wanders between its own row and `__other__`.
    """

    own: dict[str, set[LabelValues]] = field(default_factory=dict)
    refused: dict[str, set[LabelValues]] = field(default_factory=dict)

    def admit(self, view: View, retired: BlockReader | None, *, is_whole: bool) -> View:
        """Put label sets for which their family has no room into the row `__other__`.

        Those shown before come first, then those of the dead. A view that is not whole leaves the
        place of what it does not show alone. Removed series are neither shown nor moved.
        """
        for name, merged in view.families.items():
            own = self.own.setdefault(name, set())
            if merged.series.keys() == own:
                continue
            refused = self.refused.setdefault(name, set())
            if is_whole:
                own.intersection_update(merged.series)
                refused.intersection_update(merged.series)
            for labels in _in_order(merged, own, retired):
                if labels in refused:
                    place = merged.family.guarded(labels, has_room=False)
                else:
                    has_room = len(own) < merged.family.max_series
                    place = merged.family.guarded(labels, has_room=has_room)
                if place == labels and OTHER not in labels:
                    own.add(labels)
                elif place != labels:
                    refused.add(labels)
                    _move_row(merged, labels, place)
        return view


def forget_removed(view: View, live: list[BlockReader]) -> View:
    """Drop removed series from families that have more rows than they may.

    What they had counted is not shown anyway, unless a process alive has the series.
    """
    for merged in view.families.values():
        if len(merged.series) > merged.family.max_series:
            used = {
                entry.labels
                for block in live
                for number, entries in block.table.series.items()
                if block.table.families[number].name == merged.family.name
                for entry in entries
                if block.values[entry.index - block.values_start] >= 0
            }
            merged.series = {
                labels: series
                for labels, series in merged.series.items()
                if labels in used or not series.is_removed
            }
    return view


def _in_order(
    merged: MergedFamily, known: set[LabelValues], retired: BlockReader | None
) -> list[LabelValues]:
    new = [
        labels
        for labels, series in merged.series.items()
        if labels not in known and not series.is_removed
    ]
    if retired is not None and len(merged.series) > merged.family.max_series:
        of_the_dead = {
            entry.labels
            for number, entries in retired.table.series.items()
            if retired.table.families[number].name == merged.family.name
            for entry in entries
        }
        new.sort(key=lambda labels: labels not in of_the_dead)
    return new


def _move_row(merged: MergedFamily, labels: LabelValues, place: LabelValues) -> None:
    moved = merged.series.pop(labels)
    present = merged.series.get(place)
    if present is None:
        merged.series[place] = moved
    else:
        _absorb(merged.family, present, moved)


def _absorb(family: Family, present: MergedSeries, moved: MergedSeries) -> None:
    """Add one series to another of the same family."""
    present.created = min(present.created, moved.created)
    present.marks |= moved.marks
    if family.kind != "gauge":
        present.cells = list(map(add, present.cells, moved.cells))
        for place, exemplar in moved.exemplars.items():
            known = present.exemplars.get(place)
            if known is None or known.timestamp < exemplar.timestamp:
                present.exemplars[place] = exemplar
    elif present.stamp == UNSET:
        present.cells, present.stamp = moved.cells, moved.stamp
    elif moved.stamp != UNSET:
        both = [(present.cells[0], present.stamp), (moved.cells[0], moved.stamp)]
        present.cells[0], present.stamp = reduced(family.merge, both)
