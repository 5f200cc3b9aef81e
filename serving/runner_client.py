"""How a front-end asks the runner: over Unix sockets, in gevent greenlets."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gevent
import gevent.socket

from serving.codecs.base import DecodedRequest
from serving.errors import (
    DeadlineExceeded,
    Draining,
    InternalError,
    Loading,
    ModelError,
    NotOffered,
    PredictionError,
    QueueFull,
    UnknownVersion,
    WireError,
)
from serving.model import ModelVersion
from serving.model_table import ModelTable
from serving.prediction import BatchFacts, Prediction
from serving.runner_link import RunnerLink
from serving.wire import (
    LARGE_FRAME_BYTES,
    Frame,
    FrameType,
    decode_tensors,
    encode_frame,
    encode_tensor,
)

# The failures that a runner answers with, by their reason.
ERRORS_BY_REASON: dict[str, type[PredictionError]] = {
    error.reason: error
    for error in (
        DeadlineExceeded, Draining, Loading, ModelError, NotOffered, QueueFull, UnknownVersion
    )
}  # fmt: skip


class SocketRunnerClient:
    """Asks the runner over two connections: one for ordinary requests, one for large ones."""

    def __init__(
        self, path: Path, *, max_payload_bytes: int, models_changed: Callable[[ModelTable], None]
    ) -> None:
        """Know where the runner listens; `models_changed` gets every table it sends."""
        self.table = ModelTable()
        self._models_changed = models_changed
        self._request_ids = itertools.count(1)
        self._ordinary = RunnerLink(path, max_payload_bytes, self._set_table)
        self._large = RunnerLink(path, max_payload_bytes, lambda _table: None)

    @property
    def is_connected(self) -> bool:
        """Whether both connections are up."""
        return self._ordinary.is_up and self._large.is_up

    def start(self, *, patience_seconds: float) -> None:
        """Connect, and connect again whenever a connection ends.

        Returns when the runner has told its models, or after `patience_seconds`: a front-end that
        starts beside a ready runner should not refuse its first requests.
        """
        for link in (self._ordinary, self._large):
            gevent.spawn(link.run)
        for link in (self._ordinary, self._large):
            link.known.wait(patience_seconds)

    def predict(
        self, version: ModelVersion, request: DecodedRequest, deadline_ns: int
    ) -> Prediction:
        """Send the rows and wait for their outputs until the deadline."""
        described, payload = [], []
        for spec in version.signatures[request.signature].inputs:
            array = request.inputs[spec.name]
            described.append((spec.name, spec.datatype, array.shape))
            payload.append(encode_tensor(array, spec.datatype))
        head = {
            "model": version.model,
            "version": version.version,
            "signature": request.signature,
            "rows": request.rows,
            "deadline": deadline_ns,
            "inputs": described,
            "outputs": request.outputs,
        }
        request_id = next(self._request_ids)
        frame = encode_frame(FrameType.PREDICT, request_id, head, payload)
        link = self._large if len(frame) > LARGE_FRAME_BYTES else self._ordinary
        return _prediction(link.ask(request_id, frame, deadline_ns))

    def not_ready(self) -> list[str]:
        """Return why predictions cannot be had at the moment."""
        for link in (self._ordinary, self._large):
            if not link.is_up:
                return [link.refusal or "no runner is connected"]
        return self.table.not_ready()

    def _set_table(self, table: ModelTable) -> None:
        # Declared before it is used, so that a version's counters stand at 0 before its first
        # request.
        self._models_changed(table)
        self.table = table


def _prediction(frame: Frame) -> Prediction:
    head = frame.head
    if frame.type == FrameType.FAILURE:
        raise _error(head)
    try:
        tensors = decode_tensors(head["outputs"], frame.payload)
    except WireError as error:
        raise InternalError("the server failed; its log says why") from error
    outputs = {name: array for name, _, array in tensors}
    return Prediction(outputs, tuple(head["stamps"]), BatchFacts(*head["batch"]))


def _error(head: dict[str, Any]) -> PredictionError:
    error = ERRORS_BY_REASON.get(head["reason"], InternalError)(
        head["message"], retry_after_seconds=head["retry_after"]
    )
    error.stamps = tuple(head["stamps"])
    return error
