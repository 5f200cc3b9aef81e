"""The tasks there are: how each is made of a declaration, and of the shape of its output."""

from collections.abc import Callable, Sequence

from exporter.quality.binary import Binary
from exporter.quality.boxes import BOX_COLUMNS, MOST_BOXES
from exporter.quality.declaration import NO_BINS, TOP, Declaration
from exporter.quality.detection import Detection
from exporter.quality.errors import DeclarationError
from exporter.quality.multiclass import TOP as TOP_CLASS
from exporter.quality.multiclass import Multiclass
from exporter.quality.multilabel import Multilabel
from exporter.quality.ranking import Ranking
from exporter.quality.regression import FURTHEST, Regression
from exporter.quality.rows import Rows
from exporter.quality.segmentation import Segmentation
from exporter.quality.task import Task

TWO = 2
# Of an image's ids, and of its scores.
PLANE, DEEP = 2, 3

# An output's shape without the rows; None is a dimension that is not known.
Shape = Sequence[int | None]


def make_task(declaration: Declaration, shape: Shape, target_mean: float = 0.0) -> Task:
    """Return the task of a declaration; `target_mean` is that of a regression's labels.

    Raises DeclarationError when the output's shape contradicts it.
    """
    if declaration.task == "regression":
        return _regression(declaration, shape, target_mean)
    return TASKS[declaration.task](declaration, shape)


def _binary(declaration: Declaration, shape: Shape) -> Task:
    if len(shape) > 1 or _columns(shape, 1) not in {1, TWO}:
        raise DeclarationError(
            f"a binary task's output is [n], [n, 1] or [n, 2], not {_text(shape)}"
        )
    return Binary(
        declaration.classes or ("0", "1"),
        positive=declaration.positive_class,
        threshold=declaration.threshold,
        are_logits=declaration.scores == "logits",
        is_binned=declaration.score_bins != NO_BINS,
    )


def _multiclass(declaration: Declaration, shape: Shape) -> Task:
    names = _class_names(declaration, shape, least=TWO + 1)
    binned = {TOP: (TOP_CLASS,), NO_BINS: ()}.get(str(declaration.score_bins))
    return Multiclass(
        names,
        are_logits=declaration.scores == "logits",
        binned=(TOP_CLASS, *declaration.score_bins) if binned is None else binned,
    )


def _multilabel(declaration: Declaration, shape: Shape) -> Task:
    bins = declaration.score_bins
    return Multilabel(
        _class_names(declaration, shape, least=TWO),
        threshold=declaration.threshold,
        are_logits=declaration.scores == "logits",
        binned=bins if isinstance(bins, tuple) else (),
    )


def _regression(declaration: Declaration, shape: Shape, target_mean: float) -> Task:
    column, columns = declaration.target_column, _columns(shape, 1)
    if len(shape) > 1 or (columns is not None and column >= columns):
        raise DeclarationError(f"a regression's output {_text(shape)} has no column {column}")
    least, most = declaration.label_min, declaration.label_max
    return Regression(
        label_min=-FURTHEST if least is None else least,
        label_max=FURTHEST if most is None else most,
        target_mean=target_mean,
        column=column,
    )


def _ranking(declaration: Declaration, shape: Shape) -> Task:
    if len(shape) != 1:
        raise DeclarationError(f"a ranking's output is [n, items], not {_text(shape)}")
    return Ranking(gain=declaration.gain)


def _detection(declaration: Declaration, shape: Shape) -> Task:
    """`shape` is that of the one output, or of what `joined` makes of three."""
    if len(shape) != TWO or shape[1] != BOX_COLUMNS:
        raise DeclarationError(
            "a detection's output is [n, boxes, 6]: four numbers, a score and a class, or three"
            f" outputs are to be named as outputs; it is {_text(shape)}"
        )
    if (shape[0] or 0) > MOST_BOXES:
        raise DeclarationError(
            f"{shape[0]} boxes; up to {MOST_BOXES} can be judged: are they suppressed?"
        )
    return Detection(
        declaration.classes,
        threshold=declaration.score_threshold,
        box_format=declaration.box_format,
        outputs=tuple((declaration.outputs or {"": declaration.output}).values()),
        is_binned=declaration.average_precision,
    )


def _segmentation(declaration: Declaration, shape: Shape) -> Task:
    if len(shape) not in {PLANE, DEEP}:
        raise DeclarationError(
            "a segmentation's output is [n, H, W], [n, H, W, K] or [n, H, W, 1],"
            f" not {_text(shape)}"
        )
    depth = shape[PLANE] if len(shape) == DEEP else len(declaration.classes)
    classes = TWO if depth == 1 else depth
    if classes != len(declaration.classes):
        raise DeclarationError(
            f"classes: {len(declaration.classes)} names, the output tells {classes} classes"
        )
    return Segmentation(
        declaration.classes,
        threshold=declaration.threshold,
        are_logits=declaration.scores == "logits",
        ignored=declaration.ignore_index,
    )


def _translation(declaration: Declaration, shape: Shape) -> Task:
    if tuple(shape) not in {(), (1,), (None,)}:
        raise DeclarationError(f"a translation's output is [n] or [n, 1], not {_text(shape)}")
    try:
        # An extra: who translates nothing need not have it.
        from exporter.quality.translation import Translation  # noqa: PLC0415
    except ImportError as error:
        raise DeclarationError(
            f"a translation task needs the extra inferometer[translation]: {error}"
        ) from error
    return Translation(tokenizer=declaration.tokenizer, lowercase=declaration.lowercase)


TASKS: dict[str, Callable[[Declaration, Shape], Task]] = {
    "binary": _binary,
    "multiclass": _multiclass,
    "multilabel": _multilabel,
    "ranking": _ranking,
    "detection": _detection,
    "segmentation": _segmentation,
    "translation": _translation,
    "none": lambda _declaration, _shape: Rows(),
}


def _class_names(declaration: Declaration, shape: Shape, *, least: int) -> tuple[str, ...]:
    columns = _columns(shape, None)
    if len(shape) != 1 or columns is None or columns < least:
        raise DeclarationError(
            f"a {declaration.task} task's output is [n, K] with K of {least} or more,"
            f" not {_text(shape)}"
        )
    names = declaration.classes or tuple(map(str, range(columns)))
    if len(names) != columns:
        raise DeclarationError(f"classes: {len(names)} names, the output has {columns} columns")
    return names


def _columns(shape: Shape, without: int | None) -> int | None:
    return shape[0] if shape else without


def _text(shape: Shape) -> str:
    return "[" + ", ".join(["n", *("?" if each is None else str(each) for each in shape)]) + "]"
