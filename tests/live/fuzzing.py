"""Requests at random for the fuzzing test, each with what must come back.

A request follows from its number alone, so one that failed can be made again.
"""

import base64
import gzip
import json
import math
import random
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

SEED = 20261126
MAX_ROWS = 64  # --max-request-rows of the server
MAX_BODY_BYTES = 96 << 10
MAX_JSON_BYTES = 64 << 10

JSON_BYTES_HEADER = "Inference-Header-Content-Length"
WIRE = {"FP32": np.dtype("<f4"), "INT64": np.dtype("<i8")}

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply as it came; the names of its headers in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def is_prediction(self) -> bool:
        """Whether the service of predictions answered: it alone measures phases."""
        return "server-timing" in self.headers

    @property
    def was_computed(self) -> bool:
        timing = self.headers.get("server-timing", "")
        return ", compute;dur=" in timing and ", compute;dur=0.000" not in timing

    @property
    def json(self) -> Any:
        return json.loads(self.body)


Check = Callable[[Reply], None]


@dataclass(frozen=True, slots=True)
class Sent:
    """A request: its bytes and what is known of its answer.

    `check` raises AssertionError for a wrong answer; `rows` are those computed even if the answer
    is an error. One that `is_alone` may leave the server waiting, so it has a connection of its own
    that is half-closed behind it; gunicorn may answer it in HTML.
    """

    method: str
    model: str
    data: bytes
    check: Check | None = None
    rows: int | None = None
    is_alone: bool = False
    is_late: bool = False
    may_fail: bool = False


@dataclass(slots=True)
class Draft:
    """A valid request before it is written; `document` is None where the body is one tensor."""

    model: str
    path: str
    document: Any
    check: Check
    rows: int
    tail: bytes = b""
    is_binary: bool = False
    headers: dict[str, str] = field(default_factory=dict)
    may_fail: bool = False


# The models in numpy.


def _pair(inputs: Arrays) -> Arrays:
    n = inputs["n"]
    return {"next": n + 1, "sum": inputs["a"].sum(axis=1) + n.astype(np.float32)}


def _mean(inputs: Arrays) -> Arrays:
    x = inputs["x"].astype(np.float64)
    with np.errstate(all="ignore"):
        return {"mean": (x.sum(axis=1) / x.shape[1]).astype(np.float32)}


def _log(inputs: Arrays) -> Arrays:
    with np.errstate(all="ignore"):
        return {"y": np.log(inputs["x"])}


MODELS: dict[str, Callable[[Arrays], Arrays]] = {
    "half": lambda inputs: {"y": inputs["x"] / np.float32(2)},
    "late": lambda inputs: {"y": inputs["x"] / np.float32(2)},
    "log": _log,
    "pair": _pair,
    "ragged": _mean,
    "step": lambda inputs: {"y": inputs["x"] + np.float32(2)},
    "text": lambda inputs: {"t": inputs["s"], "t_bytes": inputs["s"]},
}
DATATYPES = {"next": "INT64", "n": "INT64", "s": "BYTES", "t": "BYTES", "t_bytes": "BYTES"}


def _inputs(rng: random.Random, model: str, rows: int) -> Arrays:
    if model in {"half", "late"}:
        return {"x": _floats(rng, (rows, 2), 1e38)}
    if model == "step":
        return {"x": _floats(rng, (rows,), 1e38)}
    if model == "pair":
        n = np.array([rng.choice((0, 1, -1, 2**53 + 1, -(2**62))) for _ in range(rows)], np.int64)
        return {"a": _floats(rng, (rows, 2), 1e6), "n": n}
    if model == "ragged":
        return {"x": _floats(rng, (rows, rng.choice((0, 1, 2, 3, 7, 30))), 1e3)}
    if model == "log":
        x = np.abs(_floats(rng, (rows,), 1e38))
        if rng.random() < 0.3:
            x[rng.randrange(rows)] = rng.choice((-1.0, 0.0, math.nan, math.inf))
        return {"x": x}
    strings = np.empty(rows, object)
    for row in range(rows):
        strings[row] = _string(rng)
    return {"s": strings}


def _floats(rng: random.Random, shape: tuple[int, ...], largest: float) -> np.ndarray:
    def one() -> float:
        kind = rng.random()
        if kind < 0.4:
            return float(rng.randrange(-9, 10))
        if kind < 0.8:
            return rng.uniform(-10, 10)
        return rng.choice((0.0, -0.0, 0.1, 1e-20, 1.0, largest, -largest))

    return np.array([one() for _ in range(math.prod(shape))], np.float32).reshape(shape)


