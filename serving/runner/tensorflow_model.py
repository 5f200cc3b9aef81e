"""The one file that knows TensorFlow: thread and memory settings, loading, the call.

Import it in the runner process only, after every fork.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from exporter.quality import Declaration
from serving.errors import ModelLoadError
from serving.model import Signature, TensorSpec
from serving.runner.lighter_imports import without

# TensorFlow prints INFO lines about the processor at import; warnings and errors stay.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

with without("sklearn"):
    import keras
    import tensorflow as tf
    from tensorflow.core.protobuf import saved_model_pb2

SERVE_TAG = "serve"
MEBIBYTE = 1 << 20
DEFAULT_SIGNATURE = "serving_default"

DATATYPES = {
    tf.bool: "BOOL",
    tf.int8: "INT8",
    tf.int16: "INT16",
    tf.int32: "INT32",
    tf.int64: "INT64",
    tf.uint8: "UINT8",
    tf.uint16: "UINT16",
    tf.uint32: "UINT32",
    tf.uint64: "UINT64",
    tf.float16: "FP16",
    tf.bfloat16: "BF16",
    tf.float32: "FP32",
    tf.float64: "FP64",
    tf.string: "BYTES",
}
BFLOAT16 = tf.bfloat16.as_numpy_dtype  # its bits come as 16-bit integers
TENSORFLOW_DTYPES = {datatype: dtype for dtype, datatype in DATATYPES.items()}


def configure(
    *,
    intra_op_threads: int,
    inter_op_threads: int,
    gpu_memory_growth: bool,
    gpu_memory_limit_bytes: int | None = None,
) -> None:
    """Set threads and GPU memory; to be called before the first operation, later changes raise."""
    tf.config.threading.set_intra_op_parallelism_threads(intra_op_threads)
    tf.config.threading.set_inter_op_parallelism_threads(inter_op_threads)
    for device in tf.config.list_physical_devices("GPU"):
        if gpu_memory_limit_bytes is None:
            tf.config.experimental.set_memory_growth(device, gpu_memory_growth)
        else:
            limit = tf.config.LogicalDeviceConfiguration(gpu_memory_limit_bytes / MEBIBYTE)
            tf.config.set_logical_device_configuration(device, [limit])
    # TensorFlow's threads start with its first operation, at the priority of who runs it. That must
    # not be the loader, which is nicer than those who compute for callers.
    tf.identity(0.0).numpy()


def has_gpu() -> bool:
    """Return whether TensorFlow computes on a GPU."""
    return bool(tf.config.list_physical_devices("GPU"))


def load_saved_model(path: Path, step: Callable[[str], None]) -> "TensorFlowModel":
    """Load a SavedModel folder.

    Raises ModelLoadError when it has no signature that can be called.
    """
    restored = tf.saved_model.load(str(path), tags=[SERVE_TAG])
    if not restored.signatures:
        raise ModelLoadError(f"{path}: the SavedModel has no signatures; export it with one")
    exported = _signature_definitions(path)
    step("build")
    functions = dict(restored.signatures.items())
    signatures = {
        name: Signature(
            name,
            _specs(function.structured_input_signature[1], exported[name].inputs),
            _specs(function.structured_outputs, exported[name].outputs),
            exported[name].method_name,
        )
        for name, function in functions.items()
    }
    callables = {
        name: _wrap(function, function.structured_input_signature[1])
        for name, function in functions.items()
    }
    variables = {v.ref() for f in functions.values() for v in f.graph.variables}
    return TensorFlowModel("saved_model", signatures, callables, variables)


def load_keras_file(path: Path, step: Callable[[str], None]) -> "TensorFlowModel":
    """Load a .keras file in safe mode, without compiling.

    Raises ModelLoadError when it has no inputs.
    """
    model = keras.saving.load_model(path, compile=False, safe_mode=True)
    if not getattr(model, "inputs", None):
        raise ModelLoadError(f"{path}: the Keras model has no declared inputs")
    step("build")
    inputs = {
        tensor.name: tf.TensorSpec((None, *tensor.shape[1:]), tensor.dtype)
        for tensor in model.inputs
    }
    output_names = getattr(model, "output_names", None) or [model.layers[-1].name]

    def predict(**named: Any) -> dict[str, Any]:
        tensors = [named[name] for name in inputs]
        outputs = model(tensors if len(tensors) > 1 else tensors[0], training=False)
        if isinstance(outputs, dict):
            return outputs
        return dict(zip(output_names, tf.nest.flatten(outputs), strict=True))

    function = _wrap(predict, inputs)
    outputs = function.get_concrete_function().structured_outputs
    signature = Signature(DEFAULT_SIGNATURE, _specs(inputs, {}), _specs(outputs, {}))
    variables = {variable.value.ref() for variable in model.variables}
    return TensorFlowModel(
        "keras",
        {DEFAULT_SIGNATURE: signature},
        {DEFAULT_SIGNATURE: function},
        variables,
        inferred=_inferred(model),
    )


class TensorFlowModel:
    """A model whose signatures are concrete functions with one fixed input signature each."""

    def __init__(
        self,
        format_name: str,
        signatures: Mapping[str, Signature],
        callables: Mapping[str, Any],
        variables: set[Any],
        *,
        inferred: Declaration | None = None,
    ) -> None:
        """Take the callables by signature.

        `variables` are references, so that none counts twice.
        """
        self.format = format_name
        self.inferred = inferred
        self.signatures = signatures
        arrays = [reference.deref() for reference in variables]
        self.parameters = sum(int(np.prod(array.shape)) for array in arrays)
        self.size_bytes = sum(int(np.prod(array.shape)) * array.dtype.size for array in arrays)
        self._functions = {
            name: function.get_concrete_function() for name, function in callables.items()
        }
        self._polymorphic = list(callables.values())
        self._calls = {name: _direct(function) for name, function in self._functions.items()}
        self._dtypes = {
            name: [TENSORFLOW_DTYPES.get(spec.datatype) for spec in signature.inputs]
            for name, signature in signatures.items()
        }
        # XLA compiles anew for each shape it meets, and no counter of TensorFlow's shows it.
        self._compiled_shapes: dict[str, set[tuple[tuple[int, ...], ...]]] = {
            name: set() for name, function in self._functions.items() if _uses_xla(function)
        }

    def call(self, signature: str, inputs: tuple[np.ndarray, ...]) -> dict[str, np.ndarray]:
        """Compute one batch: inputs in the signature's order to outputs by name, in host memory."""
        dtypes = self._dtypes[signature]
        tensors = [
            tf.constant(array.view(BFLOAT16) if dtype is tf.bfloat16 else array, dtype)
            for dtype, array in zip(dtypes, inputs, strict=True)
        ]
        outputs = self._calls[signature](tensors)
        if signature in self._compiled_shapes:
            self._compiled_shapes[signature].add(tuple(array.shape for array in inputs))
        return {name: _array(tensor) for name, tensor in outputs.items()}

    def trace_count(self) -> int:
        """Return how often the signatures were traced or compiled so far."""
        traces: int = sum(
            function.experimental_get_tracing_count() for function in self._polymorphic
        )
        return traces + sum(map(len, self._compiled_shapes.values()))


