"""What a model's predictions are: `quality.json` beside the model, checked member by member."""

import json
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from exporter.quality.boxes import BOX_PARTS, FORMATS
from exporter.quality.errors import DeclarationError
from exporter.quality.segments import MOST_KEYS, MOST_VALUES

TASKS = (
    "binary", "multiclass", "multilabel", "regression", "ranking", "detection", "segmentation",
    "translation", "none",
)  # fmt: skip
GAINS = ("linear", "exponential")
SCORES = ("probabilities", "logits")
# Those of sacrebleu that need no model and no dictionary.
TOKENIZERS = ("13a", "intl", "zh", "char", "none")
TOP, NO_BINS = "top", "none"
# What pixels of which nothing is known are usually labelled.
IGNORED = 255
MOST_CLASSES, LONGEST_NAME, MOST_BINNED, MOST_COLUMNS = 100_000, 64, 8, 50
LARGEST_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class Declaration:
    """A model's task and how its outputs are to be read.

    Empty `signature` and `output` are the default signature and its only output. `features` names
    the columns of inputs. `score_bins` is `top`, `none`, or the names of classes. `outputs` are
    those that have a detection's boxes, scores and classes. `segments` are keys and their values,
    `segment_columns` the features that some of the keys are read from.
    """

    task: str = "none"
    signature: str = ""
    output: str = ""
    scores: str = "probabilities"
    classes: tuple[str, ...] = ()
    positive_class: str = ""
    threshold: float = 0.5
    score_bins: str | tuple[str, ...] = TOP
    features: Mapping[str, tuple[str, ...]] | None = None
    label_min: float | None = None
    label_max: float | None = None
    target_column: int = 0
    gain: str = "linear"
    outputs: Mapping[str, str] | None = None
    score_threshold: float = 0.5
    box_format: str = "yxyx"
    average_precision: bool = False
    ignore_index: int = IGNORED
    tokenizer: str = "13a"
    lowercase: bool = False
    segments: Mapping[str, tuple[str, ...]] | None = None
    segment_columns: Mapping[str, str] | None = None


def read_declaration(text: bytes, *, task: str = "none") -> Declaration:
    """Return what a `quality.json` declares; `task` is what the model tells by itself.

    Raises DeclarationError naming the member that is wrong and what it is to be.
    """
    if len(text) > LARGEST_BYTES:
        raise DeclarationError(f"more than {LARGEST_BYTES} bytes")
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DeclarationError(f"no JSON: {error}") from None
    if not isinstance(content, dict):
        raise DeclarationError("a JSON object is expected")
    unknown = content.keys() - _MEMBERS.keys()
    if unknown:
        known = ", ".join(_MEMBERS)
        raise DeclarationError(f"{min(unknown)!r} is not known; there are {known}")
    members = {"task": task} | content
    found = Declaration(**{name: _MEMBERS[name](name, value) for name, value in members.items()})
    _check_together(found)
    return found


def _check_together(found: Declaration) -> None:
    """Raise DeclarationError where members contradict each other."""
    _check_classes(found)
    if found.outputs is not None and (found.output or found.task != "detection"):
        raise DeclarationError("outputs: is for a detection, and in place of output")
    if found.segments is not None and found.task == "none":
        raise DeclarationError("segments: the model has no task; declare it beside them")
    if found.scores == "logits" and found.task == "detection":
        raise DeclarationError("scores: those of boxes are to be probabilities")
    least, most = found.label_min, found.label_max
    if least is not None and most is not None and least >= most:
        raise DeclarationError(f"label_min: {least:g} is not below label_max, {most:g}")
    for key in found.segment_columns or {}:
        if key not in (found.segments or {}):
            raise DeclarationError(f"segment_columns: {key!r} is none of the segments' keys")


def _check_classes(found: Declaration) -> None:
    if found.task == "binary" and len(found.classes) not in {0, 2}:
        raise DeclarationError(f"classes: a binary task has 2, not {len(found.classes)}")
    if found.task == "multiclass" and 0 < len(found.classes) < 3:  # noqa: PLR2004
        raise DeclarationError("classes: a multiclass task has 3 or more; two are binary")
    if found.task in {"detection", "segmentation"} and not found.classes:
        raise DeclarationError(f"classes: a {found.task} task needs the names of its classes")
    if found.task == "segmentation" and found.ignore_index == IGNORED < len(found.classes):
        raise DeclarationError(f"ignore_index: {IGNORED} is the number of a class; declare another")
    if found.positive_class and found.positive_class not in found.classes:
        raise DeclarationError(f"positive_class: {found.positive_class!r} is none of the classes")
    for name in found.score_bins if isinstance(found.score_bins, tuple) else ():
        if name not in found.classes:
            raise DeclarationError(f"score_bins: {name!r} is none of the classes")


