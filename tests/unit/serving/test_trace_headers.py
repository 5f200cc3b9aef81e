"""The caller's `traceparent`: its trace id when it is sampled and well formed, nothing else."""

import pytest

from serving.request_headers import sampled_trace_of

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"


@pytest.mark.parametrize("flags", ["01", "03", "ff"])
def test_a_sampled_trace_is_taken(flags: str) -> None:
    header = f"00-{TRACE}-{PARENT}-{flags}"

    assert sampled_trace_of({"HTTP_TRACEPARENT": header}) == bytes.fromhex(TRACE)


def test_a_later_version_may_say_more() -> None:
    header = f"01-{TRACE}-{PARENT}-01-more"

    assert sampled_trace_of({"HTTP_TRACEPARENT": header}) == bytes.fromhex(TRACE)


@pytest.mark.parametrize(
    "header",
    [
        f"00-{TRACE}-{PARENT}-00",
        f"00-{TRACE}-{PARENT}-02",
        f"ff-{TRACE}-{PARENT}-01",
        f"00-{TRACE}-{PARENT}-01-more",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{PARENT}-01",
        f"00-{TRACE[:-1]}-{PARENT}-01",
        f"00-{TRACE}-{PARENT}",
        f" 00-{TRACE}-{PARENT}-01",
        f"00-{TRACE}-{PARENT}-01\n",
        "",
        "00-" * 5_000,
    ],
)
def test_anything_else_is_ignored(header: str) -> None:
    assert sampled_trace_of({"HTTP_TRACEPARENT": header}) is None


def test_no_header_is_no_trace() -> None:
    assert sampled_trace_of({}) is None
