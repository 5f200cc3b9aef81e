"""Warm-up.

Every batch size runs before a version is ready, and rows must not depend on each other.
"""

import logging
import time
from dataclasses import dataclass

import numpy as np

from serving.model import NUMPY_DTYPES, Signature, TensorSpec
from serving.runner.durations import DurationEstimate
from serving.runner.loaded_model import LoadedModel
from serving.runner.sizes import BatchSizes

SEED = 20_260_101
# A kernel may differ by batch size, and TF32 has ten bits of mantissa.
RELATIVE_TOLERANCE = 1e-2
ABSOLUTE_TOLERANCE = 1e-4

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WarmUpResult:
    """What warm-up learned of a signature.

    Whether rows may share a call, and how long calls take.
    """

    is_batchable: bool
    seconds_by_rows: dict[int, float]

    def teach(self, durations: DurationEstimate) -> None:
        """Seed an estimate with the measured calls."""
        for rows, seconds in self.seconds_by_rows.items():
            durations.learn(rows, seconds)


def warm_up(model: LoadedModel, signature: Signature, sizes: BatchSizes) -> WarmUpResult:
    """Run each size twice on generated inputs and compare rows computed together with rows alone.

    A signature without an unknown first dimension runs once as it is and is never batched. Inputs
    that the model rejects fail nothing: the signature is served unmeasured, and the log says so.
    """
    if not _has_batch_dimension(signature):
        _try(model, signature, rows=None)
        return WarmUpResult(is_batchable=False, seconds_by_rows={})
    seconds: dict[int, float] = {}
    is_batchable = True
    for rows in sizes.warm_up():
        measured = _try(model, signature, rows=rows)
        if measured is None:
            return WarmUpResult(is_batchable=True, seconds_by_rows={})
        seconds[rows], outputs, inputs = measured
        is_batchable = is_batchable and _rows_are_independent(model, signature, inputs, outputs)
    if not is_batchable:
        logger.warning(
            "signature %s: a row's result depends on the other rows of its batch; "
            "requests are computed one by one",
            signature.name,
        )
    return WarmUpResult(is_batchable, seconds)


def _has_batch_dimension(signature: Signature) -> bool:
    return bool(signature.inputs) and all(
        spec.shape is None or (len(spec.shape) > 0 and spec.shape[0] == -1)
        for spec in signature.inputs
    )


_Measured = tuple[float, dict[str, np.ndarray], tuple[np.ndarray, ...]]


def _try(model: LoadedModel, signature: Signature, *, rows: int | None) -> _Measured | None:
    """Return (seconds of the second call, its outputs, the inputs), or None when refused."""
    generator = np.random.default_rng(SEED)
    try:
        inputs = tuple(_generate(spec, rows, generator) for spec in signature.inputs)
        model.call(signature.name, inputs)
        begun = time.monotonic()
        outputs = model.call(signature.name, inputs)
    except Exception as error:
        # Generated inputs need not make sense to a model, for instance an index or a JSON text.
        logger.warning(
            "signature %s rejects generated inputs, so it is served without warm-up: %s",
            signature.name,
            " ".join(str(error).split())[:200],
        )
        return None
    return time.monotonic() - begun, outputs, inputs


def _generate(spec: TensorSpec, rows: int | None, generator: np.random.Generator) -> np.ndarray:
    """Make normal numbers for floats, zeros for integers, empty strings; unknown sizes become 1."""
    shape = [1 if size == -1 else size for size in (spec.shape or (-1,))]
    if rows is not None:
        shape[0] = rows
    dtype = NUMPY_DTYPES[spec.datatype]
    if spec.datatype == "BYTES":
        return np.full(shape, b"", object)
    if dtype.kind == "f":
        return generator.standard_normal(shape).astype(dtype)
    return np.zeros(shape, dtype)


def _rows_are_independent(
    model: LoadedModel,
    signature: Signature,
    inputs: tuple[np.ndarray, ...],
    outputs: dict[str, np.ndarray],
) -> bool:
    rows = len(inputs[0])
    if any(array.ndim == 0 or len(array) != rows for array in outputs.values()):
        return False
    # The first, a middle and the last row show any dependence that all rows would show.
    for row in {0, rows // 2, rows - 1}:
        alone = model.call(signature.name, tuple(array[row : row + 1] for array in inputs))
        for name, array in outputs.items():
            together, single = array[row : row + 1], alone[name]
            if together.shape != single.shape or not _equal(together, single):
                return False
    return True


def _equal(one: np.ndarray, other: np.ndarray) -> bool:
    if one.dtype.kind in "fc":
        return np.allclose(
            one, other, rtol=RELATIVE_TOLERANCE, atol=ABSOLUTE_TOLERANCE, equal_nan=True
        )
    return bool(np.array_equal(one, other))
