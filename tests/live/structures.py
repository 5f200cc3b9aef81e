"""Rankings, boxes, pixels and texts over several servers: predictions that come back with labels.

Each function predicts, labels, checks the counters, and returns the figures that PromQL is to give.
"""

import math
import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from sacrebleu.metrics import bleu, chrf
from sklearn import metrics

from exporter.quality import Sums
from tests.live.servers import Server
from tests.unit.exporter.quality.texts import changed, fewest_edits, texts

ROWS, PER_REQUEST = 200, 20
TOLERANCE = 1e-9
ITEMS = 4
RANKING = {"task": "ranking"}
PIXELS = {"task": "segmentation", "classes": ["sky", "road", "car"]}
BOXES = {
    "task": "detection", "classes": ["cat", "dog"], "box_format": "xyxy", "average_precision": True,
}  # fmt: skip
TEXTS = {"task": "translation", "output": "t"}


def labelled(
    servers: Sequence[Server], model: str, rows: Sequence[Any], labels: Sequence[object]
) -> list[Any]:
    """Predict rows and label them, each by any of the servers; return the predictions."""
    found: list[Any] = []
    items: list[dict[str, object]] = []
    for start in range(0, len(rows), PER_REQUEST):
        answer = random.choice(servers).post(
            f"/v1/models/{model}:predict?feedback_tokens=true",
            {"instances": rows[start : start + PER_REQUEST]},
            headers={"Connection": "close"},
        ).json()  # fmt: skip
        found += answer["predictions"]
        items += [{"token": token} for token in answer["feedback_tokens"]]
    for item, prediction, label in zip(items, found, labels, strict=True):
        item.update(label=label, prediction=_echoed(prediction))
    random.shuffle(items)
    while items:
        chunk, items = items[:PER_REQUEST], items[PER_REQUEST:]
        answer = random.choice(servers).post(
            "/v1/feedback/batch", chunk, headers={"Connection": "close"}
        )
        assert answer.json()["counted"] == len(chunk), answer.text
    return found


def _echoed(prediction: Any) -> Any:
    """Return what goes back: of pixels' scores the best classes, anything else as it came."""
    if isinstance(prediction, list) and isinstance(prediction[0], list):
        return np.array(prediction).argmax(axis=-1).tolist()
    return prediction["t"] if isinstance(prediction, dict) and "t" in prediction else prediction


def rankings(servers: Sequence[Server], sums_of: Any) -> dict[str, float]:
    numbers = np.random.default_rng(21)
    rows = numbers.normal(size=(ROWS, ITEMS)).round(3)
    gains = numbers.integers(0, 4, size=(ROWS, ITEMS))
    gains[gains.sum(axis=1) == 0, 0] = 1
    labels = [{str(n): int(gain) for n, gain in enumerate(row) if gain} for row in gains]
    labelled(servers, "order", rows.tolist(), labels)
    sums: Sums = sums_of(servers, "order")

    for depth in (1, 5):
        expected = metrics.ndcg_score(gains, rows, k=depth) * ROWS
        found = sums.total("ranking_ndcg_sum_total", k=str(depth))
        assert expected == pytest.approx(found, abs=TOLERANCE)
    precisions = [
        metrics.average_precision_score(gain > 0, row)
        for gain, row in zip(gains, rows, strict=True)
    ]
    total = sums.total("ranking_average_precision_sum_total")
    assert sum(precisions) == pytest.approx(total, abs=TOLERANCE)
    return {"mean_ap": float(np.mean(precisions))}


def pixels(servers: Sequence[Server], sums_of: Any) -> dict[str, float]:
    numbers = np.random.default_rng(22)
    truth = numbers.integers(0, 3, size=(ROWS, 6, 5))
    images = np.where(numbers.random(truth.shape) < 0.7, truth, (truth + 1) % 3)
    truth[:, 0, 0] = 255
    labelled(servers, "pixels", images.tolist(), truth.tolist())
    sums: Sums = sums_of(servers, "pixels")
    counts = truth != 255
    shares = metrics.jaccard_score(truth[counts], images[counts], average=None)
    found = [
        sums.total("segmentation_intersection_pixels_total", **{"class": name})
        / sums.total("segmentation_union_pixels_total", **{"class": name})
        for name in PIXELS["classes"]
    ]

    assert found == pytest.approx(shares, abs=TOLERANCE)
    assert ROWS == sums.total("predictions_total", predicted="__value__")
    accuracy = metrics.accuracy_score(truth[counts], images[counts])
    return {"mean_iou": float(shares.mean()), "pixel_accuracy": accuracy}


