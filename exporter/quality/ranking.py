"""An order of items, best first: outputs [n, L] of item ids. Labels say what each item was worth.

NDCG by Järvelin and Kekäläinen, "Cumulated gain-based evaluation of IR techniques" (2002), with the
discount 1 / log2(rank + 1).
"""

from collections.abc import Mapping, Sequence
from math import log2
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.quality.echo import canonical_texts, text_of
from exporter.quality.errors import LabelError
from exporter.quality.sums import Sums
from exporter.quality.task import VALUE, Values

DEPTHS = (1, 5, 10)
MOST_ITEMS, MOST_GAIN = 1_000, 30.0


class Ranking:
    """Counts gains by depth, and where the first relevant item stood."""

    is_correctable = False

    def __init__(self, *, gain: str = "linear") -> None:
        """`gain` is `linear`, or `exponential` for 2^gain - 1."""
        self._is_exponential = gain == "exponential"

    def observe(self, outputs: NDArray[Any], sums: Sums) -> None:
        """Count rows."""
        sums.add("nonfinite_outputs_total", 0.0)
        sums.add("predictions_total", float(len(outputs)), predicted=VALUE)

    def columns(self, outputs: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Return no features."""
        del outputs
        return {}

    def pack(self, outputs: NDArray[Any]) -> list[Values | None]:
        """Return each row's items."""
        return [_items(row) for row in outputs]

    def echoed(self, prediction: object) -> list[str]:
        """Return the items of a prediction that came back. Raises LabelError."""
        if not isinstance(prediction, list) or not all(
            isinstance(item, str) or type(item) is int for item in prediction
        ):
            raise LabelError("prediction is to be the list of items that was predicted")
        items = list(map(str, prediction))
        if len(items) > MOST_ITEMS or len(set(items)) < len(items):
            raise LabelError(f"prediction is to be at most {MOST_ITEMS} items, each once")
        return items

    def canonical(self, values: Values) -> bytes:
        """Return bytes that are the same for the same items in the same order."""
        return canonical_texts(values)

    def parse(self, label: object) -> dict[str, float]:
        """Return gains by item. Raises LabelError."""
        if not isinstance(label, Mapping) or len(label) > MOST_ITEMS:
            raise LabelError(f"label is to be an object of at most {MOST_ITEMS} items and gains")
        for item, gain in label.items():
            is_number = isinstance(gain, int | float) and not isinstance(gain, bool)
            if not is_number or not 0 <= gain <= MOST_GAIN:
                raise LabelError(f'gain of "{item:.64}" is to be a number from 0 to {MOST_GAIN:g}')
        return {str(item): float(gain) for item, gain in label.items()}

    def count(self, values: Values, label: dict[str, float], sums: Sums) -> None:
        """Count a labelled row: a query."""
        relevant = {item for item, gain in label.items() if gain > 0}
        sums.add("ranking_queries_total", relevant="some" if relevant else "none")
        if not relevant:
            return
        gains = [self._worth(label.get(item, 0.0)) for item in values]
        ideal = sorted(map(self._worth, label.values()), reverse=True)
        hits = [place for place, item in enumerate(values, 1) if item in relevant]
        for depth in DEPTHS:
            share = _discounted(gains[:depth]) / _discounted(ideal[:depth])
            sums.add("ranking_ndcg_sum_total", share, k=str(depth))
            is_hit = bool(hits) and hits[0] <= depth
            sums.add("ranking_hits_total", float(is_hit), k=str(depth))
        sums.add("ranking_reciprocal_rank_sum_total", 1 / hits[0] if hits else 0.0)
        precisions = [number / place for number, place in enumerate(hits, 1)]
        sums.add("ranking_average_precision_sum_total", sum(precisions) / len(relevant))

    def retract(self, values: Values, label: dict[str, float], sums: Sums) -> None:  # noqa: ARG002
        """Nothing of a query can be taken back: a correction is a conflict."""
        raise LabelError("the label of a ranking cannot be corrected")

    def declare(self, sums: Sums) -> None:
        """Make known every series."""
        sums.add("nonfinite_outputs_total", 0.0)
        sums.add("predictions_total", 0.0, predicted=VALUE)
        for relevant in ("some", "none"):
            sums.add("ranking_queries_total", 0.0, relevant=relevant)
        for depth in DEPTHS:
            sums.add("ranking_ndcg_sum_total", 0.0, k=str(depth))
            sums.add("ranking_hits_total", 0.0, k=str(depth))
        sums.add("ranking_reciprocal_rank_sum_total", 0.0)
        sums.add("ranking_average_precision_sum_total", 0.0)

    def _worth(self, gain: float) -> float:
        return 2.0**gain - 1 if self._is_exponential else gain


def _discounted(gains: Sequence[float]) -> float:
    return sum(gain / log2(place + 1) for place, gain in enumerate(gains, 1))


def _items(row: NDArray[Any]) -> list[str] | None:
    """Return a row's items as text; None for one that is no ranking."""
    found = list(map(text_of, np.atleast_1d(row).ravel().tolist()))
    is_ranking = len(found) <= MOST_ITEMS and len(set(found)) == len(found)
    return found if is_ranking else None
