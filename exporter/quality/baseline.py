"""Figures out of sums, as PromQL makes them of the same counters: a profile's baseline."""

from math import sqrt

from exporter.quality.score_bins import NAMES
from exporter.quality.sums import Sums


def figures_of(sums: Sums) -> dict[str, float]:
    """Return the figures that labelled rows give, by name; those without rows are left out."""
    found = {**_of_classes(sums), **_of_scores(sums), **_of_numbers(sums)}
    return {name: value for name, value in found.items() if value == value}  # noqa: PLR0124 - NaN


def _of_classes(sums: Sums) -> dict[str, float]:
    names = {labels["class"] for name, labels, _ in sums.amounts() if name == "outcomes_total"}
    counts = [
        [sums.total("outcomes_total", **{"class": name}, outcome=o) for o in ("tp", "fp", "fn")]
        for name in sorted(names)
    ]
    counts = [each for each in counts if sum(each)]
    if not counts:
        return {}
    right, labelled = sum(tp for tp, _, _ in counts), sum(tp + fn for tp, _, fn in counts)
    f1 = [2 * tp / (2 * tp + fp + fn) for tp, fp, fn in counts]
    return {
        "accuracy": _ratio(right, labelled),
        "precision_macro": _mean([_ratio(tp, tp + fp, empty=0.0) for tp, fp, _ in counts]),
        "recall_macro": _mean([_ratio(tp, tp + fn, empty=0.0) for tp, _, fn in counts]),
        "f1_macro": _mean(f1),
    }


def _of_scores(sums: Sums) -> dict[str, float]:
    rows = sums.total("scored_labels_total")
    if not rows:
        return {}
    found = {
        "log_loss": sums.total("log_loss_sum_total") / rows,
        "brier": sums.total("brier_sum_total") / rows,
    }
    classes = {labels["class"] for name, labels, _ in sums.amounts() if name == "score_bin_total"}
    if len(classes) == 1:
        (of_class,) = classes
        found |= _of_bins(sums, of_class)
    return found


def _of_bins(sums: Sums, of_class: str) -> dict[str, float]:
    positive, negative, predicted, below = (
        [sums.total(family, **{"class": of_class}, bin=name, **labels) for name in NAMES]
        for family, labels in (
            ("score_bin_total", {"outcome": "positive"}),
            ("score_bin_total", {"outcome": "negative"}),
            ("score_bin_predicted_sum_total", {}),
            ("score_rank_below_total", {}),
        )
    )
    gaps = [abs(right - score) for right, score in zip(positive, predicted, strict=True)]
    ranks = [right * under for right, under in zip(positive, below, strict=True)]
    return {
        "ece": _ratio(sum(gaps), sum(positive) + sum(negative)),
        "auc": _ratio(sum(ranks), sum(positive) * sum(negative)),
    }


def _of_numbers(sums: Sums) -> dict[str, float]:
    errors = dict(sums.observations()).get("absolute_error", [])
    if not errors:
        return {}
    rows, squares = len(errors), sums.total("squared_error_sum_total")
    over, under = (sums.total("error_sum_total", sign=sign) for sign in ("over", "under"))
    above, beneath = (
        sums.total("target_deviation_sum_total", sign=sign) for sign in ("over", "under")
    )
    deviation = sums.total("target_squared_deviation_sum_total") - (above - beneath) ** 2 / rows
    return {
        "mae": sum(errors) / rows,
        "rmse": sqrt(squares / rows),
        "bias": (over - under) / rows,
        "r2": 1 - _ratio(squares, deviation),
    }


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _ratio(part: float, whole: float, *, empty: float = float("nan")) -> float:
    return part / whole if whole else empty
