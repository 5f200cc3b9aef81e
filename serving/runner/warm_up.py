"""Warm-up: every batch size runs before a version is ready.

Rows are recorded ones or generated, and must not depend on each other to be batched.
"""

import logging
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from serving.codecs import CODECS
from serving.errors import InvalidInput, ModelLoadError, NotOffered, TooLarge
from serving.model import WIRE_DTYPES, ModelVersion, Signature, TensorSpec
from serving.runner.durations import DurationEstimate
from serving.runner.loaded_model import LoadedModel
from serving.runner.sizes import BatchSizes

SEED = 20_260_101
# A kernel may differ by batch size, and TF32 has ten bits of mantissa.
RELATIVE_TOLERANCE = 1e-2
ABSOLUTE_TOLERANCE = 1e-4

MAX_RECORDED_BYTES = 16 << 20

Inputs = tuple[np.ndarray, ...]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WarmUpResult:
    """What warm-up learned of a signature.

    Whether rows may share a call, how long calls take, and a row that it can compute, if known.
    """

    is_batchable: bool
    seconds_by_rows: dict[int, float] = field(default_factory=dict)
    row: Inputs | None = None

    def teach(self, estimate: DurationEstimate) -> None:
        """Seed an estimate with the measured calls."""
        for rows, seconds in self.seconds_by_rows.items():
            estimate.learn(rows, seconds)


def read_recorded(file: Path, version: ModelVersion) -> dict[str, Inputs]:
    """Return the recorded rows by signature; none where there is no file.

    The file is the body of a TensorFlow Serving request. Raises ModelLoadError when it is none for
    this model: whoever recorded it wants it to be used.
    """
    try:
        size = file.stat().st_size
        if size > MAX_RECORDED_BYTES:
            raise ModelLoadError(f"{file.name}: {size:,} bytes; at most {MAX_RECORDED_BYTES:,}")
        decoded = CODECS["tf_serving"].decode(file.read_bytes(), version)
    except FileNotFoundError:
        return {}
    except (InvalidInput, NotOffered, TooLarge) as error:
        raise ModelLoadError(f"{file.name}: {error.message}") from error
    except OSError as error:
        raise ModelLoadError(f"{file.name}: {error.strerror}") from error
    specs = version.signatures[decoded.signature].inputs
    return {decoded.signature: tuple(decoded.inputs[spec.name] for spec in specs)}


def warm_up(
    model: LoadedModel,
    signature: Signature,
    sizes: BatchSizes,
    *,
    recorded: Inputs | None = None,
    batching: str = "auto",
) -> WarmUpResult:
    """Run each size twice and compare rows computed together with rows alone.

    `batching` may be `off`, or `force`, which trusts that rows are independent. A signature without
    an unknown first dimension runs once as it is and is never batched. Generated inputs that the
    model rejects fail nothing: the signature is served unmeasured, and the log says so. Raises
    ModelLoadError for recorded inputs that it rejects.
    """
    if not _has_batch_dimension(signature):
        measured = _try(model, signature, rows=None, recorded=recorded)
        row = None if measured is None else measured[2]
        return WarmUpResult(is_batchable=False, row=row)
    result = WarmUpResult(is_batchable=batching != "off")
    for rows in (1,) if batching == "off" else sizes.warm_up():
        measured = _try(model, signature, rows=rows, recorded=recorded)
        if measured is None:
            return result
        seconds, outputs, inputs = measured
        result.seconds_by_rows[rows] = seconds
        result = replace(result, row=tuple(array[:1] for array in inputs))
        if batching == "auto" and not _rows_are_independent(model, signature, inputs, outputs):
            result = replace(result, is_batchable=False)
    if batching == "auto" and not result.is_batchable:
        logger.warning(
            "signature %s: a row's result depends on the other rows of its batch; "
            "requests are computed one by one",
            signature.name,
        )
    return result


def _has_batch_dimension(signature: Signature) -> bool:
    return bool(signature.inputs) and all(
        spec.shape is None or (len(spec.shape) > 0 and spec.shape[0] == -1)
        for spec in signature.inputs
    )


_Measured = tuple[float, dict[str, np.ndarray], Inputs]


def _try(
    model: LoadedModel, signature: Signature, *, rows: int | None, recorded: Inputs | None
) -> _Measured | None:
    """Return (seconds of the second call, its outputs, the inputs), or None when refused."""
    generator = np.random.default_rng(SEED)
    try:
        inputs = (
            tuple(_generate(spec, rows, generator) for spec in signature.inputs)
            if recorded is None
            else tuple(_repeated(array, rows) for array in recorded)
        )
        model.call(signature.name, inputs)
        begun = time.monotonic()
        outputs = model.call(signature.name, inputs)
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        if recorded is not None:
            raise ModelLoadError(f"the model rejects its recorded warm-up: {reason}") from error
        # Generated inputs need not make sense to a model, for instance an index or a JSON text.
        logger.warning(
            "signature %s rejects generated inputs, so it is served without warm-up; "
            "put a warm_up.json with rows it takes beside the model: %s",
            signature.name,
            reason,
        )
        return None
    return time.monotonic() - begun, outputs, inputs


def _repeated(array: np.ndarray, rows: int | None) -> np.ndarray:
    """Return so many rows of an array, from its beginning again where it has fewer."""
    return array if rows is None else array[np.arange(rows) % len(array)]


def _generate(spec: TensorSpec, rows: int | None, generator: np.random.Generator) -> np.ndarray:
    """Make normal numbers for floats, zeros for integers, empty strings; unknown sizes become 1."""
    shape = [1 if size == -1 else size for size in (spec.shape or (-1,))]
    if rows is not None:
        shape[0] = rows
    dtype = WIRE_DTYPES[spec.datatype]
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
    if one.dtype.name == "bfloat16":
        one, other = one.astype(np.float32), other.astype(np.float32)
    if one.dtype.kind in "fc":
        return np.allclose(
            one, other, rtol=RELATIVE_TOLERANCE, atol=ABSOLUTE_TOLERANCE, equal_nan=True
        )
    return bool(np.array_equal(one, other))
