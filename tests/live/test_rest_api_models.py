"""The REST API beyond JSON predictions: versions, repository, statistics, binary tensors."""

import http.client
import json
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.live.rest import Client, check_error, head
from tests.live.servers import start_server, wait_for

HALF = "/v1/models/half:predict"
STEP = "/v1/models/step:predict"
NAP = "/v1/models/nap:predict"
LOAD, UNLOAD = (f"/v2/repository/models/step/{verb}" for verb in ("load", "unload"))
TOKEN = {"Authorization": "Bearer open-sesame"}
FIRST = '{"instances":[[2,4]]}'


@pytest.fixture(scope="module")
def client(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    folder = tmp_path_factory.mktemp("models-api")
    step = folder / "step"
    for version in ("1", "2"):
        shutil.copytree(models / "step" / version, step / version)
    served = {name: models / name for name in ("half", "pair", "text", "nap")} | {"step": step}
    arguments = (
        "--workers=2",
        "--versions=step=all",
        "--version-labels=step:stable=1,step:canary=2",
        "--control-token=open-sesame",
        "--poll-seconds=0.1",
        "--load-retries=0",
        "--cors-origins=https://page.example",
    )
    with start_server(served, folder, *arguments) as server:
        yield Client(server)


@pytest.fixture(scope="module")
def plain(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A server without a control token and without debugging routes."""
    folder = tmp_path_factory.mktemp("plain-api")
    arguments = ("--workers=1", "--no-debug-routes")
    # A variable that is set to nothing is no token.
    nothing = {"INFEROMETER_CONTROL_TOKEN": ""}
    with start_server({"step": models / "step"}, folder, *arguments, environment=nothing) as server:
        yield Client(server)


def step_folder(client: Client) -> Path:
    return client.server.log_file.parent / "step"


def versions(client: Client) -> dict[str, str]:
    document = client.ask("GET", "/v1/models/step").json
    return {one["version"]: one["state"] for one in document["model_version_status"]}


def test_16_open_inference_takes_a_version(client: Client) -> None:
    x = {"name": "x", "shape": [1], "datatype": "FP32", "data": [1]}

    reply = client.predict("/v2/models/step/versions/1/infer", {"inputs": [x]})

    assert ("1", [2.0]) == (reply.json["model_version"], reply.json["outputs"][0]["data"])
    assert "1" == reply.headers["X-Model-Version"]


def test_17_unknown_version_names_the_ready_ones(client: Client) -> None:
    reply = client.predict("/v1/models/step/versions/9:predict", '{"instances":[1]}')

    check_error(reply, 404, "unknown_version", "model step has no version 9; ready: 1, 2")


@pytest.mark.parametrize("path", ["/v1/models/step/labels/stable", "/v1/models/step/versions/1"])
def test_label_and_version_have_status_and_metadata(client: Client, path: str) -> None:
    status = client.ask("GET", path).json
    metadata = client.ask("GET", path + "/metadata").json

    assert ["1"] == [one["version"] for one in status["model_version_status"]]
    assert "1" == metadata["model_spec"]["version"]


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        ("/v1/models/pair:classify", {"examples": [{}]}, "…has 2 outputs, so :classify is not…"),
        ("/v1/models/text:regress", {"examples": [{}]}, "…has 2 outputs, so :regress is not…"),
        ("/v1/models/half:regress", {"examples": [{}]}, '…has an output "y" of another form…'),
        ("/v1/models/step:classify", {"examples": [{}]}, '…has an output "y" of another form…'),
    ],
)
def test_30_what_has_no_classes_or_numbers_is_not_offered(
    client: Client, path: str, body: Any, message: str
) -> None:
    check_error(client.predict(path, body), 501, "invalid_input", message)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, '"examples" must be a list, there is none'),
        ({"examples": []}, '"examples" is empty'),
        ({"examples": [1]}, "examples[0] must be an object, got a number"),
        ({"examples": [{"x": 1}], "context": {"x": 1}}, "examples[0]: x is in the context, too"),
        (
            {"examples": [{}] * 9, "context": {f"a{n}": n for n in range(9)}},
            'context: unexpected "a0"; the inputs are x FP32 []',
        ),
        ({"examples": [{"x": 1}], "context": 5}, '"context" must be an object, got a number'),
        ({"examples": [{"y": 1}]}, 'examples[0]: missing "x", unexpected "y"; the inputs are …'),
    ],
)
def test_30_malformed_examples_are_refused(client: Client, body: Any, message: str) -> None:
    check_error(client.predict("/v1/models/step:regress", body), 400, "invalid_input", message)


def test_22_pages_of_allowed_origins_may_read_replies(client: Client) -> None:
    origin = {"Origin": "https://page.example"}
    preflight = origin | {"Access-Control-Request-Method": "POST"}

    allowed = client.predict(HALF, FIRST, origin)
    asked = client.ask("OPTIONS", HALF, None, preflight)
    other = client.predict(HALF, FIRST, {"Origin": "https://other.example"})

    assert "https://page.example" == allowed.headers["Access-Control-Allow-Origin"]
    assert "X-Prediction-ID" in allowed.headers["Access-Control-Expose-Headers"]
    assert (204, "GET, HEAD, OPTIONS, POST") == (
        asked.status,
        asked.headers["Access-Control-Allow-Methods"],
    )
    assert "Access-Control-Allow-Origin" not in other.headers


def test_49_server_and_configuration_are_described(client: Client) -> None:
    server = client.ask("GET", "/v2").json
    config = client.ask("GET", "/v2/models/half/config").json

    assert ("inferometer", "0.1.0") == (server["name"], server["version"])
    assert {"binary_tensor_data", "model_repository", "statistics"} <= set(server["extensions"])
    assert [{"name": "x", "data_type": "TYPE_FP32", "dims": [2]}] == config["input"]
    assert ("half", "tensorflow_savedmodel", 64) == (
        config["name"],
        config["platform"],
        config["max_batch_size"],
    )


def test_49_statistics_are_what_was_counted(client: Client) -> None:
    def statistics() -> dict[str, Any]:
        return dict(client.ask("GET", "/v2/models/pair/stats").json["model_stats"][0])

    before = statistics()
    begun = time.time()
    for _ in range(3):
        client.predict("/v1/models/pair:predict", {"inputs": {"a": [[1, 2]] * 2, "n": [3, 4]}})
    client.predict("/v1/models/pair:predict", "{}")

    after = statistics()
    assert begun - 1 <= after["last_inference"] / 1000 <= time.time() + 1
    assert 6 == after["inference_count"] - before["inference_count"]
    assert 3 == after["execution_count"] - before["execution_count"]
    phases = {name: found["count"] for name, found in after["inference_stats"].items()}
    earlier = {name: found["count"] for name, found in before["inference_stats"].items()}
    grown = {name: count - earlier[name] for name, count in phases.items()}
    assert {"success": 3, "fail": 1, "cache_hit": 0} == {
        name: grown[name] for name in ("success", "fail", "cache_hit")
    }


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("/v2/models/stats", ["half", "nap", "pair", "step", "step", "text"]),
        ("/v2/models/step/stats", ["step", "step"]),
        ("/v2/models/step/versions/1/stats", ["step"]),
    ],
)
def test_49_statistics_are_of_what_the_path_names(
    client: Client, path: str, names: list[str]
) -> None:
    assert names == [one["name"] for one in client.ask("GET", path).json["model_stats"]]


@pytest.mark.parametrize(
    "path",
    [
        "/v2/logging",
        "/v2/trace/setting",
        "/v2/models/half/trace/setting",
        "/v2/models/half/generate",
        "/v2/systemsharedmemory/status",
        "/v2/cudasharedmemory/region/r/register",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_49_what_is_not_offered_says_so(client: Client, method: str, path: str) -> None:
    check_error(client.ask(method, path, "{}"), 501, "invalid_input", "this is known to …")


@pytest.mark.parametrize(
    "path", ["/v2/models/haf/stats", "/v2/models/haf/config", "/v2/models/haf"]
)
def test_49_unknown_model_is_not_found(client: Client, path: str) -> None:
    check_error(client.ask("GET", path), 404, "unknown_model", 'no model "haf"; served here: …')


@pytest.mark.parametrize(
    ("headers", "status"),
    [({}, 401), ({"Authorization": "Bearer wrong"}, 401), ({"Authorization": "Basic x"}, 401)],
)
def test_50_models_are_changed_by_who_has_the_token(
    client: Client, headers: dict[str, str], status: int
) -> None:
    reply = client.ask("POST", UNLOAD, None, headers)

    check_error(reply, status, "invalid_input", "send the control token as a bearer token")
    assert "Bearer" == reply.headers["WWW-Authenticate"]
    assert {"1": "AVAILABLE", "2": "AVAILABLE"} == versions(client)


def test_50_without_a_token_models_cannot_be_changed(plain: Client) -> None:
    check_error(plain.ask("POST", UNLOAD, None, TOKEN), 403, "invalid_input", "control_token is…")


def test_50_index_lists_every_version(client: Client) -> None:
    reply = client.ask("POST", "/v2/repository/index")
    ready = client.ask("POST", "/v2/repository/index", '{"ready":true}')

    assert {"name": "half", "version": "1", "state": "READY", "reason": ""} in reply.json
    assert reply.json == ready.json


def test_body_of_the_index_must_be_a_small_whole_object(client: Client) -> None:
    path = "/v2/repository/index"
    head_of_chunked = head(path, "Transfer-Encoding: chunked", "Connection: close")

    malformed = client.exchange(head_of_chunked + b"zz\r\n")
    replies = [client.ask("POST", path, body) for body in ("[]", "{", "x" * 70_000)]

    assert 400 == malformed.status
    assert [400, 400, 413] == [reply.status for reply in replies]


def test_50_unknown_and_overridden_models_are_not_loaded(client: Client) -> None:
    unknown = client.ask("POST", "/v2/repository/models/haf/load", None, TOKEN)
    override = client.ask("POST", LOAD, '{"parameters":{"config":"{}"}}', TOKEN)

    check_error(unknown, 404, "unknown_model", 'no model "haf"; configured here: …')
    check_error(override, 501, "invalid_input", 'parameter "config" is not offered here…')


def test_51_new_version_is_loaded_and_a_broken_one_leaves_it(client: Client, models: Path) -> None:
    folder = step_folder(client)
    shutil.copytree(models / "step" / "1", folder / "new")
    (folder / "new").rename(folder / "3")
    wait_for(lambda: versions(client).get("3") == "AVAILABLE", "version 3 is ready")

    answer = client.predict(STEP, '{"instances":[5]}')
    broken = folder / "4"
    broken.mkdir()
    (broken / "saved_model.pb").write_bytes(b"broken")
    refused = client.ask("POST", LOAD, None, TOKEN)

    assert ([6.0], "3") == (answer.json["predictions"], answer.headers["X-Model-Version"])
    check_error(refused, 400, "invalid_input", "model step version 4: …")
    assert "3" == client.predict(STEP, '{"instances":[5]}').headers["X-Model-Version"]
    assert "END" == versions(client)["4"]
    assert 1 <= client.server.value("inferometer_model_load_failures_total", model="step")
    state = {"model": "step", "version": "4", "state": "failed"}
    assert 1 == client.server.value("inferometer_model_state", **state)
    shutil.rmtree(broken)


def test_unloaded_model_stays_unloaded_until_it_is_loaded(client: Client) -> None:
    unloaded = client.ask("POST", UNLOAD, None, TOKEN)
    refused = client.predict(STEP, '{"instances":[1]}')
    readiness = client.ask("GET", "/readyz")
    loaded = client.ask("POST", LOAD, None, TOKEN)

    assert (200, {}) == (unloaded.status, unloaded.json)
    check_error(refused, 404, "unknown_version", "model step was unloaded")
    assert 200 == readiness.status
    assert (200, {}) == (loaded.status, loaded.json)
    assert 200 == client.predict(STEP, '{"instances":[1]}').status


def test_59_slowest_requests_are_shown_with_their_phases(client: Client) -> None:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    slow = {"X-Request-ID": "slow-one", "traceparent": trace}
    client.predict(NAP, '{"instances":[0.2]}', slow)
    for _ in range(4):
        client.predict(NAP, '{"instances":[0.0]}')
    client.predict(NAP, "{}", {"X-Request-ID": "failed-one"})

    document = client.ask("GET", "/debug/slow?n=1").json
    failed = client.ask("GET", "/debug/slow?kind=failed&n=1").json

    (slowest,) = document["requests"]
    assert (600, "slow-one", "nap", 200) == (
        document["window_seconds"],
        slowest["request_id"],
        slowest["model"],
        slowest["code"],
    )
    assert "4bf92f3577b34da6a3ce929d0e0e4736" == slowest["trace_id"]
    assert slowest["duration_seconds"] == pytest.approx(sum(slowest["phases"].values()))
    assert {"rows": 1, "padding_rows": 0, "trigger": "idle"}.items() <= slowest["batch"].items()
    assert ("failed-one", "invalid_input") == (
        failed["requests"][0]["request_id"],
        failed["requests"][0]["reason"],
    )


@pytest.mark.parametrize("query", ["n=0", "n=101", "n=x", "n=1e2", "kind=x"])
def test_59_wrong_questions_are_refused(client: Client, query: str) -> None:
    assert 400 == client.ask("GET", f"/debug/slow?{query}").status


def test_59_debugging_can_be_switched_off(plain: Client) -> None:
    assert 404 == plain.ask("GET", "/debug/slow").status


def test_62_what_would_come_too_late_is_refused_at_once(client: Client) -> None:
    for _ in range(25):
        client.predict(NAP, '{"instances":[0.2]}')
    busy = threading.Thread(target=client.predict, args=(NAP, '{"instances":[1.0]}'))
    busy.start()
    in_flight = "inferometer_requests_in_flight"
    wait_for(lambda: client.server.value(in_flight, model="nap") == 1, "nap is busy")

    refused = client.predict(NAP, '{"instances":[0]}', {"X-Request-Timeout-Ms": "50"})
    was_busy = busy.is_alive()
    busy.join()

    assert was_busy
    check_error(refused, 503, "predicted_late", "model nap: …")
    assert 1 <= int(refused.headers["Retry-After"]) <= 30


def test_39_binary_tensors_go_both_ways(client: Client) -> None:
    x = {
        "name": "x",
        "shape": [2, 2],
        "datatype": "FP32",
        "parameters": {"binary_data_size": 16},
    }
    document = {"inputs": [x], "parameters": {"binary_data_output": True}}
    head = json.dumps(document).encode()
    rows = np.array([[2, 4], [np.nan, np.inf]], "<f4")

    reply = client.predict(
        "/v2/models/half/infer",
        head + rows.tobytes(),
        {"Inference-Header-Content-Length": str(len(head))},
    )

    assert (200, "application/octet-stream") == (reply.status, reply.headers["Content-Type"])
    size = int(reply.headers["Inference-Header-Content-Length"])
    described = json.loads(reply.body[:size])["outputs"]
    assert [("y", [2, 2], {"binary_data_size": 16})] == [
        (one["name"], one["shape"], one["parameters"]) for one in described
    ]
    np.testing.assert_array_equal(rows / 2, np.frombuffer(reply.body[size:], "<f4").reshape(2, 2))


def test_41_raw_body_is_answered_raw(client: Client) -> None:
    row = np.array([[2, 4]], "<f4").tobytes()
    length = {"Inference-Header-Content-Length": "0"}

    reply = client.predict("/v2/models/half/infer", row, length)
    refused = client.predict("/v2/models/pair/infer", row, length)

    assert 200 == reply.status
    assert reply.body.endswith(np.array([[1, 2]], "<f4").tobytes())
    check_error(refused, 400, "invalid_input", "a raw body needs a model with one input; …")


def test_43_bytes_that_are_no_text_go_in_binary_only(client: Client) -> None:
    raw = b"\x01\0\0\0\xff"
    s = {
        "name": "s",
        "shape": [1],
        "datatype": "BYTES",
        "parameters": {"binary_data_size": len(raw)},
    }

    def ask(**parameters: bool) -> Any:
        head = json.dumps({"inputs": [s], "parameters": parameters}).encode()
        length = {"Inference-Header-Content-Length": str(len(head))}
        return client.predict("/v2/models/text/infer", head + raw, length)

    binary, text = ask(binary_data_output=True), ask()

    assert (200, raw + raw) == (binary.status, binary.body[-2 * len(raw) :])
    check_error(text, 400, "invalid_input", 'output "t", row 0 is not UTF-8; …')


def test_connection_is_kept_over_binary_replies(client: Client) -> None:
    connection = http.client.HTTPConnection(*client.address, timeout=20)
    try:
        for _ in range(3):
            client.count()
            row = np.array([[2, 4]], "<f4").tobytes()
            headers = {"Inference-Header-Content-Length": "0"}
            connection.request("POST", "/v2/models/half/infer", row, headers)
            assert connection.getresponse().read().endswith(np.array([[1, 2]], "<f4").tobytes())
    finally:
        connection.close()