def _string(rng: random.Random) -> bytes:
    if rng.random() < 0.02:
        return rng.randbytes(rng.randrange(1, 9)) + b"\xff"
    return "".join(rng.choice('ab"\\\n\0 é€😀{[') for _ in range(rng.randrange(12))).encode()


# Valid requests.


def _draft(rng: random.Random, model: str) -> Draft:
    rows = rng.choice((1, 1, 1, 2, 3, 5, 8, 9, 17, MAX_ROWS))
    inputs = _inputs(rng, model, rows)
    kind = rng.random()
    if kind < 0.1 and model in {"half", "step", "log", "ragged"}:
        return _examples(rng, model, inputs)
    if kind < 0.5:
        return _tf_serving(rng, model, inputs)
    if kind < 0.56 and model != "pair":
        return _raw(rng, model, _inputs(rng, model, 1))
    return _open_inference(rng, model, inputs)


def _expected(rng: random.Random, model: str, inputs: Arrays) -> tuple[str, Arrays]:
    """Return what of a path names the version, and the outputs."""
    outputs = MODELS[model](inputs)
    if model != "step" or rng.random() < 0.3:
        return rng.choice(("", "", "/versions/1")) if model != "step" else "", outputs
    which, step = rng.choice((("/versions/1", 1), ("/versions/002", 2), ("/versions/2", 2)))
    return which, {"y": inputs["x"] + np.float32(step)}


def _nonfinite(rng: random.Random, default: str) -> tuple[str, str]:
    """Return how NaN and infinities are to be written, and the query that says so."""
    if rng.random() < 0.8:
        return default, rng.choice(("", "", "?a=b&&%zz"))
    mode = rng.choice(("token", "null", "string", "error"))
    return mode, f"?nonfinite={mode}"


def _tf_serving(rng: random.Random, model: str, inputs: Arrays) -> Draft:
    which, outputs = _expected(rng, model, inputs)
    if which.startswith("/versions/1") and model == "step" and rng.random() < 0.3:
        which = "/labels/stable"
    columns = {name: _json(rng, array) for name, array in inputs.items()}
    rows = len(next(iter(inputs.values())))
    is_row_form = rng.random() < 0.6
    value = _as_rows(rng, columns, rows) if is_row_form else _as_columns(rng, columns)
    document = {"instances" if is_row_form else "inputs": value}
    if rng.random() < 0.2:
        document["signature_name"] = rng.choice(("serving_default", "", None))
    if rng.random() < 0.2:
        document["anything"] = rng.choice((None, [[]], {"é": 1e300}, 10**400))
    mode, query = _nonfinite(rng, "token")
    start = rng.choice(("/v1/models/", "/v1/models/", "/V1/Models/"))
    end = rng.choice((":predict", ":predict", ":PREDICT", "%3Apredict", ":predict/"))

    def check(reply: Reply) -> None:
        if _refused(reply, outputs, mode):
            return
        if is_row_form:
            wanted = [
                {n: _shown(a[row], mode, n) for n, a in outputs.items()} for row in range(rows)
            ]
            if len(outputs) == 1:
                wanted = [next(iter(one.values())) for one in wanted]
            _require({"predictions": wanted}, reply, inputs)
            return
        shown = {name: _shown(array, mode, name) for name, array in outputs.items()}
        _require(
            {"outputs": next(iter(shown.values())) if len(shown) == 1 else shown}, reply, inputs
        )

    path = f"{start}{model}{which}{end}{query}"
    return Draft(model, path, _shuffled(rng, document), check, rows, may_fail=mode == "error")


def _as_rows(rng: random.Random, columns: dict[str, list[Any]], rows: int) -> Any:
    if len(columns) == 1 and rng.random() < 0.6:
        return next(iter(columns.values()))
    return [
        _shuffled(rng, {n: column[row] for n, column in columns.items()}) for row in range(rows)
    ]


def _as_columns(rng: random.Random, columns: dict[str, list[Any]]) -> Any:
    if len(columns) == 1 and rng.random() < 0.6:
        return next(iter(columns.values()))
    return _shuffled(rng, columns | ({} if rng.random() < 0.8 else {"unknown": [None]}))


