"""Other people's clients work against the server unchanged, with their defaults."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import requests

from serving import __version__
from tests.live.clients import PYTHON, Client, ClientError, start_clients
from tests.live.servers import Server, start_server, wait_for

MODELS = ("half", "step", "pair", "log", "text", "nap", "types", "bfloat", "picky")
TOKEN = "the-control-token"  # noqa: S105 - of the test's own server
AUTHORIZED = {"Authorization": f"Bearer {TOKEN}"}

X = np.array([[2.0, 4.0], [6.0, -1.0]], np.float32)
HALF_OF_X = np.array([[1.0, 2.0], [3.0, -0.5]], np.float32)
# Past what JSON can hold, so for raw tensors alone.
NOT_TEXT = {"bytes": np.array([[b"\x00\xff\xfe", b""], ["é".encode(), b"a\x00"]], object)}
NOT_FINITE = {
    name: np.array([[np.nan, np.inf], [-np.inf, -0.0]], dtype)
    for name, dtype in (("fp16", np.float16), ("fp32", np.float32), ("fp64", np.float64))
}

needs_clients = pytest.mark.skipif(
    not PYTHON.exists(), reason="the clients are not installed; run: make clients"
)


def _typed() -> dict[str, np.ndarray]:
    """Return a tensor of each datatype of the model `types`, with the ends of what it can hold."""
    whole = {}
    for bits in (8, 16, 32, 64):
        for name in (f"int{bits}", f"uint{bits}"):
            ends = np.iinfo(name)
            whole[name] = np.array([[ends.min, 0], [7, ends.max - 1]], name)
    broken = {
        name: np.array([[-1.5, 0.0], [1 / 3, np.finfo(dtype).max]], dtype)
        for name, dtype in (("fp16", np.float16), ("fp32", np.float32), ("fp64", np.float64))
    }
    return {
        "bool": np.array([[True, False], [False, False]]),
        **whole,
        **broken,
        "bytes": np.array([["é".encode(), b""], [b'"', b"a b"]], object),
    }


def _answers(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return what the models `types` and `bfloat` make of them, by numpy."""
    return {
        name: ~array if array.dtype == bool else array if array.dtype == object else array + 1
        for name, array in tensors.items()
    }


def _check_arrays(expected: dict[str, np.ndarray], found: dict[str, np.ndarray]) -> None:
    assert expected.keys() == found.keys()
    assert {n: a.dtype for n, a in expected.items()} == {n: a.dtype for n, a in found.items()}
    for name, array in expected.items():
        np.testing.assert_array_equal(array, found[name], err_msg=name)


