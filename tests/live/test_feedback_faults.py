"""Labels when something is wrong: the store, a front-end, a declaration, another version."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.databases import HAS_REDIS, POSTGRES, free_port, postgres_server, redis_server
from tests.live.labels import CATS, KEY, declared, send, signed, token_of
from tests.live.servers import Server, start_server, total, wait_for

HALF = "/v1/models/half:predict"
ROWS = 1_000


@contextmanager
def serving(models: Path, folder: Path, *arguments: str) -> Iterator[Server]:
    half = declared(models, "half", folder, CATS)
    with start_server({"half": half}, folder, f"--feedback-keys={KEY}", *arguments) as server:
        yield server


def tokens_of(server: Server, rows: int) -> list[str]:
    body = {"instances": [[float(number % 7), 3.0] for number in range(rows)]}
    tokens: list[str] = server.post(HALF + "?feedback_tokens=true", body).json()["feedback_tokens"]
    return tokens


def batch(server: Server, tokens: list[str]) -> requests.Response:
    """Send labels over a connection of its own, which any front-end may take."""
    items = [{"token": token, "label": "dog"} for token in tokens]
    url = server.url + "/v1/feedback/batch"
    return requests.post(url, data=json.dumps(items), timeout=60)


def counted(server: Server) -> tuple[float, float, float]:
    """Return labels, and rows of two families that each label adds one to."""
    samples = server.samples()
    names = ("labels_total", "confusion_total", "scored_labels_total")
    labels, confusion, scored = (total(samples, f"inferometer_{name}") for name in names)
    return labels, confusion, scored


def test_store_that_fails_counts_nothing_and_is_well_afterwards(
    models: Path, tmp_path: Path
) -> None:
    file = tmp_path / "store" / "claims.db"
    with serving(models, tmp_path, f"--feedback-store-path={file}", "--workers=1") as server:
        tokens = tokens_of(server, 100)
        # The store is down: its folder is not there.
        down = batch(server, tokens)
        alone = server.post("/v1/feedback", {"token": tokens[0], "label": "dog"})
        assert (503, 0, "1") == (
            down.status_code, down.json()["counted"], down.headers["Retry-After"]
        )  # fmt: skip
        assert (503, "store_error") == (alone.status_code, alone.json()["result"])
        assert 65 == server.value("inferometer_feedback_total", result="store_error")
        assert 200 == server.post(HALF, {"instances": [[1, 2]]}).status_code
        assert (0.0, 0.0, 0.0) == counted(server)

        file.parent.mkdir()
        assert 50 == batch(server, tokens[:50]).json()["counted"]
        # Somebody else keeps it locked.
        with closing(sqlite3.connect(file, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            assert 503 == batch(server, tokens).status_code
            other.execute("ROLLBACK")
        again = batch(server, tokens).json()

        assert (50, 50) == (again["counted"], again["duplicate"])
        assert (100.0, 100.0, 100.0) == counted(server)


def test_front_end_that_is_killed_loses_a_chunk_at_most(models: Path, tmp_path: Path) -> None:
    with serving(models, tmp_path, "--workers=1", "--max-request-rows=1000") as server:
        tokens = tokens_of(server, ROWS)
        (front_end,) = server.pids("frontend")
        broken: list[Exception] = []

        def work() -> None:
            try:
                batch(server, tokens)
            except requests.RequestException as error:
                broken.append(error)

        sender = threading.Thread(target=work)
        sender.start()
        wait_for(lambda: counted(server)[0] > 0, "some are counted", seconds=30)
        os.kill(front_end, signal.SIGKILL)
        sender.join()
        wait_for(lambda: server.pids("frontend") not in ([front_end], []), "another front-end")
        wait_for(server.is_ready, "ready again")

        answer = wait_for(
            lambda: found if (found := batch(server, tokens)).status_code == 200 else None,
            "all are sent again",
        ).json()

        labels, confusion, scored = counted(server)
        assert ROWS == answer["counted"] + answer["duplicate"]
        # Killed between claim and count, or in the middle of counting one.
        assert ROWS - 64 <= labels <= ROWS
        assert ROWS - 64 <= min(confusion, scored) <= max(confusion, scored) <= ROWS


def test_versions_on_disk_take_labels_and_older_ones_do_not(models: Path, tmp_path: Path) -> None:
    folder = tmp_path / "half"
    for version in ("1", "2", "3", "4"):
        shutil.copytree(models / "half" / "1", folder / version)
    (folder / "quality.json").write_text(json.dumps(CATS))
    with start_server({"half": folder}, tmp_path, f"--feedback-keys={KEY}") as server:
        token = token_of(server, "half", [2, 4])
        at_zero = total(server.samples(), "inferometer_labels_total", version="2", age="1h")

        replies = [
            send(server, signed(token, version=version, id=f"{version}{'A' * 21}"), "dog")
            for version in ("4", "3", "2", "1")
        ]

        assert [(200, "counted")] * 3 + [(404, "unknown_id")] == [
            (status, document["result"]) for status, document in replies
        ]
        assert 0.0 == at_zero
        series = server.samples()
        assert 1.0 == total(series, "inferometer_labels_total", version="2")
        assert {"4"} == {
            dict(labels)["version"]
            for name, labels in series
            if name == "inferometer_predictions_total"
        }
        versions = server.get("/v1/models/half").json()["model_version_status"]
        assert ["4"] == [one["version"] for one in versions]


def test_scores_that_are_none_end_the_task_and_not_the_serving(
    models: Path, tmp_path: Path
) -> None:
    """`half` puts out anything, and is declared to put out probabilities."""
    declaration = CATS | {"scores": "probabilities"}
    half = declared(models, "half", tmp_path, declaration)
    with start_server({"half": half}, tmp_path, "--workers=2") as server:
        good = server.post(HALF, '{"instances":[[0.5,1.5]]}')
        bad = server.post(HALF, '{"instances":[[2,4]]}')
        name = "inferometer_model_info"
        wait_for(lambda: server.value(name, task="none") == 1, "the task has ended")
        later = [server.post(HALF, '{"instances":[[0.5,1.5]]}') for _ in range(20)]

        assert "X-Feedback-Token" in good.headers
        assert {200} == {answer.status_code for answer in (bad, *later)}
        assert [] == [one for one in (bad, *later) if "X-Feedback-Token" in one.headers]
        assert 0 == server.value(name, task="binary")
        assert 1 == server.log.count("is not measured any more")


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"task": "binary", "colour": 1}, "'colour' is not known"),
    ({"task": "multiclass"}, "a multiclass task's output is [n, K] with K of 3 or more"),
    ({"task": "binary", "output": "z"}, "output: there is no"),
]


def test_wrong_declaration_leaves_the_version_before(models: Path, tmp_path: Path) -> None:
    folder = tmp_path / "half"
    shutil.copytree(models / "half" / "1", folder / "1")
    with start_server({"half": folder}, tmp_path, "--poll-seconds=0.2") as server:
        for version, (declaration, message) in enumerate(WRONG, start=2):
            new = tmp_path / "new"
            shutil.copytree(models / "half" / "1", new)
            (new / "quality.json").write_text(json.dumps(declaration))
            new.rename(folder / str(version))
            state = {"model": "half", "version": str(version), "state": "failed"}
            wait_for(lambda s=state: server.value("inferometer_model_state", **s) == 1, "it failed")

            assert "1" == server.post(HALF, '{"instances":[[2,4]]}').headers["X-Model-Version"]
            assert f"quality.json: {message}" in server.log


SHAPES = {
    # Outputs that are declared a regression and are none, or not always.
    "scalar": {"task": "regression"},
    "wide": {"task": "regression", "target_column": 5},
    "longer": {"task": "regression"},
}


@pytest.fixture(scope="module")
def odd_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("odd")
    subprocess.run([sys.executable, "-c", ODD_MODELS, folder], check=True, capture_output=True)
    for name, declaration in SHAPES.items():
        (folder / name / "quality.json").write_text(json.dumps(declaration))
    return folder


ODD_MODELS = """
import sys, tensorflow as tf
spec = [tf.TensorSpec([None], tf.float32, name="x")]
wide = [tf.TensorSpec([None, None], tf.float32, name="x")]
for name, signature, function in (
    ("scalar", spec, lambda x: {"y": tf.reduce_sum(x)}),
    ("wide", wide, lambda x: {"y": x * 1.0}),
    ("longer", spec, lambda x: {"y": tf.concat([x, x[:1]], axis=0)}),
):
    module = tf.Module()
    module.serve = tf.function(function, input_signature=signature)
    tf.saved_model.save(module, f"{sys.argv[1]}/{name}/1", signatures=module.serve)
