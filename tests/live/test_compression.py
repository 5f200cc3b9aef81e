"""Replies in gzip, for callers that take it."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.rest import Client
from tests.live.servers import Server, start_server

LEAST_BYTES = 200
LARGE = {"instances": [[1.0, 2.0]] * 100}
SMALL = {"instances": [[1.0, 2.0]]}
PATH = "/v1/models/half:predict"


@pytest.fixture(scope="module")
def server(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("compression")
    arguments = ("--workers=1", f"--response-gzip-min-bytes={LEAST_BYTES}")
    with start_server({"half": models / "half"}, folder, *arguments) as running:
        yield running


@pytest.fixture
def client(server: Server) -> Client:
    return Client(server)


@pytest.mark.parametrize("accepted", ["gzip", "deflate, gzip;q=0.5", "*"])
def test_large_reply_is_gzipped_for_who_accepts_it(client: Client, accepted: str) -> None:
    before = client.server.value("inferometer_response_size_bytes_sum", model="half")

    reply = client.ask("POST", PATH, LARGE, {"Accept-Encoding": accepted})

    after = client.server.value("inferometer_response_size_bytes_sum", model="half")
    assert (200, "gzip", "Accept-Encoding") == (
        reply.status,
        reply.headers["Content-Encoding"],
        reply.headers["Vary"],
    )
    assert {"predictions": [[0.5, 1.0]] * 100} == json.loads(gzip.decompress(reply.body))
    assert str(len(reply.body)) == reply.headers["Content-Length"]
    assert after - before == len(reply.body)


@pytest.mark.parametrize("accepted", ["", "identity", "br", "gzip;q=0", "*;q=0"])
def test_reply_is_sent_as_it_is_to_others(client: Client, accepted: str) -> None:
    reply = client.ask("POST", PATH, LARGE, {"Accept-Encoding": accepted})

    assert "Content-Encoding" not in reply.headers
    assert "Accept-Encoding" == reply.headers["Vary"]
    assert {"predictions": [[0.5, 1.0]] * 100} == reply.json


def test_small_reply_is_sent_as_it_is(client: Client) -> None:
    reply = client.ask("POST", PATH, SMALL, {"Accept-Encoding": "gzip"})

    assert "Content-Encoding" not in reply.headers
    assert {"predictions": [[0.5, 1.0]]} == reply.json
