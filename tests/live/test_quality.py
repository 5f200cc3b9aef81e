"""Figures of quality over two servers of two front-ends each: scikit-learn and sacrebleu agree."""

import random
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn import metrics

from exporter.quality import Sums
from grafana.expansion import promql
from tests.live import structures
from tests.live.labels import KEY, declared
from tests.live.prometheus import prometheus, query
from tests.live.servers import Server, start_server, wait_for
from tests.unit.exporter.quality.figures import Figures

ROWS, PER_REQUEST = 600, 20
CLASSES = [str(number) for number in range(10)]
BOTH = {"task": "multilabel", "scores": "logits", "classes": ["a", "b"]}
CATS = {"task": "binary", "scores": "logits", "classes": ["cat", "dog"]}
NUMBER = {"task": "regression"}
TOLERANCE = 1e-9
# By PromQL counts are extrapolated to the window, for each server by its own factor.
EXTRAPOLATION = 0.05

pytestmark = pytest.mark.skipif(
    shutil.which("prometheus") is None, reason="prometheus is not installed"
)


def predicted(
    servers: Sequence[Server], model: str, rows: np.ndarray
) -> tuple[np.ndarray, list[str]]:
    """Predict rows, spread over the servers; return outputs and tokens in the rows' order."""
    outputs: list[Any] = []
    tokens: list[str] = []
    for start in range(0, len(rows), PER_REQUEST):
        server = random.choice(servers)
        answer = server.post(
            f"/v1/models/{model}:predict?feedback_tokens=true",
            {"instances": rows[start : start + PER_REQUEST].tolist()},
            headers={"Connection": "close"},
        ).json()
        outputs += answer["predictions"]
        tokens += answer["feedback_tokens"]
    return np.array(outputs, np.float32), tokens


def label(servers: Sequence[Server], tokens: Sequence[str], labels: Sequence[object]) -> None:
    """Send labels in any order to any of the servers, several at once and alone."""
    items = [{"token": t, "label": one} for t, one in zip(tokens, labels, strict=True)]
    random.shuffle(items)
    while items:
        size = random.choice([1, 7, 100])
        chunk, items = items[:size], items[size:]
        answer = random.choice(servers).post(
            "/v1/feedback/batch", chunk, headers={"Connection": "close"}
        )
        assert answer.json()["counted"] == len(chunk), answer.text


def sums_of(servers: Sequence[Server], model: str) -> Sums:
    """Return what the servers' expositions say of a model, added up."""
    sums = Sums()
    for server in servers:
        for (name, pairs), value in server.samples().items():
            labels = dict(pairs)
            if labels.pop("model", "") == model and name.endswith(("_total", "_sum", "_count")):
                labels.pop("version", None)
                sums.add(name.removeprefix("inferometer_"), value, **labels)
    return sums


def softmax(logits: np.ndarray) -> np.ndarray:
    shifted = np.exp(logits.astype(np.float64))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))


def test_figures_of_two_servers_are_scikit_learns(models: Path, tmp_path: Path) -> None:
    network = tmp_path / "net" / "1"
    network.mkdir(parents=True)
    shutil.copy(models / "network.keras", network / "model.keras")
    served = {
        "net": tmp_path / "net",
        "cats": declared(models, "half", tmp_path / "cats", CATS),
        "both": declared(models, "half", tmp_path / "both", BOTH),
        "number": declared(models, "log", tmp_path / "number", NUMBER),
        "order": declared(models, "order", tmp_path / "order", structures.RANKING),
        "pixels": declared(models, "pixels", tmp_path / "pixels", structures.PIXELS),
        "boxes": declared(models, "boxes", tmp_path / "boxes", structures.BOXES),
        "text": declared(models, "text", tmp_path / "text", structures.TEXTS),
    }
    arguments = ("--workers=2", f"--feedback-keys={KEY}")
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with (
        start_server(served, tmp_path / "a", *arguments) as first,
        start_server(served, tmp_path / "b", *arguments) as second,
        prometheus(
            tmp_path,
            ",".join(s.metrics_url.removeprefix("http://") for s in (first, second)),
        ) as url,
    ):
        servers = (first, second)
        begun = time.monotonic()
        wait_for(
            lambda: len(query(url, 'inferometer_labels_total{model="net",age="1h"}')) == 2,
            "both were scraped, with every count at 0",
        )
        expected = {
            "net": _multiclass(servers),
            "cats": _binary(servers),
            "both": _multilabel(servers),
            "number": _regression(servers),
            "order": structures.rankings(servers, sums_of),
            "pixels": structures.pixels(servers, sums_of),
            "boxes": structures.boxes(servers, sums_of),
            "text": structures.translations(servers, sums_of),
        }
        labels = 'sum(inferometer_labels_total{age="1h"})'
        wait_for(
            lambda: query(url, labels) == {frozenset(): 4.0 * (ROWS + structures.ROWS)},
            "all labels scraped",
        )
        _check_promql(url, expected, f"{int(time.monotonic() - begun) + 60}s")