def _examples(rng: random.Random, model: str, inputs: Arrays) -> Draft:
    verb = "classify" if model == "half" else "regress"
    which, outputs = _expected(rng, model, inputs)
    values = _json(rng, inputs["x"])
    document: dict[str, Any] = {"examples": [{"x": value} for value in values]}
    rows = len(values)
    if rng.random() < 0.3:
        outputs = {n: np.repeat(array[:1], rows, axis=0) for n, array in outputs.items()}
        document = {"examples": [{}] * rows, "context": {"x": values[0]}}
    (output,) = outputs.values()
    mode, query = _nonfinite(rng, "token")

    def check(reply: Reply) -> None:
        if _refused(reply, outputs, mode):
            return
        results = _shown(output, mode)
        if verb == "classify":
            results = [[["0", first], ["1", second]] for first, second in results]
        _require({"results": results}, reply, inputs)

    path = f"/v1/models/{model}{which}:{verb}{query}"
    return Draft(model, path, document, check, rows, may_fail=mode == "error")


def _open_inference(rng: random.Random, model: str, inputs: Arrays) -> Draft:
    which, outputs = _expected(rng, model, inputs)
    document: dict[str, Any] = {"inputs": []}
    tail = b""
    is_binary = False
    for name, array in _shuffled(rng, inputs).items():
        tensor, data = _tensor(rng, name, array)
        document["inputs"].append(tensor)
        tail += data
        is_binary |= "parameters" in tensor
    parameters: dict[str, Any] = {"unknown": 1} if rng.random() < 0.2 else {}
    default = False
    if rng.random() < 0.4:
        default = parameters["binary_data_output"] = rng.random() < 0.6
    if rng.random() < 0.2:
        parameters["priority"] = rng.choice((0, 1, 2, 3, 4, 2**62))
    raw = dict.fromkeys(outputs, default)
    if rng.random() < 0.5:
        document["outputs"], raw = _wanted(rng, sorted(outputs), is_binary=default)
    request_id = rng.choice((None, "42", "é😀", "x" * 256))
    if request_id is not None:
        document["id"] = request_id
    if parameters:
        document["parameters"] = parameters
    mode, query = _nonfinite(rng, "null")
    wanted = {name: outputs[name] for name in raw}

    def check(reply: Reply) -> None:
        in_json = {name: array for name, array in wanted.items() if not raw[name]}
        if not _refused(reply, in_json, mode):
            _require_tensors(reply, wanted, raw, mode, inputs)
            assert request_id == reply_document(reply).get("id")

    path = f"/v2/models/{model}{which}/infer{query}"
    rows = len(next(iter(inputs.values())))
    return Draft(
        model,
        path,
        _shuffled(rng, document),
        check,
        rows,
        tail,
        is_binary=is_binary or rng.random() < 0.1,
        may_fail=mode == "error",
    )


def _wanted(
    rng: random.Random, outputs: list[str], *, is_binary: bool
) -> tuple[list[dict[str, Any]], dict[str, bool]]:
    """Return which outputs are asked for, and which of those are to be raw."""
    names = rng.sample(outputs, rng.randrange(1, len(outputs) + 1))
    raw = dict.fromkeys(names, is_binary)
    wanted: list[dict[str, Any]] = [{"name": name} for name in names]
    for output in wanted:
        if rng.random() < 0.5:
            raw[output["name"]] = rng.random() < 0.5
            output["parameters"] = {"binary_data": raw[output["name"]]}
    return wanted, raw


def _tensor(rng: random.Random, name: str, array: np.ndarray) -> tuple[dict[str, Any], bytes]:
    """Return an input of Open Inference, and its bytes if it is sent raw."""
    tensor: dict[str, Any] = {"name": name, "shape": list(array.shape)}
    tensor["datatype"] = DATATYPES.get(name, "FP32")
    data = b""
    if rng.random() < 0.5:
        data = _binary(array)
        tensor["parameters"] = {"binary_data_size": len(data)}
    else:
        nested = _json(rng, array)
        is_nested = array.ndim == 1 or (array.size > 0 and rng.random() < 0.5)
        tensor["data"] = nested if is_nested else [value for row in nested for value in row]
    return _shuffled(rng, tensor), data


def _raw(rng: random.Random, model: str, inputs: Arrays) -> Draft:
    which, outputs = _expected(rng, model, inputs)
    (array,) = inputs.values()
    body = array[0] if array.dtype == object else array.tobytes()

    def check(reply: Reply) -> None:
        assert reply.status == 200, reply
        _require_tensors(reply, outputs, dict.fromkeys(outputs, True), "null", inputs)

    return Draft(model, f"/v2/models/{model}{which}/infer", None, check, 1, body, is_binary=True)


def _json(rng: random.Random, array: np.ndarray) -> list[Any]:
    if array.dtype == object:
        return [_json_string(rng, item) for item in array]
    if array.dtype == np.float32 and rng.random() < 0.3:
        # Whole numbers as integers, where they are exact.
        return [_whole(value) for value in array.tolist()]
    return array.tolist()


