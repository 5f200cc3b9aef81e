"""Feedback tokens: what the label of one row will need, signed, so that nothing has to be kept.

A token is `i1.<key id>.<signed>`. What is signed is JSON, compressed where that is shorter, with
a stamp, by itsdangerous with HMAC-SHA256. It is not encrypted: its reader sees the scores. The key
id, outside of the signature, picks the key and tells an unknown key from an altered token.
"""

import base64
import hashlib
import hmac
import re
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import orjson
from itsdangerous import BadData, TimestampSigner, URLSafeTimedSerializer
from itsdangerous.encoding import base64_encode

from exporter.quality import RowSegments

FORMAT = "i1"
SALT = b"inferometer feedback token"
KEY_ID_TEXT = b"inferometer feedback key id"
KEY_ID_CHARACTERS = 6
SIGNER = {"digest_method": hashlib.sha256, "key_derivation": "hmac"}
SHORTEST_KEY, MOST_KEYS = 32, 8
# Shorter texts do not become shorter.
COMPRESSED_BYTES = 120
LONGEST_TOKEN = 65_536
# Clocks of replicas differ by as much.
AHEAD_SECONDS = 300.0
SIGNED = re.compile(r"[A-Za-z0-9._-]+")
ID = re.compile(r"[A-Za-z0-9_-]{22}")
MOST_ROWS = 1 << 31
PARTS = 6, 7


class BadToken(Exception):
    """A token that is not one of ours, as it was made; the message says why."""


class ExpiredToken(Exception):
    """A token that is older than labels are waited for."""


class KeyProblem(ValueError):
    """Keys that cannot be used; the message never contains one."""


class RowOfPrediction(NamedTuple):
    """What a token says: which row of which prediction, whose, and what its label will need.

    `declaration` tells by which task and classes the values were packed. `segments` are the parts
    of the traffic that the row is of, where some are declared.
    """

    prediction_id: str
    row: int
    model: str
    version: str
    declaration: str
    values: Any
    segments: RowSegments | None = None


class TokenSigner:
    """Signs with the last of its keys, takes what any of them has signed."""

    def __init__(self, keys: Sequence[str], *, max_age_seconds: float) -> None:
        """Take the keys, the oldest first. Raises KeyProblem."""
        if not 1 <= len(keys) <= MOST_KEYS:
            raise KeyProblem(f"{len(keys)} feedback keys; there are to be 1 to {MOST_KEYS}")
        if any(len(key) < SHORTEST_KEY for key in keys):
            raise KeyProblem(f"a feedback key is shorter than {SHORTEST_KEY} characters")
        self._serializers = {
            _key_id(key): _Serializer(key, salt=SALT, serializer=_Json(), signer_kwargs=SIGNER)
            for key in keys
        }
        last = _key_id(keys[-1])
        self._prefix = f"{FORMAT}.{last}."
        self._signs = self._serializers[last]
        self._max_age_seconds = max_age_seconds

    def sign(self, row: RowOfPrediction) -> str:
        """Return a row's token."""
        content = row[:-1] if row.segments is None else row
        return self._prefix + str(self._signs.dumps(list(content)))

    def read(self, token: object) -> tuple[RowOfPrediction, float]:
        """Return what a token says and how old it is in seconds.

        Raises BadToken or ExpiredToken. Nothing of a token is unpacked before its signature is
        verified.
        """
        if not isinstance(token, str):
            raise BadToken("the token is to be a string")
        if len(token) > LONGEST_TOKEN:
            raise BadToken(f"the token has more than {LONGEST_TOKEN} characters")
        format_, _, rest = token.partition(".")
        key_id, _, signed = rest.partition(".")
        # Base64's other alphabet would be read as well, and be the same token in other letters.
        if format_ != FORMAT or not SIGNED.fullmatch(signed):
            raise BadToken("that is no feedback token")
        serializer = self._serializers.get(key_id)
        if serializer is None:
            raise BadToken("the token is signed with a key that this server does not have")
        try:
            content, signed_at = serializer.loads(signed, return_timestamp=True)
        except (BadData, ValueError, RecursionError):
            raise BadToken("the token was altered") from None
        # By this clock and not by itsdangerous's, to which a second ahead is expired.
        age = time.time() - signed_at.timestamp()
        if age < -AHEAD_SECONDS:
            raise BadToken("the token comes from the future: the clocks of two servers differ")
        if age > self._max_age_seconds:
            raise ExpiredToken("the token is older than feedback_max_age_days")
        return _row_of(content), max(0.0, age)


class _Serializer(URLSafeTimedSerializer):
    """Makes what its parent makes, in half of the time: a token is a part of every prediction."""

    def make_signer(self, salt: str | bytes | None = None) -> TimestampSigner:
        """Return the signer, which is made once."""
        if self._signer is None or salt is not None:
            self._signer = _Signer(self.secret_keys, salt=self.salt, **self.signer_kwargs)
        return self._signer

    _signer: TimestampSigner | None = None

    def dump_payload(self, obj: object) -> bytes:
        """Return base64 of JSON, compressed where that may make it shorter."""
        text = self.serializer.dumps(obj).encode()
        return base64_encode(text) if len(text) < COMPRESSED_BYTES else super().dump_payload(obj)


class _Signer(TimestampSigner):
    """Derives its key once."""

    _derived: bytes | None = None

    def derive_key(self, secret_key: str | bytes | None = None) -> bytes:
        """Return the key that signs; there is one."""
        if self._derived is None:
            self._derived = super().derive_key(secret_key)
        return self._derived


class _Json:
    """JSON as itsdangerous asks for it, written in a fraction of the standard library's time."""

    def dumps(self, content: object) -> str:
        return orjson.dumps(content).decode()

    def loads(self, text: str | bytes) -> object:
        return orjson.loads(text)


def prediction_bytes(prediction_id: str) -> bytes:
    """Return the 16 bytes of a prediction id, which is well formed."""
    return base64.urlsafe_b64decode(prediction_id + "==")


def _row_of(content: object) -> RowOfPrediction:
    """Return the content of a token with a valid signature, which may be of another version."""
    if not isinstance(content, list) or len(content) not in PARTS:
        raise BadToken("the token has other content than this server's")
    prediction_id, row, *texts = content[:5]
    segments = content[6] if len(content) > PARTS[0] else {}
    is_known = (
        isinstance(prediction_id, str)
        and ID.fullmatch(prediction_id) is not None
        and type(row) is int
        and 0 <= row < MOST_ROWS
        and all(isinstance(text, str) for text in texts)
        and isinstance(segments, dict)
    )
    if not is_known:
        raise BadToken("the token has other content than this server's")
    return RowOfPrediction(*content)


def _key_id(key: str) -> str:
    digest = hmac.new(key.encode(), KEY_ID_TEXT, hashlib.sha256).hexdigest()
    return digest[:KEY_ID_CHARACTERS]
