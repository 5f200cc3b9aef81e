"""What a dashboard is: rows of panels, each with its queries. Plain data; knows no JSON."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Target:
    """One query of a panel; `legend` names its lines by their labels."""

    expression: str
    legend: str = ""


@dataclass(frozen=True, slots=True)
class Panel:
    """A graph over time. `description` says what it shows and what to do when it is bad."""

    title: str
    description: str
    unit: str
    targets: tuple[Target, ...]


@dataclass(frozen=True, slots=True)
class Dashboard:
    """One question, answered by panels."""

    slug: str
    title: str
    panels: tuple[Panel, ...]
