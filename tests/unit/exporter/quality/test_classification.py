"""Classifiers' counters give the figures that scikit-learn works out of the rows themselves."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from exporter.quality.binary import Binary
from exporter.quality.errors import LabelError, ScoreError
from exporter.quality.multiclass import TOP, Multiclass
from exporter.quality.multilabel import Multilabel
from exporter.quality.sums import Sums
from tests.unit.exporter.quality.figures import Figures, added, as_table, counted, rows_of

EXACT = {"rel": 1e-9, "abs": 1e-12}


def softmax_scores(rows: int, classes: int, seed: int) -> np.ndarray:
    """Return float32 probabilities as a model gives them."""
    logits = np.random.default_rng(seed).normal(scale=2, size=(rows, classes))
    exponents = np.exp(logits)
    return (exponents / exponents.sum(axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize(("classes", "seed"), [(3, 0), (10, 1), (32, 2)])
def test_multiclass_figures_are_scikit_learns(classes: int, seed: int):
    scores = softmax_scores(500, classes, seed)
    actual = np.random.default_rng(seed).integers(classes, size=500)
    actual[:250] = scores[:250].argmax(axis=1)
    names = [f"class {number}" for number in range(classes)]
    sums = counted(Multiclass(names, binned=(TOP, names[1])), scores, rows_of(actual), seed=seed)
    figures, predicted = Figures(sums, names), scores.argmax(axis=1)
    exact = scores.astype(np.float64)

    assert figures.accuracy == pytest.approx(metrics.accuracy_score(actual, predicted), **EXACT)
    for found, oracle in (
        (figures.precision, metrics.precision_score),
        (figures.recall, metrics.recall_score),
        (figures.f1, metrics.f1_score),
    ):
        expected = oracle(actual, predicted, average="macro", zero_division=0)
        assert found.mean() == pytest.approx(expected, **EXACT)
    weighted = metrics.f1_score(actual, predicted, average="weighted")
    assert figures.f1_weighted == pytest.approx(weighted, **EXACT)
    micro = metrics.f1_score(actual, predicted, average="micro")
    assert figures.f1_micro == pytest.approx(micro, **EXACT)
    assert figures.mcc() == pytest.approx(metrics.matthews_corrcoef(actual, predicted), **EXACT)
    of_actual = exact[np.arange(500), actual]
    assert figures.mean("log_loss_sum_total") == pytest.approx(
        -np.log(np.maximum(of_actual, 1e-7)).mean(), **EXACT
    )
    truth = np.eye(classes)[actual]
    assert figures.mean("brier_sum_total") == pytest.approx(
        ((exact - truth) ** 2).sum(axis=1).mean(), rel=1e-9, abs=1e-6
    )
    area, bound = figures.auc(names[1])
    assert abs(area - metrics.roc_auc_score(actual == 1, scores[:, 1])) <= bound
    area, bound = figures.auc(TOP)
    assert abs(area - metrics.roc_auc_score(actual == predicted, scores.max(axis=1))) <= bound
    confusion = [
        [sums.total("confusion_total", predicted=p, actual=a) for p in names] for a in names
    ]
    assert (metrics.confusion_matrix(actual, predicted, labels=range(classes)) == confusion).all()


def test_many_classes_keep_right_and_wrong_exact():
    names = [str(number) for number in range(1000)]
    scores = softmax_scores(300, 1000, 3)
    actual = np.random.default_rng(3).integers(1000, size=300)
    actual[:100] = scores[:100].argmax(axis=1)
    sums = counted(Multiclass(names), scores, rows_of(actual))
    of_actual = scores[np.arange(300), actual].astype(np.float64)

    right = (scores.argmax(axis=1) == actual).sum()
    assert right == sums.total("outcomes_total", outcome="tp")
    assert 300 - right == sums.total("outcomes_total", outcome="fp")
    assert 0 == sums.total("confusion_total")
    shown = {labels["class"] for name, labels, _ in sums.amounts() if name == "outcomes_total"}
    assert len(shown) <= 201
    assert "__other__" in shown
    # Those outside of the five best have an equal part of the rest: near, and not below by much.
    loss = sums.total("log_loss_sum_total") / 300
    assert loss == pytest.approx(-np.log(of_actual).mean(), rel=0.25)


@pytest.mark.parametrize("shape", [(400,), (400, 1), (400, 2)])
def test_binary_figures_are_scikit_learns(shape: tuple[int, ...]):
    random = np.random.default_rng(4)
    positive = random.beta(0.5, 3, size=400).astype(np.float32)
    actual = (random.random(400) < positive).astype(int)
    outputs = (
        np.stack([1 - positive, positive], axis=1)
        if len(shape) == 2 and shape[1] == 2
        else positive
    )
    sums = counted(Binary(["no", "yes"]), outputs.reshape(shape), rows_of(actual))
    figures, predicted = Figures(sums, ["no", "yes"]), (positive > 0.5).astype(int)
    exact = positive.astype(np.float64)

    assert figures.accuracy == pytest.approx(metrics.accuracy_score(actual, predicted), **EXACT)
    assert figures.precision[1] == pytest.approx(
        metrics.precision_score(actual, predicted), **EXACT
    )
    assert figures.recall[1] == pytest.approx(metrics.recall_score(actual, predicted), **EXACT)
    brier = metrics.brier_score_loss(actual, exact)
    assert figures.mean("brier_sum_total") == pytest.approx(brier, rel=1e-9, abs=1e-9)
    loss = metrics.log_loss(actual, np.clip(exact, 1e-7, 1 - 1e-7))
    assert figures.mean("log_loss_sum_total") == pytest.approx(loss, rel=1e-6)
    area, bound = figures.auc("yes")
    assert abs(area - metrics.roc_auc_score(actual, positive)) <= bound


def test_multilabel_figures_are_scikit_learns():
    random = np.random.default_rng(5)
    names = ["red", "green", "blue", "grey"]
    scores = random.random((300, 4)).astype(np.float32)
    actual = random.random((300, 4)) < scores
    labels = [[names[n] for n in np.flatnonzero(row)] for row in actual]
    sums = counted(Multilabel(names, binned=["blue"]), scores, labels)
    figures, predicted = Figures(sums, names), scores > 0.5

    macro = metrics.f1_score(actual, predicted, average="macro")
    assert figures.f1.mean() == pytest.approx(macro, **EXACT)
    micro = metrics.f1_score(actual, predicted, average="micro")
    assert figures.f1_micro == pytest.approx(micro, **EXACT)
    right = sums.total("confusion_total", correct="true")
    assert right / 300 == pytest.approx(metrics.accuracy_score(actual, predicted), **EXACT)
    hamming = (figures.fp + figures.fn).sum() / (300 * 4)
    assert hamming == pytest.approx(metrics.hamming_loss(actual, predicted), **EXACT)
    brier = ((scores.astype(np.float64) - actual) ** 2).mean()
    assert figures.mean("brier_sum_total") == pytest.approx(brier, rel=1e-9, abs=1e-9)
    area, bound = figures.auc("blue")
    assert abs(area - metrics.roc_auc_score(actual[:, 2], scores[:, 2])) <= bound


def test_logits_are_what_their_probabilities_are():
    logits = np.random.default_rng(6).normal(scale=3, size=(200, 3))
    exponents = np.exp(logits)
    probabilities = exponents / exponents.sum(axis=1, keepdims=True)
    names = ["a", "b", "c"]

    assert Multiclass(names, are_logits=True).pack(logits) == Multiclass(names).pack(probabilities)
    one = logits[:, 0]
    assert Binary(are_logits=True).pack(one) == Binary().pack(1 / (1 + np.exp(-one)))


@given(
    scores=st.lists(st.floats(0, 1, width=32), min_size=1, max_size=30),
    seed=st.integers(0, 100),
)
def test_any_split_has_the_same_sums(scores: list[float], seed: int):
    outputs = np.array(scores, dtype=np.float32)
    labels = [number % 3 == 0 for number in range(len(scores))]
    task = Binary()
    one, other = (counted(task, outputs, labels, seed=each) for each in (seed, seed + 1))
    tables = as_table(one), as_table(other)

    assert tables[0].keys() == tables[1].keys()
    assert all(tables[0][key] == pytest.approx(tables[1][key]) for key in tables[0])
    n = len(scores)
    assert n == one.total("scored_labels_total") == one.total("score_bin_total")
    assert n == one.total("confusion_total")
    assert n == one.total("outcomes_total", outcome="tp") + one.total(
        "outcomes_total", outcome="fn"
    )


@given(score=st.floats(0, 1, width=32), label=st.booleans())
def test_what_is_retracted_nets_nothing(score: float, label: bool):  # noqa: FBT001
    task, sums = Binary(), Sums()
    values = task.pack(np.array([score], dtype=np.float32))[0]
    task.count(values, task.parse(label), sums)
    task.retract(values, task.parse(label), sums)

    for outcome in ("tp", "fp", "fn"):
        for name in ("0", "1"):
            labels = {"class": name, "outcome": outcome}
            found = [sums.total(f"outcomes{kind}_total", **labels) for kind in ("", "_retracted")]
            assert found[0] == found[1]


@given(score=st.floats(0, 1, width=32))
def test_score_is_the_same_float32_after_its_token(score: float):
    values = Binary().pack(np.array([score], dtype=np.float32))[0]

    assert np.float32(values) == np.float32(score)


def test_edges_of_right_and_wrong():
    binary = Binary()
    at_threshold, sure = binary.pack(np.array([0.5, 1.0], dtype=np.float32))
    sums = Sums()
    binary.count(at_threshold, 0, sums)
    assert 1 == sums.total("outcomes_total", **{"class": "0"}, outcome="tp")
    sums = Sums()
    binary.count(sure, 0, sums)
    assert sums.total("log_loss_sum_total") == pytest.approx(-math.log(1e-7))
    tie = Multiclass(["a", "b", "c"])
    sums = Sums()
    tie.count(tie.pack(np.array([[0.4, 0.4, 0.2]]))[0], 0, sums)
    assert 1 == sums.total("outcomes_total", **{"class": "a"}, outcome="tp")


def test_row_that_is_not_finite_is_counted_apart():
    scores = softmax_scores(4, 3, 7)
    scores[1, 2] = np.nan
    task, sums = Multiclass(["a", "b", "c"]), Sums()
    task.observe(scores, sums)

    assert (1, 3) == (sums.total("nonfinite_outputs_total"), sums.total("predictions_total"))
    assert [value is None for value in task.pack(scores)] == [False, True, False, False]


@pytest.mark.parametrize(
    ("task", "outputs"),
    [
        (Binary(), np.array([1.1])),
        (Binary(), np.array([[0.5, 0.6]])),
        (Multiclass(["a", "b", "c"]), np.array([[0.5, 0.5, 0.5]])),
        (Multilabel(["a", "b"]), np.array([[-0.1, 0.5]])),
    ],
)
def test_scores_that_are_no_probabilities_are_refused(task: Binary, outputs: np.ndarray):
    with pytest.raises(ScoreError):
        task.observe(outputs, Sums())


@pytest.mark.parametrize("label", ["d", 3, -1, 1.0, True, None, [], {}, "0", 10**30])
def test_label_that_is_no_class_is_refused(label: object):
    with pytest.raises(LabelError):
        Multiclass(["a", "b", "c"]).parse(label)


@pytest.mark.parametrize("label", ["a", [["a"]], ["a", "a"], ["a", 0], ["x"], [True], None])
def test_label_that_is_no_set_is_refused(label: object):
    with pytest.raises(LabelError):
        Multilabel(["a", "b"]).parse(label)


def test_names_come_before_indices():
    task = Multiclass(["3", "1", "2"])

    assert (0, 2) == (task.parse("3"), task.parse(2))


@pytest.mark.parametrize(
    "task", [Binary(), Multiclass(["a", "b", "c"]), Multilabel(["a", "b"], binned=["a"])]
)
def test_every_series_is_declared(task: Binary):
    known = Sums()
    task.declare(known)
    random = np.random.default_rng(8)
    outputs = random.random((200, 3 if isinstance(task, Multiclass) else 2))
    outputs /= outputs.sum(axis=1, keepdims=True)
    labels = [[n % 2] if isinstance(task, Multilabel) else n % 2 for n in range(200)]
    observed = Sums()
    task.observe(outputs, observed)
    used = as_table(added([observed, counted(task, outputs, labels)]))

    assert set(used) <= set(as_table(known))
    assert {0.0} == set(as_table(known).values())
