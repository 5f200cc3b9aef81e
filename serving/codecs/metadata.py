"""The documents in which both protocols describe server, models and versions, as plain dicts."""

from collections.abc import Sequence

from serving import __version__
from serving.model import NO_VERSION, ModelVersion, Signature, TensorSpec
from serving.settings import Settings
from serving.version_policy import VersionPolicy

SERVER_NAME = "inferometer"
MICROSECONDS = 1e6  # in one second
EXTENSIONS = (
    "binary_tensor_data",
    "model_configuration",
    "model_repository",
    "parameters",
    "schedule_policy",
    "statistics",
)

# The repository extension's state for each of ours.
_REPOSITORY_STATES = {"loading": "LOADING", "warming": "LOADING", "ready": "READY"}

# TensorFlow's names of the datatypes, https://www.tensorflow.org/api_docs/python/tf/dtypes.
_TENSORFLOW_TYPES = {
    "FP16": "DT_HALF",
    "BF16": "DT_BFLOAT16",
    "FP32": "DT_FLOAT",
    "FP64": "DT_DOUBLE",
    "BYTES": "DT_STRING",
}

# TensorFlow Serving's ModelVersionStatus.State for each of ours.
_TF_SERVING_STATES = {
    "loading": "LOADING",
    "warming": "LOADING",
    "ready": "AVAILABLE",
    "draining": "UNLOADING",
    "failed": "END",
    "unloaded": "END",
}

# Open Inference's platform for each format.
_PLATFORMS = {"saved_model": "tensorflow_savedmodel", "keras": "tensorflow_keras"}


def tf_serving_status(model: str, versions: Sequence[ModelVersion]) -> dict[str, object]:
    """Return the status of `versions`, newest first; `name` and `ready` are KServe's keys."""
    return {
        "name": model,
        "ready": any(version.state == "ready" for version in versions),
        "model_version_status": [_version_status(version) for version in versions],
    }


def tf_serving_metadata(version: ModelVersion) -> dict[str, object]:
    """Return the signatures of a version in the JSON form of TensorFlow's SignatureDef."""
    signatures = {
        name: _signature_definition(signature) for name, signature in version.signatures.items()
    }
    return {
        "model_spec": {"name": version.model, "signature_name": "", "version": version.version},
        "metadata": {"signature_def": {"signature_def": signatures}},
    }


def open_inference_server() -> dict[str, object]:
    """Return what `/v2` says of the server."""
    return {"name": SERVER_NAME, "version": __version__, "extensions": list(EXTENSIONS)}


def open_inference_metadata(version: ModelVersion, ready: Sequence[str]) -> dict[str, object]:
    """Return what `/v2/models/M` says: the ready versions, and the tensors of one of them."""
    signature = version.signatures[version.default_signature]
    return {
        "name": version.model,
        "versions": list(ready),
        "platform": _PLATFORMS.get(version.format, version.format),
        "inputs": [_tensor_metadata(spec) for spec in signature.inputs],
        "outputs": [_tensor_metadata(spec) for spec in signature.outputs],
    }


def model_configuration(version: ModelVersion, settings: Settings) -> dict[str, object]:
    """Return what `/v2/models/M/config` says, the tensors without their batch dimension."""
    signature = version.signatures[version.default_signature]
    delay = int(settings.max_delay_seconds * MICROSECONDS)
    return {
        "name": version.model,
        "platform": _PLATFORMS.get(version.format, version.format),
        "backend": "tensorflow",
        "max_batch_size": settings.max_batch_rows,
        "version_policy": _policy(settings.version_policy(version.model)),
        "input": [_tensor_configuration(spec) for spec in signature.inputs],
        "output": [_tensor_configuration(spec) for spec in signature.outputs],
        "instance_group": [
            {"name": version.model, "kind": "KIND_AUTO", "count": settings.instances}
        ],
        "dynamic_batching": {
            "preferred_batch_size": list(settings.allowed_batch_rows),
            "max_queue_delay_microseconds": delay,
        },
    }


def repository_index(versions: Sequence[ModelVersion]) -> list[dict[str, object]]:
    """Return the rows of a model in the repository's index."""
    return [
        {
            "name": version.model,
            "version": "" if version.version == NO_VERSION else version.version,
            "state": _REPOSITORY_STATES.get(version.state, "UNAVAILABLE"),
            "reason": version.error or ("unloaded" if version.state == "unloaded" else ""),
        }
        for version in versions
    ]


def _tensor_configuration(spec: TensorSpec) -> dict[str, object]:
    name = "STRING" if spec.datatype == "BYTES" else spec.datatype
    return {"name": spec.name, "data_type": f"TYPE_{name}", "dims": list(spec.row_shape or ())}


def _policy(policy: VersionPolicy) -> dict[str, object]:
    if policy.named:
        return {"specific": {"versions": sorted(map(int, policy.named))}}
    if policy.latest is None:
        return {"all": {}}
    return {"latest": {"num_versions": policy.latest}}


def _version_status(version: ModelVersion) -> dict[str, object]:
    return {
        "version": version.version,
        "state": _TF_SERVING_STATES[version.state],
        "status": {
            "error_code": "UNKNOWN" if version.state == "failed" else "OK",
            "error_message": version.error,
        },
    }


def _signature_definition(signature: Signature) -> dict[str, object]:
    return {
        "inputs": {spec.name: _tensor_information(spec) for spec in signature.inputs},
        "outputs": {spec.name: _tensor_information(spec) for spec in signature.outputs},
        "method_name": signature.method_name,
        "defaults": {},
    }


def _tensor_information(spec: TensorSpec) -> dict[str, object]:
    # Sizes are strings: protobuf's JSON form writes 64-bit integers so.
    dimensions = [{"size": str(size), "name": ""} for size in spec.shape or ()]
    return {
        "dtype": _TENSORFLOW_TYPES.get(spec.datatype, f"DT_{spec.datatype}"),
        "tensor_shape": {"dim": dimensions, "unknown_rank": spec.shape is None},
        "name": spec.tensor_name,
    }


def _tensor_metadata(spec: TensorSpec) -> dict[str, object]:
    # The protocol has no form for an unknown rank; every tensor here has a first dimension.
    shape = [-1] if spec.shape is None else list(spec.shape)
    return {"name": spec.name, "datatype": spec.datatype, "shape": shape}
