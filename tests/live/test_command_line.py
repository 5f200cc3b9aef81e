"""The command `inferometer`: its exit codes, its messages, and what its settings bring about."""

import http.client
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
import requests

from serving.model import STATES
from tests.live.servers import (
    METRICS,
    Samples,
    Server,
    clean_environment,
    descendants,
    start_server,
    total,
    wait_for,
)

EXIT_SECONDS = 60
ROWS = [[0.5] * 16, [float(number) for number in range(16)]]


def _run(
    *arguments: str, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "serving", *arguments],
        env=clean_environment() | dict(environment or {}),
        capture_output=True,
        text=True,
        timeout=EXIT_SECONDS,
        check=False,
    )


def _check_failed(ended: subprocess.CompletedProcess[str], code: int, *named: str) -> None:
    """Check the exit code, and that the message names these and is no traceback."""
    assert code == ended.returncode, ended.stderr
    assert [] == [name for name in named if name not in ended.stderr], ended.stderr
    assert "Traceback" not in ended.stderr
    assert "" == ended.stdout


# Usage.


@pytest.mark.parametrize("arguments", [(), ("fly",), ("--fly",)], ids=["none", "verb", "flag"])
def test_wrong_usage_shows_the_usage(arguments: tuple[str, ...]) -> None:
    _check_failed(_run(*arguments), 2, "usage: inferometer VERB", "serve", "exporter")


def test_version_is_printed() -> None:
    ended = _run("--version")

    assert (0, "inferometer 0.1.0\n", "") == (ended.returncode, ended.stdout, ended.stderr)


@pytest.mark.parametrize(
    "arguments", [("--help",), ("serve", "--help"), ("exporter", "--help")], ids=" ".join
)
def test_help_is_printed(arguments: tuple[str, ...]) -> None:
    ended = _run(*arguments)

    assert (0, "") == (ended.returncode, ended.stderr)
    assert "inferometer" in ended.stdout


def test_serve_without_models_says_that_there_are_none() -> None:
    _check_failed(_run("serve"), 2, "models: none given")


# Wrong settings.


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        pytest.param(["--port=abc"], ["port", "'abc'", "the command line"], id="type"),
        pytest.param(["--workers=0"], ["workers", "'0'"], id="range"),
        pytest.param(
            ["--port=abc", "--workers=0", "--max-delay-seconds=20"],
            ["port", "workers", "max_delay_seconds"],
            id="several",
        ),
        pytest.param(
            ["--queue-limit-rows=8", "--max-batch-rows=8"],
            ["queue_limit_rows", "max_batch_rows"],
            id="queue-too-short",
        ),
        pytest.param(
            ["--queue-limit-rows=8", "--max-batch-rows=4", "--max-request-rows=9"],
            ["max_request_rows", "queue_limit_rows"],
            id="request-too-large",
        ),
        pytest.param(
            ["--max-batch-rows=4", "--allowed-batch-rows=1,2"],
            ["allowed_batch_rows", "max_batch_rows"],
            id="batch-sizes",
        ),
        pytest.param(["--max-rows=4"], ["--max-rows"], id="unknown-flag"),
        pytest.param(["--config=nowhere.toml"], ["nowhere.toml"], id="no-file"),
        pytest.param(["half=nowhere"], ["half", "nowhere"], id="no-model"),
        pytest.param(["a/b=nowhere"], ["'a/b'"], id="model-name"),
        pytest.param(["stats=."], ["'stats'"], id="reserved-name"),
        pytest.param(["half=.", "half=.."], ["'half'", "twice"], id="model-twice"),
        pytest.param(["--versions=1,3"], ["versions", "'1'", "'3'", "1+3"], id="two-policies"),
        pytest.param(["--drain-seconds=inf"], ["drain_seconds"], id="infinite"),
        pytest.param(["--canary-seconds=1e300"], ["canary_seconds", "a day"], id="too-long"),
    ],
)
def test_wrong_setting_is_named(arguments: list[str], named: list[str]) -> None:
    _check_failed(_run("serve", "digits=.", *arguments), 2, *named)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        pytest.param("INFEROMETER_PORT", "abc", id="value"),
        pytest.param("INFEROMETER_PROT", "8501", id="name"),
    ],
)
def test_wrong_variable_is_named(variable: str, value: str) -> None:
    ended = _run("serve", "digits=.", environment={variable: value})

    _check_failed(ended, 2, variable)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        pytest.param("prot = 8501", "prot", id="name"),
        pytest.param("port = 'abc'", "port", id="value"),
        pytest.param("port == 1", "line 1", id="syntax"),
    ],
)
def test_wrong_line_of_a_settings_file_is_named(tmp_path: Path, text: str, named: str) -> None:
    file = tmp_path / "settings.toml"
    file.write_text(text)

    _check_failed(_run("serve", "digits=.", f"--config={file}"), 2, str(file), named)


