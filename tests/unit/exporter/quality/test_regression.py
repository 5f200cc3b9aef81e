"""A regression's counters give the figures that scikit-learn works out of the rows themselves."""

from math import sqrt

import numpy as np
import pytest
from sklearn import metrics

from exporter.quality.errors import LabelError
from exporter.quality.regression import Regression
from exporter.quality.sums import Sums
from tests.unit.exporter.quality.figures import counted

EXACT = {"rel": 1e-9}


@pytest.mark.parametrize("mean", [0.0, 150.0])
def test_figures_are_scikit_learns(mean: float):
    random = np.random.default_rng(1)
    actual = random.normal(150, 40, size=400)
    predicted = (actual + random.normal(3, 20, size=400)).astype(np.float32)
    sums = counted(Regression(target_mean=mean), predicted, actual.tolist())
    errors = dict(sums.observations())["absolute_error"]
    exact, n = predicted.astype(np.float64), 400

    def signed(name: str) -> float:
        return sums.total(name, sign="over") - sums.total(name, sign="under")

    assert sum(errors) / n == pytest.approx(metrics.mean_absolute_error(actual, exact), **EXACT)
    squared = sums.total("squared_error_sum_total")
    assert sqrt(squared / n) == pytest.approx(
        metrics.root_mean_squared_error(actual, exact), **EXACT
    )
    assert signed("error_sum_total") / n == pytest.approx((exact - actual).mean(), **EXACT)
    relative = sums.total("relative_error_sum_total") / n
    assert relative == pytest.approx(metrics.mean_absolute_percentage_error(actual, exact), **EXACT)
    spread = sums.total("target_squared_deviation_sum_total")
    spread -= signed("target_deviation_sum_total") ** 2 / n
    assert 1 - squared / spread == pytest.approx(metrics.r2_score(actual, exact), **EXACT)


def test_errors_of_none_and_labels_near_zero():
    task, sums = Regression(), Sums()
    task.count(2.0, 2.0, sums)
    task.count(1.0, 0.0, sums)

    assert (1, 0) == (
        sums.total("error_sum_total", sign="over"),
        sums.total("error_sum_total", sign="under"),
    )
    assert 1 == sums.total("relative_error_skipped_total")


@pytest.mark.parametrize(
    "label", [True, "1", None, [], float("nan"), float("inf"), 1e400, 2**4000, -(2**4000), 101, -1]
)
def test_label_that_is_no_number_in_range_is_refused(label: object):
    with pytest.raises(LabelError):
        Regression(label_min=0, label_max=100).parse(label)


def test_column_of_several_is_measured():
    outputs = np.array([[1.0, 2.0], [3.0, np.nan], [5.0, 6.0]], dtype=np.float32)
    task, sums = Regression(column=1), Sums()
    task.observe(outputs, sums)

    assert [2.0, None, 6.0] == task.pack(outputs)
    assert [None, None] == task.pack(np.full((2, 2), np.nan))
    assert (1, 2) == (sums.total("nonfinite_outputs_total"), sums.total("predictions_total"))
