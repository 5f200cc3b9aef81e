"""Rankings: the counters give what scikit-learn gives."""

import numpy as np
import pytest
from sklearn import metrics

from exporter.quality.errors import LabelError
from exporter.quality.ranking import Ranking
from exporter.quality.sums import Sums


@pytest.mark.parametrize("gain", ["linear", "exponential"])
def test_ranking_is_scikit_learns(gain: str):
    random = np.random.default_rng(1)
    task, ndcg, reciprocal, precision, sums = (
        Ranking(gain=gain),
        {1: 0.0, 5: 0.0, 10: 0.0},
        0.0,
        0.0,
        Sums(),
    )
    for _ in range(50):
        items = [f"item {number}" for number in random.permutation(20)]
        gains = random.integers(0, 4, size=20) * (random.random(20) < 0.5)
        if not gains.any():
            gains[0] = 1
        label = {item: float(gain) for item, gain in zip(items, gains, strict=True)}
        task.count(items, task.parse(label), sums)
        worth = 2.0**gains - 1 if gain == "exponential" else gains
        scores = -np.arange(20.0)
        for depth in ndcg:
            ndcg[depth] += metrics.ndcg_score([worth], [scores], k=depth)
        precision += metrics.average_precision_score(gains > 0, scores)
        reciprocal += 1 / (1 + int((gains > 0).argmax()))

    for depth, expected in ndcg.items():
        found = sums.total("ranking_ndcg_sum_total", k=str(depth))
        assert found == pytest.approx(expected, rel=1e-9)
    assert sums.total("ranking_reciprocal_rank_sum_total") == pytest.approx(reciprocal)
    assert sums.total("ranking_average_precision_sum_total") == pytest.approx(precision)
    assert 50 == sums.total("ranking_queries_total", relevant="some")


def test_query_without_a_relevant_item_counts_apart():
    task, sums = Ranking(), Sums()
    task.count(["a", "b"], task.parse({"a": 0}), sums)

    assert 1 == sums.total("ranking_queries_total", relevant="none")
    assert {"ranking_queries_total"} == {name for name, _, _ in sums.amounts()}


def test_outputs_are_items():
    outputs = np.array([[3, 1, 2], [1, 1, 2]])

    assert [["3", "1", "2"], None] == Ranking().pack(outputs)
    assert [["a", "b"]] == Ranking().pack(np.array([[b"a", b"b"]], dtype=object))


@pytest.mark.parametrize(
    "label", [[], "a", {"a": -1}, {"a": 31}, {"a": True}, {"a": "1"}, {"a": float("nan")}]
)
def test_gains_that_are_none_are_refused(label: object):
    with pytest.raises(LabelError):
        Ranking().parse(label)
