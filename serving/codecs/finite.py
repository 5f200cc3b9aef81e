"""The refusal of input that is no number, for models whose owner asked for it.

TensorFlow Serving takes NaN and infinities as input, so this is off by default.
"""

import numpy as np

from serving.codecs.base import DecodedRequest
from serving.codecs.nesting import Place
from serving.errors import InvalidInput
from serving.quoting import shown


def reject_nonfinite(decoded: DecodedRequest) -> None:
    """Raise InvalidInput naming the first NaN or infinity among the inputs."""
    for name, array in decoded.inputs.items():
        if array.dtype.kind != "f":
            continue
        finite = np.isfinite(array)
        if finite.all():
            continue
        first = tuple(int(index) for index in np.argwhere(~finite)[0])
        place = _place(decoded, name).at(first)
        raise InvalidInput(f"{place}: {shown(float(array[first]))} is not finite")


def _place(decoded: DecodedRequest, name: str) -> Place:
    if not decoded.row_form:
        return Place(f"inputs.{name}")
    return Place("instances", "" if len(decoded.inputs) == 1 else f".{name}")
