"""Columns of inputs, counting many features at once, calibration and baselines."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics
from sklearn.isotonic import IsotonicRegression

from exporter.quality.baseline import figures_of
from exporter.quality.binary import Binary
from exporter.quality.columns import InputSpec, columns_of
from exporter.quality.declaration import Declaration
from exporter.quality.errors import DeclarationError
from exporter.quality.estimate import calibrated
from exporter.quality.feature_counts import FeatureCounts, sample_of
from exporter.quality.features import Feature, category_feature, number_feature
from exporter.quality.measured import Measured
from exporter.quality.multiclass import Multiclass
from exporter.quality.profile import Profile, ProfileError, Target
from exporter.quality.reference import Reference, check_task, length_of, widened
from exporter.quality.regression import Regression
from exporter.quality.rows import Rows
from exporter.quality.sums import Sums
from tests.unit.exporter.quality.figures import as_table


def names_of(*specs: InputSpec, **names: list[str]) -> list[str]:
    return [column.name for column in columns_of(specs, names)]


def test_columns_have_names_or_places():
    wide = InputSpec("x", "FP32", (3,))

    assert ["x[0]", "x[1]", "x[2]"] == names_of(wide)
    assert ["a", "b", "c"] == names_of(wide, x=["a", "b", "c"])
    assert ["age", "plan"] == names_of(
        InputSpec("age", "INT64", ()), InputSpec("plan", "BYTES", ())
    )


def test_what_is_too_wide_is_summarised():
    summaries = ["x:mean", "x:std", "x:zero_share"]

    assert summaries == names_of(InputSpec("x", "FP32", (28, 28)))
    assert summaries == names_of(InputSpec("x", "FP32", (51,)))
    assert summaries == names_of(InputSpec("x", "UINT8", (None,)))
    assert summaries == names_of(InputSpec("x", "FP32", None))
    assert [] == names_of(InputSpec("x", "BYTES", (2, 2)))
    # Fifty columns in all.
    assert 50 + 0 == len(names_of(InputSpec("a", "FP32", (50,)), InputSpec("b", "FP32", (3,))))


@pytest.mark.parametrize("names", [{"y": ["a"]}, {"x": ["a"]}])
def test_names_that_do_not_fit_are_refused(names: dict[str, list[str]]):
    with pytest.raises(DeclarationError, match="features"):
        columns_of([InputSpec("x", "FP32", (3,))], names)


def test_columns_are_taken_of_a_batch():
    images = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    mean, std, zeros = columns_of([InputSpec("x", "FP32", (3, 4))])
    assert np.allclose(images.mean(axis=(1, 2)), mean.of({"x": images}))
    assert np.allclose(images.std(axis=(1, 2)), std.of({"x": images}))
    assert [1 / 12, 0] == zeros.of({"x": images}).tolist()

    texts = np.array([[b"a", b"bcd"], [b"", b"x"]], object)
    first, second = columns_of([InputSpec("s", "BYTES", (2,))])
    assert [b"a", b""] == first.of({"s": texts}).tolist()
    assert [3.0, 1.0] == length_of(second).of({"s": texts}).tolist()


numbers = st.lists(
    st.one_of(st.floats(width=32), st.sampled_from([0.0, 1.0, float("nan"), float("inf"), 0.1])),
    min_size=1,
    max_size=60,
)


@settings(deadline=None)
@given(first=numbers, second=numbers, seed=st.integers(0, 9))
def test_counting_together_is_counting_one_by_one(
    first: list[float], second: list[float], seed: int
):
    random = np.random.default_rng(seed)
    features: list[Feature] = [
        number_feature("a", np.array(first), dtype="float32", bins=10),
        number_feature("b", np.array(second), dtype="float32", bins=4),
        number_feature("c", random.normal(size=200), dtype="float64", bins=7),
        category_feature("d", ["x"] * 20 + ["y"] * 30),
    ]
    rows = max(len(first), len(second))
    columns = {
        "a": np.resize(np.array(first, np.float32), rows),
        "b": np.resize(np.array(second, np.float32), rows),
        "c": random.normal(size=rows) * 2,
        "d": random.choice(np.array([b"x", b"y", b"z", b""], object), rows),
    }
    together, alone = Sums(), Sums()
    FeatureCounts(features).observe(columns, together)
    for feature in features:
        feature.observe(columns[feature.name], alone)

    assert as_table(alone) == as_table(together)


def test_large_inputs_are_sampled():
    assert sample_of(1_000, 20) is None
    chosen = sample_of(10_000, 64)
    assert chosen is not None
    assert 1_000 == len(set(chosen.tolist())) == len(chosen)
    # By chance: what repeats itself every so many rows is there in its share.
    assert 400 < (chosen % 2).sum() < 600
    one = sample_of(5, 10**9)
    assert one is not None
    assert 1 == len(one)


def test_profile_of_few_rows_shows_no_single_one():
    random = np.random.default_rng(6)
    column = random.normal(size=200)
    feature = number_feature("x", column, dtype="float64", bins=10)
    shown = {*feature.edges, feature.low, feature.high}
    assert not shown & set(column.tolist())
    assert column.min() < feature.low < feature.high < column.max()

    scores, outcomes = random.random(200), random.random(200) < 0.5
    assert not set(calibrated(scores, outcomes).scores) & set(scores.tolist())
    texts = category_feature("s", ["x" * 200] * 50 + ["__other__"] * 50 + ["a"] * 50)
    assert ("a",) == texts.values
    assert texts.shares[-1] > 0.6


@pytest.mark.parametrize("digits", [1, 2, 9])
def test_calibration_is_isotonic_regression_of_groups(digits: int):
    random = np.random.default_rng(digits)
    scores = random.random(2_000).round(digits)
    outcomes = random.random(2_000) < scores**2
    found = calibrated(scores, outcomes)
    exact = IsotonicRegression(y_min=0, y_max=1).fit(scores, outcomes.astype(float))

    assert np.abs(exact.predict(scores) - found(scores)).mean() < 0.02
    assert list(found.scores) == sorted(set(found.scores))
    assert list(found.probabilities) == sorted(found.probabilities)
    assert len(calibrated(scores, outcomes, points=5).scores) <= 10
    assert found(scores).mean() == pytest.approx(outcomes.mean(), abs=0.01)


@pytest.mark.parametrize("rows", [1, 9, 10, 19, 25])
def test_calibration_of_few_rows_is_one_probability(rows: int):
    scores = np.linspace(0.1, 0.9, rows)
    found = calibrated(scores, scores > 0.5)

    assert found(np.array([0.0, 1.0])).min() >= 0
    assert len(found.scores) <= max(1, rows // 10)


def test_baseline_of_classes_is_scikit_learns():
    random = np.random.default_rng(4)
    logits = random.normal(size=(300, 3))
    scores = (np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)).astype(np.float32)
    truth = random.integers(0, 3, 300)
    task, sums = Multiclass(("a", "b", "c")), Sums()
    for values, label in zip(task.pack(scores), truth.tolist(), strict=True):
        task.count(values, label, sums)
    found, best = figures_of(sums), scores.argmax(axis=1)

    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(truth, best))
    assert found["f1_macro"] == pytest.approx(metrics.f1_score(truth, best, average="macro"))
    losses = -np.log(scores.astype(float)[np.arange(300), truth])
    assert found["log_loss"] == pytest.approx(losses.mean())
    assert {"precision_macro", "recall_macro", "brier", "ece", "auc"} < found.keys()


def test_baseline_of_numbers_is_scikit_learns():
    random = np.random.default_rng(5)
    truth = random.normal(5, 2, 200)
    outputs = truth + random.normal(0, 0.5, 200)
    task, sums = Regression(target_mean=5.0), Sums()
    for values, label in zip(task.pack(outputs), truth.tolist(), strict=True):
        task.count(values, label, sums)
    found = figures_of(sums)

    assert found["mae"] == pytest.approx(metrics.mean_absolute_error(truth, outputs), rel=1e-6)
    assert found["r2"] == pytest.approx(metrics.r2_score(truth, outputs), rel=1e-6)
    assert {"rmse", "bias"} < found.keys()


def test_nothing_counted_is_no_baseline():
    assert {} == figures_of(Sums())


def profile(*features: Feature, task: str = "binary", target: Target | None = None) -> Profile:
    return Profile(
        "m", "1", "", 100, task, ("a", "b"), "", features, target, None, {"accuracy": 0.9}
    )


def test_profile_of_other_features_is_refused():
    columns = columns_of([InputSpec("x", "FP32", ()), InputSpec("s", "BYTES", ())])
    values = np.random.default_rng(1).normal(size=100)
    for feature in (
        number_feature("y", values, dtype="float32", bins=3),
        number_feature("x", values, dtype="float64", bins=3),
        category_feature("x", ["a"] * 20),
    ):
        with pytest.raises(ProfileError) as refused:
            Reference(profile(feature), columns, Rows(), is_own=True)
        assert refused.value.reason == "features"


def test_profile_of_another_version_knows_its_inputs_only():
    columns = columns_of([InputSpec("x", "FP32", ())])
    values = np.random.default_rng(1).normal(size=100)
    features = (
        number_feature("x", values, dtype="float32", bins=3),
        category_feature("__prediction__", ["a"] * 20 + ["b"] * 20),
    )
    task = Binary(("a", "b"))
    inputs, outputs = {"x": np.array([0.1, 0.2], np.float32)}, np.array([0.2, 0.9])
    own, others = Sums(), Sums()
    Reference(profile(*features), columns, task, is_own=True).observe(inputs, outputs, own)
    other = Reference(profile(*features), columns, task, is_own=False)
    other.observe(inputs, outputs, others)

    assert 2 == own.total("feature_bin_total", feature="__prediction__")
    assert 0 == others.total("feature_bin_total", feature="__prediction__")
    assert 2 == others.total("feature_bin_total", feature="x")
    assert {} == other.baseline


def test_profile_of_another_task_is_refused():
    measured = Measured(Declaration(task="regression"), "s", ("y",), ())
    with pytest.raises(ProfileError) as refused:
        check_task(profile(), measured, ())
    assert refused.value.reason == "classes"


def test_labels_of_a_regression_may_lie_ten_ranges_outside():
    measured = Measured(Declaration(task="regression", label_max=7.0), "s", ("y",), ())
    found = widened(measured, profile(task="regression", target=Target(1.5, 1.0, 2.0)))

    assert (-9.0, 7.0, 1.5) == (
        found.declaration.label_min, found.declaration.label_max, found.target_mean
    )  # fmt: skip
    assert measured == widened(measured, profile())
