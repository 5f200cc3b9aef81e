"""The protobuf exposition: each family as a length and a message io.prometheus.client.MetricFamily.

It is the one format that carries native histograms, which is why Prometheus asks for it. Source of
the field numbers: client_model's metrics.proto; of the encoding:
https://protobuf.dev/programming-guides/encoding/.
"""

import math
import struct
from collections.abc import Iterable, Iterator, Sequence

from exporter import native
from exporter.exposition.lines import cumulative_counts
from exporter.metric import Family
from exporter.view import Exemplar, LabelValues, MergedFamily, MergedSeries

TYPES = {"counter": 0, "gauge": 1, "summary": 2, "histogram": 4}

_VARINT, _FIXED64, _LENGTH = 0, 1, 2
_DOUBLE = struct.Struct("<d")
_NANOSECONDS = 1_000_000_000
_SEVEN_BITS = 0x7F
_FIRST_TOO_LARGE = 2.0**63


Key = tuple[tuple[str, ...], LabelValues]


class ProtobufRenderer:
    """Renders scrapes as delimited protobuf. Not for concurrent use."""

    def __init__(self, *, with_native: bool) -> None:
        """`with_native` adds the native form to histograms that are kept in it."""
        self._with_native = with_native
        self._labels: dict[Key, bytes] = {}

    def render(self, families: Iterable[MergedFamily]) -> bytes:
        """Return the exposition."""
        kept: dict[Key, bytes] = {}
        messages = [self._family(merged, kept) for merged in families]
        self._labels = kept
        return b"".join([varint(len(message)) + message for message in messages])

    def _family(self, merged: MergedFamily, kept: dict[Key, bytes]) -> bytes:
        family = merged.family
        parts = [
            _text(1, family.name),
            _text(2, family.help),
            _number(3, TYPES[family.kind]),
        ]
        for labels, series in merged.series.items():
            key = (family.label_names, labels)
            pairs = kept[key] = self._labels.get(key) or _label_pairs(family.label_names, labels)
            parts.append(_message(4, pairs + self._value(family, series)))
        if family.unit:
            parts.append(_text(5, family.unit))
        return b"".join(parts)

    def _value(self, family: Family, series: MergedSeries) -> bytes:
        if family.kind == "gauge":
            return _message(2, _double(1, series.cells[0]))
        if family.kind == "counter":
            exemplar = series.exemplars.get(0)
            body = _double(1, series.cells[0])
            if exemplar is not None:
                body += _message(2, _exemplar(exemplar))
            return _message(3, body + _started(3, series.created))
        if family.kind == "summary":
            total, count = series.cells
            body = _number(1, _whole(count)) + _double(2, total) + _started(4, series.created)
            return _message(4, body)
        return _message(7, self._histogram(family, series))

    def _histogram(self, family: Family, series: MergedSeries) -> bytes:
        counts = cumulative_counts(family, series)
        parts = [_number(1, _whole(counts[-1])), _double(2, series.cells[0])]
        for place, (count, bound) in enumerate(
            zip(counts, (*family.buckets, math.inf), strict=True)
        ):
            exemplar = series.exemplars.get(place)
            bucket = _number(1, _whole(count)) + _double(2, bound)
            if exemplar is not None:
                bucket += _message(3, _exemplar(exemplar))
            parts.append(_message(3, bucket))
        if family.is_native and self._with_native:
            parts += _native_fields(family, series)
        parts.append(_started(15, series.created))
        return b"".join(parts)


def _native_fields(family: Family, series: MergedSeries) -> Iterator[bytes]:
    """Yield schema, zero bucket, spans and deltas.

    A threshold above 0 marks the histogram as native even while it is empty.
    """
    counts: dict[int, int] = {}
    for index, count in zip(native.bucket_indices(family.edges), series.cells[1:], strict=True):
        if count:
            counts[index] = counts.get(index, 0) + _whole(count)
    zero_count = counts.pop(native.FIRST_INDEX, 0)
    yield _number(5, _zigzag(native.SCHEMA))
    yield _double(6, native.ZERO_THRESHOLD)
    yield _number(7, zero_count)
    indices = sorted(counts)
    for offset, length in _spans(indices):
        yield _message(12, _number(1, _zigzag(offset)) + _number(2, length))
    previous = 0
    deltas = []
    for index in indices:
        deltas.append(varint(_zigzag(counts[index] - previous)))
        previous = counts[index]
    if deltas:
        yield _message(13, b"".join(deltas))
    for exemplar in series.exemplars.values():
        yield _message(16, _exemplar(exemplar))


def _spans(indices: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield runs of neighbouring buckets.

    The first offset counts from bucket 0, each other one from the end of the run before.
    """
    start = end = 0
    offset = 0
    for index in indices:
        if end > start and index == end:
            end += 1
            continue
        if end > start:
            yield offset, end - start
        offset = index - end
        start, end = index, index + 1
    if end > start:
        yield offset, end - start


def _label_pairs(names: Sequence[str], values: Sequence[str]) -> bytes:
    pairs = sorted(zip(names, values, strict=True))
    return b"".join([_message(1, _text(1, name) + _text(2, value)) for name, value in pairs])


def _exemplar(exemplar: Exemplar) -> bytes:
    label = _text(1, "trace_id") + _text(2, exemplar.trace_id.hex())
    return _message(1, label) + _double(2, exemplar.value) + _timestamp(3, exemplar.timestamp)


def _started(field: int, created: float) -> bytes:
    return _timestamp(field, created) if created > 0 else b""


def _timestamp(field: int, seconds: float) -> bytes:
    whole = _whole(seconds)
    nanoseconds = _whole((seconds - whole) * _NANOSECONDS) % _NANOSECONDS
    return _message(field, _number(1, whole) + _number(2, nanoseconds))


def _whole(value: float) -> int:
    """Return a count or time as the unsigned integer it is; 0 for what no recorder writes."""
    return int(value) if 0 <= value < _FIRST_TOO_LARGE else 0


def _zigzag(value: int) -> int:
    """Return a signed number as an unsigned one that is small when it is near 0."""
    return value * 2 if value >= 0 else -value * 2 - 1


def varint(value: int) -> bytes:
    """Return a number of 0 or more, seven bits to a byte, the lowest first."""
    encoded = bytearray()
    while value > _SEVEN_BITS:
        encoded.append(value & _SEVEN_BITS | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _number(field: int, value: int) -> bytes:
    return varint(field << 3 | _VARINT) + varint(value)


def _double(field: int, value: float) -> bytes:
    return varint(field << 3 | _FIXED64) + _DOUBLE.pack(value)


def _message(field: int, body: bytes) -> bytes:
    return varint(field << 3 | _LENGTH) + varint(len(body)) + body


def _text(field: int, text: str) -> bytes:
    return _message(field, text.encode())