def _whole(value: Any) -> Any:
    if isinstance(value, list):
        return [_whole(one) for one in value]
    return int(value) if math.isfinite(value) and value.is_integer() else value


def _json_string(rng: random.Random, item: bytes) -> Any:
    try:
        text = item.decode()
    except UnicodeDecodeError:
        text = None
    if text is None or rng.random() < 0.2:
        return {"b64": base64.b64encode(item).decode()}
    return text


def _binary(array: np.ndarray) -> bytes:
    if array.dtype == object:
        return b"".join(len(item).to_bytes(4, "little") + item for item in array)
    return array.tobytes()


def _shuffled(rng: random.Random, document: dict[str, Any]) -> dict[str, Any]:
    return dict(rng.sample(list(document.items()), len(document)))


# What a valid request is answered.


def _refused(reply: Reply, in_json: Arrays, mode: str) -> bool:
    """Return whether the outputs have no form in JSON; then check that the reply says so."""
    strings = [array for name, array in in_json.items() if name == "t"]
    if any(not _is_text(item) for array in strings for item in array):
        assert (400, "invalid_input") == (reply.status, reply.json["reason"]), reply
        assert "is not UTF-8; name it t_bytes" in reply.json["error"], reply
        return True
    floats = [array for array in in_json.values() if array.dtype == np.float32]
    if mode == "error" and not all(np.isfinite(array).all() for array in floats):
        assert (500, "model_error") == (reply.status, reply.json["reason"]), reply
        assert "is not finite" in reply.json["error"], reply
        return True
    assert reply.status == 200, reply
    return False


def _is_text(item: bytes) -> bool:
    try:
        item.decode()
    except UnicodeDecodeError:
        return False
    return True


def _shown(value: Any, mode: str, name: str = "") -> Any:
    """Return the JSON value of an output or a part of it."""
    if isinstance(value, np.ndarray):
        return [_shown(one, mode, name) for one in value]
    if isinstance(value, bytes):
        is_base64 = name.endswith("_bytes")
        return {"b64": base64.b64encode(value).decode()} if is_base64 else value.decode()
    number = value.item()
    if isinstance(number, int) or math.isfinite(number) or mode in {"token", "error"}:
        return number
    if mode == "null":
        return None
    return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"


def _require(expected: Any, reply: Reply, inputs: Arrays) -> None:
    assert reply.headers["content-type"] == "application/json", reply
    assert _matches(expected, reply.json, _tolerance(inputs)), (expected, reply)


def _tolerance(inputs: Arrays) -> float:
    """Return the error that adding up may bring, where the models add up."""
    array = next(iter(inputs.values()))
    if array.dtype != np.float32 or array.ndim != 2 or not array.size:
        return 1e-6
    largest = float(np.abs(array).max())
    return 1e-6 if largest > 1e7 else 1e-6 * (1 + largest)


def _matches(expected: Any, found: Any, tolerance: float) -> bool:
    if isinstance(expected, float):
        if not isinstance(found, float):
            return False
        both_nan = math.isnan(expected) and math.isnan(found)
        return both_nan or math.isclose(expected, found, rel_tol=1e-5, abs_tol=tolerance)
    if isinstance(expected, list):
        return (
            isinstance(found, list)
            and len(expected) == len(found)
            and all(_matches(e, f, tolerance) for e, f in zip(expected, found, strict=True))
        )
    if isinstance(expected, dict):
        return (
            isinstance(found, dict)
            and expected.keys() == found.keys()
            and all(_matches(expected[key], found[key], tolerance) for key in expected)
        )
    return type(expected) is type(found) and expected == found


def reply_document(reply: Reply) -> Any:
    """Return the JSON of a reply that may have raw tensors behind it."""
    announced = reply.headers.get(JSON_BYTES_HEADER.lower())
    return json.loads(reply.body if announced is None else reply.body[: int(announced)])


