"""The choice of format and coding, by the headers that real clients send and by nonsense."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.exposition.negotiation import Format, accepts_gzip, choose_format

PROTOBUF = (
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
)

PROMETHEUS_2_42 = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
PROMETHEUS_2_42_NATIVE = (
    f"{PROTOBUF},application/openmetrics-text;version=1.0.0;q=0.8,"
    "application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,"
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", Format.TEXT),
        ("*/*", Format.TEXT),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", Format.TEXT),
        (PROMETHEUS_2_42, Format.OPENMETRICS_1_0_0),
        (PROMETHEUS_2_42_NATIVE, Format.PROTOBUF),
        (PROMETHEUS_3, Format.OPENMETRICS_1_0_0),
        (f"{PROTOBUF};escaping=allow-utf-8;q=0.6,text/plain;version=0.0.4;q=0.5", Format.PROTOBUF),
        ("application/openmetrics-text", Format.OPENMETRICS_1_0_0),
        ("application/openmetrics-text;version=0.0.1", Format.OPENMETRICS_0_0_1),
        ("application/openmetrics-text;version=2.0.0", Format.OPENMETRICS_1_0_0),
        ("application/openmetrics-text;version=3.1", Format.OPENMETRICS_1_0_0),
        ("application/openmetrics-text;version=0.0.2", Format.TEXT),
        ("text/plain", Format.TEXT),
        ("text/plain;version=1.0.0", Format.TEXT),
        ("text/*;q=0.2,application/openmetrics-text;q=0.1", Format.TEXT),
        ("text/plain;q=0,application/openmetrics-text;q=0.1", Format.OPENMETRICS_1_0_0),
        ("*/*;q=0", Format.TEXT),
        ("application/vnd.google.protobuf", Format.TEXT),
        (PROTOBUF.replace("delimited", "text"), Format.TEXT),
        (f"text/plain,{PROTOBUF}", Format.PROTOBUF),
        ("application/openmetrics-text;q=nonsense,text/plain;q=0.1", Format.TEXT),
        ("application/openmetrics-text;q=2,text/plain;q=0.1", Format.TEXT),
        ('APPLICATION/OpenMetrics-Text; Version="1.0.0"', Format.OPENMETRICS_1_0_0),
        (";;,,;q=,=", Format.TEXT),
    ],
)
def test_formats(accept: str, expected: Format) -> None:
    assert choose_format(accept) is expected


@pytest.mark.parametrize(
    ("accept_encoding", "expected"),
    [
        ("", False),
        ("gzip", True),
        ("gzip, deflate, br", True),
        ("GZIP;Q=0.5", True),
        ("gzip;q=0", False),
        ("gzip;q=0.000", False),
        ("*", True),
        ("*;q=0", False),
        ("*;q=0, gzip", True),
        ("gzip;q=0, *", False),
        ("deflate", False),
        ("identity", False),
        ("gzip;q=x", False),
    ],
)
def test_codings(accept_encoding: str, *, expected: bool) -> None:
    assert accepts_gzip(accept_encoding) is expected


@given(st.text())
def test_no_header_is_an_error(header: str) -> None:
    assert choose_format(header) in Format
    assert accepts_gzip(header) in {True, False}
