"""Rankings, boxes and pixels: the counters give what scikit-learn and plain reckoning give."""

import json
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from exporter.quality.boxes import overlaps
from exporter.quality.detection import Boxes, Detection
from exporter.quality.errors import LabelError
from exporter.quality.ranking import Ranking
from exporter.quality.segmentation import Segmentation, pixels_of, runs_of
from exporter.quality.sums import Sums
from tests.unit.exporter.quality.figures import counted


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


def test_overlap_of_boxes():
    boxes = np.array([[0.0, 0.0, 2.0, 2.0], [5.0, 5.0, 6.0, 6.0]])
    others = np.array([[1.0, 1.0, 3.0, 3.0], [0.0, 0.0, 2.0, 2.0]])

    assert overlaps(boxes, others).tolist() == [[pytest.approx(1 / 7), 1.0], [0.0, 0.0]]
    assert overlaps(boxes, np.zeros((0, 4))).shape == (2, 0)


def result(sums: Sums, name: str, least: float = 0.5) -> tuple[float, float, float]:
    labels = {"class": name, "iou": str(least)}
    found = [
        sums.total("detection_matches_total", **labels, result=each) for each in ("tp", "fp", "fn")
    ]
    return found[0], found[1], found[2]


def test_boxes_are_matched_by_class_and_score():
    task, sums = Detection(["cat", "dog"], box_format="xyxy"), Sums()
    label = task.parse(
        [
            {"box": [0, 0, 10, 10], "class": "cat"},
            {"box": [50, 50, 60, 60], "class": "cat"},
            {"box": [0, 0, 10, 10], "class": "dog"},
            {"box": [80, 80, 90, 90], "class": "dog", "ignore": True},
        ]
    )
    predicted = Boxes(
        boxes=[[0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 6], [80, 80, 90, 90], [0, 0, 1, 1]],
        # The second has the higher score: it is matched first. The last is below the threshold.
        scores=[0.8, 0.9, 0.7, 0.6, 0.4],
        classes=[0, 0, 1, 1, 0],
    )
    task.count(predicted, label, sums)

    assert (1, 1, 1) == result(sums, "cat")
    # An ignored true box takes its match away; 0.6 of overlap is no match at 0.75.
    assert (1, 0, 0) == result(sums, "dog")
    assert (0, 1, 1) == result(sums, "dog", 0.75)
    assert 0.9 == pytest.approx(sums.total("detection_iou_sum_total", **{"class": "cat"}))


@pytest.mark.parametrize("form", ["yxyx", "xyxy", "xywh"])
def test_formats_of_boxes_are_the_same_boxes(form: str):
    box = {"yxyx": [1, 2, 5, 8], "xyxy": [2, 1, 8, 5], "xywh": [2, 1, 6, 4]}[form]
    task, sums = Detection(["a"], box_format=form), Sums()
    label = task.parse([{"box": box, "class": 0}])
    task.count(Boxes([box], [0.9], [0]), label, sums)

    assert [[2, 1, 8, 5]] == label.corners.tolist()
    assert (1, 0, 0) == result(sums, "a", 0.75)


@pytest.mark.parametrize(
    "label",
    [
        {}, [1], [{"box": [0, 0, 1, 1]}], [{"box": [1, 0, 0, 1], "class": 0}],
        [{"box": [0, 0, 1], "class": 0}], [{"box": [0, 0, 1, float("nan")], "class": 0}],
        [{"box": [0, 0, 1, 1], "class": 7}], [{"box": [0, 0, 1, 1], "class": 0, "x": 1}],
        [{"box": [0, 0, 1, 1], "class": 0, "ignore": 1}], [{"box": [0, 0, True, 1], "class": 0}],
    ],
)  # fmt: skip
def test_boxes_that_are_none_are_refused(label: object):
    with pytest.raises(LabelError):
        Detection(["a"], box_format="xyxy").parse(label)


def test_pixels_are_scikit_learns():
    random = np.random.default_rng(2)
    names = ["sky", "road", "car"]
    actual = random.integers(0, 3, size=(20, 8, 6))
    outputs = np.where(
        random.random(actual.shape) < 0.7, actual, random.integers(0, 3, size=actual.shape)
    )
    actual[:, 0, 0] = 255
    sums = counted(Segmentation(names), outputs, actual.tolist())
    counts = actual != 255
    expected = metrics.jaccard_score(actual[counts], outputs[counts], average=None)

    for name, share in zip(names, expected, strict=True):
        both = sums.total("segmentation_intersection_pixels_total", **{"class": name})
        assert both / sums.total(
            "segmentation_union_pixels_total", **{"class": name}
        ) == pytest.approx(share)


def test_scores_of_pixels_are_their_best_class():
    ids = np.array([[[0, 1], [2, 2]]])
    scores = np.eye(3)[ids]
    task = Segmentation(["a", "b", "c"])

    assert task.pack(scores) == task.pack(ids)
    one = Segmentation(["off", "on"]).pack(np.array([[[[0.4], [0.6]]]]))
    assert one == [{"shape": [1, 2], "runs": [[0, 1], [1, 1]]}]


@given(
    st.integers(1, 8).flatmap(
        lambda w: st.lists(
            st.lists(st.integers(0, 3), min_size=w, max_size=w), min_size=1, max_size=8
        )
    )
)
def test_runs_are_the_pixels(rows: list[list[int]]):
    pixels = np.array(rows)
    runs = json.loads(json.dumps(runs_of(pixels)))

    assert (pixels_of(runs) == pixels).all()
    assert (pixels_of(rows) == pixels).all()


@pytest.mark.parametrize(
    "label",
    [
        None, [], [[]], [1], [[0, 1], [0]], [[0.5]], [["a"]], [[True]],
        {"shape": [2, 2], "runs": [[0, 3]]}, {"shape": [2, 2], "runs": [[0, 10**18]]},
        {"shape": [2], "runs": [[0, 2]]}, {"shape": [10**9, 10**9], "runs": [[0, 10**18]]},
        {"shape": [2, 2], "runs": [[0, 5], [0, -1]]}, {"shape": [1, 1], "runs": [[0, 1]], "x": 1},
        {"runs": []}, {"shape": "ab", "runs": []}, {"shape": [1, 1], "runs": [[2**70, 1]]},
        {"shape": [1, 1], "runs": [["a", 1]]}, {"shape": [1, 1], "runs": [[0]]},
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


def test_label_of_another_size_is_refused():
    task = Segmentation(["a", "b"])
    values = task.pack(np.zeros((1, 2, 2), dtype=np.int64))[0]
    with pytest.raises(LabelError, match="2, 3"):
        task.count(values, task.parse([[0, 1, 0], [1, 0, 0]]), Sums())
