"""The formats: byte for byte what prometheus_client writes, and in protobuf the same values."""

import math
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.exposition import generate_latest as reference_text
from prometheus_client.openmetrics.exposition import generate_latest as reference_openmetrics

from exporter import Label, counter, gauge, histogram, info, state_set
from exporter.exposition.openmetrics import OpenMetricsRenderer
from exporter.exposition.protobuf import ProtobufRenderer
from exporter.exposition.text import TextRenderer
from exporter.native import EDGES, FIRST_INDEX, ZERO_THRESHOLD
from exporter.store_collector import as_metric
from exporter.view import Exemplar, MergedFamily, MergedSeries

texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
amounts = st.one_of(
    st.integers(0, 2**53).map(float), st.floats(0, 1e308), st.sampled_from([1e-7, 1e6, 999999.5])
)
exemplars = st.builds(Exemplar, amounts, st.floats(1, 4e9), st.binary(min_size=16, max_size=16))
created_times = st.one_of(st.just(0.0), st.floats(1, 4e9))


@st.composite
def families(draw: st.DrawFn) -> MergedFamily:
    kind = draw(st.sampled_from(["counter", "gauge", "histogram", "info", "stateset"]))
    name = draw(st.sampled_from(["a", "work_seconds", "sent_bytes"]))
    labels = tuple(Label(n) for n in draw(st.lists(st.sampled_from("bmz"), unique=True)))
    text = draw(texts)
    if kind == "counter":
        family = counter(f"{name}_total", text, *labels, exemplars=True)
    elif kind == "gauge":
        family = gauge(name, text, *labels)
    elif kind == "info":
        family = info(f"{name}_info", text, *labels)
    elif kind == "stateset":
        family = state_set(name, text, ("on", "off"), *labels)
    else:
        bounds = sorted(draw(st.sets(st.floats(0, 1e9), min_size=1, max_size=5)))
        family = histogram(name, text, *labels, buckets=bounds, exemplars=True)
    merged = MergedFamily(family)
    count = draw(st.integers(0, 3)) if labels else 1
    for _ in range(count):
        values = tuple(draw(texts) for _ in family.labels)
        cells = len(family.edges) + 2 if kind == "histogram" else 1
        series = MergedSeries(
            draw(created_times) if kind == "counter" else 0.0,
            [draw(amounts) for _ in range(cells)],
        )
        if kind == "gauge":
            series.cells[0] = draw(st.floats())
        elif family.kind == "gauge":
            series.cells[0] = float(kind == "info" or draw(st.booleans()))
        elif draw(st.booleans()):
            places = range(family.exemplar_slots)
            series.exemplars = {place: draw(exemplars) for place in places if draw(st.booleans())}
        merged.series[values] = series
    return merged


class Registry:
    def __init__(self, merged: list[MergedFamily], *, with_created: bool) -> None:
        self.metrics = [as_metric(each, with_created=with_created) for each in merged]

    def collect(self) -> Any:
        return self.metrics


@settings(max_examples=200, deadline=None)
@given(
    merged=st.lists(families(), max_size=3, unique_by=lambda merged: merged.family.name),
    with_created=st.booleans(),
)
def test_both_line_formats_equal_prometheus_clients_bytes(
    merged: list[MergedFamily], *, with_created: bool
) -> None:
    registry = Registry(merged, with_created=with_created)
    text, openmetrics = (
        TextRenderer(with_created=with_created),
        OpenMetricsRenderer(with_created=with_created),
    )

    for _ in range(2):  # The second time from what was kept.
        assert text.render(merged) == reference_text(registry)
        assert openmetrics.render(merged) == reference_openmetrics(registry)


def test_a_series_that_has_gone_and_comes_back_is_rendered_anew() -> None:
    family = gauge("depth", "Depth.", Label("queue"))
    renderer = TextRenderer(with_created=False)

    def shown(*queues: str) -> bytes:
        merged = MergedFamily(family, {(q,): MergedSeries(0.0, [1.0]) for q in queues})
        return renderer.render([merged])

    assert b'queue="b"' not in shown("a")
    assert b'queue="b"' in shown("a", "b")
    assert b'queue="a"' not in shown("b")


# client_model's metrics.proto, as far as it is written here.
FIELDS = {
    "LabelPair": "name:1:string value:2:string",
    "Timestamp": "seconds:1:int64 nanos:2:int32",
    "Exemplar": "label:1:LabelPair* value:2:double timestamp:3:Timestamp",
    "Gauge": "value:1:double",
    "Counter": "value:1:double exemplar:2:Exemplar start_timestamp:3:Timestamp",
    "Bucket": "cumulative_count:1:uint64 upper_bound:2:double exemplar:3:Exemplar",
    "BucketSpan": "offset:1:sint32 length:2:uint32",
    "Histogram": "sample_count:1:uint64 sample_sum:2:double bucket:3:Bucket* schema:5:sint32 "
    "zero_threshold:6:double zero_count:7:uint64 positive_span:12:BucketSpan* "
    "positive_delta:13:sint64* start_timestamp:15:Timestamp exemplars:16:Exemplar*",
    "Metric": "label:1:LabelPair* gauge:2:Gauge counter:3:Counter histogram:7:Histogram",
    "MetricFamily": "name:1:string help:2:string type:3:int32 metric:4:Metric* unit:5:string",
}