# Addresses and directories that somebody else has.


@pytest.mark.parametrize("flag", ["port", "metrics-port"])
def test_port_in_use_is_named(tmp_path: Path, flag: str) -> None:
    ports = {"port": 0, "metrics-port": 0}
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports[flag] = taken.getsockname()[1]

        ended = _run(
            "serve",
            "digits=.",
            f"--store-path={tmp_path / 'store'}",
            *(f"--{name}={port}" for name, port in ports.items()),
        )

    _check_failed(ended, 1, f"127.0.0.1:{ports[flag]}")
    assert not (tmp_path / "store").exists()


# A server whose models are not all good.


@pytest.fixture(scope="module")
def partial(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of a good model, one that is broken and a folder that is none."""
    folder = tmp_path_factory.mktemp("partial")
    (folder / "empty").mkdir()
    served = {"half": models / "half", "broken": models / "broken", "empty": folder / "empty"}
    arguments = ("--workers=1", f"--store-path={folder / 'store'}")
    with start_server(served, folder, *arguments, waits=False) as server:
        wait_for(
            lambda: len(_reasons(server)) == 2 and _reasons(server) == _failures(server),
            f"one model served and two given up; log:\n{server.log}",
        )
        yield server


def _reasons(server: Server) -> list[str]:
    return server.get("/readyz").json().get("reasons", [])


def _failures(server: Server) -> list[str]:
    return [reason for reason in _reasons(server) if "could not be loaded" in reason]


def test_server_is_not_ready_and_says_why(partial: Server) -> None:
    reply = partial.get("/readyz")

    assert 503 == reply.status_code
    assert (False, True) == (reply.json()["ready"], reply.json()["live"])
    reasons = {reason.split()[1]: reason for reason in reply.json()["reasons"]}
    assert {"broken", "empty"} == set(reasons)
    assert "no version is there: expected saved_model.pb" in reasons["empty"]


def test_server_without_all_models_is_alive(partial: Server) -> None:
    assert 200 == partial.get("/livez").status_code


def test_good_model_beside_a_broken_one_is_served(partial: Server) -> None:
    answer = partial.predict("half", {"instances": [[2, 4]]})

    assert {"predictions": [[1.0, 2.0]]} == answer.json()


@pytest.mark.parametrize("model", ["empty", "broken"])
def test_model_that_could_not_be_loaded_answers_503_loading(partial: Server, model: str) -> None:
    answer = partial.predict(model, {"instances": [[2, 4]]})

    assert (503, "loading") == (answer.status_code, answer.json()["reason"])
    assert 1 <= int(answer.headers["Retry-After"]) <= 30


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/models/broken:predict"),
        ("POST", "/v1/models/empty:predict"),
        ("GET", "/v1/models/broken"),
        ("GET", "/v1/models/empty"),
        ("GET", "/readyz"),
    ],
)
def test_caller_is_shown_no_path_and_no_traceback(
    partial: Server, models: Path, method: str, path: str
) -> None:
    shown = (partial.post(path, "{}") if method == "POST" else partial.get(path)).text

    assert "could not be loaded" in shown or "error_message" in shown
    assert "Traceback" not in shown
    assert str(models) not in shown
    assert [] == re.findall(r"\S*/\w+[/.]\w+", shown)


@pytest.mark.parametrize("model", ["empty", "broken"])
def test_failed_load_is_counted(partial: Server, model: str) -> None:
    assert 1 == partial.value("inferometer_model_load_failures_total", model=model)


@pytest.mark.parametrize(
    ("model", "version", "state"),
    [("broken", "1", "failed"), ("empty", "__unknown__", "failed"), ("half", "1", "ready")],
)
def test_every_configured_model_has_a_state(
    partial: Server, model: str, version: str, state: str
) -> None:
    shown = {
        (labels["version"], labels["state"]): value
        for (name, pairs), value in partial.samples().items()
        if name == "inferometer_model_state" and (labels := dict(pairs))["model"] == model
    }

    assert {(version, each): float(each == state) for each in STATES} == shown


def test_status_of_the_broken_model_says_why(partial: Server) -> None:
    document = partial.get("/v1/models/broken").json()

    assert not document["ready"]
    status = document["model_version_status"][0]
    assert ("END", "UNKNOWN") == (status["state"], status["status"]["error_code"])
    assert status["status"]["error_message"]


def test_log_says_which_model_could_not_be_loaded(partial: Server) -> None:
    assert re.search(r"ERROR \S+ model broken version 1: ", partial.log)


def test_store_directory_in_use_is_named(partial: Server, tmp_path: Path) -> None:
    store = partial.log_file.parent / "store"

    ended = _run("serve", f"x={tmp_path}", "--port=0", "--metrics-port=0", f"--store-path={store}")

    _check_failed(ended, 1, str(store), "in use by another server")


# One process.


@dataclass(frozen=True, slots=True)
class InlineRun:
    """What a run of `--inline` left behind."""

    answers: list[Any]
    statuses: list[int]
    samples: Samples
    exporter_samples: Samples
    descendants: list[int]
    code: int | None
    log: str
    store: Path


@pytest.fixture(scope="module")
def inline(models: Path, tmp_path_factory: pytest.TempPathFactory) -> InlineRun:
    folder = tmp_path_factory.mktemp("inline")
    store = folder / "store"
    served = {name: models / name for name in ("half", "picky")}
    with start_server(served, folder, "--inline", f"--store-path={store}") as server:
        asked = [
            server.predict("half", {"instances": [[2, 4]]}),
            server.predict("half", {"instances": [[2, 4], [6, 8]]}),
            server.predict("half", {"instances": [[1]]}),
            server.predict("picky", {"instances": [13]}),
            server.predict("haf", {"instances": [[2, 4]]}),
        ]
        samples, exporter_samples = server.samples(server.url), server.samples()
        children = descendants(server.process.pid)
    return InlineRun(
        answers=[answer.json() for answer in asked],
        statuses=[answer.status_code for answer in asked],
        samples=samples,
        exporter_samples=exporter_samples,
        descendants=children,
        code=server.process.returncode,
        log=server.log,
        store=store,
    )


def test_inline_serves_the_same_predictions(inline: InlineRun) -> None:
    assert [200, 200, 400, 500, 404] == inline.statuses
    assert {"predictions": [[1.0, 2.0]]} == inline.answers[0]
    assert {"predictions": [[1.0, 2.0], [3.0, 4.0]]} == inline.answers[1]


def test_inline_is_one_process(inline: InlineRun) -> None:
    assert [] == inline.descendants


@pytest.mark.parametrize("where", ["samples", "exporter_samples"])
def test_inline_counts_its_predictions(inline: InlineRun, where: str) -> None:
    samples = getattr(inline, where)

    assert 5 == total(samples, "inferometer_requests_total")
    assert 2 == total(samples, "inferometer_requests_total", code="200")
    assert 3 == total(samples, "inferometer_rows_total")
    assert 0 == total(samples, "inferometer_requests_in_flight")


def test_inline_ends_in_order(inline: InlineRun) -> None:
    assert 0 == inline.code
    assert "Traceback" not in inline.log


def test_inline_leaves_nothing_in_its_store(inline: InlineRun) -> None:
    assert not inline.store.exists() or not list(inline.store.iterdir())


# Formats of models, and where settings come from.


@pytest.fixture(scope="module")
def configured(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that was told everything but its ports by a file and by variables."""
    folder = tmp_path_factory.mktemp("configured")
    file = folder / "settings.toml"
    shutil.copytree(models / "network", folder / "plain")
    file.write_text(
        "workers = 1\nmax_request_rows = 3\nmax_body_bytes = 1000\n"
        f"[models]\nplain = '{folder / 'plain'}'\nfile = '{models / 'network.keras'}'\n"
    )
    environment = {"INFEROMETER_MAX_BODY_BYTES": "2000", "INFEROMETER_SERVER_TIMING": "false"}
    with start_server({}, folder, f"--config={file}", environment=environment) as server:
        yield server


@pytest.fixture(scope="module")
def expected(models: Path) -> list[list[float]]:
    """What the model itself says, called directly."""
    import keras

    model = keras.saving.load_model(models / "network.keras", compile=False)
    return np.asarray(model(np.asarray(ROWS, np.float32), training=False)).tolist()


@pytest.mark.parametrize("model", ["plain", "file"])
def test_unversioned_folder_and_keras_file_are_served(
    configured: Server, expected: list[list[float]], model: str
) -> None:
    predictions = configured.predict(model, {"instances": ROWS}).json()["predictions"]

    assert predictions == [pytest.approx(row, rel=1e-5, abs=1e-6) for row in expected]


@pytest.mark.parametrize("model", ["plain", "file"])
def test_version_of_an_unversioned_model_is_1(configured: Server, model: str) -> None:
    answer = configured.predict(model, {"instances": ROWS})

    assert "1" == answer.headers["X-Model-Version"]


def test_setting_of_the_file_is_obeyed(configured: Server) -> None:
    answer = configured.predict("plain", {"instances": [[0] * 16] * 4})

    assert 413 == answer.status_code
    assert "4 rows in one request; the limit is 3: split it" == answer.json()["error"]


def test_variable_wins_over_the_file(configured: Server) -> None:
    answer = configured.predict("plain", b" " * 2001)

    assert "body of 2,001 bytes; the limit is 2,000" == answer.json()["error"]


def test_setting_of_a_variable_is_obeyed(configured: Server) -> None:
    assert "Server-Timing" not in configured.predict("plain", {"instances": ROWS}).headers


def test_flag_wins_over_variable(tmp_path: Path) -> None:
    store = tmp_path / "file"
    store.write_text("")
    environment = {"INFEROMETER_STORE_PATH": str(tmp_path / "other"), "INFEROMETER_PORT": "abc"}

    ended = _run(
        "serve",
        f"x={tmp_path}",
        f"--store-path={store}",
        "--port=0",
        "--metrics-port=0",
        environment=environment,
    )

    _check_failed(ended, 1, str(store))


# The exporter alone.


@contextmanager
def _exporter(folder: Path) -> Iterator[tuple["subprocess.Popen[bytes]", str]]:
    log_file = folder / "exporter.log"
    arguments = [f"--store.path={folder / 'store'}", "--web.listen-address=127.0.0.1:0"]
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "serving", "exporter", *arguments],
            stdout=log,
            stderr=log,
            env=clean_environment(),
        )
    try:
        found = wait_for(lambda: METRICS.search(log_file.read_text()), f"address in {log_file}")
        yield process, found.group(1)
    finally:
        process.terminate()
        process.wait(EXIT_SECONDS)


