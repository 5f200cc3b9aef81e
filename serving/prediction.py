"""Where predictions come from, as the service sees it: an interface, and what it answers with."""

from collections.abc import Mapping
from typing import NamedTuple, Protocol

import numpy as np

from serving.codecs.base import DecodedRequest
from serving.model import ModelVersion
from serving.model_table import ModelTable


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


class RunnerClient(Protocol):
    """The runner: another process, or a part of this one with --inline."""

    table: ModelTable

    @property
    def is_connected(self) -> bool:
        """Whether there is a runner that can be asked."""

    def predict(
        self, version: ModelVersion, request: DecodedRequest, deadline_ns: int
    ) -> Prediction:
        """Return the outputs, or raise PredictionError when they cannot be had by the deadline."""

    def not_ready(self) -> list[str]:
        """Return why predictions cannot be had at the moment; empty when they can."""
