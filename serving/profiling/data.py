"""Rows of training data out of files of rows, or of arrays of NumPy."""

import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import numpy as np

from serving.errors import DataError
from serving.model import NUMPY_DTYPES, Signature, TensorSpec
from serving.row_files import Row, rows_of

SEED = 1
MOST_SHOWN = 200
TRUTHS = {"true": 1, "false": 0}


class Data(NamedTuple):
    """Inputs by name, first dimension rows, and the rows' labels; None where there are none."""

    inputs: dict[str, np.ndarray]
    labels: list[object] | None


def read_data(
    file: Path,
    signature: Signature,
    *,
    names: Mapping[str, Sequence[str]],
    label: str | None,
    most_rows: int,
) -> Data:
    """Return at most so many rows of a file, chosen at random where there are more.

    `names` are the columns of some inputs; `label` is the column, or array, of labels.
    Raises DataError.
    """
    if file.suffix == ".npz":
        return _of_arrays(file, signature, label=label, most_rows=most_rows)
    rows = _sample(rows_of(file), most_rows)
    if not rows:
        raise DataError(f"{file}: there are no rows")
    columns = [name for name in rows[0] if name != label]
    if label is not None and label not in rows[0]:
        there = ", ".join(columns)[:MOST_SHOWN]
        raise DataError(f'{file}: there is no column "{label}"; there are {there}')
    labels = None if label is None else [_of_row(row, label, file) for row in rows]
    chosen = _columns_of_inputs(signature, names, columns, file)
    inputs = {
        spec.name: _tensor(
            spec, [[_of_row(row, name, file) for name in chosen[spec.name]] for row in rows], file
        )
        for spec in signature.inputs
    }
    return Data(inputs, labels)


def _sample(rows: Iterator[Row], most: int) -> list[Row]:
    """Return so many rows, each as likely as any other (Vitter's algorithm R)."""
    random = Random(SEED)  # noqa: S311 - the same rows each time
    kept: list[Row] = []
    for number, row in enumerate(rows):
        if number < most:
            kept.append(row)
        else:
            place = random.randrange(number + 1)
            if place < most:
                kept[place] = row
    return kept


def _columns_of_inputs(
    signature: Signature, names: Mapping[str, Sequence[str]], columns: Sequence[str], file: Path
) -> dict[str, list[str]]:
    """Return the columns that make each input: by their names, or all of them in their order."""
    found = {}
    for spec in signature.inputs:
        declared = names.get(spec.name)
        if declared is not None:
            found[spec.name] = list(declared)
        elif spec.name in columns and spec.row_shape in {(), (1,)}:
            found[spec.name] = [spec.name]
        elif len(signature.inputs) == 1:
            found[spec.name] = list(columns)
        else:
            raise DataError(
                f'{file}: no column "{spec.name}"; quality.json names the columns of an input'
                ' under "features"'
            )
    missing = [name for chosen in found.values() for name in chosen if name not in columns]
    if missing:
        raise DataError(f'{file}: there is no column "{missing[0]}"')
    return found


def _tensor(spec: TensorSpec, rows: list[list[Any]], file: Path) -> np.ndarray:
    """Return an input; an empty value is no number, and an empty text."""
    width = len(rows[0])
    expected = spec.row_shape
    if expected is None or len(expected) > 1 or (expected and expected[0] not in {-1, width}):
        raise DataError(
            f'{file}: {width} columns for input "{spec.name}", of which a row has the shape'
            f" {list(expected or ())}"
        )
    array: np.ndarray
    if spec.datatype == "BYTES":
        array = np.empty((len(rows), width), object)
        for place, row in enumerate(rows):
            array[place] = [("" if value is None else str(value)).encode() for value in row]
    else:
        numbers = [[_number(value, spec, file) for value in row] for row in rows]
        array = _fitted(spec, np.array(numbers, dtype=_wide(spec)), file)
    return array.reshape(len(rows)) if expected == () else array


def _of_row(row: Row, name: str, file: Path) -> Any:
    if name not in row:
        raise DataError(f'{file}: a row has no "{name}"')
    return row[name]