@pytest.fixture(scope="module")
def metric_family() -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="m.proto", package="m", syntax="proto2")
    kinds = descriptor_pb2.FieldDescriptorProto
    for name, fields in FIELDS.items():
        message = file.message_type.add(name=name)
        for text in fields.split():
            field, number, kind = text.split(":")
            label = kinds.LABEL_REPEATED if kind.endswith("*") else kinds.LABEL_OPTIONAL
            kind = kind.rstrip("*")
            added = message.field.add(name=field, number=int(number), label=label)
            if kind in FIELDS:
                added.type, added.type_name = kinds.TYPE_MESSAGE, f".m.{kind}"
            else:
                added.type = getattr(kinds, f"TYPE_{kind.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("m.MetricFamily"))


def decode(metric_family: Any, data: bytes) -> list[Any]:
    messages = []
    while data:
        size = shift = position = 0
        while True:
            byte = data[position]
            size |= (byte & 0x7F) << shift
            position, shift = position + 1, shift + 7
            if byte < 0x80:
                break
        messages.append(metric_family.FromString(data[position : position + size]))
        data = data[position + size :]
    return messages


@settings(max_examples=100, deadline=None)
@given(merged=families())
def test_protobuf_carries_the_same_values(metric_family: Any, merged: MergedFamily) -> None:
    if merged.family.kind == "histogram":
        for series in merged.series.values():  # Counts are whole numbers of at most 64 bits.
            series.cells[1:] = [float(int(cell) % 2**32) for cell in series.cells[1:]]

    (message,) = decode(metric_family, ProtobufRenderer(with_native=True).render([merged]))

    family = merged.family
    assert (message.name, message.help, message.unit) == (family.name, family.help, family.unit)
    for metric, (labels, series) in zip(message.metric, merged.series.items(), strict=True):
        pairs = dict(zip(family.label_names, labels, strict=True))
        assert {pair.name: pair.value for pair in metric.label} == pairs
        if family.kind != "histogram":
            value = (metric.gauge if family.kind == "gauge" else metric.counter).value
            assert value == series.cells[0] or math.isnan(series.cells[0])
            continue
        histogram_ = metric.histogram
        assert histogram_.sample_count == sum(series.cells[1:])
        assert histogram_.sample_sum == series.cells[0]
        assert [b.upper_bound for b in histogram_.bucket] == [*family.buckets, math.inf]
        found = {i: b.exemplar for i, b in enumerate(histogram_.bucket) if b.HasField("exemplar")}
        assert {i: e.value for i, e in found.items()} == {
            i: e.value for i, e in series.exemplars.items()
        }


@settings(max_examples=200, deadline=None)
@given(
    values=st.lists(
        st.one_of(st.floats(0, 1e-5), st.floats(1e-6, 200), st.sampled_from(EDGES)), max_size=60
    )
)
def test_native_buckets_hold_every_value_between_their_edges(
    metric_family: Any, values: list[float]
) -> None:
    family = histogram("work_seconds", "Work.", buckets=(0.1, 1.0, 50.0), native=True)
    cells = [0.0] * (len(family.edges) + 2)
    for value in values:
        cells[
            1 + next((i for i, e in enumerate(family.edges) if value <= e), len(family.edges))
        ] += 1
    merged = MergedFamily(family, {(): MergedSeries(0.0, cells)})

    (message,) = decode(metric_family, ProtobufRenderer(with_native=True).render([merged]))

    native = message.metric[0].histogram
    expected: dict[int, int] = {}
    for value in values:
        if value > ZERO_THRESHOLD:
            index = min(math.ceil(round(math.log2(value) * 8, 9)), 57)
            expected[index] = expected.get(index, 0) + 1
    found, index, count = {}, 0, 0
    deltas = iter(native.positive_delta)
    for span in native.positive_span:
        index += span.offset
        for _ in range(span.length):
            count += next(deltas)
            found[index] = count
            index += 1
    assert native.schema == 3
    assert native.zero_threshold == ZERO_THRESHOLD == 2.0**-20
    assert found == expected
    assert native.zero_count + sum(found.values()) == native.sample_count == len(values)
    for bucket in native.bucket:
        assert bucket.cumulative_count == sum(value <= bucket.upper_bound for value in values)


def test_the_native_form_can_be_left_out(metric_family: Any) -> None:
    family = histogram("work_seconds", "Work.", buckets=(1.0,), native=True)
    merged = MergedFamily(family, {(): MergedSeries(0.0, [0.0] * (len(family.edges) + 2))})

    (message,) = decode(metric_family, ProtobufRenderer(with_native=False).render([merged]))

    assert not message.metric[0].histogram.HasField("zero_threshold")


def test_edges_rise_by_the_eighth_root_of_two() -> None:
    assert len(EDGES) == 217
    assert (EDGES[0], EDGES[-1]) == (2.0**-20, 128.0)
    for index, edge in enumerate(EDGES):
        assert math.isclose(edge, 2 ** ((FIRST_INDEX + index) / 8), rel_tol=1e-15)
    assert [2.0**k for k in range(-20, 8)] == list(EDGES[::8])
