"""Rows of plain numbers straight from JSON text to an array, without a Python object for each.

This is the usual body and the largest part of a front-end's work: a row of 784 numbers takes half
the time that it takes over a list of them. Whatever is unusual about a body is left to the other
way, which also knows what to say of it.
"""

import math

import numpy as np
import simdjson

from serving.model import NUMPY_DTYPES, TensorSpec

FLOATS = ("FP32", "FP64")
# Python's names for the parser's error codes.
SIMDJSON_ERRORS = (IndexError, KeyError, MemoryError, RuntimeError, TypeError, ValueError)
MAX_RANK = 2  # Whether deeper lists are regular is not cheap to see.


def read_number_rows(body: bytes, spec: TensorSpec) -> np.ndarray | None:
    """Return `{"instances": rows}` as an array of the shape of `spec`, or None for any other body.

    None is no verdict: there may be another shape, a further key, a value that is no number or does
    not fit, or a syntax that this parser does not take.
    """
    if spec.datatype not in FLOATS or spec.shape is None or not 0 < len(spec.shape) <= MAX_RANK:
        return None
    try:
        document = simdjson.Parser().parse(body)
        if not isinstance(document, simdjson.Object) or list(document) != ["instances"]:
            return None
        instances = document["instances"]
        if not isinstance(instances, simdjson.Array) or not _is_regular(body, instances, spec):
            return None
        wide = np.frombuffer(instances.as_buffer(of_type="d"))
    except SIMDJSON_ERRORS:
        return None
    return _shaped(wide, len(instances), spec)


def _is_regular(body: bytes, instances: simdjson.Array, spec: TensorSpec) -> bool:
    """Return whether the rows have the shape of `spec`, given that everything in them is a number.

    The number of brackets accounts for the rows, so that no list hides inside one of them.
    """
    assert spec.shape is not None
    rows = len(instances)
    if rows == 0 or spec.shape[0] not in (-1, rows):
        return False
    if len(spec.shape) == 1:
        return body.count(b"[") == 1
    width = spec.shape[1]
    return body.count(b"[") == 1 + rows and all(
        isinstance(row, simdjson.Array) and len(row) == width for row in instances
    )


def _shaped(wide: np.ndarray, rows: int, spec: TensorSpec) -> np.ndarray | None:
    assert spec.shape is not None
    shape = (rows, *spec.shape[1:])
    if wide.size != math.prod(shape):
        return None
    with np.errstate(over="ignore"):
        array = wide.astype(NUMPY_DTYPES[spec.datatype])
    # JSON has no infinity, so one here is a number that does not fit.
    return array.reshape(shape) if np.isfinite(array).all() else None
