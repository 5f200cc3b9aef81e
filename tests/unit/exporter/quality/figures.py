"""Figures out of sums, as they are worked out of the counters."""

import json
from collections.abc import Iterable, Sequence
from math import sqrt
from random import Random
from typing import Any

import numpy as np

from exporter.quality.score_bins import NAMES
from exporter.quality.sums import Sums
from exporter.quality.task import Task


def counted(task: Task, outputs: np.ndarray, labels: Sequence[object], *, seed: int = 0) -> Sums:
    """Return the sums of labelled rows that were spread over several processes in any order.

    What a row's token carries goes through JSON.
    """
    values = json.loads(json.dumps(task.pack(outputs)))
    rows = list(zip(values, labels, strict=True))
    random = Random(seed)
    random.shuffle(rows)
    parts = [Sums() for _ in range(4)]
    for value, label in rows:
        if value is not None:
            task.count(value, task.parse(label), random.choice(parts))
    return added(parts)


def added(parts: Iterable[Sums]) -> Sums:
    whole = Sums()
    for part in parts:
        for name, labels, amount in part.amounts():
            whole.add(name, amount, **labels)
        for name, observations in part.observations():
            whole.observe(name, observations)
    return whole


def as_table(sums: Sums) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {(name, frozenset(labels.items())): amount for name, labels, amount in sums.amounts()}


class Figures:
    """What is read off the counters of a classifier."""

    def __init__(self, sums: Sums, classes: Sequence[str]) -> None:
        self._sums = sums
        self._per_class = [
            [sums.total("outcomes_total", **{"class": name}, outcome=outcome) for name in classes]
            for outcome in ("tp", "fp", "fn")
        ]
        tp, fp, fn = (np.array(each) for each in self._per_class)
        self.tp, self.fp, self.fn = tp, fp, fn
        self.accuracy = tp.sum() / (tp + fn).sum()
        seen = tp + fp + fn > 0
        self.precision = (tp / np.maximum(tp + fp, 1e-9))[seen]
        self.recall = (tp / np.maximum(tp + fn, 1e-9))[seen]
        self.f1 = (2 * tp / np.maximum(2 * tp + fp + fn, 1e-9))[seen]
        self.f1_micro = 2 * tp.sum() / (2 * tp + fp + fn).sum()
        self.f1_weighted = (self.f1 * (tp + fn)[seen]).sum() / (tp + fn).sum()

    def mean(self, name: str) -> float:
        return self._sums.total(name) / self._sums.total("scored_labels_total")

    def mcc(self) -> float:
        n = (self.tp + self.fn).sum()
        predicted, actual = self.tp + self.fp, self.tp + self.fn
        return (self.tp.sum() * n - (predicted * actual).sum()) / sqrt(
            (n**2 - (predicted**2).sum()) * (n**2 - (actual**2).sum())
        )

    def auc(self, of_class: str) -> tuple[float, float]:
        """Return the area under the curve and its bound."""
        positives, negatives, below = (
            np.array(
                [
                    self._sums.total(*key, **{"class": of_class}, bin=name, **labels)
                    for name in NAMES
                ]
            )
            for key, labels in (
                (("score_bin_total",), {"outcome": "positive"}),
                (("score_bin_total",), {"outcome": "negative"}),
                (("score_rank_below_total",), {}),
            )
        )
        pairs = positives.sum() * negatives.sum()
        return (positives * below).sum() / pairs, 0.5 * (positives * negatives).sum() / pairs


def rows_of(labels: Sequence[Any]) -> list[object]:
    """Return NumPy labels as JSON has them."""
    return [label.item() if isinstance(label, np.generic) else label for label in labels]
