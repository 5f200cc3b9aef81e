"""Small real implementations of the replaceable edges, for unit tests."""

import threading
from collections.abc import Mapping

import numpy as np

from serving.model import Signature, TensorSpec


class DoublingModel:
    """A model in numpy: y = 2 x. Rows with x = 13 make the whole call raise, as in a real kernel.

    It keeps the row counts of its calls, and waits for `gate` before each when one is set.
    """

    format = "fake"
    parameters = 0
    size_bytes = 0

    def __init__(self, *, extra_rows: int = 0) -> None:
        self.calls: list[int] = []
        self.gate: threading.Event | None = None
        self.entered = threading.Event()
        self.extra_rows = extra_rows
        spec = TensorSpec("x", "FP32", (-1, 2))
        self.signatures: Mapping[str, Signature] = {
            "serving_default": Signature(
                "serving_default", (spec,), (TensorSpec("y", "FP32", (-1, 2)),)
            )
        }

    def call(self, signature: str, inputs: tuple[np.ndarray, ...]) -> dict[str, np.ndarray]:
        assert signature == "serving_default"
        (x,) = inputs
        self.calls.append(len(x))
        self.entered.set()
        if self.gate is not None:
            assert self.gate.wait(30)
        if (x == 13).any():
            raise ValueError("13 brings bad luck")
        return {"y": np.concatenate([2 * x, np.zeros((self.extra_rows, 2), np.float32)])}

    def trace_count(self) -> int:
        return 0
