"""From a label as it was sent to what it will count: verified, parsed, not yet claimed."""

import hashlib
import json
import logging
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from exporter.quality import LabelError, Sums, count_label, count_teacher, digest_of
from serving.feedback.items import Item, seconds_of
from serving.feedback.measured_versions import MeasuredVersion, MeasuredVersions
from serving.feedback.stores.base import LONGEST_LABEL, Claim, Key
from serving.feedback.tokens import (
    AHEAD_SECONDS,
    BadToken,
    ExpiredToken,
    RowOfPrediction,
    TokenSigner,
    prediction_bytes,
)

STORE_ERROR = "store_error"
READABLE, HASHED = b"j", b"h"
HASH_BYTES = 16

logger = logging.getLogger(__name__)


class Refusal(NamedTuple):
    """Why a label does not count: its result, and what is wrong with it."""

    result: str
    message: str


class _Refused(Exception):
    def __init__(self, result: str, message: str) -> None:
        super().__init__(message)
        self.refusal = Refusal(result, message)


class Prepared(NamedTuple):
    """A label that will count if nobody has claimed its row before.

    `sums` is what it counts.
    """

    version: MeasuredVersion
    row: RowOfPrediction
    claim: Claim
    sums: Sums
    is_truth: bool


class Counted(NamedTuple):
    """What was predicted, what a store keeps of the label, and what it counts."""

    values: object
    claimed: bytes
    sums: Sums


class Preparer:
    """Knows the keys and the versions."""

    def __init__(
        self,
        signer: TokenSigner,
        versions: MeasuredVersions,
        *,
        max_age_seconds: float,
        may_come: Callable[[str], bool],
        apart: Callable[[Callable[[], Counted]], Counted],
    ) -> None:
        """`may_come` tells whether versions of a model that are not known now may be so soon.

        `apart` makes a call that computes for long without keeping requests waiting.
        """
        self._signer = signer
        self._versions = versions
        self._max_age_seconds = max_age_seconds
        self._may_come = may_come
        self._apart = apart

    def prepare(self, item: Item) -> Prepared | Refusal:
        """Verify and parse a label."""
        try:
            row, age = self._signer.read(item.token)
            return self._prepared(item, self._version_of(row), row, age)
        except _Refused as error:
            return error.refusal
        except ExpiredToken as error:
            return Refusal("expired", str(error))
        except BadToken as error:
            return Refusal("bad_token", str(error))
        except LabelError as error:
            return Refusal("bad_label", str(error))
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:
            # The signature is ours and the content is not: the token is of another build.
            logger.warning("a token has other content than this server's: %s", error)
            return Refusal("bad_token", "the token has other content than this server's")

    def _version_of(self, row: RowOfPrediction) -> MeasuredVersion:
        version = self._versions.find(row.model, row.version)
        if version is None:
            if self._may_come(row.model):
                text = f"model {row.model} is being loaded: send the label again"
                raise _Refused(STORE_ERROR, text)
            name = f"model {row.model[:64]} version {row.version[:64]}"
            raise _Refused("unknown_id", f"{name} is not served here, or has no task")
        if version.measured.digest != row.declaration:
            text = "the token was made under another task or other classes"
            raise _Refused("unknown_id", text)
        return version

    def _prepared(
        self, item: Item, version: MeasuredVersion, row: RowOfPrediction, age: float
    ) -> Prepared:
        def count() -> Counted:
            return _counted(item, version, row, age)

        # Images and texts are worked on for long; what a token has is counted in microseconds.
        found = count() if version.measured.echoed is None else self._apart(count)
        key = Key(prediction_bytes(row.prediction_id), row.row, item.source)
        expires = int(time.time() - age + self._max_age_seconds + AHEAD_SECONDS)
        row = row._replace(values=found.values)
        claim = Claim(key, found.claimed, expires)
        return Prepared(version, row, claim, found.sums, not item.source)


def _counted(item: Item, version: MeasuredVersion, row: RowOfPrediction, age: float) -> Counted:
    task, sums = version.measured.task, Sums()
    values = _values(version, row, item.prediction)
    label = task.parse(item.label)
    delay = age if item.labelled_at is None else _delay(item.labelled_at, age)
    if item.source:
        count_teacher(task, values, label, sums)
    else:
        count_label(task, values, label, sums, age=age, delay=delay)
        version.measured.segments.count_label(row.segments or {}, sums)
    return Counted(values, claimed(label), sums)


def _values(version: MeasuredVersion, row: RowOfPrediction, prediction: object) -> object:
    """Return what was predicted: as the token has it, or as it came back with the label.

    Raises LabelError, or BadToken for another prediction than the token's.
    """
    echoed = version.measured.echoed
    if echoed is None:
        if prediction is not None:
            raise LabelError("prediction is for tasks whose tokens do not carry it")
        return row.values
    if prediction is None:
        raise LabelError("prediction is to be sent beside the label: the token has its digest")
    values = echoed.echoed(prediction)
    if digest_of(echoed, values) != row.values:
        raise BadToken("the prediction is not the one that the token is of")
    return values


def _delay(labelled_at: object, age: float) -> float:
    """Return the seconds from the prediction to when the truth was known. Raises LabelError."""
    now = time.time()
    at, predicted_at = seconds_of(labelled_at), now - age
    if not predicted_at - AHEAD_SECONDS <= at <= now + AHEAD_SECONDS:
        raise LabelError("labelled_at is to be between the prediction and now")
    return max(0.0, at - predicted_at)


def claimed(label: object) -> bytes:
    """Return what a store keeps of a label: itself if it is short, else a digest."""
    text = json.dumps(label, sort_keys=True, default=_array_digest).encode()
    if len(text) < LONGEST_LABEL:
        return READABLE + text
    return HASHED + hashlib.sha256(text).digest()[:HASH_BYTES]


def _array_digest(array: np.ndarray) -> str:
    """Return what stands for an array, which may have millions of elements."""
    return hashlib.sha256(array.tobytes()).hexdigest()


def unclaimed(claim: bytes) -> object | None:
    """Return the label that a store has kept; None where it kept a digest."""
    return json.loads(claim[1:]) if claim.startswith(READABLE) else None
