"""Parts of the traffic: every row is in one segment of each key, whatever is sent."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.quality.arrivals import count_label
from exporter.quality.binary import Binary
from exporter.quality.multilabel import Multilabel
from exporter.quality.ranking import Ranking
from exporter.quality.recording import declared
from exporter.quality.regression import Regression
from exporter.quality.segments import Segments
from exporter.quality.sums import Sums
from exporter.quality.task import Task

DECLARED = {
    "country": ("de", "at"), "plan": ("a", "b"), "age": ("39", "0.1", "true", "123456789.5"),
}  # fmt: skip
NAMES = st.sampled_from(["country", "plan", "age", "x", ""])


def segments(task: Task | None = None, **places: tuple[str, int | None]) -> Segments:
    return Segments(DECLARED, places, is_judged=task is not None and task.is_correctable)


def series(sums: Sums) -> dict[str, int]:
    counts: dict[str, int] = {}
    for name, _, _ in sums.amounts():
        counts[name] = counts.get(name, 0) + name.startswith("segment_")
    return {name: count for name, count in counts.items() if count}


@given(st.dictionaries(NAMES, st.text("abc=, ", max_size=3) | st.sampled_from(["de", "a", "39"])))
def test_each_row_counts_once_for_each_key_and_makes_no_series(sent: dict[str, str]):
    every, sums = segments(), Sums()
    every.declare(sums)
    before = series(sums)
    rows = every.of_rows(sent, {}, 3)
    every.count_rows(rows, sums)
    every.count_label(rows[0], sums)

    assert before == series(sums)
    for key in DECLARED:
        assert 3 == sums.total("segment_predictions_total", key=key)
        assert 1 == sums.total("segment_labels_total", key=key, correct="none")


def test_inputs_say_what_a_header_cannot():
    texts = np.array([b"a", b"c", "ä".encode(), b"\xff"], object)
    numbers = np.array([[0, 39], [0, 0.1], [0, 1e30], [0, np.nan]], np.float32)
    every = segments(plan=("plan", None), age=("x", 1))

    found = every.of_rows({"plan": "b", "country": "at"}, {"plan": texts, "x": numbers}, 4)

    at = {"country": "at"}
    assert [at | {"plan": "a", "age": "39"}, at | {"age": "0.1"}, at, at] == found
    truths = segments(age=("x", None)).of_rows({}, {"x": np.array([True, False])}, 2)
    assert [{"age": "true"}, {}] == truths
    doubles = segments(age=("x", None)).of_rows({}, {"x": np.array([123456789.5, 0.1])}, 2)
    assert [{"age": "123456789.5"}, {"age": "0.1"}] == doubles


@pytest.mark.parametrize(
    ("task", "output", "right", "wrong"),
    [
        (Binary(("no", "yes")), [0.9], "yes", "no"),
        (Multilabel(("a", "b")), [[0.1, 0.2]], [], ["a"]),
    ],
)
def test_right_is_what_is_neither_too_much_nor_too_little(
    task: Task, output: list[float], right: object, wrong: object
):
    every = segments(task)
    (values,) = task.pack(np.array(output, np.float32))
    for label, correct in ((right, "true"), (wrong, "false")):
        sums = Sums()
        count_label(task, values, task.parse(label), sums, age=1.0, delay=1.0)
        every.count_label({"country": "de"}, sums)

        assert 1 == sums.total("segment_labels_total", key="country", correct=correct, segment="de")
        assert 3 == sums.total("segment_labels_total", correct=correct)


def test_errors_are_added_and_tasks_without_have_none():
    task, sums = Regression(), Sums()
    count_label(task, 3.0, 5.0, sums, age=1.0, delay=1.0)
    segments(task).count_label({"country": "de"}, sums)
    with_errors, without = declared(task), declared(Ranking())
    segments(task).declare(with_errors)
    segments(Ranking()).declare(without)

    assert 2 == sums.total("segment_absolute_error_sum_total", key="country", segment="de")
    # Four values of age, two of the others, and what is none of them.
    assert 11 == series(with_errors)["segment_absolute_error_sum_total"]
    assert "segment_absolute_error_sum_total" not in series(without)


def test_value_that_is_declared_no_more_is_another():
    sums = Sums()
    segments().count_label({"country": "ch", "gone": "x"}, sums)

    assert 1 == sums.total("segment_labels_total", key="country", segment="__other__")
    assert 3 == sums.total("segment_labels_total")
