"""What a metric family is.

Its name, type, labels, buckets and the rule that merges it over processes.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from exporter import native
from exporter.errors import CatalogueError

# A summary is a histogram without buckets: count and sum.
Kind = Literal["counter", "gauge", "histogram", "summary"]

# How one gauge is made of the gauges of many processes:
#   sum, max, min  over the processes that have set it
#   latest         the value with the greatest stamp
#   age            the cell holds the monotonic time of the oldest waiting thing, 0 for none;
#                  shown is how long ago that was, so it grows while its writer hangs
#   overdue        the cell holds the monotonic time by which a sign of life is due;
#                  shown is 1 when it has passed, so it turns 1 while its writer hangs
GaugeRule = Literal["sum", "max", "min", "latest", "age", "overdue"]

# What a gauge of 0 and 1 is in OpenMetrics; the other formats have gauges for both. See define.py.
OpenMetricsForm = Literal["", "info", "stateset"]

# The value an open label takes when a caller's value was not found to be a served name.
UNKNOWN = "__unknown__"

# The value of what was given a label outside its closed set, or came when its family was full.
OTHER = "__other__"
DEFAULT_MAX_SERIES = 1_000
MAX_LABEL_CHARACTERS = 128

CELLS_BEFORE_BUCKETS = 2  # created, sum
EXEMPLAR_CELLS = 5  # sequence, value, time, and a trace id of 16 bytes

# The base units of https://prometheus.io/docs/practices/naming/.
UNITS = frozenset(
    ("seconds", "bytes", "ratio", "joules", "watts", "celsius", "hertz", "volts", "amperes")
)


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
    scrape. `is_absent_until_set` is for facts of which a 0 would be false (timestamps, info rows),
    and for counts that not every model has.
    `is_native` keeps a histogram at native resolution beside its classic buckets; `has_exemplars`
    keeps a trace for each bucket, or for a counter. Label sets beyond `max_series` become one.
    `outlives_process` keeps a gauge's value after the process that set it has ended.

    `edges` are the upper edges of a histogram's cells. `classic_places` says which cell is the last
    one below each classic bound, and below +Inf.
    """

    name: str
    kind: Kind
    help: str
    labels: tuple[Label, ...] = ()
    merge: GaugeRule = "sum"
    buckets: tuple[float, ...] = ()
    recorded_by: tuple[str, ...] = ()
    is_absent_until_set: bool = False
    is_native: bool = False
    has_exemplars: bool = False
    max_series: int = DEFAULT_MAX_SERIES
    outlives_process: bool = False
    openmetrics_form: OpenMetricsForm = ""
    label_names: tuple[str, ...] = field(init=False, compare=False)
    edges: tuple[float, ...] = field(init=False, repr=False, compare=False)
    classic_places: tuple[int, ...] = field(init=False, repr=False, compare=False)

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
        edges = native.edges_with(self.buckets) if self.is_native else self.buckets
        object.__setattr__(self, "edges", edges)
        places = (*(edges.index(bound) for bound in self.buckets), len(edges))
        object.__setattr__(self, "classic_places", places)

    @property
    def base_name(self) -> str:
        """The name without the suffix that its samples have, as OpenMetrics calls the family."""
        if self.kind == "counter":
            return self.name.removesuffix("_total")
        return self.name.removesuffix("_info") if self.openmetrics_form == "info" else self.name

    @property
    def claimed_names(self) -> tuple[str, ...]:
        """The names that no other family may have: its own and those of its samples."""
        suffixes = {
            "counter": ("_total", "_created"),
            "gauge": ("_info",) if self.openmetrics_form == "info" else (),
            "histogram": ("_bucket", "_count", "_sum", "_created"),
            "summary": ("_count", "_sum", "_created"),
        }
        base = self.base_name
        return (base, *(f"{base}{suffix}" for suffix in suffixes[self.kind]))

    @property
    def open_labels(self) -> frozenset[str]:
        """The labels whose values are declared at run time."""
        return frozenset(label.name for label in self.labels if not label.values)

    def label_values(self, labels: Mapping[str, str]) -> tuple[str, ...]:
        """Return the values in label order, each cut to what a label may hold.

        Raises CatalogueError when a label is missing or unknown.
        """
        if labels.keys() != set(self.label_names):
            raise CatalogueError(
                f"{self.name} has the labels {list(self.label_names)}, got {sorted(labels)}"
            )
        return tuple(
            labels[name][:MAX_LABEL_CHARACTERS].encode("utf-8", "replace").decode()
            for name in self.label_names
        )

    def guarded(self, values: tuple[str, ...], *, has_room: bool) -> tuple[str, ...]:
        """Return the label values under which these are kept.

        A value outside its closed set becomes `__other__`; so do those of all open labels when the
        family has no room for another series.
        """
        return tuple(
            OTHER if (value not in label.values if label.values else not has_room) else value
            for label, value in zip(self.labels, values, strict=True)
        )

    @property
    def unit(self) -> str:
        """The base unit that the name ends with, or nothing."""
        _, separator, suffix = self.name.removesuffix("_total").rpartition("_")
        is_unit = separator and suffix in UNITS and not self.openmetrics_form
        return suffix if is_unit else ""

    @property
    def value_cells(self) -> int:
        """How many 8-byte values one series takes in a block, its exemplars aside."""
        if self.kind in {"histogram", "summary"}:
            return CELLS_BEFORE_BUCKETS + len(self.edges) + 1
        return 2 if self.kind == "counter" else 3

    @property
    def exemplar_slots(self) -> int:
        """How many exemplars one series keeps."""
        if not self.has_exemplars:
            return 0
        return len(self.buckets) + 1 if self.kind == "histogram" else 1

    @property
    def cells(self) -> int:
        """How many 8-byte values one series takes in a block (see block/layout.py)."""
        return self.value_cells + EXEMPLAR_CELLS * self.exemplar_slots
