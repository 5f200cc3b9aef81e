"""What once broke the server: each of these is a fault that is now contained."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.live.servers import Server, clean_environment, start_server, wait_for


def test_a_reply_that_is_too_large_fails_its_own_request_only(models: Path, tmp_path: Path) -> None:
    served = {name: models / name for name in ("wide", "half")}
    with start_server(served, tmp_path, "--workers=1", "--max-batch-rows=16") as server:
        refused: list[requests.Response] = []
        wide = threading.Thread(
            target=lambda: refused.append(
                requests.post(
                    server.url + "/v1/models/wide:predict",
                    data='{"inputs":[1,2,3,4,5,6,7,8,9,10]}',
                    timeout=60,
                )
            )
        )
        wide.start()
        others = [server.predict("half", {"instances": [[2, 4]]}) for _ in range(20)]
        wide.join()

        assert [answer.status_code for answer in others] == [200] * 20
        assert refused[0].status_code == 500
        assert refused[0].json()["reason"] == "model_error"
        assert "80,000,000 bytes of outputs" in refused[0].json()["error"]


@pytest.fixture(scope="module")
def server(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    served = {name: models / name for name in ("half", "named", "together")}
    with start_server(served, tmp_path_factory.mktemp("hostile")) as started:
        yield started


def test_an_output_without_rows_is_an_answer_in_columns(server: Server) -> None:
    columns = server.predict("named", {"inputs": [1, 2]})
    rows = server.predict("named", {"instances": [1, 2]})

    assert columns.json() == {"outputs": {"name": "named", "y": [1.0, 2.0]}}
    assert rows.status_code == 500
    assert rows.json()["reason"] == "model_error"


@pytest.mark.parametrize(
    "accept",
    [
        "text/plain; version=zzz",
        "application/openmetrics-text; version=abc",
        'application/openmetrics-text; version="1.0.0"',
        "\x80\xff;;q=,,",
    ],
)
def test_any_accept_header_gets_the_metrics(server: Server, accept: str) -> None:
    for url in (server.url, server.metrics_url):
        answer = requests.get(
            url + "/metrics", headers={"Accept": accept.encode("latin-1")}, timeout=30
        )

        assert answer.status_code == 200
        assert "inferometer_requests_total" in answer.text


def test_requests_that_cannot_be_batched_share_the_rows_limit(server: Server) -> None:
    answers: list[int] = []
    lock = threading.Lock()

    def ask(number: int) -> None:
        with requests.Session() as session:
            for _ in range(5):
                answer = session.post(
                    server.url + "/v1/models/together:predict",
                    data=f'{{"instances":[{number},{number + 2}]}}',
                    timeout=60,
                )
                with lock:
                    answers.append(answer.status_code)
                    assert answer.json() == {"predictions": [-1.0, 1.0]}

    clients = [threading.Thread(target=ask, args=(number,)) for number in range(100)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()

    assert answers == [200] * 500


def test_a_folder_named_like_a_package_is_not_imported(models: Path, tmp_path: Path) -> None:
    for name in ("serving", "exporter", "numpy"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('the wrong package')")
    log = tmp_path / "log"
    command = Path(sys.executable).parent / "inferometer"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [command, "serve", f"half={models / 'half'}", "--port=0", "--metrics-port=0"],
            cwd=tmp_path,
            env=clean_environment(),
            stdout=output,
            stderr=output,
        )
    try:
        wait_for(lambda: "model half version 1 is ready" in log.read_text(), "ready", seconds=60)
        assert "the wrong package" not in log.read_text()
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)


@pytest.mark.parametrize("name", ["notes.txt", "settings.toml", "data.block"])
def test_a_directory_with_other_files_is_no_store(models: Path, tmp_path: Path, name: str) -> None:
    precious = tmp_path / "mine" / name
    precious.parent.mkdir()
    precious.write_text("precious")

    refused = subprocess.run(
        [
            sys.executable, "-m", "serving", "serve", f"half={models / 'half'}", "--port=0",
            "--metrics-port=0", f"--store-path={precious.parent}",
        ],
        capture_output=True, text=True, check=False, env=clean_environment(), timeout=60,
    )  # fmt: skip

    assert refused.returncode == 1
    assert f"holds other files, such as {name}" in refused.stderr
    assert precious.read_text() == "precious"


@pytest.mark.skipif(os.getuid() != 0, reason="mounting a small tmpfs needs root")
def test_a_full_store_costs_counts_and_not_answers(models: Path, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m,mode=0700", "tmpfs", str(small)]
    if subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        pytest.skip("this container may not mount a tmpfs")
    try:
        store = small / "store"
        with start_server({"half": models / "half"}, tmp_path, f"--store-path={store}") as server:
            assert server.predict("half", {"instances": [[2, 4]]}).status_code == 200
            with (small / "filler").open("wb") as filler:
                subprocess.run(
                    ["dd", "if=/dev/zero", "bs=4k"], stdout=filler, stderr=filler, check=False
                )
            for role in ("frontend", "exporter"):
                os.kill(server.pids(role)[0], signal.SIGKILL)
                wait_for(lambda role=role: server.pids(role), f"a {role} again")  # type: ignore[misc]

            for _ in range(20):
                answer = requests.post(
                    server.url + "/v1/models/half:predict",
                    data='{"instances":[[2,4]]}',
                    timeout=60,
                )
                assert answer.json() == {"predictions": [[1.0, 2.0]]}
            assert server.value("inferometer_requests_total", code="200") >= 1
    finally:
        subprocess.run(["umount", "-l", str(small)], check=False)
