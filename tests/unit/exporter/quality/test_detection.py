"""Boxes: the counters give what plain reckoning gives, and the bins what scikit-learn's curve."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn import metrics

from exporter.quality.boxes import joined, overlaps
from exporter.quality.detection import Detection
from exporter.quality.echo import digest_of
from exporter.quality.errors import LabelError, ScoreError
from exporter.quality.sums import Sums


def image(*boxes: tuple[float, ...]) -> np.ndarray:
    return np.array(boxes, np.float32).reshape(-1, 6)


def result(sums: Sums, name: str, least: float = 0.5) -> tuple[float, float, float]:
    labels = {"class": name, "iou": str(least)}
    found = [
        sums.total("detection_matches_total", **labels, result=each) for each in ("tp", "fp", "fn")
    ]
    return found[0], found[1], found[2]


def test_overlap_of_boxes():
    boxes = np.array([[0.0, 0.0, 2.0, 2.0], [5.0, 5.0, 6.0, 6.0]])
    others = np.array([[1.0, 1.0, 3.0, 3.0], [0.0, 0.0, 2.0, 2.0]])

    assert overlaps(boxes, others).tolist() == [[pytest.approx(1 / 7), 1.0], [0.0, 0.0]]
    assert overlaps(boxes, np.zeros((0, 4))).shape == (2, 0)


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
    predicted = image(
        # The second has the higher score: it is matched first. The last two count for nothing: one
        # is below the threshold, the other fills the image up to as many boxes as others have.
        (0, 0, 10, 10, 0.8, 0),
        (0, 0, 10, 9, 0.9, 0),
        (0, 0, 10, 6, 0.7, 1),
        (80, 80, 90, 90, 0.6, 1),
        (0, 0, 1, 1, 0.4, 0),
        (-1, -1, -1, -1, -1, -1),
    )
    task.count(predicted, label, sums)

    assert (1, 1, 1) == result(sums, "cat")
    # An ignored true box takes its match away; 0.6 of overlap is no match at 0.75.
    assert (1, 0, 0) == result(sums, "dog")
    assert (0, 1, 1) == result(sums, "dog", 0.75)
    assert 0.9 == pytest.approx(sums.total("detection_iou_sum_total", **{"class": "cat"}))


def test_boxes_on_an_ignored_one_are_neither_right_nor_wrong():
    task, sums = Detection(["cat"], box_format="xyxy"), Sums()
    ignored, real = {"box": [0, 0, 10, 10], "ignore": True}, {"box": [0, 0, 10, 9]}
    label = task.parse([each | {"class": "cat"} for each in (ignored, real)])
    # The first is nearer to the one that is ignored, and is a find all the same; so are others not
    # made wrong by lying there.
    boxes = [(0, 0, 10, 10, score, 0) for score in (0.9, 0.8, 0.7)]
    task.count(image(*boxes), label, sums)

    assert (1, 0, 0) == result(sums, "cat")


def test_score_at_the_threshold_is_below_it():
    for threshold in (0.1, 0.3, 0.6):
        task, sums = Detection(["cat"], threshold=threshold), Sums()
        boxes = image((0, 0, 1, 1, threshold, 0))
        task.observe(boxes[None], sums)
        task.count(boxes, task.parse([]), sums)

        assert 0 == sums.total("predictions_total")
        assert 0 == sums.total("detection_matches_total")


def test_image_without_boxes_misses_all_and_one_without_truth_finds_none():
    task = Detection(["cat"], box_format="xyxy")
    empty, one = image(), image((0, 0, 10, 10, 0.8, 0))
    missed, invented = Sums(), Sums()
    task.count(empty, task.parse([{"box": [0, 0, 10, 10], "class": 0}]), missed)
    task.count(one, task.parse([]), invented)

    assert (0, 0, 1) == result(missed, "cat")
    assert (0, 1, 0) == result(invented, "cat")


@pytest.mark.parametrize("form", ["yxyx", "xyxy", "xywh"])
def test_formats_of_boxes_are_the_same_boxes(form: str):
    box = {"yxyx": [1, 2, 5, 8], "xyxy": [2, 1, 8, 5], "xywh": [2, 1, 6, 4]}[form]
    task, sums = Detection(["a"], box_format=form), Sums()
    label = task.parse([{"box": box, "class": 0}])
    task.count(image((*box, 0.9, 0)), label, sums)

    assert [[2, 1, 8, 5]] == label.corners.tolist()
    assert (1, 0, 0) == result(sums, "a", 0.75)


@pytest.mark.parametrize(
    "label",
    [
        {}, [1], [{"box": [0, 0, 1, 1]}], [{"box": [1, 0, 0, 1], "class": 0}],
        [{"box": [0, 0, 1], "class": 0}], [{"box": [0, 0, 1, float("nan")], "class": 0}],
        [{"box": [0, 0, 1, 1], "class": 7}], [{"box": [0, 0, 1, 1], "class": 0, "x": 1}],
        [{"box": [0, 0, 1, 1], "class": 0, "ignore": 1}], [{"box": [0, 0, True, 1], "class": 0}],
        [{"box": [0, 0, 1, 10**400], "class": 0}],
    ],
)  # fmt: skip
def test_boxes_that_are_none_are_refused(label: object):
    with pytest.raises(LabelError):
        Detection(["a"], box_format="xyxy").parse(label)


def test_average_precision_of_bins_is_near_to_the_curves():
    """One true box an image, and a box for it or beside it: every box is right or wrong."""
    random = np.random.default_rng(3)
    is_right = random.random(2_000) < 0.6
    scores = np.clip(random.normal(0.35 + 0.3 * is_right, 0.2), 0.001, 0.999).astype(np.float32)
    task, sums = Detection(["a"], box_format="xyxy", is_binned=True), Sums()
    for score, right in zip(scores.tolist(), is_right, strict=True):
        box = (0, 0, 9, 9) if right else (50, 50, 59, 59)
        task.count(image((*box, score, 0)), task.parse([{"box": [0, 0, 9, 9], "class": 0}]), sums)
    # scikit-learn knows only the true boxes that were found.
    expected = metrics.average_precision_score(is_right, scores) * is_right.mean()

    found = 0.0
    for number in range(20):
        where = {"iou": "0.5", "bin": f"{number:02}"}
        above = sums.total("detection_score_at_least_total", **where)
        right = sums.total("detection_score_at_least_total", **where, result="tp")
        found += sums.total("detection_score_bin_total", **where, result="tp") * right / max(above, 1)  # fmt: skip # noqa: E501
    assert found / 2_000 == pytest.approx(expected, abs=0.02)


def test_kept_boxes_are_predictions_and_impossible_ones_end_the_task():
    task, sums = Detection(["cat", "dog"]), Sums()
    good, bad = image((0, 0, 1, 1, 0.9, 1), (0, 0, 1, 1, 0.2, 0)), image((0, 0, 1, 1, 0.9, 2))
    task.observe(np.stack([good, good * np.float32(np.nan)]), sums)

    assert 1 == sums.total("predictions_total") == sums.total("predictions_total", predicted="dog")
    assert 1 == sums.total("nonfinite_outputs_total")
    assert {"prediction_confidence": [pytest.approx(0.9)]} == dict(sums.observations())
    for wrong in (bad, image((0, 0, 1, 1, 90, 1)), image((0, 0, 1, 1, 0.9, 0.5))):
        with pytest.raises(ScoreError):
            task.observe(wrong[None], Sums())


@given(
    arrays.arrays(
        np.float32,
        st.tuples(st.integers(0, 5), st.just(6)),
        elements=st.floats(-1e6, 1e6, width=32),
    )
)
def test_echo_through_json_is_the_same_image_and_no_other_is(boxes: np.ndarray):
    boxes[:, 4] = 0.1
    one, parts = Detection(["a"], outputs=("all",)), Detection(["a"], outputs=("b", "s", "c"))
    (packed,) = one.pack(boxes[None])
    rows = json.loads(json.dumps(boxes.tolist()))
    columns = {"b": [row[:4] for row in rows], "s": [row[4] for row in rows], "c": [row[5] for row in rows], "n": 3}  # fmt: skip # noqa: E501

    assert digest_of(one, packed) == digest_of(one, one.echoed(rows))
    assert digest_of(one, packed) == digest_of(parts, parts.echoed(columns))
    # Of a version on disk the names of the outputs are not known.
    usual = {"detection_" + name: columns[name[0]] for name in ("boxes", "scores", "classes")}
    unnamed = Detection(["a"])
    assert digest_of(one, packed) == digest_of(unnamed, unnamed.echoed(usual))
    assert digest_of(one, packed) == digest_of(unnamed, unnamed.echoed(rows))
    if rows:
        rows[-1][0] = rows[-1][0] + 1 + abs(rows[-1][0])
        assert digest_of(one, packed) != digest_of(one, one.echoed(rows))


@pytest.mark.parametrize(
    "prediction",
    [None, 1, "a", [[1]], [[1, 2, 3, 4, 5, "a"]], [[1, 2, 3, 4, 5, None]], [[0] * 6] * 1_001,
     {"boxes": []}, {"b": [[0, 0, 1, 1]], "s": [0.5], "c": []}, {"b": {}, "s": [], "c": []},
     {"b": [[0, 0, 1, 1]], "s": [1e400], "c": [0]}, [[[0] * 6]]],
)  # fmt: skip
def test_what_is_no_echo_is_refused(prediction: object):
    for outputs in (("all",), ("b", "s", "c")):
        with pytest.raises(LabelError):
            Detection(["a"], outputs=outputs).echoed(prediction)


def test_three_outputs_are_one_and_such_as_do_not_fit_are_none():
    boxes, scores, classes = np.zeros((2, 3, 4)), np.ones((2, 3)), np.full((2, 3), 7)

    assert [[0, 0, 0, 0, 1, 7]] * 3 == joined(boxes, scores, classes)[1].tolist()
    with pytest.raises(ScoreError):
        joined(boxes, scores[:, :2], classes)
