"""How a front-end asks the runners: over Unix sockets, in gevent greenlets."""

import itertools
import time
from collections.abc import Callable
from typing import Any

from serving.codecs.base import DecodedRequest
from serving.errors import (
    DeadlineExceeded,
    Draining,
    InternalError,
    Loading,
    ModelError,
    NotOffered,
    PredictedLate,
    PredictionError,
    QueueFull,
    UnknownVersion,
    WireError,
)
from serving.model import ModelVersion
from serving.model_table import LOADING_RETRY_SECONDS, ModelTable, merged
from serving.prediction import NORMAL_PRIORITY, BatchFacts, Call, ControlOutcome, Prediction
from serving.runner_peer import RunnerPeer
from serving.settings import Settings
from serving.status_page import NANOSECONDS, RunnerStatus
from serving.tensors import decode_tensors, encode_tensor
from serving.wire import (
    Frame,
    FrameType,
    frame_parts,
    line_limits,
    runner_socket_path,
)

HEARTBEAT_OVERDUE_SECONDS = 5.0
# A model may take minutes to load.
CONTROL_NANOSECONDS = 900 * 10**9

# The failures that a runner answers with, by their reason.
ERRORS_BY_REASON: dict[str, type[PredictionError]] = {
    error.reason: error
    for error in (
        DeadlineExceeded, Draining, Loading, ModelError, NotOffered, PredictedLate, QueueFull,
        UnknownVersion,
    )
}  # fmt: skip


class SocketRunnerClient:
    """Asks the runners, of which each has its own models, though mostly the same."""

    def __init__(self, settings: Settings, *, models_changed: Callable[[ModelTable], None]) -> None:
        """Know where the runners listen; `models_changed` gets every table before it is used."""
        self._settings = settings
        self._labels = {model: settings.labels(model) for model in settings.models}
        self.table = ModelTable(labels=self._labels)
        self._models_changed = models_changed
        self._request_ids = itertools.count(1)
        self._turns = itertools.count()
        self._peers = [
            RunnerPeer(
                runner_socket_path(settings, number),
                RunnerStatus(settings, number),
                limits=line_limits(settings),
                models_changed=self._merge_tables,
            )
            for number in range(settings.runners or 1)
        ]

    @property
    def is_connected(self) -> bool:
        """Whether there is a runner that can be asked."""
        return any(peer.is_up for peer in self._peers)

    def start(self, *, patience_seconds: float) -> None:
        """Connect, and connect again whenever a connection ends.

        Returns when the runners have told their models, or after `patience_seconds`: a front-end
        that starts beside a ready runner should not refuse its first requests.
        """
        for peer in self._peers:
            peer.start()
        for peer in self._peers:
            peer.wait_until_known(patience_seconds)

    def predict(self, version: ModelVersion, request: DecodedRequest, call: Call) -> Prediction:
        """Send the rows to the runner with the least to do and wait until the deadline."""
        peer = self._peer_for(version)
        self._refuse_early(peer.status, version.model, request.rows, call)
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
            "priority": call.priority,
            "deadline": call.deadline_ns,
            "inputs": described,
            "outputs": request.outputs,
        }
        request_id = next(self._request_ids)
        try:
            frame = frame_parts(FrameType.PREDICT, request_id, head, payload)
        except WireError:
            raise NotOffered(
                f"model {version.model} has more and longer names of inputs than can be sent to it"
            ) from None
        answer = peer.ask(request_id, frame, rows=request.rows, deadline_ns=call.deadline_ns)
        return _prediction(answer)

    def control(self, action: str, model: str) -> ControlOutcome:
        """Have every runner load or unload a model; return the first failure, if there is one."""
        deadline_ns = time.monotonic_ns() + CONTROL_NANOSECONDS
        outcomes = []
        # Those that are away refuse before any of the others has done it.
        for peer in sorted(self._peers, key=lambda peer: peer.is_up):
            request_id = next(self._request_ids)
            head = {"action": action, "model": model}
            frame = frame_parts(FrameType.CONTROL, request_id, head)
            answer = peer.ask(request_id, frame, rows=0, deadline_ns=deadline_ns)
            outcomes.append(ControlOutcome(**answer.head))
        return next((outcome for outcome in outcomes if outcome.error), outcomes[0])

    def not_ready(self) -> list[str]:
        """Return why predictions cannot be had at the moment.

        One runner without the others will do.
        """
        if not self.is_connected:
            refusals = [peer.refusal for peer in self._peers if peer.refusal]
            return refusals[:1] or ["no runner is connected"]
        reasons = merged((peer.table for peer in self._peers if peer.is_up), {}).not_ready()
        if reasons:
            return reasons
        sick = [self._sickness(peer.status) for peer in self._peers if peer.is_up]
        return [] if "" in sick else sick[:1]

    def _sickness(self, status: RunnerStatus) -> str:
        """Return why a runner that is connected is not well, or nothing."""
        heartbeat_age, batch_age = status.overdue_seconds()
        if heartbeat_age > HEARTBEAT_OVERDUE_SECONDS:
            return f"runner stalled: no sign of life for {heartbeat_age:.0f} s"
        if batch_age > self._settings.stall_seconds:
            return f"runner stalled: a batch has been running for {batch_age:.0f} s"
        failing = [name for name in self._settings.models if status.canary_failures(name)]
        return f"model {failing[0]}: its canary fails" if failing else ""

    def _peer_for(self, version: ModelVersion) -> RunnerPeer:
        peers = self._peers
        if len(peers) == 1:
            return peers[0]
        ready = [
            peer
            for peer in peers
            if peer.is_up and peer.table.is_ready(version.model, version.version)
        ]
        if not ready:
            raise Loading(
                "no runner is ready at the moment", retry_after_seconds=LOADING_RETRY_SECONDS
            )
        # One that is stalled is asked only where there is no other.
        ready = [peer for peer in ready if not self._sickness(peer.status)] or ready
        first = next(self._turns) % len(ready)
        return min(ready[first:] + ready[:first], key=lambda peer: peer.load)

    def _refuse_early(self, status: RunnerStatus, model: str, rows: int, call: Call) -> None:
        """Refuse what the runner would refuse, so that its rows need not cross the socket.

        The runner's own answer is the binding one.
        """
        limit = self._settings.queue_limit_rows
        waiting = status.rows(model)
        if waiting and waiting + rows > limit:
            wait = status.wait_seconds(model)
            raise QueueFull(
                f"model {model}: {waiting:,} of {limit:,} rows are waiting; retry in {wait:.2f} s",
                retry_after_seconds=wait,
            )
        if not self._settings.admission_control or call.priority < NORMAL_PRIORITY or not waiting:
            return
        wait = status.wait_seconds(model)
        left = (call.deadline_ns - time.monotonic_ns()) / NANOSECONDS
        if wait > left:
            retry = wait - max(0.0, left)
            raise PredictedLate(
                f"model {model}: a row waits for {wait:.3f} s, the deadline is in"
                f" {max(0.0, left):.3f} s; retry in {retry:.2f} s or allow more time",
                retry_after_seconds=retry,
            )

    def _merge_tables(self) -> None:
        # A runner that is gone says nothing, unless all are: then its models are coming back.
        there = [peer for peer in self._peers if not peer.is_lost] or self._peers
        table = merged((peer.table for peer in there), self._labels)
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
