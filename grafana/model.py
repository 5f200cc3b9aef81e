"""What a dashboard is: rows of panels, each with its queries. Plain data; knows no JSON."""

from dataclasses import dataclass
from typing import Literal

Kind = Literal[
    "stat", "timeseries", "table", "bar gauge", "bar chart", "heatmap", "state timeline",
    "status history",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Target:
    """One query of a panel, in the abbreviations of `scope.py`.

    `legend` names its lines by their labels, and the column of a table, which may have a unit of
    its own. `states` is what comes of it in each state of the live test, a letter each; see
    `tests/live/test_dashboards.py`.
    """

    expression: str
    legend: str = ""
    states: str = ""
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture. `description` says what it shows and what to do when it is bad.

    `absent` is what stands there when there is nothing to show. A table is sorted by the column
    `sorted_by`, the largest first. `link` is the dashboard that a
    row of a table opens, with the row's `linked` labels.
    """

    title: str
    kind: Kind
    unit: str
    description: str
    targets: tuple[Target, ...]
    absent: str = "no data in this range; see Collection"
    is_stacked: bool = False
    has_exemplars: bool = False
    sorted_by: str = ""
    link: str = ""
    linked: tuple[str, ...] = ()
    thresholds: tuple[tuple[float, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Row:
    """Panels under a heading, which may be closed at first."""

    title: str
    panels: tuple[Panel, ...]
    is_closed: bool = False


@dataclass(frozen=True, slots=True)
class Dashboard:
    """One question, answered by panels. `variables` are beside the data source, in their order."""

    slug: str
    title: str
    question: str
    rows: tuple[Row, ...]
    variables: tuple[str, ...] = ("job", "instance", "model", "version")

    @property
    def panels(self) -> tuple[Panel, ...]:
        """The panels of all rows."""
        return tuple(panel for row in self.rows for panel in row.panels)