def _decoded(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return strings as JSON has them: text, not bytes."""
    texts = np.vectorize(bytes.decode, otypes=[object])(arrays["bytes"])
    return {**arrays, "bytes": texts}


@pytest.fixture(scope="module")
def server(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("clients-server")
    arguments = (
        "--workers=2",
        f"--control-token={TOKEN}",
        "--pre-stop-seconds=0",
        # So that the server asks its models nothing that would be counted.
        "--canary-seconds=3600",
    )
    with start_server({name: models / name for name in MODELS}, folder, *arguments) as started:
        yield started


@pytest.fixture(scope="module")
def clients(
    server: Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Client]]:
    with start_clients(server.url, tmp_path_factory.mktemp("clients")) as started:
        yield started


@pytest.fixture
def triton(clients: dict[str, Client]) -> Client:
    return clients["triton"]


@pytest.fixture
def kserve_v1(clients: dict[str, Client]) -> Client:
    return clients["kserve v1"]


@pytest.fixture
def kserve_v2(clients: dict[str, Client]) -> Client:
    return clients["kserve v2"]


# Triton's client: what it asks beside inference.


@needs_clients
@pytest.mark.parametrize("question", ["is_server_live", "is_server_ready"])
def test_triton_client_finds_the_server_live_and_ready(triton: Client, question: str):
    assert triton.call(question) is True


@needs_clients
def test_triton_client_tells_ready_models_and_versions_from_unknown_ones(triton: Client):
    assert triton.call("is_model_ready", "half") is True
    assert triton.call("is_model_ready", "half", "1") is True
    assert triton.call("is_model_ready", "half", "7") is False
    assert triton.call("is_model_ready", "nobody") is False


@needs_clients
def test_triton_client_reads_the_servers_metadata(triton: Client):
    metadata = triton.call("get_server_metadata")

    assert ("inferometer", __version__) == (metadata["name"], metadata["version"])
    assert {"binary_tensor_data", "model_repository", "statistics"} <= set(metadata["extensions"])


@needs_clients
def test_triton_client_reads_every_datatype_in_a_models_metadata(triton: Client):
    metadata = triton.call("get_model_metadata", "types")

    expected = [
        {"name": name, "datatype": name.upper(), "shape": [-1, 2]} for name in sorted(_typed())
    ]
    assert ("types", ["1"]) == (metadata["name"], metadata["versions"])
    assert "tensorflow_savedmodel" == metadata["platform"]
    assert expected == sorted(metadata["inputs"], key=lambda tensor: tensor["name"])
    assert expected == sorted(metadata["outputs"], key=lambda tensor: tensor["name"])


@needs_clients
def test_triton_client_reads_the_datatype_bf16(triton: Client):
    metadata = triton.call("get_model_metadata", "bfloat", "1")

    assert [{"name": "bf16", "datatype": "BF16", "shape": [-1, 2]}] == metadata["inputs"]


@needs_clients
def test_triton_client_reads_a_models_configuration(triton: Client):
    configuration = triton.call("get_model_config", "pair")

    assert "pair" == configuration["name"]
    assert 64 == configuration["max_batch_size"]
    assert [
        {"name": "a", "data_type": "TYPE_FP32", "dims": [2]},
        {"name": "n", "data_type": "TYPE_INT64", "dims": []},
    ] == configuration["input"]


@needs_clients
def test_triton_client_reads_how_many_rows_and_requests_a_model_had(triton: Client):
    for _ in range(3):
        triton.infer("picky", {"x": np.array([1.0, 2.0], np.float32)})
    with pytest.raises(ClientError, match="13 brings bad luck"):
        triton.infer("picky", {"x": np.array([13.0], np.float32)})

    def counted() -> dict[str, Any] | None:
        [found] = triton.call("get_inference_statistics", "picky")["model_stats"]
        outcomes = found["inference_stats"]
        # A request is counted once its reply has left.
        return found if outcomes["success"]["count"] == 3 and outcomes["fail"]["count"] else None

    found = wait_for(counted, "all requests counted")
    assert found is not None
    times = found["inference_stats"]
    assert ("picky", "1") == (found["name"], found["version"])
    assert 6 <= found["inference_count"] <= 7
    assert 3 <= found["execution_count"] <= 4
    assert 1 == times["fail"]["count"]
    assert 0 < times["compute_infer"]["ns"] < times["success"]["ns"] + times["fail"]["ns"]


@needs_clients
def test_triton_client_reads_the_statistics_of_all_models(triton: Client):
    statistics = triton.call("get_inference_statistics")

    assert {"half", "types", "bfloat"} <= {found["name"] for found in statistics["model_stats"]}


@needs_clients
def test_triton_client_reads_the_repositorys_index(triton: Client):
    index = triton.call("get_model_repository_index")

    assert {"name": "step", "version": "2", "state": "READY", "reason": ""} in index
    assert set(MODELS) == {row["name"] for row in index}


@needs_clients
def test_triton_client_unloads_and_loads_a_model(triton: Client):
    triton.call("unload_model", "log", headers=AUTHORIZED)
    ready_without = triton.call("is_model_ready", "log")
    with pytest.raises(ClientError) as refused:
        triton.infer("log", {"x": np.ones(1, np.float32)})
    triton.call("load_model", "log", headers=AUTHORIZED)

    answer = triton.infer("log", {"x": np.ones(1, np.float32)})

    assert ready_without is False
    assert "InferenceServerException" == refused.value.kind
    assert triton.call("is_model_ready", "log") is True
    _check_arrays({"y": np.zeros(1, np.float32)}, answer.arrays)


@needs_clients
@pytest.mark.parametrize("method", ["load_model", "unload_model"])
def test_triton_client_without_the_token_changes_no_model(triton: Client, method: str):
    with pytest.raises(ClientError, match="send the control token") as refused:
        triton.call(method, "half")

    assert "InferenceServerException" == refused.value.kind
    assert str(refused.value).startswith("[401] ")
    assert triton.call("is_model_ready", "half") is True


# Triton's client: inference.


@needs_clients
def test_triton_client_infers_with_raw_tensors_of_every_datatype(triton: Client):
    tensors = _typed()

    answer = triton.infer("types", tensors)

    _check_arrays(_answers(tensors), answer.arrays)
    assert ("types", "1") == (answer.fields["model_name"], answer.fields["model_version"])
    assert all("binary_data_size" in output["parameters"] for output in answer.fields["outputs"])


@needs_clients
def test_triton_client_infers_with_raw_tensors_of_what_json_cannot_hold(triton: Client):
    tensors = _typed() | NOT_TEXT | NOT_FINITE

    answer = triton.infer("types", tensors)

    _check_arrays(_answers(tensors), answer.arrays)


@needs_clients
def test_triton_client_infers_with_bf16(triton: Client):
    tensors = {"bf16": np.array([[-1.5, 1 / 3], [np.inf, 300.0]], ml_dtypes.bfloat16)}

    answer = triton.infer("bfloat", tensors)

    _check_arrays(_answers(tensors), answer.arrays)


@needs_clients
def test_triton_client_infers_with_json_of_every_datatype(triton: Client):
    tensors = _typed()
    as_json = {name: {"binary_data": False} for name in tensors}

    answer = triton.infer("types", tensors, as_json, as_json)

    _check_arrays(_decoded(_answers(tensors)), answer.arrays)
    assert all("data" in output for output in answer.fields["outputs"])


@needs_clients
def test_triton_client_sends_json_and_gets_raw_tensors_where_it_names_no_outputs(triton: Client):
    answer = triton.infer("half", {"x": X}, {"x": {"binary_data": False}})

    _check_arrays({"y": HALF_OF_X}, answer.arrays)
    assert {"binary_data_size": HALF_OF_X.nbytes} == answer.fields["outputs"][0]["parameters"]


@needs_clients
def test_triton_client_mixes_json_and_raw_tensors_in_one_request(triton: Client):
    tensors = {"n": np.array([10, 20]), "a": X}
    inputs = {"n": {"binary_data": False}}
    outputs = {"next": {"binary_data": False}, "sum": {}}

    answer = triton.infer("pair", tensors, inputs, outputs)

    _check_arrays(
        {"next": np.array([11, 21]), "sum": np.array([16.0, 25.0], np.float32)}, answer.arrays
    )
    assert ["next", "sum"] == [output["name"] for output in answer.fields["outputs"]]
    assert ["data" in output for output in answer.fields["outputs"]] == [True, False]


@needs_clients
def test_triton_client_gets_only_the_outputs_it_asks_for(triton: Client):
    tensors = {"a": X, "n": np.array([1, 2])}

    answer = triton.infer("pair", tensors, outputs={"next": {}})

    _check_arrays({"next": np.array([2, 3])}, answer.arrays)


@needs_clients
def test_triton_client_gets_its_request_id_back(triton: Client):
    named = triton.infer("half", {"x": X}, request_id="request 7")
    nameless = triton.infer("half", {"x": X})

    assert "request 7" == named.fields["id"]
    assert "id" not in nameless.fields


@needs_clients
def test_triton_client_asks_for_a_version(triton: Client):
    answer = triton.infer("step", {"x": np.ones(2, np.float32)}, model_version="2")

    _check_arrays({"y": np.full(2, 3, np.float32)}, answer.arrays)
    assert "2" == answer.fields["model_version"]


@needs_clients
@pytest.mark.parametrize("priority", [1, 2, 3])
def test_triton_client_sets_a_priority(triton: Client, priority: int):
    answer = triton.infer("half", {"x": X}, priority=priority)

    _check_arrays({"y": HALF_OF_X}, answer.arrays)


@needs_clients
def test_triton_client_is_answered_within_its_timeout_and_told_when_it_is_over(triton: Client):
    nap = {"x": np.array([0.5], np.float32)}

    answer = triton.infer("nap", nap, timeout=20_000_000)
    with pytest.raises(ClientError) as late:
        triton.infer("nap", nap, timeout=50_000)

    _check_arrays({"y": nap["x"]}, answer.arrays)
    assert "InferenceServerException" == late.value.kind
    assert str(late.value)[:5] in {"[503]", "[504]"}


@needs_clients
@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_triton_client_compresses_its_requests(triton: Client, algorithm: str):
    tensors = _typed()

    answer = triton.infer(
        "types",
        tensors,
        request_compression_algorithm=algorithm,
        response_compression_algorithm=algorithm,
    )

    _check_arrays(_answers(tensors), answer.arrays)


@needs_clients
def test_triton_client_infers_asynchronously(triton: Client):
    requested = [{"x": np.full((2, 2), number, np.float32)} for number in range(20)]

    answers = triton.call("infer_together", "half", requested)

    found = [arrays["y"] for _fields, arrays in answers]
    np.testing.assert_array_equal(np.array([one["x"] / 2 for one in requested]), np.array(found))


@needs_clients
@pytest.mark.parametrize(
    ("model", "tensors", "status", "message"),
    [
        pytest.param("nobody", {"x": X}, "404", 'no model "nobody"', id="unknown-model"),
        pytest.param(
            "half", {"x": X.astype(np.int32)}, "400", 'input "x" is FP32, request says INT32',
            id="datatype",
        ),
        pytest.param(
            "half", {"x": np.zeros((1, 3), np.float32)}, "400",
            r'input "x": expected shape \[-1, ?2\], got \[1, ?3\]', id="shape",
        ),
        pytest.param("half", {"z": X}, "400", 'unknown input "z"', id="unknown-input"),
        pytest.param("pair", {"a": X}, "400", 'missing input "n"', id="missing-input"),
    ],
)  # fmt: skip
def test_triton_client_raises_what_the_server_says(
    triton: Client, model: str, tensors: dict[str, np.ndarray], status: str, message: str
):
    with pytest.raises(ClientError, match=message) as refused:
        triton.infer(model, tensors)

    assert "InferenceServerException" == refused.value.kind
    assert str(refused.value).startswith(f"[{status}] ")


@needs_clients
def test_triton_client_is_told_that_classes_are_not_offered(triton: Client):
    with pytest.raises(ClientError, match="classification is not offered here") as refused:
        triton.infer("half", {"x": X}, outputs={"y": {"class_count": 2}})

    assert str(refused.value).startswith("[501] ")


@needs_clients
@pytest.mark.parametrize("question", ["get_trace_settings", "get_system_shared_memory_status"])
def test_triton_client_is_told_what_the_server_does_not_offer(triton: Client, question: str):
    with pytest.raises(ClientError, match="not offered here") as refused:
        triton.call(question)

    assert "InferenceServerException" == refused.value.kind
    assert str(refused.value).startswith("[501] ")


@needs_clients
def test_triton_client_keeps_working_after_an_error(triton: Client):
    with pytest.raises(ClientError):
        triton.infer("half", {"x": np.zeros((1, 3), np.float32)})

    answer = triton.infer("half", {"x": X})

    _check_arrays({"y": HALF_OF_X}, answer.arrays)


# KServe's client.


@needs_clients
def test_kserve_client_finds_the_server_live_over_both_protocols(
    kserve_v1: Client, kserve_v2: Client
):
    assert kserve_v1.call("is_server_live") is True
    assert kserve_v2.call("is_server_live") is True


@needs_clients
def test_kserve_client_finds_the_server_ready(kserve_v2: Client):
    assert kserve_v2.call("is_server_ready") is True


@needs_clients
def test_kserve_client_finds_a_model_ready_over_both_protocols(
    kserve_v1: Client, kserve_v2: Client
):
    assert kserve_v1.call("is_model_ready", "half") is True
    assert kserve_v2.call("is_model_ready", "half") is True


@needs_clients
def test_kserve_client_finds_an_unknown_model_missing(kserve_v1: Client, kserve_v2: Client):
    with pytest.raises(ClientError, match="404 Not Found") as refused:
        kserve_v1.call("is_model_ready", "nobody")

    assert "HTTPStatusError" == refused.value.kind
    assert kserve_v2.call("is_model_ready", "nobody") is False


@needs_clients
def test_kserve_client_infers_over_v1(kserve_v1: Client):
    answer = kserve_v1.call("infer", {"instances": X.tolist()}, model_name="half")

    assert {"predictions": HALF_OF_X.tolist()} == answer


@needs_clients
def test_kserve_client_raises_what_the_server_says_over_v1(kserve_v1: Client):
    with pytest.raises(ClientError, match=r'"instances" is empty, .400 Bad Request') as refused:
        kserve_v1.call("infer", {"instances": []}, model_name="half")

    assert "HTTPStatusError" == refused.value.kind


@needs_clients
def test_kserve_client_infers_over_v2_with_the_protocols_json(kserve_v2: Client):
    tensor = {"name": "x", "shape": [2, 2], "datatype": "FP32", "data": X.ravel().tolist()}

    answer = kserve_v2.infer_document("half", {"inputs": [tensor]})

    _check_arrays({"y": HALF_OF_X}, answer.arrays)


@needs_clients
def test_kserve_client_infers_with_raw_tensors_of_every_datatype(kserve_v2: Client):
    tensors = _typed()

    answer = kserve_v2.infer_tensors("types", tensors, request_id="request 8")

    # It asks for JSON in return.
    _check_arrays(_decoded(_answers(tensors)), answer.arrays)
    assert {"id": "request 8", "model_name": "types"} == answer.fields


@needs_clients
def test_kserve_client_infers_with_raw_tensors_both_ways(kserve_v2: Client):
    tensors = _typed() | NOT_FINITE
    parameters = {"binary_data_output": True}

    answer = kserve_v2.infer_tensors("types", tensors, parameters=parameters)

    _check_arrays(_decoded(_answers(tensors)), answer.arrays)


@needs_clients
def test_kserve_client_infers_with_json_of_every_datatype_it_sends_so(kserve_v2: Client):
    tensors = _typed()
    # Half precision the client sends raw only.
    as_json = {name: {"binary_data": False} for name in tensors.keys() - {"fp16"}}

    answer = kserve_v2.infer_tensors("types", tensors, as_json)

    _check_arrays(_decoded(_answers(tensors)), answer.arrays)


@needs_clients
def test_kserve_client_reads_numbers_that_are_not_finite(kserve_v2: Client):
    answer = kserve_v2.infer_tensors("log", {"x": np.array([-1.0, 0.0, 1.0], np.float32)})

    # JSON has no form for them: null, which the client reads as NaN.
    np.testing.assert_array_equal(np.array([np.nan, np.nan, 0.0], np.float32), answer.arrays["y"])


@needs_clients
def test_kserve_client_raises_what_the_server_says_over_v2(kserve_v2: Client):
    with pytest.raises(ClientError, match='unknown input "z"') as refused:
        kserve_v2.infer_tensors("half", {"z": X})

    assert "HTTPStatusError" == refused.value.kind
    assert "400 Bad Request" in str(refused.value)


# A client of TensorFlow Serving, as its documentation has it: requests and json.


def _ask(server: Server, path: str, document: dict[str, Any]) -> Any:
    headers = {"content-type": "application/json"}
    response = requests.post(
        server.url + path, data=json.dumps(document), headers=headers, timeout=60
    )
    assert 200 == response.status_code, response.text
    return json.loads(response.text)


@pytest.mark.parametrize("version", ["", "/versions/1"])
def test_tensorflow_serving_client_predicts_rows(server: Server, version: str):
    document = {"signature_name": "serving_default", "instances": X.tolist()}

    answer = _ask(server, f"/v1/models/half{version}:predict", document)

    np.testing.assert_array_equal(HALF_OF_X, answer["predictions"])


def test_tensorflow_serving_client_predicts_rows_of_named_tensors(server: Server):
    document = {"instances": [{"a": [1.0, 2.0], "n": 3}, {"a": [0.5, 0.5], "n": -1}]}

    answer = _ask(server, "/v1/models/pair:predict", document)

    assert [{"next": 4, "sum": 6.0}, {"next": 0, "sum": 0.0}] == answer["predictions"]


def test_tensorflow_serving_client_predicts_columns(server: Server):
    document = {"inputs": {"a": [[1.0, 2.0], [0.5, 0.5]], "n": [3, -1]}}

    answer = _ask(server, "/v1/models/pair:predict", document)

    assert {"outputs": {"next": [4, 0], "sum": [6.0, 0.0]}} == answer


def test_tensorflow_serving_client_predicts_a_single_column(server: Server):
    answer = _ask(server, "/v1/models/half:predict", {"inputs": X.tolist()})

    assert {"outputs": HALF_OF_X.tolist()} == answer


def test_tensorflow_serving_client_sends_and_gets_bytes(server: Server):
    document = {"instances": ["plain", {"b64": "w6k="}]}

    answer = _ask(server, "/v1/models/text:predict", document)

    assert {
        "predictions": [
            {"t": "plain", "t_bytes": {"b64": "cGxhaW4="}},
            {"t": "é", "t_bytes": {"b64": "w6k="}},
        ]
    } == answer


def test_tensorflow_serving_client_classifies(server: Server):
    document = {"examples": [{"x": [2.0, 4.0]}, {"x": [6.0, -1.0]}]}

    answer = _ask(server, "/v1/models/half:classify", document)

    assert {"results": [[["0", 1.0], ["1", 2.0]], [["0", 3.0], ["1", -0.5]]]} == answer


def test_tensorflow_serving_client_regresses(server: Server):
    document = {"signature_name": "serving_default", "examples": [{"x": 1.5}, {"x": -2.0}]}

    answer = _ask(server, "/v1/models/step:regress", document)

    assert {"results": [3.5, 0.0]} == answer


def test_tensorflow_serving_client_shares_a_context_among_examples(server: Server):
    document = {"context": {"x": 1.5}, "examples": [{}, {}]}

    answer = _ask(server, "/v1/models/step:regress", document)

    assert {"results": [3.5, 3.5]} == answer


def test_tensorflow_serving_client_reads_a_models_status(server: Server):
    response = requests.get(server.url + "/v1/models/step", timeout=60)

    assert [
        {
            "version": "2",
            "state": "AVAILABLE",
            "status": {"error_code": "OK", "error_message": ""},
        }
    ] == json.loads(response.text)["model_version_status"]


def test_tensorflow_serving_client_reads_a_models_metadata(server: Server):
    response = requests.get(server.url + "/v1/models/types/metadata", timeout=60)

    metadata = json.loads(response.text)
    definition = metadata["metadata"]["signature_def"]["signature_def"]["serving_default"]
    dimensions = [{"size": "-1", "name": ""}, {"size": "2", "name": ""}]
    named = {"fp16": "DT_HALF", "fp32": "DT_FLOAT", "fp64": "DT_DOUBLE", "bytes": "DT_STRING"}
    assert {"name": "types", "signature_name": "", "version": "1"} == metadata["model_spec"]
    assert {name: named.get(name, f"DT_{name.upper()}") for name in _typed()} == {
        name: tensor["dtype"] for name, tensor in definition["inputs"].items()
    }
    assert dimensions == definition["inputs"]["int8"]["tensor_shape"]["dim"]
    assert "tensorflow/serving/predict" == definition["method_name"]


def test_tensorflow_serving_client_reads_what_was_wrong(server: Server):
    data = json.dumps({"instances": [[1.0, 2.0, 3.0]]})

    response = requests.post(server.url + "/v1/models/half:predict", data=data, timeout=60)

    assert 400 == response.status_code
    assert "instances[0]" in json.loads(response.text)["error"]