def _require_tensors(
    reply: Reply, wanted: Arrays, raw: Mapping[str, bool], mode: str, inputs: Arrays
) -> None:
    is_json = not any(raw.values())
    assert is_json == (JSON_BYTES_HEADER.lower() not in reply.headers), reply
    kind = "application/json" if is_json else "application/octet-stream"
    assert kind == reply.headers["content-type"], reply
    document = reply_document(reply)
    rest = b"" if is_json else reply.body[int(reply.headers[JSON_BYTES_HEADER.lower()]) :]
    assert list(wanted) == [one["name"] for one in document["outputs"]], reply
    for output, (name, array) in zip(document["outputs"], wanted.items(), strict=True):
        assert list(array.shape) == output["shape"], reply
        assert DATATYPES.get(name, "FP32") == output["datatype"], reply
        if not raw[name]:
            flat = _shown(array.reshape(-1), mode, name)
            assert _matches(flat, output["data"], _tolerance(inputs)), (flat, reply)
            continue
        assert "data" not in output
        data, rest = _cut(rest, output["parameters"]["binary_data_size"])
        if array.dtype == object:
            assert data == _binary(array), reply
            continue
        found = np.frombuffer(data, array.dtype.newbyteorder("<")).reshape(array.shape)
        assert _matches(array.tolist(), found.tolist(), _tolerance(inputs)), (array, reply)
    assert not rest, reply


def _cut(data: bytes, size: int) -> tuple[bytes, bytes]:
    return data[:size], data[size:]


def rows_of(reply: Reply) -> int:
    """Return the rows of a successful prediction."""
    document = reply_document(reply)
    if "model_name" in document:
        return int(document["outputs"][0]["shape"][0])
    (rows,) = document.values()
    return len(next(iter(rows.values())) if isinstance(rows, dict) else rows)


# From a draft to bytes.

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
GOOD_HEADERS = {
    "Content-Type": ("application/json", "application/x-www-form-urlencoded", "é", "text/plain"),
    "X-Request-ID": ("a-1", "x y", "é", "z" * 200, "\t"),
    "X-Request-Timeout-Ms": ("60000", "20000", "000999999"),
    "X-Envoy-Expected-Rq-Timeout-Ms": ("60000", "abc", "-1", "0"),
    "X-Request-Priority": ("0", "1", "2", "3", "4", "999999999999999"),
    "traceparent": (TRACE, TRACE.upper(), "00-" + "0" * 32 + "-0-01", "cc" + TRACE[2:] + "-x", "é"),
    "X-Segment": ("a=b", "=", "é" * 100),
    "Accept-Encoding": ("gzip", "br;q=zzz,,"),
}  # fmt: skip
BAD_HEADERS = {
    JSON_BYTES_HEADER: ("-1", "abc", "0", "5", "99999999", "1e3", "\xb2", "", "9" * 400),
    "Content-Encoding": ("br", "gzip, gzip", "identity", "gzip", "deflate", "GZIP", "é", "x-gzip"),
    "X-Request-Timeout-Ms": ("0", "-5", "abc", "60000.5", "9" * 400, "", "\xb2", "60000, 60000"),
    "X-Request-Priority": ("-1", "x", "9" * 400, "", "\xb2", "1.0"),
    "traceparent": ("", "00", TRACE + "-", "ff" + TRACE[2:], "\xff" * 300),
    "Expect": ("200-maybe", "100-continue"),
}
LENGTHS = ("-1", "abc", "", "0", "1", "7", "70000", "9" * 30, "1e3", "+5", "5, 5", "\xb2", "0x10")
TRANSFERS = ("gzip, chunked", "identity", "chunked, chunked", "xchunked", "", "chunked\x0b")
WEIRD: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 1.5, -0.0, 1e39, 1e308, math.nan, math.inf, 2**31, 2**63, 2**64,
    -(2**63) - 1, 10**30, 10**400, -(10**400), "", "x", "é\0", "x" * 600, [], [[]], {}, {"b64": 1},
    {"b64": "="}, {"b64": "_w=="}, {"x": 1}, [1, "2"], [[1], [1, 2]], "FP64", "BYTES", [0], [-1],
    [2**62, 0], [2**63 - 1] * 3, [0] * 65, "serving_default",
)  # fmt: skip
PARAMETERS = ("timeout", "priority", "sequence_id", "binary_data_output")
WEIRD_NUMBERS = (10**400, -(10**400), 2**63, 2**64, -1, 0, 1, 1.5, 1e308, math.nan, True, None, "1")
PIECES = (
    b"[", b"]", b"{", b"}", b",", b":", b'"', b"\\", b"\\ud800", b"\xff", b"\0", b"NaN", b"null",
    b"Infinity", b"1" + b"0" * 400, b"1e400", b"-", b"[" * 1100, b'{"a":' * 1100, b"\xef\xbb\xbf",
    b"9223372036854775808", b'"instances":', b'"inputs":', b'"binary_data_size":', b"\x1f\x8b",
)  # fmt: skip


def valid_request(number: int) -> Sent:
    """Return a request that must be answered as the model computes."""
    rng = random.Random(f"{SEED}:valid:{number}")
    draft = _draft(rng, rng.choice([model for model in MODELS if model != "late"]))
    return _sent(rng, draft)


