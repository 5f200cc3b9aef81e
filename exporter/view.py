"""What a scrape sees: families with their series over all processes, and the processes alive.

Merged blocks and collectors both speak in these; the renderers read nothing else.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from exporter.metric import Family

LabelValues = tuple[str, ...]

# Who has a series, and whether as a removed one.
RETIRED_REMOVED, DEAD_REMOVED, DEAD_ACTIVE, LIVE_REMOVED, LIVE_ACTIVE = (
    1 << bit for bit in range(5)
)

# The stamp of a gauge that no process has set.
UNSET = -math.inf


class Exemplar(NamedTuple):
    """A trace that is an example of what a counter or bucket counted; wall-clock seconds."""

    value: float
    timestamp: float
    trace_id: bytes


@dataclass(slots=True)
class MergedSeries:
    """One series over all processes.

    `cells` are a counter's or gauge's value, or a histogram's sum and then its counts, one for each
    of the family's edges and one above them (not cumulative). `exemplars` are numbered by classic
    bucket; a counter's has number 0. `marks` says who has removed the series and who has not.
    """

    created: float
    cells: list[float]
    stamp: float = 0.0
    marks: int = 0
    exemplars: dict[int, Exemplar] = field(default_factory=dict)

    @property
    def is_removed(self) -> bool:
        """Whether the series is not to be shown.

        The processes alive say so; where none of them has it, the dead that are not folded yet; at
        last the retired block. Among equals, one that has not removed it is enough.
        """
        marks = self.marks
        if marks & (LIVE_ACTIVE | LIVE_REMOVED):
            return not marks & LIVE_ACTIVE
        if marks & (DEAD_ACTIVE | DEAD_REMOVED):
            return not marks & DEAD_ACTIVE
        return bool(marks & RETIRED_REMOVED)


@dataclass(slots=True)
class MergedFamily:
    """One family over all processes: its definition and its series by label values."""

    family: Family
    series: dict[LabelValues, MergedSeries] = field(default_factory=dict)

    def add(self, labels: Iterable[str], value: float) -> None:
        """Add a series that a collector has read: a counter or a gauge."""
        self.series[tuple(labels)] = MergedSeries(0.0, [float(value)])


@dataclass(frozen=True, slots=True)
class LiveProcess:
    """A process whose block is alive."""

    role: str
    pid: int
    pid_namespace: int


@dataclass(slots=True)
class View:
    """What a scrape sees: merged families by name, and the processes alive.

    `conflicting` names families of which some series are left out, because another process defines
    the family with other labels or another type.
    """

    families: dict[str, MergedFamily] = field(default_factory=dict)
    processes: list[LiveProcess] = field(default_factory=list)
    blocks: int = 0
    conflicting: set[str] = field(default_factory=set)

    def series_count(self) -> int:
        """Return how many series there are."""
        return sum(len(merged.series) for merged in self.families.values())
