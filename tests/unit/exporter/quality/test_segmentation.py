"""Pixels: the counters give what scikit-learn gives, and runs are the pixels."""

import json
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from exporter.quality.echo import digest_of
from exporter.quality.errors import LabelError, ScoreError
from exporter.quality.masks import Mask, mask_of, read_mask
from exporter.quality.segmentation import Segmentation
from exporter.quality.sums import Sums

IMAGES = st.integers(1, 8).flatmap(
    lambda w: st.lists(st.lists(st.integers(0, 3), min_size=w, max_size=w), min_size=1, max_size=8)
)


def runs_of(mask: Mask | None) -> dict[str, object]:
    assert mask is not None
    runs = [list(run) for run in zip(mask.ids.tolist(), mask.lengths.tolist(), strict=True)]
    return {"shape": list(mask.shape), "runs": runs}


def pixels_of(mask: Mask) -> np.ndarray:
    return np.repeat(mask.ids, mask.lengths).reshape(mask.shape)


def test_pixels_are_scikit_learns():
    random = np.random.default_rng(2)
    names = ["sky", "road", "car"]
    actual = random.integers(0, 3, size=(20, 8, 6))
    outputs = np.where(
        random.random(actual.shape) < 0.7, actual, random.integers(0, 3, size=actual.shape)
    )
    actual[:, 0, 0] = 255
    task, sums = Segmentation(names), Sums()
    for values, label in zip(task.pack(outputs), actual.tolist(), strict=True):
        task.count(values, task.parse(label), sums)
    counts = actual != 255
    expected = metrics.jaccard_score(actual[counts], outputs[counts], average=None)

    for name, share in zip(names, expected, strict=True):
        both, either = (
            sums.total(f"segmentation_{side}_pixels_total", **{"class": name})
            for side in ("intersection", "union")
        )
        assert both / either == pytest.approx(share)


def test_scores_of_pixels_are_their_best_class():
    ids = np.array([[[0, 1], [2, 2]]])
    task = Segmentation(["a", "b", "c"])
    (of_ids,), (of_scores,) = task.pack(ids), task.pack(np.eye(3)[ids])
    one_score = np.array([[[[0.4], [0.6]]]])
    (one,) = Segmentation(["off", "on"]).pack(one_score)
    (logits,) = Segmentation(["off", "on"], threshold=0.6, are_logits=True).pack(one_score)

    assert runs_of(of_ids) == runs_of(of_scores)
    assert runs_of(one) == {"shape": [1, 2], "runs": [[0, 1], [1, 1]]}
    # 0.4 and 0.6 are 0.599 and 0.646.
    assert runs_of(one) == runs_of(logits)


@given(IMAGES, IMAGES)
def test_runs_are_the_pixels(rows: list[list[int]], others: list[list[int]]):
    pixels, task = np.array(rows), Segmentation(["a", "b", "c", "d"])
    runs = json.loads(json.dumps(runs_of(mask_of(pixels))))
    each = {"shape": runs["shape"], "runs": [[number, 1] for row in rows for number in row] + [[3, 0]]}  # fmt: skip # noqa: E501

    assert (pixels_of(read_mask(runs)) == pixels).all()
    assert (pixels_of(read_mask(rows)) == pixels).all()
    # However an image is written, it is the same one; no other is.
    digests = {digest_of(task, task.echoed(form)) for form in (rows, runs, each)}
    assert digests == {digest_of(task, mask_of(pixels))}
    assert (digest_of(task, task.echoed(others)) in digests) == (others == rows)


@pytest.mark.parametrize(
    "label",
    [
        None, [], [[]], [1], [[0, 1], [0]], [[0.5]], [["a"]], [[True]], [[-1]], [[2**70]], [[9]],
        {"shape": [2, 2], "runs": [[0, 3]]}, {"shape": [2, 2], "runs": [[0, 10**18]]},
        {"shape": [2], "runs": [[0, 2]]}, {"shape": [10**9, 10**9], "runs": [[0, 10**18]]},
        {"shape": [2, 2], "runs": [[0, 5], [0, -1]]}, {"shape": [1, 1], "runs": [[0, 1]], "x": 1},
        {"runs": []}, {"shape": "ab", "runs": []}, {"shape": [1, 1], "runs": [[2**70, 1]]},
        {"shape": [1, 1], "runs": [["a", 1]]}, {"shape": [1, 1], "runs": [[0]]},
        {"shape": [0, 0], "runs": []}, {"shape": [1, 1], "runs": []}, {"shape": [], "runs": []},
    ],
)  # fmt: skip
def test_pixels_that_are_none_are_refused_before_anything_is_allocated(label: object):
    tracemalloc.start()
    try:
        with pytest.raises(LabelError):
            Segmentation(["a"]).parse(label)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_noise_that_no_label_could_bring_back_has_no_token():
    noise = np.indices((2_048, 1_024)).sum(axis=0) % 2

    assert [None] == Segmentation(["a", "b"]).pack(noise[None])
    with pytest.raises(LabelError, match="runs"):
        read_mask(noise.tolist())


def test_large_image_of_one_run_takes_no_memory():
    task, size = Segmentation(["a", "b"]), 4_096
    image = {"shape": [size, size], "runs": [[0, size], [1, size * (size - 1)]]}
    sums = Sums()
    tracemalloc.start()
    try:
        task.count(task.echoed(image), task.parse(image), sums)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()

    assert size * size == sums.total("segmentation_intersection_pixels_total")


def test_label_of_another_size_is_refused():
    task = Segmentation(["a", "b"])
    values = task.pack(np.zeros((1, 2, 2), dtype=np.int64))[0]
    with pytest.raises(LabelError, match="2, 3"):
        task.count(values, task.parse([[0, 1, 0], [1, 0, 0]]), Sums())


def test_ids_that_are_no_class_end_the_task():
    task = Segmentation(["a", "b"])
    for ids in ([[[0, 2]]], [[[-1, 0]]]):
        with pytest.raises(ScoreError):
            task.observe(np.array(ids), Sums())
        with pytest.raises(ScoreError):
            task.pack(np.array(ids))
