"""What the server knows of a served model: versions, signatures, tensors. Plain data.

Datatypes are named as in the Open Inference Protocol: BOOL, INT8 … UINT64, FP16, BF16, FP32, FP64,
BYTES.
"""

from dataclasses import dataclass

import numpy as np

from exporter.quality import Measured

# Stands for the version of a model of which none is known yet.
NO_VERSION = "__unknown__"

# Of a version that is not loaded, and not to be: its labels count, and nothing else.
ON_DISK = "on_disk"

STATES = ("loading", "warming", "ready", "draining", "failed", "unloaded")

# Numpy dtype by datatype. BYTES tensors are object arrays of `bytes`. BF16 has no numpy dtype of
# its own and no JSON form, so it is absent here; its bits travel as 16-bit integers.
NUMPY_DTYPES: dict[str, np.dtype] = {
    "BOOL": np.dtype(np.bool_),
    "INT8": np.dtype(np.int8),
    "INT16": np.dtype(np.int16),
    "INT32": np.dtype(np.int32),
    "INT64": np.dtype(np.int64),
    "UINT8": np.dtype(np.uint8),
    "UINT16": np.dtype(np.uint16),
    "UINT32": np.dtype(np.uint32),
    "UINT64": np.dtype(np.uint64),
    "FP16": np.dtype(np.float16),
    "FP32": np.dtype(np.float32),
    "FP64": np.dtype(np.float64),
    "BYTES": np.dtype(object),
}

WIRE_DTYPES = {**NUMPY_DTYPES, "BF16": np.dtype(np.uint16)}

DATATYPES_BY_DTYPE = {dtype: datatype for datatype, dtype in NUMPY_DTYPES.items()}


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output of a signature.

    `shape` includes the first (batch) dimension; -1 is an unknown size, None an unknown rank.
    `tensor_name` is the graph's own name, such as `serving_default_x:0`, shown in metadata only.
    """

    name: str
    datatype: str
    shape: tuple[int, ...] | None
    tensor_name: str = ""

    @property
    def row_shape(self) -> tuple[int, ...] | None:
        """The shape of one row: without the first dimension."""
        return None if self.shape is None else self.shape[1:]


@dataclass(frozen=True, slots=True)
class Signature:
    """One callable of a model: named inputs to named outputs, both in name order."""

    name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    method_name: str = "tensorflow/serving/predict"


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """One version of one model in one state. `error` says why it failed, else it is empty.

    `is_first` versions were there at the start: until each has been tried, the server is not ready.
    `measured` is the task by which predictions are judged; None before the version is loaded.
    """

    model: str
    version: str
    state: str
    format: str
    signatures: dict[str, Signature]
    error: str = ""
    step: str = ""
    is_first: bool = False
    measured: Measured | None = None

    @property
    def task(self) -> str:
        """The name of the task, `none` without one."""
        return self.measured.declaration.task if self.measured else "none"

    @property
    def default_signature(self) -> str:
        """`serving_default` where there is one, else the first name."""
        if "serving_default" in self.signatures or not self.signatures:
            return "serving_default"
        return min(self.signatures)