def _check_promql(url: str, expected: Mapping[str, Mapping[str, float]], window: str) -> None:
    for model, figures in expected.items():
        for name, value in figures.items():
            found = query(url, f"({promql(name, window)}) and on (model) (inferometer_model_info)")
            of_model = [v for labels, v in found.items() if dict(labels)["model"] == model]
            assert of_model == [pytest.approx(value, rel=EXTRAPOLATION, abs=0.03)], (model, name)


def _multiclass(servers: Sequence[Server]) -> dict[str, float]:
    random_numbers = np.random.default_rng(1)
    rows = random_numbers.normal(size=(ROWS, 16)).round(3)
    scores, tokens = predicted(servers, "net", rows)
    best = scores.argmax(axis=1)
    is_right = random_numbers.random(ROWS) < 0.7
    truth = np.where(is_right, best, random_numbers.integers(0, 10, ROWS))
    label(servers, tokens, [int(one) if one % 2 else CLASSES[one] for one in truth])
    sums = sums_of(servers, "net")
    found = Figures(sums, CLASSES)
    doubles = scores.astype(np.float64)
    of_truth = np.clip(doubles[np.arange(ROWS), truth], 1e-7, 1)
    options: dict[str, Any] = {"average": "macro", "zero_division": 0}
    expected = {
        "accuracy": metrics.accuracy_score(truth, best),
        "precision_macro": metrics.precision_score(truth, best, **options),
        "recall_macro": metrics.recall_score(truth, best, **options),
        "f1_macro": metrics.f1_score(truth, best, **options),
        "f1_weighted": metrics.f1_score(truth, best, average="weighted"),
        "mcc": metrics.matthews_corrcoef(truth, best),
        "log_loss": float(-np.log(of_truth).mean()),
        "brier": float(((doubles - np.eye(10)[truth]) ** 2).sum(axis=1).mean()),
    }

    assert expected == {
        "accuracy": pytest.approx(found.accuracy, abs=TOLERANCE),
        "precision_macro": pytest.approx(found.precision.mean(), abs=TOLERANCE),
        "recall_macro": pytest.approx(found.recall.mean(), abs=TOLERANCE),
        "f1_macro": pytest.approx(found.f1.mean(), abs=TOLERANCE),
        "f1_weighted": pytest.approx(found.f1_weighted, abs=TOLERANCE),
        "mcc": pytest.approx(found.mcc(), abs=TOLERANCE),
        "log_loss": pytest.approx(found.mean("log_loss_sum_total"), abs=TOLERANCE),
        "brier": pytest.approx(found.mean("brier_sum_total"), abs=TOLERANCE),
    }
    area, bound = found.auc("__top__")
    exact = metrics.roc_auc_score(truth == best, scores.max(axis=1))
    assert abs(area - exact) <= bound
    counts = dict(zip(*np.unique(best, return_counts=True), strict=True))
    assert counts == {
        number: sums.total("predictions_total", predicted=CLASSES[number]) for number in counts
    }
    assert ROWS == sums.total("prediction_confidence_count") == sums.total("confusion_total")
    return expected


