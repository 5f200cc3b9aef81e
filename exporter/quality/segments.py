"""Parts of the traffic, such as countries or plans: rows, labels and errors of each by itself.

They have families of their own, for a label on the others would count rows twice; and they are
never crossed with each other.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from exporter.metric import OTHER
from exporter.quality.echo import text_of
from exporter.quality.sums import Sums

MOST_KEYS, MOST_VALUES = 3, 20
# Whether a row of a task without right and wrong was right.
NEITHER = "none"

# Of which segment a row is, by key; a key whose value is none of those declared is left out.
RowSegments = Mapping[str, str]
# The input and the place in a row that a key is read from; a place of None is the row itself.
Places = Mapping[str, tuple[str, int | None]]


class Segments:
    """Tells rows by the declared values of keys."""

    def __init__(
        self, declared: Mapping[str, Sequence[str]], places: Places, *, is_judged: bool
    ) -> None:
        """`is_judged` is whether labels make a row right or wrong."""
        self._declared = {key: frozenset(values) for key, values in declared.items()}
        self._places = places
        self._is_judged = is_judged

    def __bool__(self) -> bool:
        return bool(self._declared)

    def of_rows(
        self, sent: RowSegments, inputs: Mapping[str, NDArray[Any]], rows: int
    ) -> Sequence[RowSegments]:
        """Return each row's segments: as was sent of all of them, or as their inputs have it."""
        known = {
            key: value
            for key, value in sent.items()
            if key not in self._places and value in self._declared.get(key, ())
        }
        if not self._places:
            return [known] * rows
        found: list[dict[str, str]] = [dict(known) for _ in range(rows)]
        for key, (name, place) in self._places.items():
            column = inputs[name] if place is None else inputs[name][:, place]
            for row, value in zip(found, _texts(column), strict=True):
                if value in self._declared[key]:
                    row[key] = value
        return found

    def count_rows(self, rows: Sequence[RowSegments], sums: Sums) -> None:
        """Count predicted rows."""
        for key in self._declared:
            counts = Counter(row.get(key, OTHER) for row in rows)
            for name, count in counts.items():
                sums.add("segment_predictions_total", float(count), key=key, segment=name)

    def count_label(self, row: RowSegments, sums: Sums) -> None:
        """Count a labelled row, of which `sums` has what else it counts."""
        wrong = sum(sums.total("outcomes_total", outcome=outcome) for outcome in ("fp", "fn"))
        correct = str(not wrong).lower() if self._is_judged else NEITHER
        errors = dict(sums.observations()).get("absolute_error", ())
        for key, values in self._declared.items():
            # Other values may be declared by now than when the token was made.
            name = row.get(key, OTHER)
            segment = {"key": key, "segment": name if name in values else OTHER}
            sums.add("segment_labels_total", **segment, correct=correct)
            if errors:
                sums.add("segment_absolute_error_sum_total", sum(errors), **segment)

    def declare(self, sums: Sums) -> None:
        """Make known every series; `sums` has those of the task."""
        has_errors = "absolute_error" in dict(sums.observations())
        for key, values in self._declared.items():
            for name in (*sorted(values), OTHER):
                segment = {"key": key, "segment": name}
                sums.add("segment_predictions_total", 0.0, **segment)
                for correct in ("true", "false") if self._is_judged else (NEITHER,):
                    sums.add("segment_labels_total", 0.0, **segment, correct=correct)
                if has_errors:
                    sums.add("segment_absolute_error_sum_total", 0.0, **segment)


def _texts(column: NDArray[Any]) -> list[str]:
    """Return an input's values as a declaration writes them: whole numbers without a point."""
    kind = column.dtype.type if column.dtype.kind == "f" else None
    return [_text(item) if kind is None else _number(item, kind) for item in column.tolist()]


def _number(item: float, kind: type) -> str:
    # The shortest decimal that is this number in the input's own type.
    return str(int(item)) if item.is_integer() else str(kind(item))


def _text(item: object) -> str:
    return str(item).lower() if isinstance(item, bool) else text_of(item)