@pytest.fixture(scope="module")
def exporter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with _exporter(tmp_path_factory.mktemp("exporter")) as (_, url):
        yield url


@pytest.mark.parametrize(
    ("path", "status", "content_type", "text"),
    [
        ("/metrics", 200, "text/plain; version=0.0.4; charset=utf-8", "# HELP inferometer_"),
        ("/-/healthy", 200, "text/plain; charset=utf-8", "healthy"),
        ("/-/ready", 200, "text/plain; charset=utf-8", "ready"),
        ("/", 200, "text/html; charset=utf-8", '<a href="/metrics">'),
        ("/nope", 404, "text/plain; charset=utf-8", "/metrics"),
    ],
)
def test_exporter_answers(
    exporter: str, path: str, status: int, *, content_type: str, text: str
) -> None:
    reply = requests.get(exporter + path, timeout=10)

    assert (status, content_type) == (reply.status_code, reply.headers["Content-Type"])
    assert text in reply.text


@pytest.mark.parametrize("path", ["/metrics", "/-/healthy", "/-/ready", "/"])
def test_exporter_answers_head_without_a_body(exporter: str, path: str) -> None:
    parts = urlsplit(exporter)
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=10)
    connection.request("HEAD", path)
    reply = connection.getresponse()
    body = reply.read()
    # A body after all would be read as the next reply's beginning.
    connection.request("HEAD", path)
    second = connection.getresponse()
    connection.close()

    assert (200, b"", 200) == (reply.status, body, second.status)
    assert 0 < int(reply.headers["Content-Length"])