def _inferred(model: Any) -> Declaration | None:
    """Return the task that a Keras model's last layer tells.

    Softmax and sigmoid tell; a linear unit may be a number or a logit.
    """
    last = model.layers[-1]
    is_last = len(model.outputs) == 1 and getattr(last, "output", None) is model.outputs[0]
    if not is_last or len(last.output.shape) != 2:  # noqa: PLR2004 - rows and scores
        return None
    columns, activation = last.output.shape[1], getattr(last, "activation", None)
    if activation is keras.activations.softmax or isinstance(last, keras.layers.Softmax):
        task = {1: None, 2: "binary"}.get(columns, "multiclass")
    elif activation is keras.activations.sigmoid:
        task = "binary" if columns == 1 else "multilabel"
    else:
        return None
    return None if task is None else Declaration(task=task)


def _array(tensor: Any) -> np.ndarray:
    array = tensor.numpy()
    # TensorFlow gives a string without dimensions as bytes.
    return array if isinstance(array, np.ndarray) else np.array(array, object)


def _direct(function: Any) -> Callable[[list[Any]], Mapping[str, Any]]:
    """Return the call of a concrete function with tensors that are known to fit.

    A plain call binds and casts its arguments first, which takes 40 % of a small model's time. The
    captured variables are asked for each time: they need not stay the same.
    """
    inference = getattr(function, "inference_fn", None)
    if inference is None:  # A release of TensorFlow that does not offer it.
        return lambda tensors: function(*tensors)
    return lambda tensors: inference.call_preflattened([*tensors, *function.captured_inputs])


def _wrap(function: Callable[..., Any], inputs: Mapping[str, Any]) -> Any:
    """Make a tf.function that accepts exactly these inputs by name, so that it is traced once."""
    names = sorted(inputs)  # the order of Signature.inputs
    specs = [tf.TensorSpec(inputs[name].shape, inputs[name].dtype, name=name) for name in names]

    def positional(*tensors: Any) -> Any:
        return function(**dict(zip(names, tensors, strict=True)))

    return tf.function(positional, input_signature=specs, autograph=False)


def _uses_xla(function: Any) -> bool:
    library = function.graph.as_graph_def().library.function
    return any(definition.attr["_XlaMustCompile"].b for definition in library)


def _specs(tensors: Mapping[str, Any], exported: Mapping[str, Any]) -> tuple[TensorSpec, ...]:
    """Describe tensors in name order.

    `exported` knows the graph's own names, where there are any.
    """
    return tuple(
        TensorSpec(
            name,
            DATATYPES.get(tensor.dtype, tensor.dtype.name),
            _shape(tensor.shape),
            exported[name].name if name in exported else name,
        )
        for name, tensor in sorted(tensors.items())
    )


def _shape(shape: Any) -> tuple[int, ...] | None:
    if shape.rank is None:
        return None
    return tuple(-1 if size is None else size for size in shape.as_list())


def _signature_definitions(path: Path) -> Mapping[str, Any]:
    saved_model = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
    graph = next(
        graph for graph in saved_model.meta_graphs if SERVE_TAG in graph.meta_info_def.tags
    )
    definitions: Mapping[str, Any] = graph.signature_def
    return definitions