def late_request(number: int) -> Sent:
    """Return a request of a model that is asked for haste; it may be answered or come too late."""
    rng = random.Random(f"{SEED}:late:{number}")
    draft = _draft(rng, "late")
    if rng.random() < 0.7:
        draft.headers["X-Request-Timeout-Ms"] = str(rng.choice((1, 1, 2, 5, 20)))
    elif draft.document is not None and "/v2/" in draft.path:
        parameters = draft.document.setdefault("parameters", {})
        parameters["timeout"] = rng.choice((1, 300, 1000, 5000, 10**9))
    if draft.document is not None and rng.random() < 0.5:
        if rng.random() < 0.5:
            parameters = draft.document.setdefault("parameters", {})
            parameters[rng.choice(PARAMETERS)] = rng.choice(WEIRD_NUMBERS)
        else:
            _spoil_document(rng, draft.document)
        draft.check = _anything
    return _sent(rng, draft, is_late=True)


def mutated_request(number: int) -> Sent:
    """Return a valid request in which something was changed; anything but a defect may come."""
    rng = random.Random(f"{SEED}:mutated:{number}")
    draft = _draft(rng, rng.choice([model for model in MODELS if model != "late"]))
    draft.check = _anything
    spoil = rng.choice((_in_document, _in_body, _in_body, _in_encoding, _in_headers, _in_framing))
    return spoil(rng, draft)


def _anything(reply: Reply) -> None:
    del reply


def _sent(rng: random.Random, draft: Draft, *, is_late: bool = False) -> Sent:
    body = _body_of(rng, draft)
    body = _compressed(rng, draft, body)
    for name, values in GOOD_HEADERS.items():
        if rng.random() < 0.1:
            draft.headers.setdefault(name, rng.choice(values))
    return _framed(rng, draft, body, is_late=is_late)


def _in_document(rng: random.Random, draft: Draft) -> Sent:
    for _ in range(rng.choice((1, 1, 2))):
        _spoil_document(rng, draft.document)
    return _sent(rng, draft)


def _in_body(rng: random.Random, draft: Draft) -> Sent:
    return _framed(rng, draft, _spoilt(rng, _body_of(rng, draft)))


def _in_encoding(rng: random.Random, draft: Draft) -> Sent:
    body = _body_of(rng, draft)
    draft.headers["Content-Encoding"] = rng.choice(("gzip", "deflate"))
    body = _spoilt(rng, _deflated(draft.headers["Content-Encoding"], body))
    return _framed(rng, draft, body)


def _in_headers(rng: random.Random, draft: Draft) -> Sent:
    body = _body_of(rng, draft)
    name = rng.choice(list(BAD_HEADERS))
    draft.headers[name] = rng.choice(BAD_HEADERS[name])
    return _framed(rng, draft, body, is_alone=name == "Expect")


def _in_framing(rng: random.Random, draft: Draft) -> Sent:
    """Change what says where the request ends, or any byte of its head."""
    body = _body_of(rng, draft)
    kind = rng.randrange(4)
    if kind == 0:
        draft.headers["Content-Length"] = rng.choice(LENGTHS)
    elif kind == 1:
        draft.headers["Transfer-Encoding"] = rng.choice(TRANSFERS)
        if rng.random() < 0.5:
            draft.headers["Content-Length"] = str(len(body))
    elif kind == 2:
        draft.headers["Transfer-Encoding"] = "chunked"
        body = _spoilt(rng, _chunked(rng, body))
    else:
        framed = _framed(rng, draft, body).data
        head, blank, rest = framed.partition(b"\r\n\r\n")
        data = _spoilt(rng, head, pieces=(b"\r\n", b"\n", b":", b" ", b"\0", b"\xff", b"x" * 9000))
        return Sent(
            "POST", draft.model, data + blank + rest, is_alone=True, may_fail=draft.may_fail
        )
    return Sent("POST", draft.model, _head(draft) + body, is_alone=True, may_fail=draft.may_fail)


def _spoil_document(rng: random.Random, document: Any) -> None:
    """Put a strange value in some place of a document, or take one away."""
    while isinstance(document, (dict, list)) and document:
        keys = list(document) if isinstance(document, dict) else range(len(document))
        key = rng.choice(keys)
        if not isinstance(document[key], (dict, list)) or not document[key] or rng.random() < 0.2:
            kind = rng.random()
            if kind < 0.15:
                del document[key]
            elif kind < 0.25 and isinstance(document, list):
                document.insert(key, rng.choice(WEIRD))
            else:
                document[key] = rng.choice(WEIRD)
            return
        document = document[key]