def test_exporter_refuses_post(exporter: str) -> None:
    reply = requests.post(exporter + "/metrics", data=b"{}", timeout=10)

    assert (405, "GET, HEAD") == (reply.status_code, reply.headers["Allow"])


def test_exporter_ends_in_order(tmp_path: Path) -> None:
    with _exporter(tmp_path) as (process, _):
        process.send_signal(signal.SIGTERM)
        code = process.wait(EXIT_SECONDS)

    assert 0 == code
    assert "Traceback" not in (tmp_path / "exporter.log").read_text()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        pytest.param(["--fly"], "--fly", id="unknown"),
        pytest.param(["--web.listen-address=8502"], "--web.listen-address", id="address"),
        pytest.param(["--log.level=loud"], "--log.level", id="level"),
    ],
)
def test_wrong_flag_of_the_exporter_is_named(arguments: list[str], named: str) -> None:
    _check_failed(_run("exporter", *arguments), 2, named)


def test_exporter_names_a_port_in_use(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        address = f"--web.listen-address=127.0.0.1:{port}"

        ended = _run("exporter", f"--store.path={tmp_path / 'store'}", address)

    _check_failed(ended, 1, "127.0.0.1", str(port))


def test_server_without_metrics_predicts(models: Path, tmp_path: Path) -> None:
    with start_server({"half": models / "half"}, tmp_path, "--no-record-metrics") as server:
        assert server.predict("half", {"instances": [[2, 4]]}).json() == {"predictions": [[1, 2]]}
        assert 0 == server.value("inferometer_requests_total")
