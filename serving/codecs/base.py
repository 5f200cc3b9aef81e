"""What a protocol's codec is: bytes to named tensors and back. A new one is a file beside this."""

from collections.abc import Mapping
from typing import NamedTuple, Protocol

import numpy as np

from serving.model import ModelVersion


class DecodedRequest(NamedTuple):
    """A prediction request as tensors.

    `inputs` maps each input of the signature to an array whose first dimension is `rows`; BYTES are
    object arrays of `bytes`. `outputs` are the outputs asked for, in order, None for all.
    `row_form` (TensorFlow Serving) asks for one object per row. `request_id` (Open Inference) is
    echoed.
    """

    signature: str
    inputs: dict[str, np.ndarray]
    rows: int
    outputs: tuple[str, ...] | None = None
    timeout_seconds: float | None = None
    row_form: bool = True
    request_id: str | None = None


class Codec(Protocol):
    """One prediction protocol."""

    protocol: str

    def decode(self, body: bytes, version: ModelVersion) -> DecodedRequest:
        """Return the tensors of `body`; raise InvalidInput, NotOffered or TooLarge."""

    def encode(
        self,
        request: DecodedRequest,
        version: ModelVersion,
        outputs: Mapping[str, np.ndarray],
        *,
        nonfinite: str | None,
    ) -> bytes:
        """Return the reply's body.

        `nonfinite` is `token`, `null`, `string`, `error` or None for the protocol's own.
        """
