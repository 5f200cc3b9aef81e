"""Which features a model's inputs have: a column each, or summaries where there are too many."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.quality.errors import DeclarationError

MOST_COLUMNS = 50
SUMMARIES = ("mean", "std", "zero_share")
LENGTH = "length"
# As a model computes with them; whole numbers and truths are exact as float64.
DTYPES = {"FP16": "float16", "FP32": "float32"}
TEXT = "BYTES"

Inputs = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class InputSpec:
    """An input: its name, its datatype as the Open Inference Protocol names it, a row's shape.

    None is a dimension, or a whole shape, that is not known.
    """

    name: str
    datatype: str
    row_shape: tuple[int | None, ...] | None


@dataclass(frozen=True, slots=True)
class Column:
    """A feature: of which input, which place in a row, or which summary of the row.

    `dtype` is that of its numbers, empty for texts.
    """

    name: str
    input: str
    place: int | None
    summary: str
    dtype: str

    def of(self, inputs: Inputs) -> NDArray[Any]:
        """Return the feature's column [n] of a batch."""
        rows = inputs[self.input]
        if self.summary == LENGTH:
            texts = rows if self.place is None else rows[:, self.place]
            return np.array([len(text) for text in texts], dtype=np.float64)
        if self.summary:
            return _summary(self.summary, rows.reshape(len(rows), -1)).astype(self.dtype)
        return rows if self.place is None else rows[:, self.place]


def columns_of(
    inputs: Sequence[InputSpec], names: Mapping[str, Sequence[str]] | None = None
) -> tuple[Column, ...]:
    """Return the features of inputs; `names` are those of the columns of some inputs.

    Raises DeclarationError for names that do not fit an input.
    """
    names = names or {}
    unknown = names.keys() - {spec.name for spec in inputs}
    if unknown:
        raise DeclarationError(f'features: there is no input "{min(unknown)}"')
    found: list[Column] = []
    for spec in inputs:
        found += _columns(spec, names.get(spec.name), MOST_COLUMNS - len(found))
    return tuple(found[:MOST_COLUMNS])


def _columns(spec: InputSpec, names: Sequence[str] | None, room: int) -> list[Column]:
    shape, is_text = spec.row_shape, spec.datatype == TEXT
    dtype = "" if is_text else DTYPES.get(spec.datatype, "float64")
    width = 1 if shape == () else shape[0] if shape is not None and len(shape) == 1 else None
    if names is not None and len(names) != width:
        raise DeclarationError(
            f'features: {len(names)} names, a row of "{spec.name}" has {width or "no"} columns'
        )
    if width is not None and (names is not None or width <= room):
        if shape == ():
            return [Column((names or [spec.name])[0], spec.name, None, "", dtype)]
        found = names or [f"{spec.name}[{place}]" for place in range(width)]
        return [Column(name, spec.name, place, "", dtype) for place, name in enumerate(found)]
    if is_text or spec.datatype == "BF16":
        return []
    return [
        Column(f"{spec.name}:{summary}", spec.name, None, summary, "float64")
        for summary in SUMMARIES
    ]


def _summary(summary: str, flat: NDArray[Any]) -> NDArray[np.float64]:
    """Return a number for each row of [n, m]; NaN for rows without numbers."""
    if not flat.shape[1]:
        return np.full(len(flat), np.nan)
    if summary == "zero_share":
        return np.asarray((flat == 0).mean(axis=1))
    with np.errstate(over="ignore", invalid="ignore"):
        make = flat.mean if summary == "mean" else flat.std
        return np.asarray(make(axis=1, dtype=np.float64))
