"""JSON values to numpy arrays, one dtype at a time, by rules stricter than numpy's.

numpy alone makes 1.0 of `"1"` and `true`, NaN of null, 1 of 1.7 and infinity of 1e39. Valid data
costs a check of the set of types and one call of numpy; only what fails is walked through.
"""

import binascii
import math
import sys
from typing import NamedTuple, cast

import numpy as np

from serving.codecs.json_text import InexactInteger
from serving.codecs.nesting import Place, flatten, indices_of, list_beside_leaf
from serving.errors import InvalidInput, NotOffered
from serving.model import NUMPY_DTYPES, TensorSpec
from serving.quoting import kind_of, shown, shown_shape

FLOATS = frozenset({"FP16", "FP32", "FP64"})
INTEGERS = frozenset(datatype for datatype, dtype in NUMPY_DTYPES.items() if dtype.kind in "iu")

_ALLOWED_TYPES: dict[str, frozenset[type]] = {
    "BOOL": frozenset({bool}),
    "BYTES": frozenset({str, dict}),
    **dict.fromkeys(FLOATS, frozenset({float, int})),
    **dict.fromkeys(INTEGERS, frozenset({int})),
}

# From here on orjson reads integers as floats, or the dtype ends.
_INEXACT_FROM = 2.0**63

_NOT_BASE64 = 'not standard base64 (no "data:" prefix; + and /)'


class FlatValues(NamedTuple):
    """The leaves of one input in row-major order, and the shape and place they were found in."""

    values: list[object]
    shape: tuple[int, ...]
    place: Place

    def name_of(self, position: int) -> str:
        """Return what the element at a position is called in messages."""
        return self.place.at(indices_of(position, self.shape))


def rows_to_array(rows: list[object], spec: TensorSpec, *, place: Place) -> np.ndarray:
    """Return a list of rows as an array; every row has the row shape of `spec`."""
    require_json_input(spec)
    values, shape = flatten(rows, place)
    shape = _padded(shape, spec)
    if spec.row_shape is not None and not _fits(shape[1:], spec.row_shape):
        _refuse_base64(values, spec)
        raise _wrong_row(shape[1:], spec, place)
    if spec.shape is not None and spec.shape[0] not in (-1, len(rows)):
        raise InvalidInput(
            f'{len(rows)} row{"" if len(rows) == 1 else "s"}, but input "{spec.name}" takes exactly'
            f" {spec.shape[0]} ({shown_shape(spec.shape)})"
        )
    return to_array(FlatValues(values, shape, place), spec).reshape(shape)


def column_to_array(value: object, spec: TensorSpec, *, place: Place) -> np.ndarray:
    """Return a whole tensor, its first dimension the rows, as an array of the shape of `spec`."""
    require_json_input(spec)
    if isinstance(value, list):
        values, shape = flatten(value, place)
    else:
        values, shape = [value], ()
    shape = _padded(shape, spec)
    if not shape or (spec.shape is not None and not _fits(shape, spec.shape)):
        _refuse_base64(values, spec)
        raise wrong_shape(shape, spec, place.at(()))
    return to_array(FlatValues(values, shape, place), spec).reshape(shape)


def to_array(flat: FlatValues, spec: TensorSpec) -> np.ndarray:
    """Return flat values as a one-dimensional array of the datatype of `spec`.

    Raises InvalidInput naming the first value that is of another type or does not fit.
    """
    datatype = spec.datatype
    if not _ALLOWED_TYPES[datatype].issuperset(map(type, flat.values)):
        raise _type_fault(flat, spec)
    if datatype in FLOATS:
        return _floats(flat, spec)
    if datatype == "BYTES":
        return _strings(flat, spec)
    try:
        return np.array(flat.values, NUMPY_DTYPES[datatype])
    except OverflowError:
        raise _does_not_fit(flat, _first_beyond(flat.values, datatype), spec) from None


def require_json_input(spec: TensorSpec) -> None:
    """Raise where an input cannot be sent as JSON rows, whatever the values."""
    if spec.datatype == "BF16":
        raise InvalidInput(f'input "{spec.name}" is BF16, which JSON cannot carry')
    if spec.datatype not in NUMPY_DTYPES:
        raise NotOffered(f'input "{spec.name}" is {spec.datatype}, which is not offered here')
    if spec.shape == ():
        raise NotOffered(f'input "{spec.name}" has no batch dimension, which is not offered here')


def wrong_shape(shape: tuple[int, ...], spec: TensorSpec, place: str) -> InvalidInput:
    """Return the error for a whole tensor of the wrong shape."""
    expected = (-1,) if spec.shape is None else spec.shape
    hint = "; send a list of rows" if shape == expected[1:] else ""
    return InvalidInput(
        f'{place}: expected shape {shown_shape(expected)} ({spec.datatype}, input "{spec.name}"),'
        f" got {shown_shape(shape)}{hint}"
    )


def shape_fits(shape: tuple[int, ...], spec: TensorSpec) -> bool:
    """Return whether a whole tensor's shape, its rows included, is one that `spec` takes."""
    return _fits(shape, spec.shape) if spec.shape is not None else len(shape) > 0


def _fits(shape: tuple[int, ...], expected: tuple[int, ...]) -> bool:
    return len(shape) == len(expected) and all(
        size in (-1, found) for found, size in zip(shape, expected, strict=True)
    )


