"""What the runner needs of a model, whatever it was loaded with."""

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from exporter.quality import Declaration
from serving.model import Signature


class LoadedModel(Protocol):
    """A model in memory, ready to be called."""

    format: str
    signatures: Mapping[str, Signature]
    # What the model's own last layer says that its predictions are; None where it says nothing.
    inferred: Declaration | None
    parameters: int
    size_bytes: int

    def call(self, signature: str, inputs: tuple[np.ndarray, ...]) -> dict[str, np.ndarray]:
        """Compute one batch: inputs in the signature's order to outputs by name, in host memory."""

    def trace_count(self) -> int:
        """Return how often TensorFlow has traced the signatures so far."""
