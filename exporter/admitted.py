"""Which label sets have a row of their own, over all processes."""

from dataclasses import dataclass, field

from exporter.block.reader import BlockReader
from exporter.metric import Family
from exporter.view import LabelValues


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
