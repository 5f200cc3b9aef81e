"""The frames a runner sends: its models, a job's answer, a failure."""

import time
from collections.abc import Sequence
from dataclasses import asdict, replace

import orjson

from serving.errors import InternalError, ModelError, NotOffered, PredictionError
from serving.model import DATATYPES_BY_DTYPE, ModelVersion
from serving.runner.job import Job
from serving.tensors import encode_tensor
from serving.wire import FrameType, Parts, frame_parts


def models_frame(number: int, versions: Sequence[ModelVersion]) -> Parts:
    """Return the frame that tells a front-end which models there are.

    It acknowledges that it has them by the number.
    """
    payload = orjson.dumps([_described(version) for version in versions])
    return frame_parts(FrameType.MODELS, number, {}, [payload])


def _described(version: ModelVersion) -> dict[str, object]:
    measured = version.measured
    described = asdict(replace(version, measured=None))
    return described if measured is None else described | {"measured": measured.as_json()}


def answer_frame(request_id: int, job: Job, max_payload_bytes: int) -> Parts:
    """Return the frame that answers a job: its outputs or why there are none."""
    stamps = (job.taken_ns, job.assembled_ns, job.computed_ns)
    if job.error is not None or job.outputs is None:
        return failure_frame(request_id, job.error or InternalError("no answer"), stamps)
    described, payload = [], []
    for name in job.wanted or job.outputs:
        array = job.outputs[name]
        datatype = DATATYPES_BY_DTYPE.get(array.dtype)
        if datatype is None and array.dtype.name == "bfloat16":
            datatype = "BF16"  # TensorFlow's own dtype: numpy has none.
        if datatype is None:
            error = NotOffered(f'output "{name}" is {array.dtype}, which is not offered')
            return failure_frame(request_id, error, stamps)
        described.append((name, datatype, array.shape))
        payload.append(encode_tensor(array, datatype))
    assert job.batch is not None
    batch = job.batch
    size = sum(map(len, payload))
    if size > max_payload_bytes:
        message = f"{size:,} bytes of outputs; the limit is {max_payload_bytes:,}: send fewer rows"
        return failure_frame(request_id, ModelError(message), stamps)
    head = {
        "outputs": described,
        "stamps": stamps,
        "batch": (batch.batch_id, batch.rows, batch.padding_rows, batch.trigger),
    }
    return frame_parts(FrameType.RESULT, request_id, head, payload)


def failure_frame(request_id: int, error: PredictionError, stamps: tuple[int, int, int]) -> Parts:
    """Return the frame that says why a request failed, and how far it came."""
    head = {
        "reason": error.reason,
        "message": error.message,
        "retry_after": error.retry_after_seconds,
        "stamps": stamps,
        "at": time.monotonic_ns(),
    }
    return frame_parts(FrameType.FAILURE, request_id, head)
