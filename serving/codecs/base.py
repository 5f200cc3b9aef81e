"""What a protocol's codec is: bytes to named tensors and back. A new one is a file beside this."""

from collections.abc import Mapping
from typing import NamedTuple, Protocol

import numpy as np

from serving.model import ModelVersion

# How many bytes of a body are JSON; raw tensors follow.
JSON_BYTES_HEADER = "Inference-Header-Content-Length"


class DecodedRequest(NamedTuple):
    """A prediction request as tensors.

    `inputs` maps each input of the signature to an array whose first dimension is `rows`; BYTES are
    object arrays of `bytes`. `outputs` are the outputs asked for, in order, None for all.
    `row_form` (TensorFlow Serving) asks for one object per row. `request_id` (Open Inference) is
    echoed, and `binary_outputs` are sent as raw tensors.
    """

    signature: str
    inputs: dict[str, np.ndarray]
    rows: int
    outputs: tuple[str, ...] | None = None
    timeout_seconds: float | None = None
    priority: int | None = None
    row_form: bool = True
    request_id: str | None = None
    binary_outputs: frozenset[str] = frozenset()


class ReplyOptions(NamedTuple):
    """What a reply depends on beside the outputs.

    `nonfinite` is `token`, `null`, `string`, `error` or None for the protocol's own.
    """

    nonfinite: str | None = None
    prediction_id: str | None = None


class EncodedReply(NamedTuple):
    """A reply's body. `json_bytes` of it are JSON and raw tensors follow; None where all is."""

    body: bytes
    json_bytes: int | None = None


class Codec(Protocol):
    """One way of asking for predictions. `protocol` is the label of its requests on /metrics."""

    protocol: str
    takes_binary: bool

    def decode(
        self, body: bytes | memoryview, version: ModelVersion, json_bytes: int | None = None
    ) -> DecodedRequest:
        """Return the tensors of `body`, of which `json_bytes` are JSON and the rest raw tensors.

        All of it is JSON where `json_bytes` is None.
        Raises InvalidInput, NotOffered or TooLarge.
        """

    def encode(
        self,
        request: DecodedRequest,
        version: ModelVersion,
        outputs: Mapping[str, np.ndarray],
        options: ReplyOptions,
    ) -> EncodedReply:
        """Return the reply's body."""