"""


def test_outputs_of_other_shapes_are_served_without_tokens(
    odd_models: Path, tmp_path: Path
) -> None:
    served = {name: odd_models / name for name in SHAPES}
    with start_server(served, tmp_path, waits=False) as server:
        state = {"model": "scalar", "state": "failed"}
        wait_for(lambda: server.value("inferometer_model_state", **state) == 1, "it was refused")
        wait_for(
            lambda: server.value("inferometer_model_state", state="ready") == 2, "others are ready"
        )
        wide = server.predict("wide", {"instances": [[1.0, 2.0]]})
        good = server.predict("wide", {"instances": [[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]]})
        longer = server.post(
            "/v2/models/longer/infer",
            {
                "inputs": [{"name": "x", "shape": [2], "datatype": "FP32", "data": [1, 2]}],
                "parameters": {"feedback_tokens": True},
            },
        )

        assert (200, 200, 200) == tuple(one.status_code for one in (wide, good, longer))
        assert "X-Feedback-Token" not in wide.headers
        assert [1.0, 2.0, 1.0] == longer.json()["outputs"][0]["data"]
        assert "has no rows" in server.log


def test_label_of_a_model_that_does_not_load_keeps_no_other_waiting(
    models: Path, tmp_path: Path
) -> None:
    served = {
        "half": declared(models, "half", tmp_path / "half", CATS),
        "bad": declared(models, "half", tmp_path / "bad", CATS),
    }
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    arguments = (f"--feedback-keys={KEY}", f"--feedback-store-path={tmp_path / 'claims.db'}")
    with start_server(served, tmp_path / "a", *arguments) as server:
        tokens = tokens_of(server, 200)
        assert 5 == batch(server, tokens[:5]).json()["counted"]
        bad = token_of(server, "bad", [2, 4])
    (served["bad"] / "1" / "saved_model.pb").write_bytes(b"broken")
    (served["bad"] / "quality.json").unlink()
    with start_server(served, tmp_path / "b", *arguments, waits=False) as server:
        state = {"model": "bad", "state": "failed"}
        wait_for(lambda: server.value("inferometer_model_state", **state) == 1, "it has failed")
        wait_for(
            lambda: server.post(HALF, '{"instances":[[2,4]]}').status_code == 200, "half is ready"
        )

        answer = batch(server, [*tokens[:100], bad, *tokens[100:]])

        # Those of before the restart are known: the store has a file of its own.
        assert (200, 195, 5) == (
            answer.status_code, answer.json()["counted"], answer.json()["duplicate"]
        )  # fmt: skip
        assert [(100, "unknown_id")] == [
            (error["index"], error["result"]) for error in answer.json()["errors"]
        ]


def test_server_leaves_nothing_behind_and_starts_again(models: Path, tmp_path: Path) -> None:
    port = f"--port={free_port()}"
    for _ in range(2):
        folder = tmp_path / "store"
        with serving(models, tmp_path, port, f"--store-path={folder}") as server:
            assert 3 == batch(server, tokens_of(server, 3)).json()["counted"]
            assert (folder / "feedback.keys").stat().st_mode & 0o777 == 0o600
        assert 0 == server.process.returncode
        assert not folder.exists()
        shutil.rmtree(tmp_path / "half")


@pytest.mark.parametrize(
    ("database", "name"),
    [
        pytest.param(
            redis_server,
            "redis",
            marks=pytest.mark.skipif(not HAS_REDIS, reason="redis-server is not installed"),
        ),
        pytest.param(
            postgres_server,
            "postgres",
            marks=pytest.mark.skipif(POSTGRES is None, reason="postgresql is not installed"),
        ),
    ],
)
def test_servers_that_share_a_database_count_each_label_once(
    models: Path, tmp_path: Path, database: Any, name: str
) -> None:
    port = free_port()
    half = declared(models, "half", tmp_path, CATS)
    with ExitStack() as stack:
        stopped = stack.enter_context(ExitStack())
        url = stopped.enter_context(database(tmp_path, port=port))
        arguments = (
            f"--feedback-keys={KEY}", f"--feedback-store={name}", f"--feedback-store-url={url}",
            "--feedback-corrections", "--workers=1",
        )  # fmt: skip
        servers = []
        for folder in ("a", "b"):
            (tmp_path / folder).mkdir()
            started = start_server({"half": half}, tmp_path / folder, *arguments)
            servers.append(stack.enter_context(started))
        first, second = servers
        tokens = tokens_of(first, 300)

        assert 100 == batch(first, tokens[:100]).json()["counted"]
        answer = batch(second, tokens[50:200]).json()
        assert (100, 50) == (answer["counted"], answer["duplicate"])
        corrected = send(second, tokens[0], "cat")
        stopped.close()
        down = batch(first, tokens[200:])
        alone = send(second, tokens[200], "dog")
        assert 200 == first.post(HALF, {"instances": [[1, 2]]}).status_code
        stack.enter_context(database(tmp_path, port=port))
        again = batch(first, tokens).json()

        assert (200, "corrected") == (corrected[0], corrected[1]["result"])
        assert (503, 503) == (down.status_code, alone[0])
        # The one that was corrected is another label now, and is corrected back.
        assert (100, 199, 1) == tuple(again[n] for n in ("counted", "duplicate", "corrected"))
        assert (300.0, 300.0, 300.0) == tuple(
            sum(values) for values in zip(counted(first), counted(second), strict=True)
        )
        assert url not in first.log + second.log