def _spoilt(rng: random.Random, body: bytes, pieces: tuple[bytes, ...] = PIECES) -> bytes:
    data = bytearray(body)
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        place = rng.randrange(len(data) + 1)
        kind = rng.randrange(6)
        end = place + rng.choice((1, 1, 2, 8, 64))
        if kind == 0 and place < len(data):
            data[place] ^= 1 << rng.randrange(8)
        elif kind == 1:
            data[place:place] = rng.randbytes(rng.choice((1, 2, 9)))
        elif kind == 2:
            del data[place:end]
        elif kind == 3:
            del data[place:]
        elif kind == 4:
            data[place:place] = data[place:end]
        else:
            data[place:place] = rng.choice(pieces)
    return bytes(data)


def _body_of(rng: random.Random, draft: Draft) -> bytes:
    if draft.document is None:
        draft.headers[JSON_BYTES_HEADER] = "0"
        return draft.tail
    text = json.dumps(
        draft.document,
        ensure_ascii=rng.random() < 0.5,
        separators=rng.choice(((",", ":"), (", ", " : "))),
        indent=rng.choice((None, None, None, 1)),
    ).encode()
    text = rng.choice((b"", b"", b"\xef\xbb\xbf")) + text + rng.choice((b"", b"", b"\r\n"))
    if draft.is_binary:
        draft.headers[JSON_BYTES_HEADER] = str(len(text))
    return text + draft.tail


def _compressed(rng: random.Random, draft: Draft, body: bytes) -> bytes:
    if rng.random() < 0.8:
        return body
    encoding = draft.headers["Content-Encoding"] = rng.choice(("gzip", "deflate", "identity"))
    return _deflated(encoding, body)


def _deflated(encoding: str, body: bytes) -> bytes:
    if encoding == "gzip":
        return gzip.compress(body, 1, mtime=0)
    return zlib.compress(body, 1) if encoding == "deflate" else body


def _framed(
    rng: random.Random,
    draft: Draft,
    body: bytes,
    *,
    is_alone: bool = False,
    is_late: bool = False,
) -> Sent:
    if rng.random() < 0.15:
        draft.headers["Transfer-Encoding"] = "chunked"
        body = _chunked(rng, body)
    else:
        draft.headers["Content-Length"] = str(len(body))
    is_known = draft.check is not _anything
    return Sent(
        "POST",
        draft.model,
        _head(draft) + body,
        draft.check if is_known else None,
        draft.rows if is_known else None,
        is_alone=is_alone,
        is_late=is_late,
        may_fail=draft.may_fail,
    )


def _chunked(rng: random.Random, body: bytes) -> bytes:
    chunks = []
    while body:
        piece, body = _cut(body, rng.choice((1, 7, 100, 5000)))
        extension = rng.choice((b"", b"", b";a=b"))
        chunks.append(b"%x%s\r\n%s\r\n" % (len(piece), extension, piece))
    return b"".join(chunks) + b"0\r\n\r\n"


def _head(draft: Draft) -> bytes:
    return head("POST", draft.path, draft.headers)


def head(method: str, path: str, headers: Mapping[str, str]) -> bytes:
    """Return the lines before a request's body."""
    fields = {"Host": "localhost"} | dict(headers)
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1", "replace")


# Everything beside predictions.