def _padded(shape: tuple[int, ...], spec: TensorSpec) -> tuple[int, ...]:
    """Complete the shape of an empty tensor: JSON cannot show what is inside an empty list."""
    if spec.shape is None or 0 not in shape or len(shape) >= len(spec.shape):
        return shape
    return shape + tuple(max(size, 0) for size in spec.shape[len(shape) :])


def _wrong_row(shape: tuple[int, ...], spec: TensorSpec, place: Place) -> InvalidInput:
    expected = spec.row_shape or ()
    has_batch_dimension = shape[:1] == (1,) and _fits(shape[1:], expected)
    hint = "; send each row without the batch dimension" if has_batch_dimension else ""
    return InvalidInput(
        f"{place.at((0,))}: expected shape {shown_shape(expected)}"
        f' ({spec.datatype}, input "{spec.name}"), got {shown_shape(shape)}{hint}'
    )


def _floats(flat: FlatValues, spec: TensorSpec) -> np.ndarray:
    try:
        wide = np.array(flat.values, np.float64)
    except OverflowError:
        raise _does_not_fit(flat, _first_beyond_double(flat.values), spec) from None
    if spec.datatype == "FP64":
        return wide
    with np.errstate(over="ignore"):
        array = wide.astype(NUMPY_DTYPES[spec.datatype])
    if not np.isfinite(array).all():
        overflown = np.flatnonzero(np.isinf(array) & np.isfinite(wide))
        if overflown.size:
            raise _does_not_fit(flat, int(overflown[0]), spec)
    return array


def _strings(flat: FlatValues, spec: TensorSpec) -> np.ndarray:
    array = np.empty(len(flat.values), object)
    for position, value in enumerate(flat.values):
        if isinstance(value, str):
            array[position] = value.encode()
        elif isinstance(value, dict) and _is_base64(value):
            array[position] = _decode_base64(value["b64"], flat, position)
        else:
            raise _leaf_fault(value, flat.name_of(position), spec)
    return array


def _is_base64(value: object) -> bool:
    return isinstance(value, dict) and value.keys() == {"b64"}


def _base64_for_number(spec: TensorSpec) -> InvalidInput:
    return InvalidInput(f'b64 is for strings; input "{spec.name}" is {spec.datatype}')


def _refuse_base64(values: list[object], spec: TensorSpec) -> None:
    """Raise if values of the wrong shape are of the wrong kind in the first place."""
    if spec.datatype != "BYTES" and any(map(_is_base64, values)):
        raise _base64_for_number(spec)


def _decode_base64(text: object, flat: FlatValues, position: int) -> bytes:
    if not isinstance(text, str):
        raise InvalidInput(f"{flat.name_of(position)}: b64 must be a string, got {kind_of(text)}")
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        raise InvalidInput(f"{flat.name_of(position)}: {_NOT_BASE64}") from None


def _type_fault(flat: FlatValues, spec: TensorSpec) -> InvalidInput:
    """Return the error for the first value whose type is not allowed."""
    allowed = _ALLOWED_TYPES[spec.datatype]
    position = next(i for i, value in enumerate(flat.values) if type(value) not in allowed)
    value = flat.values[position]
    if isinstance(value, list):
        return InvalidInput(list_beside_leaf(flat.values, position, flat.shape, flat.place))
    return _leaf_fault(value, flat.name_of(position), spec)


def _leaf_fault(value: object, name: str, spec: TensorSpec) -> InvalidInput:
    datatype = spec.datatype
    if isinstance(value, dict):
        if _is_base64(value):
            return _base64_for_number(spec)
        return InvalidInput(f"{name} is an object, expected {datatype}")
    if value is None:
        return InvalidInput(f"{name}: null is no value, expected {datatype}")
    if isinstance(value, float) and datatype in INTEGERS:
        return _float_for_integer(value, name, datatype)
    return InvalidInput(f"{name}: {shown(value)} is {kind_of(value)}, expected {datatype}")


def _float_for_integer(value: float, name: str, datatype: str) -> InvalidInput:
    if abs(value) >= _INEXACT_FROM and math.isfinite(value):
        return InexactInteger(f"{name}: {shown(value)} does not fit {datatype}")
    article = "a" if datatype.startswith("U") else "an"
    hint = f" (send {int(value)})" if value.is_integer() else ""
    return InvalidInput(f"{name}: {shown(value)} is not {article} {datatype}{hint}")


def _does_not_fit(flat: FlatValues, position: int, spec: TensorSpec) -> InvalidInput:
    value = shown(flat.values[position])
    return InvalidInput(f"{flat.name_of(position)}: {value} does not fit {spec.datatype}")


def _first_beyond(values: list[object], datatype: str) -> int:
    """Return the position of the first integer that is out of an integer datatype's range."""
    bounds = np.iinfo(NUMPY_DTYPES[datatype])
    low, high = int(bounds.min), int(bounds.max)
    integers = cast("list[int]", values)
    return next(i for i, value in enumerate(integers) if not low <= value <= high)


def _first_beyond_double(values: list[object]) -> int:
    """Return the position of the first integer that is larger than any float."""
    largest = sys.float_info.max
    numbers = cast("list[float]", values)
    # Infinity is read on purpose; Python compares integers and floats exactly.
    return next(
        i
        for i, value in enumerate(numbers)
        if isinstance(value, int) and not -largest <= value <= largest
    )