def _one_of(*choices: str) -> Callable[[str, object], str]:
    def checked(name: str, value: object) -> str:
        if not isinstance(value, str) or value not in choices:
            raise DeclarationError(f"{name}: {value!r} is none of {', '.join(choices)}")
        return value

    return checked


def _name(name: str, value: object) -> str:
    """Check what becomes a label value or names a part of the model."""
    if not isinstance(value, str) or not 1 <= len(value) <= LONGEST_NAME:
        raise DeclarationError(
            f"{name}: {value!r:.80} is no text of 1 to {LONGEST_NAME} characters"
        )
    if any(unicodedata.category(each) in {"Cc", "Cs"} for each in value) or value.startswith("__"):
        raise DeclarationError(f"{name}: {value!r:.80} has control characters, or begins with __")
    return value


def _names(most: int) -> Callable[[str, object], tuple[str, ...]]:
    def checked(name: str, value: object) -> tuple[str, ...]:
        if not isinstance(value, list) or not 1 <= len(value) <= most:
            raise DeclarationError(f"{name}: a list of 1 to {most} names is expected")
        found = tuple(_name(name, each) for each in value)
        if len(set(found)) < len(found):
            raise DeclarationError(f"{name}: a name stands there twice")
        return found

    return checked


def _number(least: float, most: float) -> Callable[[str, object], float]:
    def checked(name: str, value: object) -> float:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not least <= value <= most:  # type: ignore[operator]
            raise DeclarationError(f"{name}: a number from {least:g} to {most:g} is expected")
        return float(value)  # type: ignore[arg-type]

    return checked


def _place(name: str, value: object) -> int:
    if type(value) is not int or not 0 <= value < MOST_CLASSES:
        raise DeclarationError(f"{name}: a whole number from 0 to {MOST_CLASSES - 1} is expected")
    return value


def _flag(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise DeclarationError(f"{name}: true or false is expected")
    return value


def _outputs(name: str, value: object) -> dict[str, str]:
    if not isinstance(value, dict) or value.keys() != set(BOX_PARTS):
        raise DeclarationError(f"{name}: an object of {', '.join(BOX_PARTS)} is expected")
    return {part: _name(f"{name}.{part}", value[part]) for part in BOX_PARTS}


def _score_bins(name: str, value: object) -> str | tuple[str, ...]:
    if isinstance(value, str):
        return _one_of(TOP, NO_BINS)(name, value)
    return _names(MOST_BINNED)(name, value)


def _features(name: str, value: object) -> dict[str, tuple[str, ...]]:
    if not isinstance(value, dict):
        raise DeclarationError(f"{name}: an object of inputs and their column names is expected")
    found = {each: _names(MOST_COLUMNS)(f"{name}.{each}", names) for each, names in value.items()}
    columns = [column for names in found.values() for column in names]
    if len(columns) > MOST_COLUMNS or len(set(columns)) < len(columns):
        raise DeclarationError(f"{name}: at most {MOST_COLUMNS} columns in all, each name once")
    return found


def _segments(name: str, value: object) -> dict[str, tuple[str, ...]]:
    if not isinstance(value, dict) or not 1 <= len(value) <= MOST_KEYS:
        raise DeclarationError(f"{name}: an object of 1 to {MOST_KEYS} keys is expected")
    names = _names(MOST_VALUES)
    found = {_name(name, key): names(f"{name}.{key}", values) for key, values in value.items()}
    for text in (*found, *(text for values in found.values() for text in values)):
        # As a header carries them: key=value, and several by commas.
        if "," in text or text != text.strip() or (text in found and "=" in text):
            raise DeclarationError(f"{name}: {text!r} has a comma, or blanks at an end, or a key =")
    return found


def _segment_columns(name: str, value: object) -> dict[str, str]:
    if not isinstance(value, dict):
        raise DeclarationError(f"{name}: an object of keys and features is expected")
    return {key: _name(f"{name}.{key}", feature) for key, feature in value.items()}


_FURTHEST = 1e15
_MEMBERS: dict[str, Callable[[str, object], Any]] = {
    "task": _one_of(*TASKS),
    "signature": _name,
    "output": _name,
    "scores": _one_of(*SCORES),
    "classes": _names(MOST_CLASSES),
    "positive_class": _name,
    "threshold": _number(0, 1),
    "score_bins": _score_bins,
    "features": _features,
    "label_min": _number(-_FURTHEST, _FURTHEST),
    "label_max": _number(-_FURTHEST, _FURTHEST),
    "target_column": _place,
    "gain": _one_of(*GAINS),
    "outputs": _outputs,
    "score_threshold": _number(0, 1),
    "box_format": _one_of(*FORMATS),
    "average_precision": _flag,
    "ignore_index": _place,
    "tokenizer": _one_of(*TOKENIZERS),
    "lowercase": _flag,
    "segments": _segments,
    "segment_columns": _segment_columns,
}
assert _MEMBERS.keys() == {each.name for each in fields(Declaration)}