def _binary(servers: Sequence[Server]) -> dict[str, float]:
    random_numbers = np.random.default_rng(2)
    rows = random_numbers.normal(size=(ROWS, 2)).round(3) * 4
    logits, tokens = predicted(servers, "cats", rows)
    scores = softmax(logits)[:, 1].astype(np.float32).astype(np.float64)
    truth = (random_numbers.random(ROWS) < scores * 0.8 + 0.1).astype(int)
    label(servers, tokens, [bool(one) if one else "cat" for one in truth])
    sums = sums_of(servers, "cats")
    found = Figures(sums, ["cat", "dog"])
    best = (scores > 0.5).astype(int)
    expected = {
        "accuracy": metrics.accuracy_score(truth, best),
        "f1_macro": metrics.f1_score(truth, best, average="macro"),
        "mcc": metrics.matthews_corrcoef(truth, best),
        "log_loss": metrics.log_loss(truth, scores),
        "brier": metrics.brier_score_loss(truth, scores),
    }

    assert expected == {
        "accuracy": pytest.approx(found.accuracy, abs=TOLERANCE),
        "f1_macro": pytest.approx(found.f1.mean(), abs=TOLERANCE),
        "mcc": pytest.approx(found.mcc(), abs=TOLERANCE),
        "log_loss": pytest.approx(found.mean("log_loss_sum_total"), abs=TOLERANCE),
        "brier": pytest.approx(found.mean("brier_sum_total"), abs=TOLERANCE),
    }
    area, bound = found.auc("dog")
    assert abs(area - metrics.roc_auc_score(truth, scores)) <= bound < 0.2
    return expected | {"auc": area, "auc_error_bound": bound}


def _multilabel(servers: Sequence[Server]) -> dict[str, float]:
    random_numbers = np.random.default_rng(3)
    rows = random_numbers.normal(size=(ROWS, 2)).round(3) * 4
    logits, tokens = predicted(servers, "both", rows)
    truth = (random_numbers.random((ROWS, 2)) < 0.4).astype(int)
    label(servers, tokens, [[name for name, is_there in zip("ab", row, strict=True) if is_there] for row in truth])  # fmt: skip # noqa: E501
    sums = sums_of(servers, "both")
    found = Figures(sums, ["a", "b"])
    best = (logits > 0).astype(int)
    expected = {
        "f1_micro": metrics.f1_score(truth, best, average="micro"),
        "f1_macro": metrics.f1_score(truth, best, average="macro"),
        "subset_accuracy": metrics.accuracy_score(truth, best),
        "hamming_loss": metrics.hamming_loss(truth, best),
    }

    assert expected["f1_micro"] == pytest.approx(found.f1_micro, abs=TOLERANCE)
    assert expected["f1_macro"] == pytest.approx(found.f1.mean(), abs=TOLERANCE)
    right = sums.total("confusion_total", correct="true")
    assert expected["subset_accuracy"] == pytest.approx(right / ROWS, abs=TOLERANCE)
    none = sums.total("predictions_total", predicted="__none__")
    assert (best.sum(axis=1) == 0).sum() == none
    return expected


def _regression(servers: Sequence[Server]) -> dict[str, float]:
    random_numbers = np.random.default_rng(4)
    rows = random_numbers.uniform(1, 9, ROWS).round(3)
    outputs, tokens = predicted(servers, "number", rows)
    truth = outputs + random_numbers.normal(0.05, 0.2, ROWS)
    label(servers, tokens, truth.tolist())
    sums = sums_of(servers, "number")
    doubles = outputs.astype(np.float64)
    errors = sums.total("absolute_error_count")
    expected = {
        "mae": metrics.mean_absolute_error(truth, doubles),
        "rmse": metrics.root_mean_squared_error(truth, doubles),
        "bias": float((doubles - truth).mean()),
        "mape": metrics.mean_absolute_percentage_error(truth, doubles),
        "r2": metrics.r2_score(truth, doubles),
    }

    assert ROWS == errors == sums.total("predictions_total", predicted="__value__")
    squares = sums.total("squared_error_sum_total")
    over, under = (sums.total("error_sum_total", sign=sign) for sign in ("over", "under"))
    deviation = [sums.total("target_deviation_sum_total", sign=s) for s in ("over", "under")]
    variance = (
        sums.total("target_squared_deviation_sum_total") - (deviation[0] - deviation[1]) ** 2 / ROWS
    )
    assert expected == {
        "mae": pytest.approx(sums.total("absolute_error_sum") / ROWS, abs=TOLERANCE),
        "rmse": pytest.approx((squares / ROWS) ** 0.5, abs=TOLERANCE),
        "bias": pytest.approx((over - under) / ROWS, abs=TOLERANCE),
        "mape": pytest.approx(sums.total("relative_error_sum_total") / ROWS, abs=TOLERANCE),
        "r2": pytest.approx(1 - squares / variance, abs=TOLERANCE),
    }
    return expected
