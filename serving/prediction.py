"""Where predictions come from, as the service sees it: an interface, and what it answers with."""

from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

import numpy as np

from serving.codecs.base import DecodedRequest
from serving.model import ModelVersion
from serving.model_table import ModelTable

NORMAL_PRIORITY = 2


class BatchFacts(NamedTuple):
    """The batch that carried a request's last rows."""

    batch_id: int
    rows: int
    padding_rows: int
    trigger: str


class Prediction(NamedTuple):
    """A runner's answer. `stamps` are taken, assembled and computed, in monotonic nanoseconds."""

    outputs: Mapping[str, np.ndarray]
    stamps: tuple[int, int, int]
    batch: BatchFacts


class Call(NamedTuple):
    """By when an answer must be there, in monotonic nanoseconds, and how urgent it is.

    `priority` is 1 (high), 2 (normal) or 3 (low).
    """

    deadline_ns: int
    priority: int = NORMAL_PRIORITY


class ControlOutcome(NamedTuple):
    """What came of loading or unloading: why it failed, if it did.

    `is_missing` says that no such model lies on disk.
    """

    error: str = ""
    is_missing: bool = False


class Control(NamedTuple):
    """A wish of the operator's: `action` is `load` or `unload`; `done` gets what came of it."""

    action: str
    model: str
    done: Callable[[ControlOutcome], None]


class RunnerClient(Protocol):
    """The runners: other processes, or a part of this one with --inline."""

    table: ModelTable

    @property
    def is_connected(self) -> bool:
        """Whether there is a runner that can be asked."""

    def predict(self, version: ModelVersion, request: DecodedRequest, call: Call) -> Prediction:
        """Return the outputs, or raise PredictionError when they cannot be had by the deadline."""

    def control(self, action: str, model: str) -> ControlOutcome:
        """Have a model loaded (`load`) or unloaded (`unload`); return when it is done."""

    def not_ready(self) -> list[str]:
        """Return why predictions cannot be had at the moment; empty when they can."""
