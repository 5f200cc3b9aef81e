"""What of a request's headers and query changes how a prediction is made: id, time, priority."""

import binascii
import os
import re
from collections.abc import Mapping
from urllib.parse import parse_qsl

from serving.codecs.base import JSON_BYTES_HEADER
from serving.codecs.rendering import NONFINITE_MODES
from serving.errors import InvalidInput
from serving.prediction import NORMAL_PRIORITY
from serving.quoting import quoted

MILLISECONDS = 1e3  # in one second
PRIORITIES = (1, 2, 3)
RANDOM_ID_BYTES = 16
URL_SAFE = bytes.maketrans(b"+/", b"-_")

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")

# Version, trace id, parent id, flags; neither id is all zeros, later versions may add fields.
_TRACEPARENT = re.compile(
    r"([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})(-.*)?"
)
_SAMPLED = 0x01

# Bounded, so that no header becomes an integer of thousands of digits.
_WHOLE_NUMBER = re.compile(r"0*([0-9]{1,15})")


def request_id_of(environ: Mapping[str, object]) -> str:
    """Return the caller's X-Request-ID if well formed, else a new one of 32 hexadecimal digits."""
    wanted = environ.get("HTTP_X_REQUEST_ID")
    if isinstance(wanted, str) and _REQUEST_ID.fullmatch(wanted):
        return wanted
    return os.urandom(RANDOM_ID_BYTES).hex()


def timeout_seconds_of(environ: Mapping[str, object], default_seconds: float) -> float:
    """Return the time the caller allows: a header can shorten the default, never extend it.

    Raises InvalidInput for a malformed X-Request-Timeout-Ms. Envoy's header is ignored when it is
    malformed, because a proxy wrote it.
    """
    seconds = default_seconds
    own = environ.get("HTTP_X_REQUEST_TIMEOUT_MS")
    if own is not None:
        milliseconds = _whole_number(own)
        if not milliseconds:
            raise InvalidInput(
                f"X-Request-Timeout-Ms must be whole milliseconds above 0; got {quoted(str(own))}"
            )
        seconds = min(seconds, milliseconds / MILLISECONDS)
    envoy = environ.get("HTTP_X_ENVOY_EXPECTED_RQ_TIMEOUT_MS")
    if envoy is not None:
        milliseconds = _whole_number(envoy)
        if milliseconds:
            seconds = min(seconds, milliseconds / MILLISECONDS)
    return seconds


def priority_of(environ: Mapping[str, object]) -> int:
    """Return the caller's priority: 1, 2 or 3; 2 where there is none, 0 or one above 3.

    Raises InvalidInput if X-Request-Priority is no whole number of 0 or more.
    """
    wanted = environ.get("HTTP_X_REQUEST_PRIORITY")
    if wanted is None:
        return NORMAL_PRIORITY
    number = _whole_number(wanted)
    if number is None:
        raise InvalidInput(
            f"X-Request-Priority must be 1 (high), 2 (normal) or 3 (low); got {quoted(str(wanted))}"
        )
    return number if number in PRIORITIES else NORMAL_PRIORITY


def json_bytes_of(environ: Mapping[str, object], body_bytes: int) -> int | None:
    """Return how much of a body is JSON before raw tensors follow; None without that header.

    Raises InvalidInput for what is no number or goes beyond the body.
    """
    announced = environ.get("HTTP_INFERENCE_HEADER_CONTENT_LENGTH")
    if announced is None:
        return None
    size = _whole_number(announced)
    if size is None or size > body_bytes:
        raise InvalidInput(
            f"{JSON_BYTES_HEADER} must be the bytes of JSON at the beginning of the body, 0 to"
            f" {body_bytes}; got {quoted(str(announced))}"
        )
    return size


def new_prediction_id() -> str:
    """Return a new id of a prediction: 22 characters of base64url, 128 random bits.

    It is the server's own, since a caller's request id may repeat.
    """
    return binascii.b2a_base64(os.urandom(RANDOM_ID_BYTES)).translate(URL_SAFE)[:22].decode()


def nonfinite_mode_of(environ: Mapping[str, object]) -> str | None:
    """Return how the query wants NaN and infinities written; None for the protocol's own way.

    Raises InvalidInput for a way that there is not.
    """
    query = str(environ.get("QUERY_STRING", ""))
    if "nonfinite" not in query:
        return None
    mode = dict(parse_qsl(query)).get("nonfinite")
    if mode is not None and mode not in NONFINITE_MODES:
        raise InvalidInput(f'nonfinite="{mode[:64]}"; expected one of {", ".join(NONFINITE_MODES)}')
    return mode


def wants_tokens(environ: Mapping[str, object]) -> bool:
    """Return whether the query asks for feedback tokens in the body.

    Raises InvalidInput for neither true nor false.
    """
    query = str(environ.get("QUERY_STRING", ""))
    if "feedback_tokens" not in query:
        return False
    wanted = dict(parse_qsl(query, keep_blank_values=True)).get("feedback_tokens", "false")
    if wanted not in {"true", "false"}:
        raise InvalidInput(f"feedback_tokens={quoted(wanted)}; expected true or false")
    return wanted == "true"


def sampled_trace_of(environ: Mapping[str, object]) -> bytes | None:
    """Return the 16 bytes of the trace id in `traceparent` if that trace is being sampled.

    A malformed header is ignored, as https://www.w3.org/TR/trace-context/#traceparent-header
    demands.
    """
    header = environ.get("HTTP_TRACEPARENT")
    if header is None:
        return None
    match = _TRACEPARENT.fullmatch(str(header))
    if match is None:
        return None
    version, trace_id, flags, rest = match.groups()
    if version == "ff" or (version == "00" and rest) or not int(flags, 16) & _SAMPLED:
        return None
    return bytes.fromhex(trace_id)


def _whole_number(text: object) -> int | None:
    match = _WHOLE_NUMBER.fullmatch(str(text).strip())
    return int(match[1]) if match else None