def boxes(servers: Sequence[Server], sums_of: Any) -> dict[str, float]:
    """Two true boxes an image, far from each other; the first is found well, the other may be."""
    numbers = np.random.default_rng(23)
    scores = numbers.uniform(0.2, 1, size=(ROWS, 2)).round(4)
    heights = numbers.uniform(0.55, 1, ROWS).round(4)
    is_dog = numbers.random(ROWS) < 0.5
    images = [
        [[0, 0, 10, 10 * height, first, 0], [50, 50, 60, 60, second, int(dog)]]
        for height, (first, second), dog in zip(heights, scores, is_dog, strict=True)
    ]
    truth = [
        {"box": [0, 0, 10, 10], "class": "cat"}, {"box": [50, 50, 60, 60], "class": "dog"},
    ]  # fmt: skip
    labelled(servers, "boxes", images, [truth] * ROWS)
    sums: Sums = sums_of(servers, "boxes")
    kept = scores > 0.5
    right = {
        0.5: (kept[:, 0].sum(), (kept[:, 1] & is_dog).sum()),
        0.75: ((kept[:, 0] & (heights >= 0.75)).sum(), (kept[:, 1] & is_dog).sum()),
    }

    for least, counts in right.items():
        found = [
            sums.total("detection_matches_total", iou=str(least), result="tp", **{"class": name})
            for name in BOXES["classes"]
        ]
        assert list(counts) == found
        # What is right or missed is a true box.
        assert 2 * ROWS == sum(found) + sums.total("detection_matches_total", iou=str(least), result="fn")  # fmt: skip # noqa: E501
    cats = {"class": "cat"}
    overlap = sums.total("detection_iou_sum_total", **cats)
    assert heights[kept[:, 0]].sum() == pytest.approx(overlap, abs=1e-4)  # boxes are float32
    assert kept[:, 0].sum() + (kept[:, 1] & ~is_dog).sum() == sums.total("predictions_total", predicted="cat")  # fmt: skip # noqa: E501
    assert kept.sum() == sums.total("prediction_confidence_count")
    return {}


def translations(servers: Sequence[Server], sums_of: Any) -> dict[str, float]:
    truths = texts(24, ROWS)
    predicted = changed(truths, 25)
    labelled(servers, "text", predicted, [[one, "another one"] for one in truths])
    sums: Sums = sums_of(servers, "text")
    columns = [truths, ["another one"] * ROWS]
    of_words = bleu.BLEU(smooth_method="none", force=True).corpus_score(predicted, columns)
    of_letters = chrf.CHRF().corpus_score(predicted, columns)

    assert list(of_words.counts) == [
        sums.total("bleu_ngram_matches_total", n=str(n)) for n in range(1, 5)
    ]
    assert list(of_words.totals) == [sums.total("bleu_ngrams_total", n=str(n)) for n in range(1, 5)]
    lengths = [sums.total(f"bleu_{side}_tokens_total") for side in ("hypothesis", "reference")]
    assert [of_words.sys_len, of_words.ref_len] == lengths
    brevity = math.exp(min(0, 1 - lengths[1] / lengths[0]))
    precisions = [right / whole for right, whole in zip(of_words.counts, of_words.totals, strict=True)]  # fmt: skip # noqa: E501
    score = 100 * brevity * math.exp(sum(map(math.log, precisions)) / 4)
    assert of_words.score == pytest.approx(score, abs=TOLERANCE)
    # Another one is nearer to sentences of two words and less, of which few are left out.
    edits = sum(fewest_edits(t.split(), p.split()) for t, p in zip(truths, predicted, strict=True))
    assert edits * 0.9 < sums.total("word_edits_total") <= edits
    return {"bleu": of_words.score, "chrf": of_letters.score}
