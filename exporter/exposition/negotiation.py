"""Chooses the format and coding of an answer from the Accept headers (RFC 9110, section 12).

Nothing a client sends is an error: what cannot be read is ignored, and who asks for nothing that is
offered gets text.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum

LONGEST_HEADER = 4_096


class Format(Enum):
    """A format and the Content-Type it is labelled with. First in the list wins a tie."""

    PROTOBUF = (
        "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; "
        "encoding=delimited"
    )
    OPENMETRICS_1_0_0 = "application/openmetrics-text; version=1.0.0; charset=utf-8"
    OPENMETRICS_0_0_1 = "application/openmetrics-text; version=0.0.1; charset=utf-8"
    TEXT = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True)
class _Range:
    """One element of an Accept header."""

    type: str
    parameters: dict[str, str] = field(default_factory=dict)
    quality: float = 1.0


@dataclass(frozen=True, slots=True)
class _Offer:
    format: Format
    type: str
    parameters: dict[str, str]


_OFFERS = (
    _Offer(
        Format.PROTOBUF,
        "application/vnd.google.protobuf",
        {"proto": "io.prometheus.client.metricfamily", "encoding": "delimited"},
    ),
    _Offer(Format.OPENMETRICS_1_0_0, "application/openmetrics-text", {"version": "1.0.0"}),
    _Offer(Format.OPENMETRICS_0_0_1, "application/openmetrics-text", {"version": "0.0.1"}),
    _Offer(Format.TEXT, "text/plain", {"version": "0.0.4"}),
)


def choose_format(accept: str) -> Format:
    """Return the format that the client likes best; text when it likes none of them."""
    ranges = list(_ranges(accept))
    qualities = [(_quality(offer, ranges), offer.format) for offer in _OFFERS]
    best = max(qualities, key=lambda pair: pair[0])  # The first of equals.
    return best[1] if best[0] > 0 else Format.TEXT


def accepts_gzip(accept_encoding: str) -> bool:
    """Return whether gzip may be used: it or `*` is named with a quality above 0."""
    named = {item.type: item.quality for item in _ranges(accept_encoding)}
    return named.get("gzip", named.get("x-gzip", named.get("*", 0.0))) > 0


def _quality(offer: _Offer, ranges: list[_Range]) -> float:
    """Return the quality of the most specific range that fits; 0 when none does."""
    fitting = [(_specificity(offer, item), item.quality) for item in ranges]
    specificity, quality = max(fitting, default=(0, 0.0))
    return quality if specificity else 0.0


def _specificity(offer: _Offer, item: _Range) -> int:
    """Return 0 when the range does not fit; more, the more it says."""
    if item.type in {"*/*", "text/*"}:
        # A wildcard means what every client can read.
        return (1 if item.type == "*/*" else 2) if offer.format is Format.TEXT else 0
    if item.type != offer.type:
        return 0
    stated = {name: item.parameters.get(name) for name in offer.parameters}
    if offer.format is Format.PROTOBUF:
        return 4 if stated == offer.parameters else 0
    version = stated["version"]
    if version is None:
        # Without a version the newest is meant, not the draft.
        return 0 if offer.format is Format.OPENMETRICS_0_0_1 else 3
    if offer.format is Format.OPENMETRICS_1_0_0 and _is_newer(version):
        # 2.0 differs in its body, so 1.0.0 is sent under its own name; it is better than text.
        return 3
    return 4 if version == offer.parameters["version"] else 0


def _is_newer(version: str) -> bool:
    major = version.partition(".")[0]
    return major.isdecimal() and int(major[:9]) > 1


def _ranges(header: str) -> Iterator[_Range]:
    for element in header[:LONGEST_HEADER].split(","):
        name, *parameters = (part.strip() for part in element.split(";"))
        if not name:
            continue
        pairs = [part.partition("=") for part in parameters]
        values = {key.strip().lower(): value.strip().strip('"').lower() for key, _, value in pairs}
        quality = _parse_quality(values.pop("q", "1"))
        if quality is not None:
            yield _Range(name.lower(), values, quality)


def _parse_quality(text: str) -> float | None:
    """Return a weight from 0 to 1; None when it is none, which drops the range."""
    whole, _, decimals = text.partition(".")
    if whole not in {"0", "1"} or not (decimals == "" or decimals.isdecimal()):
        return None
    quality = float(f"{whole}.{decimals or 0}")
    return quality if quality <= 1 else None
