"""`inferometer feedback import` against a real server: forms, files, repetition, interruption."""

import csv
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from tests.live.labels import CATS, KEY, NUMBER, declared
from tests.live.servers import Server, clean_environment, start_server, wait_for
from tests.live.structures import BOXES, RANKING

BOTH = {"task": "multilabel", "scores": "logits", "classes": ["a", "b"]}


@pytest.fixture(scope="module")
def server(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("importing")
    served = {
        "half": declared(models, "half", folder / "half", CATS),
        "both": declared(models, "half", folder / "both", BOTH),
        "number": declared(models, "log", folder / "number", NUMBER),
        "boxes": declared(models, "boxes", folder, BOXES),
        "order": declared(models, "order", folder, RANKING),
    }
    arguments = (f"--feedback-keys={KEY}", "--feedback-auth-token=sesame")
    with start_server(served, folder, *arguments) as started:
        (folder / "token").write_text("sesame\n")
        yield started


def run(server: Server, file: Path, *arguments: str) -> Any:
    return subprocess.run(
        command(server, file, *arguments),
        env=clean_environment(), capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def command(server: Server, file: Path, *arguments: str) -> list[str]:
    token = server.log_file.parent / "token"
    return [
        sys.executable, "-m", "serving", "feedback", "import", str(file),
        f"--url={server.url}", f"--auth-token-file={token}", *arguments,
    ]  # fmt: skip


def tokens_of(server: Server, model: str, rows: list[Any]) -> list[str]:
    tokens: list[str] = server.post(
        f"/v1/models/{model}:predict?feedback_tokens=true", {"instances": rows}
    ).json()["feedback_tokens"]
    return tokens


def test_labels_bring_predictions_back(server: Server, tmp_path: Path) -> None:
    image, truth = [[0, 0, 9, 9, 0.9, 0]], [{"box": [0, 0, 9, 9], "class": "cat"}]
    path = "/v1/models/{}:predict?feedback_tokens=true"
    images = server.post(path.format("boxes"), {"instances": [image] * 3}).json()
    orders = server.post(path.format("order"), {"instances": [[1, 4, 2, 3]] * 3}).json()
    before = labels(server, "boxes"), labels(server, "order")
    boxes = [
        {"token": t, "seen": p, "label": truth}
        for t, p in zip(images["feedback_tokens"], images["predictions"], strict=True)
    ]
    items = [
        {"token": t, "seen": json.dumps(p), "label": '{"1": 1}'}
        for t, p in zip(orders["feedback_tokens"], orders["predictions"], strict=True)
    ]

    lines = run(server, write(tmp_path / "a.ndjson", boxes), "--prediction-column=seen")
    columns = ("--prediction-column=seen", "--label-form=json")
    table = run(server, write(tmp_path / "b.csv", items), *columns)

    assert ("3 labels: 3 counted\n", "") == (lines.stdout, lines.stderr)
    assert ("3 labels: 3 counted\n", "") == (table.stdout, table.stderr)
    assert (3, 3) == (labels(server, "boxes") - before[0], labels(server, "order") - before[1])


def labels(server: Server, model: str) -> float:
    return server.value("inferometer_labels_total", model=model)


def write(file: Path, rows: list[dict[str, Any]]) -> Path:
    if file.suffix == ".csv":
        with file.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    elif file.suffix == ".parquet":
        parquet.write_table(pa.Table.from_pylist(rows), file)
    else:
        file.write_text("\n".join(map(json.dumps, rows)))
    return file


@pytest.mark.parametrize("suffix", [".csv", ".ndjson", ".parquet"])
def test_file_is_counted_once_however_often_it_is_sent(
    server: Server, tmp_path: Path, suffix: str
) -> None:
    before = labels(server, "half")
    rows = [
        {"id": token, "truth": "dog", "more": 1}
        for token in tokens_of(server, "half", [[1.0, 2.0]] * 250)
    ]
    file = write(tmp_path / f"labels{suffix}", rows)
    columns = ("--token-column=id", "--label-column=truth")

    first, again = (run(server, file, *columns) for _ in range(2))

    assert (0, "250 labels: 250 counted\n") == (first.returncode, first.stdout), first.stderr
    assert (0, "250 labels: 250 duplicate\n") == (again.returncode, again.stdout)
    assert 250 == labels(server, "half") - before


@pytest.mark.parametrize(
    ("model", "row", "text"),
    [
        ("number", 1.0, "2.5"),
        ("both", [1.0, 2.0], "a;b"),
        ("both", [1.0, 2.0], "b"),
        ("both", [1.0, 2.0], "0;1"),
        ("half", [1.0, 2.0], "1"),
        ("half", [1.0, 2.0], "true"),
    ],
)
def test_texts_are_read_as_the_task_takes_them(
    server: Server, tmp_path: Path, model: str, row: Any, text: str
) -> None:
    before = labels(server, model)
    tokens = tokens_of(server, model, [row] * 5)
    rows = [{"token": t, "label": text} for t in ["nonsense", *tokens]]

    ended = run(server, write(tmp_path / "labels.csv", rows))

    # The first token tells nothing.
    expected = "6 labels: 5 counted, 1 bad_token\n"
    assert (1, expected) == (ended.returncode, ended.stdout), ended.stderr
    assert 5 == labels(server, model) - before


def test_what_is_refused_is_written_down_with_its_row(server: Server, tmp_path: Path) -> None:
    tokens = tokens_of(server, "half", [[1.0, 2.0]] * 230)
    rows = [{"token": t, "label": "dog"} for t in tokens]
    rows[3]["label"], rows[205]["token"] = "cow", "nonsense"
    file = write(tmp_path / "labels.csv", rows)

    ended = run(server, file, f"--errors={tmp_path}/rejected.csv")

    assert 1 == ended.returncode
    assert "230 labels: 228 counted, 1 bad_label, 1 bad_token\n" == ended.stdout
    with (tmp_path / "rejected.csv").open(newline="") as stream:
        rejected = list(csv.DictReader(stream))
    assert [("3", "bad_label"), ("205", "bad_token")] == [(r["row"], r["result"]) for r in rejected]
    assert "there are: cat, dog" in rejected[0]["error"]


def test_run_that_is_killed_is_repeated(server: Server, tmp_path: Path) -> None:
    before = labels(server, "half")
    tokens = [t for _ in range(3) for t in tokens_of(server, "half", [[1.0, 2.0]] * 1_000)]
    file = write(tmp_path / "labels.csv", [{"token": t, "label": "cat"} for t in tokens])
    running = subprocess.Popen(
        command(server, file, "--rate=1000"), env=clean_environment(), stderr=subprocess.DEVNULL
    )
    wait_for(lambda: labels(server, "half") > before + 200, "some are counted")
    running.send_signal(signal.SIGKILL)
    running.wait(30)

    ended = run(server, file)

    assert 0 == ended.returncode, ended.stderr
    assert 3_000 == labels(server, "half") - before


@pytest.mark.parametrize(
    ("content", "arguments", "message"),
    [
        ("token,label\n", ("--auth-token-file=/nowhere",), "/nowhere: No such file"),
        ("token,label\nx,1\n", ("--url=http://127.0.0.1:9",), "cannot be reached"),
        ("token,label\nx,1\n", ("--url=nonsense",), "a URL such as"),
        ("token,lable\nx,1\n", (), 'there is no column "label"; there are token, lable'),
        ("token,label\nx,1\n", ("--url=http://127.0.0.1:99999",), "a URL such as"),
        ("token,label\nx,1\n", ("--errors=/nowhere/x.csv",), "No such file"),
        ("token,token,label\nx,x,1\n", (), "stands there twice"),
        ("token,label\nx\n", (), "line 2: not as many values as names"),
    ],
)
def test_what_cannot_be_sent_is_said(
    server: Server, tmp_path: Path, content: str, arguments: Any, message: str
) -> None:
    file = tmp_path / "labels.csv"
    file.write_text(content)

    ended = run(server, file, "--patience=0.5", *arguments)

    assert 1 == ended.returncode
    assert message in ended.stderr
    assert "Traceback" not in ended.stderr


def test_wrong_token_of_the_server_is_said(server: Server, tmp_path: Path) -> None:
    (tmp_path / "wrong").write_text("wrong")
    file = write(tmp_path / "labels.csv", [{"token": "x", "label": "y"}])

    ended = run(server, file, f"--auth-token-file={tmp_path}/wrong")

    assert 1 == ended.returncode
    assert "the server answered 401" in ended.stderr


def test_labels_need_the_token_that_is_set(server: Server) -> None:
    token = tokens_of(server, "half", [[2.0, 4.0]])[0]
    bearers = [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "Bearer sesame"}]
    none, wrong, right = (
        server.post("/v1/feedback", {"token": token, "label": "dog"}, headers=each)
        for each in bearers
    )

    assert (401, 401, 200) == (none.status_code, wrong.status_code, right.status_code)
    assert "Bearer" == none.headers["WWW-Authenticate"]
    assert "sesame" not in server.log
