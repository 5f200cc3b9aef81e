"""Which predictions get feedback tokens, and what stands in them."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from exporter.quality import Measured, RowSegments, ScoreError, digest_of
from serving.codecs.base import TOKEN_OUTPUT, DecodedRequest
from serving.feedback.tokens import RowOfPrediction, TokenSigner
from serving.model import ModelVersion

Tokens = Sequence[str | None]
# Beyond these other requests would wait for tokens to be made: milliseconds.
MANY_ROWS, MANY_BYTES = 100, 256 << 10


class Wish(NamedTuple):
    """What a request asks of the runner, and the task of its tokens; None where it gets none.

    `decoded` is the request as its reply is made.
    """

    request: DecodedRequest
    decoded: DecodedRequest
    measured: Measured | None


class TokenIssuer:
    """Gives each row of a prediction its token."""

    def __init__(
        self, signer: TokenSigner, *, is_on: bool, apart: Callable[[Callable[[], Tokens]], Tokens]
    ) -> None:
        """`is_on` is whether there are any; `apart` makes a call that computes for long."""
        self._signer = signer
        self._is_on = is_on
        self._apart = apart

    def wish(
        self, version: ModelVersion, request: DecodedRequest, *, is_asked: bool = False
    ) -> Wish:
        """Return what to ask the runner for, which may be an output that only a token needs.

        One row always has a token, several have them where they are asked for; so has one whose
        label must bring the prediction back. `is_asked` is whether the query asks for them, beside
        the body.
        """
        measured = version.measured
        if is_asked and version.task != "none":
            request = request._replace(wants_tokens=True)
        outputs = request.model_outputs
        if (
            not self._is_on
            or measured is None
            or not measured.outputs
            or request.signature != measured.signature
            or (not request.wants_tokens and (request.rows > 1 or measured.echoed is not None))
        ):
            # An output that is asked for by its name is there, and is empty.
            has_output = TOKEN_OUTPUT in (request.outputs or ())
            decoded = request if has_output else request._replace(wants_tokens=False)
            return Wish(request._replace(outputs=outputs), decoded, None)
        if outputs is not None:
            outputs = (*outputs, *(name for name in measured.outputs if name not in outputs))
        return Wish(request._replace(outputs=outputs), request, measured)

    def tokens(
        self,
        wish: Wish,
        version: ModelVersion,
        outputs: Mapping[str, np.ndarray],
        prediction_id: str,
        segments: Sequence[RowSegments] = (),
    ) -> Tokens:
        """Return the rows' tokens, None for a row whose output is not usable; empty without any."""
        measured = wish.measured
        # Another version may have answered, with a task of its own.
        if measured is None or version.measured is not measured:
            return ()
        # A model that is not batched may put out anything.
        rows, found = wish.request.rows, [outputs[name] for name in measured.outputs]
        if any(array.shape[:1] != (rows,) for array in found):
            return ()

        def make() -> Tokens:
            return self._made(measured, version, outputs, prediction_id, segments)

        is_much = rows > MANY_ROWS or sum(array.nbytes for array in found) > MANY_BYTES
        return self._apart(make) if is_much else make()

    def _made(
        self,
        measured: Measured,
        version: ModelVersion,
        outputs: Mapping[str, np.ndarray],
        prediction_id: str,
        segments: Sequence[RowSegments],
    ) -> Tokens:
        try:
            packed = measured.task.pack(measured.read(outputs))
        except ScoreError:
            # The runner says so in its log, and has the task taken off the version.
            return ()
        echoed = measured.echoed
        if echoed is not None:
            packed = [None if one is None else digest_of(echoed, one) for one in packed]
        names = (version.model, version.version, measured.digest)
        rows = (
            RowOfPrediction(prediction_id, row, *names, values, segments[row] if segments else None)
            for row, values in enumerate(packed)
        )
        return [None if row.values is None else self._signer.sign(row) for row in rows]
