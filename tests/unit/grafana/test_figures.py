"""The figures of quality in PromQL, worked out by promtool, against scikit-learn's."""

import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sacrebleu.metrics import bleu, chrf
from scipy import special, stats
from scipy.spatial import distance
from sklearn import metrics

from exporter.catalogue.quality import ABSOLUTE_ERROR
from exporter.quality.arrivals import count_label
from exporter.quality.binary import Binary
from exporter.quality.detection import Detection
from exporter.quality.estimate import Calibration
from exporter.quality.feature_counts import FeatureCounts
from exporter.quality.features import category_feature, number_feature
from exporter.quality.multiclass import TOP, Multiclass
from exporter.quality.multilabel import Multilabel
from exporter.quality.ranking import Ranking
from exporter.quality.recording import declared
from exporter.quality.regression import Regression
from exporter.quality.segmentation import Segmentation
from exporter.quality.sums import Sums
from exporter.quality.task import Task
from exporter.quality.translation import Translation
from grafana.expansion import promql
from grafana.figures import FIGURES
from grafana.rules import recorded_name, rules_text
from tests.unit.exporter.quality.texts import changed, fewest_edits, texts

pytestmark = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed"
)

Expected = float | Mapping[str, float]
CLASSES = ("cat", "dog", "owl", "yak")
ROWS = 400


def labelled(
    task: Task, outputs: np.ndarray, labels: Sequence[object], *, corrected: int = 0
) -> list[Sums]:
    """Return what two replicas count: of the first labels of the first, some are corrected."""
    parts = [declared(task) for _ in range(2)]
    for number, (values, label) in enumerate(zip(task.pack(outputs), labels, strict=True)):
        sums, parsed = parts[number % 2], task.parse(label)
        task.observe(outputs[number : number + 1], sums)
        if number < corrected:
            wrong = task.parse((int(parsed) + 1) % len(CLASSES))
            count_label(task, values, wrong, sums, age=1.0, delay=1.0)
            task.retract(values, wrong, sums)
            again = Sums()
            task.count(values, parsed, again)
            for name, names, amount in again.amounts():
                if name == "outcomes_total":
                    sums.add(name, amount, **names)
        else:
            count_label(task, values, parsed, sums, age=1.0, delay=1.0)
    return parts


def series_of(parts: Sequence[Sums]) -> list[dict[str, str]]:
    """Return promtool's series of eleven samples, from 0; the second replica restarts."""
    found = []
    for replica, sums in enumerate(parts):
        amounts = [(name, labels, amount) for name, labels, amount in sums.amounts()]
        for name, values in sums.observations():
            below = {repr(edge): sum(value <= edge for value in values) for edge in ABSOLUTE_ERROR}
            amounts += [
                (f"{name}_bucket", {"le": edge}, float(count))
                for edge, count in {**below, "+Inf": len(values)}.items()
            ]
            amounts += [(f"{name}_sum", {}, sum(values)), (f"{name}_count", {}, float(len(values)))]
        for name, labels, amount in amounts:
            names = {"job": "i", "instance": str(replica), "model": "m", "version": "1", **labels}
            inner = ",".join(f"{name}={json.dumps(value)}" for name, value in names.items())
            first = float(int(amount / 3)) if amount == int(amount) else amount / 3
            rest = amount - first
            values = (
                f"0 0 {first!r}x3 0 0 {rest!r}x3" if replica else f"0 0 0 {first!r}x2 {amount!r}x4"
            )
            found.append({"series": f"inferometer_{name}{{{inner}}}", "values": values})
    return found


def check(
    tmp_path: Path,
    parts: Sequence[Sums],
    expected: Mapping[str, Expected],
    gauges: Sequence[dict[str, str]] = (),
    *,
    tolerance: float = 1e-9,
) -> None:
    """Check figures over eleven minutes; where there are several series, by their label."""
    tests = []
    for name, value in expected.items():
        (label,) = FIGURES[name].labels or ("",)
        wanted = value if isinstance(value, Mapping) else {"": value}
        vectors = " or ".join(
            f'label_replace(vector({each!r}), "{label or "none"}", "{key}", "", "")'
            for key, each in wanted.items()
        )
        on = f"on ({label})" if label else "on ()"
        close = (
            f"sum(abs(({promql(name, '10m')}) - {on} group_left () ({vectors})) < bool {tolerance})"
        )
        tests.append(
            {
                "expr": close,
                "eval_time": "10m",
                "exp_samples": [{"labels": "{}", "value": float(len(wanted))}],
            }
        )
    run(tmp_path, {"input_series": [*series_of(parts), *gauges], "promql_expr_test": tests})