def _number(value: Any, spec: TensorSpec, file: Path) -> float | int:
    if value in (None, ""):
        if spec.datatype.startswith("FP"):
            return float("nan")
        raise DataError(f'{file}: a value of input "{spec.name}" is missing')
    text = str(value).lower()
    if spec.datatype == "BOOL" and text in TRUTHS:
        return TRUTHS[text]
    try:
        if spec.datatype.startswith("FP"):
            return float(value)
        # As whole numbers where they are such: a float would not hold all of them.
        return int(text) if text.lstrip("+-").isdecimal() else _whole(float(text))
    except (TypeError, ValueError, OverflowError):
        raise DataError(f'{file}: "{text[:64]}" is no {spec.datatype}') from None


def _whole(number: float) -> int:
    if number != int(number):
        raise ValueError
    return int(number)


def _wide(spec: TensorSpec) -> np.dtype:
    """Return a type that holds any value of a file, to be looked at before it is cast."""
    return np.dtype(np.float64 if spec.datatype.startswith("FP") else object)


def _fitted(spec: TensorSpec, array: np.ndarray, file: Path) -> np.ndarray:
    """Return numbers in an input's own type. Raises DataError for those that do not fit it."""
    dtype = NUMPY_DTYPES.get(spec.datatype)
    if dtype is None:
        raise DataError(f'{file}: input "{spec.name}" is {spec.datatype}, which cannot be read')
    if dtype.kind in "iub":
        low, high = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
        for one in array.reshape(-1).tolist():
            if not low <= one <= high or one != int(one):
                raise DataError(f'{file}: {one} is no {spec.datatype} of input "{spec.name}"')
    with np.errstate(over="ignore"):
        return array.astype(dtype)


def _of_arrays(file: Path, signature: Signature, *, label: str | None, most_rows: int) -> Data:
    try:
        with np.load(file, allow_pickle=False) as found:
            arrays = {name: found[name] for name in found.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise DataError(f"{file}: {error}") from error
    wanted = [spec.name for spec in signature.inputs] + ([label] if label else [])
    missing = [name for name in wanted if name not in arrays]
    if missing:
        there = ", ".join(sorted(arrays))
        raise DataError(f'{file}: there is no array "{missing[0]}"; there are {there}')
    rows = {len(arrays[name]) if arrays[name].ndim else -1 for name in wanted}
    if len(rows) != 1 or min(rows) < 1:
        raise DataError(f"{file}: the arrays have no rows, or not as many as each other")
    (count,) = rows
    chosen = np.arange(count)
    if count > most_rows:
        chosen = np.sort(np.random.default_rng(SEED).choice(count, most_rows, replace=False))
    inputs = {spec.name: _cast(spec, arrays[spec.name][chosen], file) for spec in signature.inputs}
    labels = None if label is None else [_plain(one) for one in arrays[label][chosen]]
    return Data(inputs, labels)


def _cast(spec: TensorSpec, array: np.ndarray, file: Path) -> np.ndarray:
    expected = spec.row_shape
    fits = expected is None or (
        len(expected) == array.ndim - 1
        and all(size in {-1, found} for size, found in zip(expected, array.shape[1:], strict=True))
    )
    if not fits:
        raise DataError(
            f'{file}: "{spec.name}" has rows of {list(array.shape[1:])}, the model takes'
            f" {list(expected or ())}"
        )
    if spec.datatype == "BYTES":
        texts = np.empty(array.size, object)
        for place, text in enumerate(array.reshape(-1).tolist()):
            texts[place] = text if isinstance(text, bytes) else str(text).encode()
        return texts.reshape(array.shape)
    if array.dtype.kind not in "fiub":
        raise DataError(f'{file}: "{spec.name}" has no numbers')
    return _fitted(spec, array, file)


def _plain(label: np.ndarray) -> object:
    """Return an array's element as JSON has it; a row of 0 and 1 as the places of the ones."""
    if label.ndim:
        return [int(place) for place in np.flatnonzero(label)]
    return label.item()
