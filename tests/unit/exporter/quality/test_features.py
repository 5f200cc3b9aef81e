"""Bins of features: each value has one, rare ones and none are told, and float32 stays float32."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.quality.features import category_feature, number_feature
from exporter.quality.sums import Sums


def bins_of(sums: Sums, name: str = "x") -> dict[str, float]:
    return {
        labels["bin"]: amount
        for family, labels, amount in sums.amounts()
        if family == "feature_bin_total" and labels["feature"] == name and amount
    }


def invalid(sums: Sums) -> dict[str, float]:
    return {
        labels["reason"]: amount
        for family, labels, amount in sums.amounts()
        if family == "feature_invalid_total" and amount
    }


def test_bins_of_the_reference_have_equal_shares():
    column = np.random.default_rng(1).normal(size=5000).astype(np.float32)
    feature = number_feature("x", column, dtype="float32", bins=10)
    sums = Sums()
    feature.observe(column, sums)

    assert 9 == len(feature.edges)
    assert sum(feature.shares) == pytest.approx(1)
    assert all(share == pytest.approx(0.1, abs=0.001) for share in feature.shares)
    assert all(abs(count - 500) <= 5 for count in bins_of(sums).values())
    # 0.1 % on either side of the usual is usual.
    assert {"below_min", "above_max"} == invalid(sums).keys()
    assert max(invalid(sums).values()) <= 6


def test_no_drift_is_quiet_and_drift_is_not():
    """The rule of an alert, over a thousand samples of 600 rows each."""
    random = np.random.default_rng(4)
    reference = random.normal(size=3_000)
    feature = number_feature("x", reference, dtype="float64", bins=10)
    shares, noise = np.array(feature.shares), 9 * (1 / 600 + 1 / 3_000)

    def fires(column: np.ndarray) -> bool:
        sums = Sums()
        feature.declare(sums)
        feature.observe(column, sums)
        counts = [sums.total("feature_bin_total", feature="x", bin=name) for name in feature.bins]
        seen = (np.array(counts) + 0.5) / (sum(counts) + 5)
        psi = ((seen - shares) * np.log(seen / shares)).sum()
        return bool(psi > 0.2 and psi > 3 * noise)

    assert 0 == sum(fires(random.normal(size=600)) for _ in range(1_000))
    assert 1_000 == sum(fires(random.normal(loc=0.8, size=600)) for _ in range(1_000))


@given(
    column=st.lists(st.floats(width=32), min_size=1, max_size=200),
    seen=st.lists(st.floats(width=32), max_size=50),
)
def test_each_value_has_a_bin_or_a_reason(column: list[float], seen: list[float]):
    feature = number_feature("x", np.array(column), dtype="float32", bins=10)
    sums = Sums()
    feature.observe(np.array(seen, dtype=np.float32), sums)
    found = invalid(sums)

    none = found.get("missing", 0) + found.get("non_finite", 0)
    assert sum(bins_of(sums).values()) + none == len(seen)
    assert set(bins_of(sums)) <= set(feature.bins)
    assert list(feature.edges) == sorted(set(feature.edges))
    assert sum(feature.shares) == pytest.approx(1)
    assert len(feature.shares) == len(feature.bins)


def test_float32_on_an_edge_keeps_its_bin():
    column = np.repeat(np.array([0.1, 0.2, 0.3], dtype=np.float32), 100)
    feature = number_feature("x", column, dtype="float32", bins=3)
    reference, again = Sums(), Sums()
    feature.observe(column, reference)
    # As doubles they would lie beside their edges.
    feature.observe(np.repeat([0.1, 0.2, 0.3], 100), again)

    assert bins_of(reference) == bins_of(again) == {"00": 100, "01": 100, "02": 100}


def test_columns_of_one_two_and_no_values():
    one = number_feature("x", np.full(50, 7.0), dtype="float64", bins=10)
    sums = Sums()
    one.observe(np.array([6.9, 7.0, 7.0, 7.1]), sums)
    assert bins_of(sums) == {"00": 1, "01": 2, "02": 1}
    two = number_feature("x", np.repeat([0.0, 1.0], 50), dtype="float64", bins=10)
    assert two.edges == (0.0,)
    none = number_feature("x", np.full(5, np.nan), dtype="float64", bins=10)
    assert (none.edges, none.missing) == ((), 1.0)


def test_no_bin_tells_of_a_few_rows():
    column = np.concatenate([np.zeros(1000), np.arange(1, 9)])
    feature = number_feature("x", column, dtype="float64", bins=10)

    assert feature.edges == ()


def test_categories_have_bins_and_the_rest_one():
    column = [*(100 * ["a"]), *(50 * ["b"]), *(3 * ["rare"]), *(7 * [""])]
    feature = category_feature("plan", column)
    sums = Sums()
    feature.observe(np.array([b"a", b"b", b"b", b"new", b"", b"\xff"], dtype=object), sums)

    assert feature.bins == ("a", "b", "__other__")
    assert feature.missing == pytest.approx(7 / 160)
    assert bins_of(sums, "plan") == {"a": 1, "b": 2, "__other__": 2}
    assert invalid(sums) == {"missing": 1, "unseen_category": 2}


def test_every_series_is_declared():
    known = Sums()
    number_feature("x", np.arange(100.0), dtype="float32", bins=4).declare(known)
    category_feature("plan", 20 * ["a"]).declare(known)

    assert {"00", "01", "02", "03"} == {
        labels["bin"] for name, labels, _ in known.amounts() if labels.get("bin", "")[:1] == "0"
    }
    assert {0.0} == {amount for _, _, amount in known.amounts()}