def run(tmp_path: Path, test: dict[str, Any], **more: Any) -> None:
    content = {"evaluation_interval": "1m", "tests": [{"interval": "1m", **test}], **more}
    (tmp_path / "test.yml").write_text(json.dumps(content))
    ended = subprocess.run(
        ["promtool", "test", "rules", str(tmp_path / "test.yml")],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ended.returncode == 0, ended.stdout[-4000:] + ended.stderr[-4000:]


def softmax_scores(rows: int, classes: int, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    logits = random.normal(size=(rows, classes)) * 2
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return scores.astype(np.float32)


@pytest.mark.parametrize("corrected", [0, 40])
def test_multiclass_figures(tmp_path: Path, corrected: int) -> None:
    scores = softmax_scores(ROWS, 4, seed=5)
    truth = np.random.default_rng(6).integers(0, 3, ROWS)  # yak is predicted and never true
    predicted = scores.argmax(axis=1)
    parts = labelled(Multiclass(CLASSES), scores, truth.tolist(), corrected=corrected)

    each = dict(enumerate(CLASSES))
    names = range(4)

    def by_class(values: Any) -> dict[str, float]:
        return {each[number]: float(value) for number, value in enumerate(values)}

    options: dict[str, Any] = {"labels": list(names), "zero_division": 0}
    table = metrics.multilabel_confusion_matrix(truth, predicted, labels=list(names))
    expected: dict[str, Expected] = {
        "accuracy": metrics.accuracy_score(truth, predicted),
        "precision": by_class(metrics.precision_score(truth, predicted, average=None, **options)),
        "f1": by_class(metrics.f1_score(truth, predicted, average=None, **options)),
        "precision_macro": metrics.precision_score(truth, predicted, average="macro", **options),
        "recall_macro": metrics.recall_score(truth, predicted, average="macro", **options),
        "f1_macro": metrics.f1_score(truth, predicted, average="macro", **options),
        "f1_micro": metrics.f1_score(truth, predicted, average="micro", **options),
        "f1_weighted": metrics.f1_score(truth, predicted, average="weighted", **options),
        "specificity": by_class(table[:, 0, 0] / table[:, 0].sum(axis=1)),
        "mcc": metrics.matthews_corrcoef(truth, predicted),
        "balanced_accuracy": float(
            np.mean(metrics.recall_score(truth, predicted, average=None, labels=[0, 1, 2]))
        ),
    }
    if not corrected:
        # These keep the first label of a row.
        doubles = scores.astype(np.float64)
        actual = np.eye(4)[truth]
        expected["log_loss"] = float(-np.log(doubles[np.arange(ROWS), truth]).mean())
        expected["brier"] = float(((doubles - actual) ** 2).sum(axis=1).mean())
    check(tmp_path, parts, {name: _plain(value) for name, value in expected.items()})


def test_binary_figures(tmp_path: Path) -> None:
    random = np.random.default_rng(8)
    truth = random.integers(0, 2, ROWS)
    scores = np.clip(random.normal(0.4 + 0.2 * truth, 0.25), 0.001, 0.999).astype(np.float32)
    parts = labelled(Binary(("no", "yes")), scores, truth.tolist())
    predicted = scores > 0.5
    doubles = scores.astype(np.float64)
    total = metrics.accuracy_score(truth, predicted)
    z = 1.959964
    centre = (total + z**2 / 2 / ROWS) / (1 + z**2 / ROWS)
    half = z / (1 + z**2 / ROWS) * np.sqrt(total * (1 - total) / ROWS + z**2 / 4 / ROWS**2)

    check(
        tmp_path,
        parts,
        {
            "accuracy": total,
            "precision": {
                "no": metrics.precision_score(truth, predicted, pos_label=0),
                "yes": metrics.precision_score(truth, predicted),
            },
            "recall": {
                "no": metrics.recall_score(truth, predicted, pos_label=0),
                "yes": metrics.recall_score(truth, predicted),
            },
            "mcc": metrics.matthews_corrcoef(truth, predicted),
            "log_loss": metrics.log_loss(truth, doubles),
            "brier": metrics.brier_score_loss(truth, doubles),
        },
    )
    run(
        tmp_path,
        {
            "input_series": series_of(parts),
            "promql_expr_test": [
                _is_true(f"abs({promql('accuracy_low', '10m')} - {centre - half}) < bool 1e-5"),
                _is_true(f"abs({promql('accuracy_high', '10m')} - {centre + half}) < bool 1e-5"),
                _is_true(
                    f"sum(abs({promql('auc', '10m')} - {metrics.roc_auc_score(truth, scores)})"
                    f" <= bool on (class) ({promql('auc_error_bound', '10m')}))"
                ),
                _is_true(f"sum({promql('auc_error_bound', '10m')} < bool 0.2)"),
                _is_true(f"sum(abs({promql('ece', '10m')} - {_ece(doubles, truth)}) < bool 1e-9)"),
            ],
        },
    )


def _ece(scores: np.ndarray, truth: np.ndarray) -> float:
    edges = 1 / (1 + np.exp(-np.arange(-9.0, 10.0)))
    found = np.searchsorted(edges, scores)
    return sum(abs((truth - scores)[found == number].sum()) for number in range(20)) / len(scores)


def test_multilabel_figures(tmp_path: Path) -> None:
    random = np.random.default_rng(9)
    scores = random.random((ROWS, 4)).astype(np.float32)
    truth = (random.random((ROWS, 4)) < 0.4).astype(int)
    labels = [[int(number) for number in np.flatnonzero(row)] for row in truth]
    parts = labelled(Multilabel(CLASSES), scores, labels)
    predicted = (scores > 0.5).astype(int)

    check(
        tmp_path,
        parts,
        {
            "f1_micro": metrics.f1_score(truth, predicted, average="micro"),
            "f1_macro": metrics.f1_score(truth, predicted, average="macro"),
            "f1_weighted": metrics.f1_score(truth, predicted, average="weighted"),
            "subset_accuracy": metrics.accuracy_score(truth, predicted),
            "hamming_loss": metrics.hamming_loss(truth, predicted),
        },
    )


def test_regression_figures(tmp_path: Path) -> None:
    random = np.random.default_rng(10)
    truth = random.normal(20, 5, ROWS)
    outputs = (truth + random.normal(0.5, 1, ROWS)).astype(np.float32)
    parts = labelled(Regression(target_mean=19.0), outputs, truth.tolist())
    doubles = outputs.astype(np.float64)

    check(
        tmp_path,
        parts,
        {
            "mae": metrics.mean_absolute_error(truth, doubles),
            "rmse": metrics.root_mean_squared_error(truth, doubles),
            "bias": float((doubles - truth).mean()),
            "mape": metrics.mean_absolute_percentage_error(truth, doubles),
            "r2": metrics.r2_score(truth, doubles),
        },
    )
    median = float(np.median(np.abs(doubles - truth)))
    between = f"({promql('median_error', '10m')} > {median / 2}) < {median * 2}"
    run(
        tmp_path,
        {
            "input_series": series_of(parts),
            "promql_expr_test": [_is_true(f"count({between})")],
        },
    )


def test_ranking_figures(tmp_path: Path) -> None:
    random = np.random.default_rng(14)
    items = np.array([f"item {number}" for number in range(12)], object)
    task, parts = Ranking(), [declared(Ranking()) for _ in range(2)]
    scores, gains, ranks, precisions = [], [], [], []
    for number in range(150):
        order = random.permutation(12)
        truth = np.where(random.random(12) < 0.3, random.integers(1, 5, 12), 0)
        label = {items[place]: int(gain) for place, gain in enumerate(truth) if gain}
        (values,) = task.pack(items[order][None])
        count_label(task, values, task.parse(label), parts[number % 2], age=1.0, delay=1.0)
        if not label:
            continue
        score = np.empty(12)
        score[order] = np.arange(12, 0, -1)
        scores.append(score)
        gains.append(truth)
        ranks.append(int(np.flatnonzero(truth[order])[0]) + 1)
        precisions.append(metrics.average_precision_score(truth > 0, score))
    first = np.array(ranks)
    check(
        tmp_path,
        parts,
        {
            "ndcg": {
                str(k): float(metrics.ndcg_score(np.array(gains), np.array(scores), k=k))
                for k in (1, 5, 10)
            },
            "hit_rate": {str(k): float((first <= k).mean()) for k in (1, 5, 10)},
            "mrr": float((1 / first).mean()),
            "mean_ap": float(np.mean(precisions)),
        },
    )


def counted(task: Task, values: Sequence[Any], labels: Sequence[object]) -> list[Sums]:
    """Return what two replicas count of predictions that came back with their labels."""
    parts = [declared(task) for _ in range(2)]
    for number, (value, label) in enumerate(zip(values, labels, strict=True)):
        count_label(task, value, task.parse(label), parts[number % 2], age=1.0, delay=1.0)
    return parts


def test_detection_figures(tmp_path: Path) -> None:
    """Images of one true box each, which is found, missed, or taken for the other class."""
    random = np.random.default_rng(15)
    task = Detection(CLASSES[:2], box_format="xyxy", is_binned=True)
    truth = random.integers(0, 2, ROWS)
    predicted = np.where(random.random(ROWS) < 0.8, truth, 1 - truth)
    widths = random.uniform(0.3, 1, ROWS)
    scores = random.uniform(0.01, 1, ROWS).astype(np.float32)
    values = [
        np.array([[0, 0, 10 * width, 10, score, number]], np.float32)
        for width, score, number in zip(widths, scores, predicted, strict=True)
    ]
    labels = [[{"box": [0, 0, 10, 10], "class": int(number)}] for number in truth]
    kept = scores > 0.5
    is_right = {
        iou: kept & (predicted == truth) & (widths.astype(np.float32) >= iou) for iou in (0.5, 0.75)
    }
    parts = counted(task, values, labels)

    def shares(whole: np.ndarray, iou: float) -> dict[str, float]:
        return {CLASSES[n]: is_right[iou][whole == n].sum() / (whole == n).sum() for n in (0, 1)}

    check(
        tmp_path,
        parts,
        {
            "detection_iou": {
                CLASSES[n]: float(widths[is_right[0.5] & (truth == n)].mean()) for n in (0, 1)
            }
        },
        tolerance=1e-6,  # boxes are float32
    )
    found = [
        f"sum(abs(({promql(name, '10m')}) and on (class, iou) label_replace(label_replace("
        f'vector(1), "class", "{key}", "", ""), "iou", "{iou}", "", "")) - {share}) < bool 1e-9'
        for name, whole in (
            ("detection_precision", np.where(kept, predicted, 9)),
            ("detection_recall", truth),
        )
        for iou in (0.5, 0.75)
        for key, share in shares(whole, iou).items()
    ]
    # scikit-learn's curve knows the boxes, of which all true ones are to be found.
    for iou in (0.5, 0.75):
        right = (predicted == truth) & (widths.astype(np.float32) >= iou)
        exact = metrics.average_precision_score(right, scores) * right.mean()
        found.append(f'abs({promql("detection_ap", "10m")} - {exact}) < bool 0.02 and on (iou) label_replace(vector(1), "iou", "{iou}", "", "")')  # fmt: skip # noqa: E501
    run(
        tmp_path,
        {"input_series": series_of(parts), "promql_expr_test": list(map(_is_true, found))},
    )


def test_segmentation_figures(tmp_path: Path) -> None:
    random = np.random.default_rng(16)
    task = Segmentation(CLASSES)  # the last is neither predicted nor labelled
    actual = random.integers(0, 3, size=(40, 6, 5))
    outputs = np.where(random.random(actual.shape) < 0.6, actual, (actual + 1) % 3)
    actual[:, 0, :2] = 255
    counts = actual != 255
    truth, predicted = actual[counts], outputs[counts]
    shares = metrics.jaccard_score(truth, predicted, average=None)

    check(
        tmp_path,
        counted(task, task.pack(outputs), actual.tolist()),
        {
            "iou": dict(zip(CLASSES, map(float, shares), strict=False)),
            "mean_iou": float(shares.mean()),
            "pixel_accuracy": metrics.accuracy_score(truth, predicted),
        },
    )


def test_translation_figures(tmp_path: Path) -> None:
    truths = texts(17, 120)
    predicted = changed(truths, 18)
    scores = [
        bleu.BLEU(smooth_method="none", force=True).corpus_score(predicted, [truths]).score,
        chrf.CHRF().corpus_score(predicted, [truths]).score,
    ]
    edits = [fewest_edits(t.split(), p.split()) for t, p in zip(truths, predicted, strict=True)]

    check(
        tmp_path,
        counted(Translation(), predicted, truths),
        {
            "bleu": scores[0],
            "chrf": scores[1],
            "wer": sum(edits) / sum(len(each.split()) for each in truths),
        },
    )


def test_labels_of_some_classes_only_are_weighed_by_predictions(tmp_path: Path) -> None:
    """Half of the cats are labelled and a tenth of the dogs; the weights undo that."""
    random = np.random.default_rng(11)
    is_dog = random.random(4_000) < 0.5
    scores = np.where(is_dog, 0.9, 0.1).astype(np.float32)
    is_right = random.random(4_000) < np.where(is_dog, 0.6, 0.9)
    task = Binary(("cat", "dog"))
    sums = declared(task)
    task.observe(scores, sums)
    is_labelled = random.random(4_000) < np.where(is_dog, 0.1, 0.5)
    packed = task.pack(scores)
    for number in np.flatnonzero(is_labelled):
        label = int(is_dog[number] == is_right[number])
        count_label(task, packed[number], label, sums, age=1.0, delay=1.0)
    right = [is_right[is_labelled & side].mean() for side in (is_dog, ~is_dog)]
    weighed = right[0] * is_dog.mean() + right[1] * (~is_dog).mean()

    check(tmp_path, [sums], {"accuracy_poststratified": float(weighed)})


def test_drift_figures(tmp_path: Path) -> None:
    random = np.random.default_rng(12)
    names = ("age", "pay")
    reference = {"age": random.normal(40, 9, 3_000), "pay": random.exponential(3, 3_000)}
    features = [number_feature(n, reference[n], dtype="float64", bins=10) for n in names]
    features.append(category_feature("plan", random.choice(["a", "b"], 3_000).tolist()))
    seen = {
        "age": random.normal(43, 9, 900),
        "pay": random.exponential(3, 900),
        "plan": random.choice(np.array([b"a", b"b", b"c"], object), 900),
    }
    counts, parts = FeatureCounts(features), [Sums(), Sums()]
    for feature in features:
        for sums in parts:
            feature.declare(sums)
    for start in range(0, 900, 100):
        rows = {name: column[start : start + 100] for name, column in seen.items()}
        counts.observe(rows, parts[start // 100 % 2])
    expected: dict[str, dict[str, float]] = {}
    for feature in features:
        found = np.array(
            [
                sum(p.total("feature_bin_total", feature=feature.name, bin=b) for p in parts)
                for b in feature.bins
            ]
        )
        q, p = (found + 0.5) / (found + 0.5).sum(), np.array(feature.shares)
        chi = stats.chisquare(q, p).statistic
        noise = 1 / found.sum() + 1 / 3_000
        for name, value in {
            "psi": special.rel_entr(q, p).sum() + special.rel_entr(p, q).sum(),
            "psi_noise": (len(p) - 1) * noise,
            "js": distance.jensenshannon(p, q, base=2) ** 2,
            "chi2": chi / noise,
            "total_variation": 0.5 * np.abs(q - p).sum(),
        }.items():
            expected.setdefault(name, {})[feature.name] = float(value)
    assert expected["psi"]["pay"] < 3 * expected["psi_noise"]["pay"]
    assert expected["psi"]["age"] > 3 * expected["psi_noise"]["age"]

    gauges = [
        {
            "series": "inferometer_reference_bin_share{"
            f'job="i",instance="{replica}",model="m",version="1",feature="{f.name}",bin="{b}"}}',
            "values": f"{share!r}x10",
        }
        for replica in range(2)
        for f in features
        for b, share in zip(f.bins, f.shares, strict=True)
    ] + [
        {
            "series": "inferometer_reference_rows"
            f'{{job="i",instance="{replica}",model="m",version="1"}}',
            "values": "3000x10",
        }
        for replica in range(2)
    ]
    check(tmp_path, parts, expected, gauges)


def test_estimate_figures(tmp_path: Path) -> None:
    scores = softmax_scores(ROWS, 4, seed=13)
    task = Multiclass(CLASSES)
    calibration = Calibration((0.2, 1.0), (0.1, 0.9))
    parts = [declared(task), declared(task)]
    for number, sums in enumerate(parts):
        task.declare_estimate(sums)
        task.observe(scores[number::2], sums)
        task.estimate(scores[number::2], calibration, sums)
    top = 0.1 + (scores.max(axis=1).astype(float) - 0.2)
    best = scores.argmax(axis=1)

    check(
        tmp_path,
        parts,
        {
            "accuracy_estimated": float(top.mean()),
            "precision_estimated": {
                name: float(top[best == number].mean()) for number, name in enumerate(CLASSES)
            },
        },
    )
    table = sum(sums.total("estimated_confusion_total") for sums in parts)
    assert pytest.approx(ROWS) == table


def test_empty_window_has_no_figure(tmp_path: Path) -> None:
    """Nothing was labelled: no row, or NaN, and never a number."""
    tasks = (
        Multiclass(CLASSES), Regression(), Ranking(), Detection(CLASSES, is_binned=True),
        Segmentation(CLASSES), Translation(),
    )  # fmt: skip
    parts = list(map(declared, tasks))
    expressions = [promql(name, "10m") for name in sorted(FIGURES)]
    run(
        tmp_path,
        {
            "input_series": series_of(parts),
            "promql_expr_test": [
                {"expr": f"({each}) == ({each})", "eval_time": "10m"} for each in expressions
            ],
        },
    )


def test_figures_of_the_day_are_recorded(tmp_path: Path) -> None:
    (tmp_path / "rules.yml").write_text(rules_text())
    names = 'job="i", instance="0", model="m", version="1"'
    right, wrong = (f'class="a", outcome="{outcome}", {names}' for outcome in ("tp", "fn"))
    # Three right ones a minute and one wrong one, for five hours.
    series = [
        {"series": f"inferometer_outcomes_total{{{right}}}", "values": "0+3x300"},
        {"series": f"inferometer_outcomes_total{{{wrong}}}", "values": "0+1x300"},
        {"series": f"inferometer_outcomes_retracted_total{{{right}}}", "values": "0x300"},
        {"series": f"inferometer_outcomes_retracted_total{{{wrong}}}", "values": "0x300"},
        {"series": f'inferometer_labels_total{{age="1h", {names}}}', "values": "0+4x300"},
    ]
    accuracy = recorded_name("accuracy")
    run(
        tmp_path,
        {
            "input_series": series,
            "promql_expr_test": [
                {
                    "expr": accuracy,
                    "eval_time": "5h",
                    "exp_samples": [
                        {
                            "labels": f'{accuracy}{{job="i", model="m", version="1"}}',
                            "value": 0.75,
                        }
                    ],
                }
            ],
        },
        rule_files=["rules.yml"],
    )


def test_rules_are_well_formed(tmp_path: Path) -> None:
    (tmp_path / "rules.yml").write_text(rules_text())
    ended = subprocess.run(
        ["promtool", "check", "rules", "--lint=all", "--lint-fatal", str(tmp_path / "rules.yml")],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_documentation_has_every_figure() -> None:
    text = (Path(__file__).parents[3] / "docs" / "quality.md").read_text()

    assert [] == [
        name
        for name, figure in FIGURES.items()
        if f"| `{name}` |" not in text or f"| {figure.meaning} |" not in text
    ]


def test_increase_comes_before_sum() -> None:
    """A sum falls when one of its processes starts anew, and `increase` takes that for a reset."""
    expressions = [promql(name, "1h") for name in FIGURES]

    assert [] == [one for one in expressions if "increase(sum" in one.replace(" ", "")]
    assert TOP not in "".join(expressions)


def _is_true(expression: str) -> dict[str, Any]:
    return {
        "expr": f"sum({expression})",
        "eval_time": "10m",
        "exp_samples": [{"labels": "{}", "value": 1.0}],
    }


def _plain(value: Expected) -> Expected:
    if isinstance(value, Mapping):
        return {key: float(each) for key, each in value.items()}
    return float(value)