METHODS = ("GET", "GET", "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "FOO")
PATHS = (
    "/", "//", "/v1", "/v1/models", "/v1/models/half", "/v1/models/haf", "/V1/MODELS/half/Metadata",
    "/v1/models/step/labels/stable", "/v1/models/step/labels/old", "/v1/models/step/versions/9",
    "/v1/models/step/versions/" + "9" * 400, "/v1/models/half:explain", "/v1/models/%ff%00",
    "/v1/feedback", "/v1/feedback/batch?dry_run=true", "/v2", "/v2/", "/v2/models",
    "/v2/models/half",
    "/v2/models/half/config", "/v2/models/step/versions/1/config", "/v2/models/stats",
    "/v2/models/half/stats", "/v2/models/half/versions/7/stats", "/v2/models/half/ready",
    "/v2/models/haf/ready", "/v2/health/live", "/v2/health/ready", "/v2/repository/index",
    "/v2/repository/models/half/load", "/v2/repository/models/half/unload", "/v2/logging",
    "/v2/models/half/generate", "/v2/systemsharedmemory/x", "/v2/trace/setting", "/livez",
    "/readyz",
    "/healthz", "/metrics", "/metrics?name[]=%ff", "/monitoring/prometheus/metrics", "/debug/slow",
    "/debug/slow?kind=failed&n=100", "/debug/slow?kind=%ff", "/debug/slow?n=1e9", "/nope",
    "/%2e%2e/v2",
    "/v2//models", "//v1/models/half:predict", "/v1/models/half%2f", "/v1/models/" + "x" * 3000,
    "/v2/models/stats/infer/x", "/v1/models/half:predict/x", "/%F0%9F%98%80",
)  # fmt: skip
BODIES = (
    b"", b"", b"{}", b"[]", b'{"ready":true}', b'{"ready":1}', b"nonsense", b"[" * 3000, b"\xff",
    b'{"parameters":{"config":"{}"}}', b'{"parameters":7}', b"{}" * 40000,
    b'{"token":"x","label":1}',
)  # fmt: skip
OTHER_HEADERS = {
    "Accept": ("application/openmetrics-text", "*/*;q=zz", "text/plain; version=9", "\xff"),
    "Authorization": ("Bearer wrong", "Basic x", "Bearer \xff", ""),
    "X-Request-ID": ("a-1", "é", "z" * 200),
    "Host": ("[", "a b", "..", "x:99999999", "\xff"),
}


def other_request(number: int) -> Sent:
    """Return a request that is no prediction."""
    rng = random.Random(f"{SEED}:other:{number}")
    method, path, body = rng.choice(METHODS), rng.choice(PATHS), rng.choice(BODIES)
    if rng.random() < 0.1:
        # A prediction's path with a method that it does not take.
        method = rng.choice([method for method in METHODS if method != "POST"])
        path = rng.choice(
            ("/v1/models/half:predict", "/v2/models/half/infer", "/v1/models/a:regress")
        )
    headers = {"Content-Length": str(len(body))}
    for name, values in OTHER_HEADERS.items():
        if rng.random() < 0.1:
            headers[name] = rng.choice(values)
    if body and rng.random() < 0.2:
        del headers["Content-Length"]
        headers["Transfer-Encoding"] = "chunked"
        body = _chunked(rng, body)
        if method != "HEAD" and rng.random() < 0.5:
            data = head(method, path, headers) + _spoilt(rng, body)
            return Sent(method, "", data, is_alone=True)
    return Sent(method, "", head(method, path, headers) + body)


def wrong_request(number: int) -> Sent:
    """Return a request whose refusal is known."""
    rng = random.Random(f"{SEED}:wrong:{number}")
    good = b'{"instances":[[2,4]]}'
    bomb = gzip.compress(bytes(MAX_BODY_BYTES + 1))
    stateful = b'{"parameters":{"sequence_id":7},"inputs":[]}'
    half = "/v1/models/half:predict"
    path, headers, body, status, reason = rng.choice((
        ("/v1/models/haf:predict", {}, good, 404, "unknown_model"),
        ("/v2/models/%ff/infer", {}, good, 404, "unknown_model"),
        ("/v1/models/half/versions/9:predict", {}, good, 404, "unknown_version"),
        ("/v1/models/step/labels/old:predict", {}, good, 404, "unknown_version"),
        (half, {"Content-Encoding": "br"}, good, 415, "invalid_input"),
        (half, {"Content-Encoding": "gzip"}, good, 400, "invalid_input"),
        (half, {"Content-Encoding": "gzip"}, bomb, 413, "too_large"),
        (half, {}, good + b" " * MAX_JSON_BYTES, 413, "too_large"),
        (half, {}, good + b" " * MAX_BODY_BYTES, 413, "too_large"),
        (half, {}, b'{"instances":[%s[1,2]]}' % (b"[1,2]," * MAX_ROWS), 413, "too_large"),
        (half, {"X-Request-Timeout-Ms": "0"}, good, 400, "invalid_input"),
        (half, {"X-Request-Priority": "x"}, good, 400, "invalid_input"),
        (half + "?nonfinite=x", {}, good, 400, "invalid_input"),
        ("/v1/models/pair:classify", {}, b'{"examples":[{}]}', 501, "invalid_input"),
        ("/v1/models/text:regress", {}, b'{"examples":[{"s":"x"}]}', 501, "invalid_input"),
        ("/v2/models/half/infer", {}, stateful, 501, "invalid_input"),
    ))  # fmt: skip

    def check(reply: Reply) -> None:
        assert (status, reason) == (reply.status, reply.json["reason"]), reply

    length = {"Content-Length": str(len(body))}
    return Sent("POST", "half", head("POST", path, length | headers) + body, check, 0)
