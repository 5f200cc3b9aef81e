"""What a metric family is.

Its name, type, labels, buckets and the rule that merges it over processes.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from exporter.errors import CatalogueError

Kind = Literal["counter", "gauge", "histogram"]

# How one gauge is made of the gauges of many processes:
#   sum, max, min  over the processes that have set it
#   latest         the value with the greatest stamp
#   age            the cell holds the monotonic time of the oldest waiting thing, 0 for none;
#                  shown is how long ago that was, so it grows while its writer hangs
#   overdue        the cell holds the monotonic time by which a sign of life is due;
#                  shown is 1 when it has passed, so it turns 1 while its writer hangs
GaugeRule = Literal["sum", "max", "min", "latest", "age", "overdue"]

# The value an open label takes when a caller's value was not found to be a served name.
UNKNOWN = "__unknown__"

CELLS_BEFORE_BUCKETS = 2  # created, sum


@dataclass(frozen=True, slots=True)
class Label:
    """A label name with its closed set of values.

    An empty set means values are declared at run time.
    """

    name: str
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Family:
    """One row of the catalogue.

    `recorded_by` names the process roles that write it to the store; empty means it is computed at
    scrape. `is_absent_until_set` is for facts of which a 0 would be false (timestamps, info rows).
    """

    name: str
    kind: Kind
    help: str
    labels: tuple[Label, ...] = ()
    merge: GaugeRule = "sum"
    buckets: tuple[float, ...] = ()
    recorded_by: tuple[str, ...] = ()
    is_absent_until_set: bool = False
    label_names: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "label_names", tuple(label.name for label in self.labels))
        if list(self.buckets) != sorted(set(self.buckets)) or not all(
            map(math.isfinite, self.buckets)
        ):
            raise CatalogueError(
                f"{self.name}: bucket bounds must be finite and rise, got {self.buckets}"
            )
        if (self.kind == "counter") != self.name.endswith("_total"):
            raise CatalogueError(f"{self.name}: exactly the names of counters end with _total")

    @property
    def open_labels(self) -> frozenset[str]:
        """The labels whose values are declared at run time."""
        return frozenset(label.name for label in self.labels if not label.values)

    def label_values(self, labels: Mapping[str, str]) -> tuple[str, ...]:
        """Return the values in label order.

        Raises CatalogueError when a label is missing or unknown, or a value is outside its closed
        set.
        """
        if labels.keys() != set(self.label_names):
            raise CatalogueError(
                f"{self.name} has the labels {list(self.label_names)}, got {sorted(labels)}"
            )
        for label in self.labels:
            if label.values and labels[label.name] not in label.values:
                raise CatalogueError(
                    f"{self.name}: {label.name}={labels[label.name]!r} is none of "
                    f"{list(label.values)}"
                )
        return tuple(labels[name] for name in self.label_names)

    @property
    def cells(self) -> int:
        """How many 8-byte values one series takes in a block (see block/layout.py)."""
        if self.kind == "histogram":
            return CELLS_BEFORE_BUCKETS + len(self.buckets) + 1
        return 2 if self.kind == "counter" else 3


def counter(name: str, text: str, *labels: Label, by: Iterable[str] = ()) -> Family:
    """Describe a counter; `by` are the roles that record it."""
    return Family(name, "counter", text, labels, recorded_by=tuple(by))


def gauge(
    name: str,
    text: str,
    *labels: Label,
    by: Iterable[str] = (),
    merge: GaugeRule = "sum",
    absent: bool = False,
) -> Family:
    """Describe a gauge.

    `merge` is its rule over processes, `absent` means no row until it is set.
    """
    return Family(
        name, "gauge", text, labels, merge, recorded_by=tuple(by), is_absent_until_set=absent
    )


def histogram(
    name: str, text: str, *labels: Label, buckets: Iterable[float], by: Iterable[str] = ()
) -> Family:
    """Describe a histogram with the given finite upper bounds; +Inf is implied."""
    return Family(name, "histogram", text, labels, buckets=tuple(buckets), recorded_by=tuple(by))
