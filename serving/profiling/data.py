"""Rows of training data out of files of rows, or of arrays of NumPy."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import numpy as np

from serving.errors import DataError
from serving.model import NUMPY_DTYPES, Signature, TensorSpec
from serving.row_files import Row, rows_of

SEED = 1


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
        raise DataError(f'{file}: there is no column "{label}"; there are {", ".join(columns)}')
    labels = None if label is None else [row[label] for row in rows]
    chosen = _columns_of_inputs(signature, names, columns, file)
    inputs = {
        spec.name: _tensor(spec, [[row[name] for name in chosen[spec.name]] for row in rows], file)
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
        array = np.array([[_number(value, spec, file) for value in row] for row in rows]).astype(
            NUMPY_DTYPES[spec.datatype]
        )
    return array.reshape(len(rows)) if expected == () else array


def _number(value: Any, spec: TensorSpec, file: Path) -> float | int:
    if value in (None, ""):
        if spec.datatype.startswith("FP"):
            return float("nan")
        raise DataError(f'{file}: a value of input "{spec.name}" is missing')
    try:
        return float(value) if spec.datatype.startswith("FP") else int(value)
    except (TypeError, ValueError):
        raise DataError(f'{file}: "{str(value)[:64]}" is no {spec.datatype}') from None


def _of_arrays(file: Path, signature: Signature, *, label: str | None, most_rows: int) -> Data:
    try:
        with np.load(file, allow_pickle=False) as found:
            arrays = {name: found[name] for name in found.files}
    except (OSError, ValueError) as error:
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
    return array.astype(NUMPY_DTYPES[spec.datatype])


def _plain(label: np.ndarray) -> object:
    """Return an array's element as JSON has it; a row of 0 and 1 as the places of the ones."""
    if label.ndim:
        return [int(place) for place in np.flatnonzero(label)]
    return label.item()
