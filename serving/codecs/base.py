"""What a protocol's codec is: bytes to named tensors and back. A new one is a file beside this."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from serving.model import ModelVersion

# How many bytes of a body are JSON; raw tensors follow.
JSON_BYTES_HEADER = "Inference-Header-Content-Length"


# What Open Inference calls the output with the rows' feedback tokens.
TOKEN_OUTPUT = "inferometer_feedback_token"  # noqa: S105 - a name
# Proxies commonly allow 4 to 8 KiB for all headers.
LONGEST_HEADER_TOKEN = 2_048


class DecodedRequest(NamedTuple):
    """A prediction request as tensors.

    `inputs` maps each input of the signature to an array whose first dimension is `rows`; BYTES are
    object arrays of `bytes`. `outputs` are the outputs asked for, in order, None for all.
    `row_form` (TensorFlow Serving) asks for one object per row. `request_id` (Open Inference) is
    echoed, and `binary_outputs` are sent as raw tensors. `wants_tokens` asks for a feedback token
    for each row, which Open Inference has as an output of its own.
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
    wants_tokens: bool = False

    @property
    def model_outputs(self) -> tuple[str, ...] | None:
        """The outputs asked for that are the model's."""
        if self.outputs is None or not self.wants_tokens:
            return self.outputs
        return tuple(name for name in self.outputs if name != TOKEN_OUTPUT)


class ReplyOptions(NamedTuple):
    """What a reply depends on beside the outputs.

    `nonfinite` is `token`, `null`, `string`, `error` or None for the protocol's own.
    `feedback_tokens` are the rows' tokens, None for a row that has none; empty where the request
    gets none at all.
    """

    nonfinite: str | None = None
    prediction_id: str | None = None
    feedback_tokens: Sequence[str | None] = ()

    @property
    def header_token(self) -> str | None:
        """The token of a prediction of one row, if there is one and a header can carry it."""
        token = self.feedback_tokens[0] if len(self.feedback_tokens) == 1 else None
        return token if token is not None and len(token) <= LONGEST_HEADER_TOKEN else None


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
