"""What a metric family is.

Its name, type, labels, buckets and the rule that merges it over processes.
"""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

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

# The value an open label takes when a caller's value was not found to be a served name.
UNKNOWN = "__unknown__"

# The value of what was given a label outside its closed set, or came when its family was full.
OTHER = "__other__"
DEFAULT_MAX_SERIES = 1_000
MAX_LABEL_CHARACTERS = 128
MOST_SERIES = 100_000
MOST_BUCKETS = 1_000
METRIC_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
LABEL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")

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
    scrape. `is_absent_until_set` is for facts of which a 0 would be false (timestamps, info rows).
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

    def check(self) -> None:
        """Raise CatalogueError when the definition is not one that can be kept and shown."""
        texts = (self.name, self.kind, self.help, self.merge, *self.label_names)
        if not all(isinstance(text, str) for text in texts):
            raise CatalogueError(f"the definition of {self.name!r} is of wrong types")
        if not METRIC_NAME.fullmatch(self.name) or self.name == "_total":
            raise CatalogueError(f"{self.name!r} is no valid name of a metric")
        for name in self.label_names:
            if not LABEL_NAME.fullmatch(name) or name.startswith("__") or name in self._own_labels:
                raise CatalogueError(f"{self.name} cannot have a label {name!r}")
        if len(set(self.label_names)) != len(self.label_names):
            raise CatalogueError(f"{self.name} has a label twice: {list(self.label_names)}")
        if not _is_encodable(self.help):
            raise CatalogueError(f"the help text of {self.name} is no Unicode text")
        if self.kind not in get_args(Kind) or self.merge not in get_args(GaugeRule):
            raise CatalogueError(f"{self.name} has the kind {self.kind!r} and rule {self.merge!r}")
        if (self.buckets and self.kind != "histogram") or len(self.buckets) > MOST_BUCKETS:
            raise CatalogueError(
                f"{self.name}, a {self.kind}, has {len(self.buckets)} buckets; "
                f"a histogram may have {MOST_BUCKETS}"
            )
        if type(self.max_series) is not int or not 0 < self.max_series <= MOST_SERIES:
            raise CatalogueError(
                f"{self.name} may have {self.max_series!r} series; 1 to {MOST_SERIES} are possible"
            )

    @property
    def _own_labels(self) -> tuple[str, ...]:
        """The labels that the exposition itself adds."""
        return {"histogram": ("le",), "summary": ("quantile",)}.get(self.kind, ())

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
        return suffix if separator and suffix in UNITS else ""

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


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def counter(
    name: str,
    text: str,
    *labels: Label,
    by: Iterable[str] = (),
    exemplars: bool = False,
    max_series: int = DEFAULT_MAX_SERIES,
) -> Family:
    """Describe a counter; `by` are the roles that record it."""
    return Family(
        name,
        "counter",
        text,
        labels,
        recorded_by=tuple(by),
        has_exemplars=exemplars,
        max_series=max_series,
    )


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
    name: str,
    text: str,
    *labels: Label,
    buckets: Iterable[float],
    by: Iterable[str] = (),
    native: bool = False,
    exemplars: bool = False,
) -> Family:
    """Describe a histogram with the given finite upper bounds; +Inf is implied.

    `native` keeps it at the resolution of native histograms too, which suits times in seconds from
    a microsecond to two minutes.
    """
    return Family(
        name,
        "histogram",
        text,
        labels,
        buckets=tuple(buckets),
        recorded_by=tuple(by),
        is_native=native,
        has_exemplars=exemplars,
    )
