"""numpy arrays to JSON text: shortest floats that read back equal, exact integers, text or base64.

orjson writes arrays directly; what it does not write as specified is written here.
"""

import base64
import math
from itertools import chain, zip_longest

import numpy as np
import orjson

from serving.errors import InvalidInput, ModelError, NotOffered
from serving.quoting import quoted, shown

NONFINITE_MODES = ("token", "null", "string", "error")

# An output of strings whose name ends so is sent as base64, as in TensorFlow Serving.
BASE64_SUFFIX = "_bytes"

# In the order NaN, Infinity, -Infinity.
_NONFINITE_TEXTS = {
    "token": (b"NaN", b"Infinity", b"-Infinity"),
    "string": (b'"NaN"', b'"Infinity"', b'"-Infinity"'),
}


def dumps(document: object) -> bytes:
    """Return compact JSON of values, contiguous arrays and fragments."""
    return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)


def nonfinite_mode(wanted: str | None, default: str) -> str:
    """Return how NaN and infinities are written; raise InvalidInput for an unknown mode."""
    if wanted is None:
        return default
    if wanted not in NONFINITE_MODES:
        raise InvalidInput(
            f"nonfinite={quoted(wanted)}; expected one of {', '.join(NONFINITE_MODES)}"
        )
    return wanted


def render_array(name: str, array: np.ndarray, *, nonfinite: str) -> object:
    """Return the output `name` as something that `dumps` writes as nested lists of its shape.

    Raises InvalidInput for bytes that are no text, NotOffered for a dtype without a JSON form,
    ModelError for non-finite values in mode `error`.
    """
    kind = array.dtype.kind
    if kind == "f":
        return _render_floats(name, array, nonfinite)
    if kind in "iub":
        return _writable(array)
    if kind == "O":
        return _texts(name, array).tolist()
    raise NotOffered(
        f"output {quoted(name)} is {array.dtype.name}, which JSON cannot carry here;"
        " ask for binary_data over /v2"
    )


def render_flat(name: str, array: np.ndarray, *, nonfinite: str) -> object:
    """Return the output `name` as something that `dumps` writes as one list; raises as above."""
    if array.dtype.kind == "O":
        return _texts(name, array).reshape(-1).tolist()
    if array.dtype.kind == "f" and nonfinite == "error" and not np.isfinite(array).all():
        raise _not_finite(name, array)
    return render_array(name, array.reshape(-1), nonfinite=nonfinite)


def render_rows(name: str, array: np.ndarray, *, nonfinite: str) -> list[object]:
    """Return the output `name` row by row, each something that `dumps` writes; raises as above."""
    if array.dtype.kind != "f" or nonfinite == "null" or np.isfinite(array).all():
        # Iteration gives numpy scalars of one-dimensional arrays and contiguous views of others.
        whole = render_array(name, array, nonfinite="null")
        return list(whole) if isinstance(whole, list | np.ndarray) else [whole]
    if nonfinite == "error":
        raise _not_finite(name, array)
    return [
        _render_floats(name, array[row : row + 1].reshape(array.shape[1:]), nonfinite)
        for row in range(len(array))
    ]


def _render_floats(name: str, array: np.ndarray, nonfinite: str) -> object:
    if nonfinite == "null" or np.isfinite(array).all():
        return _writable(_shortest(array))
    if nonfinite == "error":
        raise _not_finite(name, array)
    return orjson.Fragment(_with_nonfinite(array, _NONFINITE_TEXTS[nonfinite]))


def _with_nonfinite(array: np.ndarray, texts: tuple[bytes, bytes, bytes]) -> bytes:
    """Return JSON in which each null that orjson writes for a non-finite float is replaced."""
    nan, positive, negative = texts
    values = array[~np.isfinite(array)].tolist()
    replacements = [
        nan if math.isnan(value) else positive if value > 0 else negative for value in values
    ]
    finite_parts = dumps(_writable(_shortest(array))).split(b"null")
    return b"".join(chain.from_iterable(zip_longest(finite_parts, replacements, fillvalue=b"")))


def _writable(array: np.ndarray) -> object:
    """Return what orjson can write: no views with gaps, no arrays without dimensions."""
    if array.ndim == 0:
        return array[()]
    if array.flags.c_contiguous and array.flags.aligned:
        return array
    return array.copy()


def _shortest(array: np.ndarray) -> np.ndarray:
    """Return floats whose shortest form is the shortest that reads back equal in the own dtype.

    orjson writes FP16 by way of FP32, 0.1 as 0.099975586; numpy's text has FP16's own precision.
    """
    return array.astype("U32").astype(np.float64) if array.dtype == np.float16 else array


def _texts(name: str, array: np.ndarray) -> np.ndarray:
    """Return the strings of an output as text or base64 objects, in an array of the same shape."""
    texts = np.empty(array.size, object)
    for position, item in enumerate(array.reshape(-1)):
        if name.endswith(BASE64_SUFFIX):
            texts[position] = {"b64": base64.b64encode(item).decode()}
            continue
        try:
            texts[position] = item.decode()
        except UnicodeDecodeError:
            row = position * len(array) // array.size
            raise InvalidInput(
                f'output "{name}", row {row} is not UTF-8; name it {name}{BASE64_SUFFIX}'
                " or ask for binary_data over /v2"
            ) from None
    return texts.reshape(array.shape)


def _not_finite(name: str, array: np.ndarray) -> ModelError:
    first = tuple(np.argwhere(~np.isfinite(array))[0])
    row = f", row {first[0]}" if first else ""
    return ModelError(
        f'output "{name}"{row}: {shown(float(array[first]))} is not finite;'
        " ask with nonfinite=token, null or string"
    )
