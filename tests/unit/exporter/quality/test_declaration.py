"""What may be declared of a model's predictions, and what is said of anything else."""

import json

import pytest

from exporter.quality.binary import Binary
from exporter.quality.declaration import Declaration, read_declaration
from exporter.quality.detection import Detection
from exporter.quality.errors import DeclarationError, LabelError
from exporter.quality.measured import Measured, measured_of
from exporter.quality.multiclass import Multiclass
from exporter.quality.multilabel import Multilabel
from exporter.quality.ranking import Ranking
from exporter.quality.regression import Regression
from exporter.quality.segmentation import Segmentation
from exporter.quality.tasks import make_task
from exporter.quality.translation import Translation


def declared(**members: object) -> Declaration:
    return read_declaration(json.dumps(members).encode())


def test_members_have_their_defaults():
    assert declared(task="binary") == Declaration(task="binary")
    found = declared(
        task="multiclass", output="probs", classes=["cat", "dog", "owl"], score_bins=["owl"],
        features={"x": ["age", "income"]}, scores="logits",
    )  # fmt: skip
    assert found.classes == ("cat", "dog", "owl")
    assert found.features == {"x": ("age", "income")}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"{", "no JSON"), (b"[]", "object"), (b"[" * 100_000, "no JSON"),
        (b'{"tsk": 1}', "'tsk' is not known"), (b'{"task": "ranker"}', "none of binary"),
        (b'{"task": ["binary"]}', "none of binary"), (b'{"scores": 1}', "none of probabilities"),
        (b'{"classes": []}', "1 to"), (b'{"classes": "ab"}', "list"),
        (b'{"classes": ["a", "a"]}', "twice"), (b'{"classes": ["__x"]}', "__"),
        (b'{"classes": ["a\\nb"]}', "control"), (b'{"classes": ["a\\ud800"]}', "control"),
        (b'{"classes": [""]}', "1 to 64"), (b'{"classes": [1]}', "1 to 64"),
        (b'{"threshold": true}', "number"), (b'{"threshold": NaN}', "number"),
        (b'{"threshold": 2}', "0 to 1"), (b'{"target_column": -1}', "whole"),
        (b'{"target_column": 1.0}', "whole"), (b'{"score_bins": ["x"]}', "none of the classes"),
        (b'{"positive_class": "x"}', "none of the classes"),
        (b'{"task": "binary", "classes": ["a", "b", "c"]}', "has 2"),
        (b'{"task": "multiclass", "classes": ["a", "b"]}', "3 or more"),
        (b'{"label_min": 2, "label_max": 1}', "not below"), (b'{"features": []}', "object"),
        (b'{"features": {"x": ["a"], "y": ["a"]}}', "once"),
        (b'{"task": "detection"}', "needs the names"),
        (b'{"task": "segmentation"}', "needs the names"),
        (b'{"task": "binary", "outputs": {"boxes": "b", "scores": "s", "classes": "c"}}', "for a"),
        (b'{"outputs": {"boxes": "b"}}', "boxes, scores, classes"), (b'{"outputs": "b"}', "object"),
        (b'{"outputs": {"boxes": "b", "scores": "s", "classes": 1}}', "outputs.classes"),
        (b'{"box_format": "xyz"}', "none of yxyx"), (b'{"score_threshold": -1}', "0 to 1"),
        (b'{"task": "detection", "classes": ["a"], "scores": "logits"}', "probabilities"),
        (b'{"segments": {"a": ["b"]}}', "no task"), (b'{"segments": {}}', "1 to 3"),
        (b'{"task": "binary", "segments": {"a": ["b,c"]}}', "comma"),
        (b'{"task": "binary", "segments": {"a": [" b"]}}', "blanks"),
        (b'{"task": "binary", "segments": {"a=b": ["c"]}}', "key"),
        (b'{"task": "binary", "segments": {"a": []}}', "1 to 20"),
        (b'{"task": "binary", "segment_columns": {"a": "x"}}', "none of the segments"),
        (b'{"ignore_index": -1}', "whole"), (b'{"tokenizer": "ja-mecab"}', "none of 13a"),
        (b'{"lowercase": 1}', "true or false"), (b'{"average_precision": "no"}', "true or false"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(text: bytes, expected: str):
    with pytest.raises(DeclarationError, match=expected):
        read_declaration(text)


@pytest.mark.parametrize(
    ("task", "shape", "kind"),
    [
        ("binary", [], Binary), ("binary", [1], Binary), ("binary", [2], Binary),
        ("multiclass", [3], Multiclass), ("multilabel", [2], Multilabel),
        ("regression", [], Regression), ("regression", [1], Regression),
        ("regression", [None], Regression), ("ranking", [9], Ranking),
        ("detection", [None, 6], Detection), ("detection", [300, 6], Detection),
        ("segmentation", [None, None], Segmentation), ("segmentation", [9, 9, 1], Segmentation),
        ("segmentation", [9, 9, 2], Segmentation), ("translation", [], Translation),
        ("translation", [1], Translation),
    ],
)  # fmt: skip
def test_task_is_made_of_a_shape_that_fits(task: str, shape: list[int | None], kind: type):
    members = {"classes": ["a", "b"]} if task in {"detection", "segmentation"} else {}
    assert isinstance(make_task(declared(task=task, **members), shape), kind)


@pytest.mark.parametrize(
    ("members", "shape", "expected"),
    [
        ({"task": "binary"}, [3], r"not \[n, 3\]"), ({"task": "multiclass"}, [2], "3 or more"),
        ({"task": "multiclass"}, [None], r"not \[n, \?\]"),
        ({"task": "multiclass", "classes": ["a", "b", "c"]}, [4], "3 names, the output has 4"),
        ({"task": "multilabel"}, [3, 2], r"not \[n, 3, 2\]"),
        ({"task": "regression", "target_column": 2}, [2], "no column 2"),
        ({"task": "ranking"}, [3, 2], r"not \[n, 3, 2\]"),
        ({"task": "detection", "classes": ["a"]}, [9, 4], r"it is \[n, 9, 4\]"),
        ({"task": "detection", "classes": ["a"]}, [25_200, 6], "suppressed"),
        ({"task": "segmentation", "classes": ["a", "b", "c"]}, [9, 9, 4], "3 names.* 4 classes"),
        ({"task": "segmentation", "classes": ["a"]}, [9, 9, 1], "1 names.* 2 classes"),
        ({"task": "segmentation", "classes": ["a"]}, [9], r"not \[n, 9\]"),
        ({"task": "translation"}, [2], r"not \[n, 2\]"),
    ],
)  # fmt: skip
def test_shape_that_contradicts_is_named(
    members: dict[str, object], shape: list[int | None], expected: str
):
    with pytest.raises(DeclarationError, match=expected):
        make_task(declared(**members), shape)


def test_no_task_takes_no_labels():
    with pytest.raises(LabelError, match="no task"):
        make_task(Declaration(), [3]).parse(1)


def measured(shape: tuple[int | None, ...], **members: object) -> Measured:
    return Measured(declared(**members), "serving_default", ("y",), shape)


def test_task_is_the_models_where_none_is_declared():
    text = json.dumps({"classes": ["a", "b"], "segments": {"k": ["v"]}}).encode()

    assert ("binary", "none") == (
        read_declaration(text, task="binary").task, declared(classes=["a"]).task
    )  # fmt: skip


def test_default_of_ignored_pixels_must_not_be_a_class():
    classes = [str(number) for number in range(256)]
    with pytest.raises(DeclarationError, match="255 is the number of a class"):
        declared(task="segmentation", classes=classes)

    assert 256 == declared(task="segmentation", classes=classes, ignore_index=256).ignore_index


def test_outputs_of_boxes_cross_a_socket_unchanged():
    parts = {"boxes": "b", "scores": "s", "classes": "c"}
    declaration = declared(task="detection", classes=["a"], outputs=parts)
    before = Measured(declaration, "serving_default", ("b", "s", "c"), (None, 6))

    after = measured_of(json.loads(json.dumps(before.as_json())))

    assert (before, before.digest, before.outputs) == (after, after.digest, after.outputs)


def test_digest_differs_where_tokens_mean_something_else():
    digests = {
        measured(shape, **members).digest
        for shape, members in (
            ((), {"task": "binary"}),
            ((), {"task": "regression"}),
            ((), {"task": "binary", "classes": ["a", "b"]}),
            ((), {"task": "binary", "classes": ["b", "a"]}),
            ((), {"task": "binary", "classes": ["a", "b"], "positive_class": "a"}),
            ((3,), {"task": "multiclass"}),
            ((4,), {"task": "multiclass"}),
            ((9, 6), {"task": "detection", "classes": ["a"]}),
            ((9, 6), {"task": "detection", "classes": ["a"], "box_format": "xyxy"}),
            ((9, 6), {"task": "detection", "classes": ["a"], "score_threshold": 0.6}),
        )
    }

    assert len(digests) == 10
    assert measured((), task="binary").digest == measured((1,), task="binary").digest


def test_what_is_measured_crosses_a_socket_unchanged():
    before = measured(
        (3,), task="multiclass", classes=["a", "b", "c"], score_bins=["a"], features={"x": ["p"]}
    )

    after = measured_of(json.loads(json.dumps(before.as_json())))

    assert (before, before.digest) == (after, after.digest)
