"""Faults made for real: what the caller sees, and what /metrics shows.

Time matters to these; other faults are in test_mishaps.py.
"""

import json
import os
import re
import shutil
import signal
import socket
import threading
import time
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.live.servers import Server, ask_new, descendants, start_server, wait_for

pytestmark = pytest.mark.alone


def in_flight(server: Server, model: str) -> float:
    return server.value("inferometer_requests_in_flight", model=model)


def in_background(call: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(call()))
    thread.start()
    return thread, results


def test_broken_device_ends_the_runner_and_another_takes_over(models: Path, tmp_path: Path) -> None:
    with start_server({"sick": models / "sick"}, tmp_path) as server:
        assert server.predict("sick", {"instances": [1]}).json() == {"predictions": [1.0]}
        (runner,) = server.pids("runner")

        first = [server.predict("sick", {"instances": [666]}) for _ in range(3)]
        exits = {"role": "runner", "cause": "exit"}
        wait_for(
            lambda: server.value("inferometer_process_exits_total", **exits) == 1,
            "the canary ended the runner",
        )
        wait_for(server.is_ready, "another runner is ready")

        assert [(500, "model_error")] * 3 == [(a.status_code, a.json()["reason"]) for a in first]
        assert server.pids("runner") != [runner]
        assert server.predict("sick", {"instances": [2]}).json() == {"predictions": [2.0]}
        assert "the canary failed 3 times" in server.log


def test_bad_input_alone_does_not_end_the_runner(models: Path, tmp_path: Path) -> None:
    with start_server({"picky": models / "picky"}, tmp_path) as server:
        (runner,) = server.pids("runner")

        answers = [server.predict("picky", {"instances": [13]}) for _ in range(7)]

        assert [500] * 7 == [answer.status_code for answer in answers]
        assert server.predict("picky", {"instances": [1]}).status_code == 200
        assert server.pids("runner") == [runner]


def test_hanging_device_call_is_ended_and_the_model_comes_back(
    models: Path, tmp_path: Path
) -> None:
    arguments = ("--stall-seconds=1", "--hang-seconds=3", "--workers=1")
    with start_server({"nap": models / "nap"}, tmp_path, *arguments) as server:
        timeout = {"X-Request-Timeout-Ms": "500"}
        hung, answers = in_background(
            lambda: server.predict("nap", {"instances": [600]}, headers=timeout)
        )
        hung.join()
        late = requests.post(
            f"{server.url}/v1/models/nap:predict",
            data='{"instances":[0]}',
            headers=timeout,
            timeout=30,
        )
        reasons = wait_for(
            lambda: requests.get(server.url + "/readyz", timeout=5).json().get("reasons"),
            "readiness says that the runner is stalled",
        )
        stalled = server.value("inferometer_runner_stalled")
        exits = {"role": "runner", "cause": "timeout"}
        wait_for(
            lambda: server.value("inferometer_process_exits_total", **exits) == 1,
            "the runner is ended",
        )
        wait_for(server.is_ready, "the model is back")

        assert (504, "deadline_exceeded") == (answers[0].status_code, answers[0].json()["reason"])
        assert late.status_code in {503, 504}
        assert "runner stalled: a batch has been running" in reasons[0]
        assert stalled == 1
        assert "Fatal Python error: Aborted" in server.log
        assert server.predict("nap", {"instances": [0]}).status_code == 200


def test_version_that_needs_more_memory_than_there_is_leaves_the_old_one(
    models: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "network"
    (folder / "1").mkdir(parents=True)
    shutil.copy(models / "network.keras", folder / "1")
    arguments = ("--poll-seconds=0.1", "--load-retries=0")
    with start_server({"network": folder}, tmp_path, *arguments) as server:
        new = folder / "new"
        new.mkdir()
        enlarge(models / "network.keras", new / "network.keras")
        new.rename(folder / "2")
        state = {"model": "network", "version": "2", "state": "failed"}
        wait_for(
            lambda: server.value("inferometer_model_state", **state) == 1, "version 2 has failed"
        )

        answer = server.predict("network", {"instances": [[0.5] * 16]})

        assert (200, "1") == (answer.status_code, answer.headers["X-Model-Version"])
        assert 1 == server.value("inferometer_model_load_failures_total", model="network")
        assert server.is_ready()


def enlarge(source: Path, target: Path) -> None:
    """Write a Keras file whose layers would take terabytes."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name == "config.json":
                config = json.loads(data)
                for layer in config["config"]["layers"]:
                    if layer["class_name"] == "Dense":
                        layer["config"]["units"] = 1 << 38
                data = json.dumps(config).encode()
            new.writestr(name, data)


def test_new_version_is_swapped_in_under_load_without_a_failed_request(
    models: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "step"
    shutil.copytree(models / "step" / "1", folder / "1")
    with start_server({"step": folder}, tmp_path, "--poll-seconds=0.1", "--workers=2") as server:
        stopped = threading.Event()
        seen: list[tuple[int, str, list[float]]] = []

        def ask() -> None:
            session = requests.Session()
            while not stopped.is_set():
                answer = session.post(
                    f"{server.url}/v1/models/step:predict", data='{"instances":[5]}', timeout=60
                )
                version = answer.headers.get("X-Model-Version", "")
                seen.append((answer.status_code, version, answer.json().get("predictions")))

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        try:
            for version in ("2", "3", "4"):
                shutil.copytree(models / "step" / ("1" if version == "3" else "2"), folder / "new")
                (folder / "new").rename(folder / version)
                wait_for(lambda v=version: seen and seen[-1][1] == v, f"version {version} answers")  # type: ignore[misc]
        finally:
            stopped.set()
            for thread in threads:
                thread.join()
        gone = {"model": "step", "version": "1", "state": "unloaded"}
        wait_for(lambda: server.value("inferometer_model_state", **gone) == 1, "1 is unloaded")

        by_version = {"1": [6.0], "2": [7.0], "3": [6.0], "4": [7.0]}
        wrong = [one for one in seen if one[0] != 200 or one[2] != by_version[one[1]]]
        assert [] == wrong
        counts = {v: server.value("inferometer_rows_total", version=v) for v in by_version}
        assert len(seen) == sum(counts.values())
        assert all(counts.values())


def test_leaving_server_predicts_until_routers_have_noticed(models: Path, tmp_path: Path) -> None:
    arguments = ("--pre-stop-seconds=3", "--workers=1")
    with start_server({"half": models / "half"}, tmp_path, *arguments) as server:
        server.process.send_signal(signal.SIGTERM)
        wait_for(lambda: not server.is_ready(), "not ready any more")

        readiness = requests.get(server.url + "/readyz", timeout=5)
        answer = requests.post(
            f"{server.url}/v1/models/half:predict", data='{"instances":[[2,4]]}', timeout=5
        )
        metrics = requests.get(server.url + "/metrics", timeout=5)

        assert (503, ["the server is draining"]) == (
            readiness.status_code,
            readiness.json()["reasons"],
        )
        assert (200, "close") == (answer.status_code, answer.headers["Connection"])
        assert metrics.status_code == 200
        assert server.process.wait(30) == 0


def test_what_still_waits_after_the_drain_is_given_up(models: Path, tmp_path: Path) -> None:
    arguments = ("--drain-seconds=1", "--max-batch-rows=1", "--runner-stop-seconds=0")
    with start_server({"nap": models / "nap"}, tmp_path, *arguments) as server:
        busy, _ = in_background(lambda: ask_until_closed(server, [6.0]))
        wait_for(lambda: in_flight(server, "nap") == 1, "nap is busy")
        waiting, answers = in_background(lambda: ask_until_closed(server, [0.0]))
        wait_for(lambda: server.value("inferometer_queue_rows", model="nap") == 1, "a row waits")

        server.process.send_signal(signal.SIGTERM)
        waiting.join()
        busy.join()

        assert (503, "draining") == answers[0]
        assert server.process.wait(30) == 0


def ask_until_closed(server: Server, rows: list[float]) -> tuple[int, str]:
    try:
        answer = requests.post(
            f"{server.url}/v1/models/nap:predict", data=json.dumps({"instances": rows}), timeout=30
        )
    except requests.ConnectionError:
        return 0, "closed"
    return answer.status_code, answer.json().get("reason", "")


def test_last_scrape_sees_the_last_counts(models: Path, tmp_path: Path) -> None:
    with start_server({"half": models / "half"}, tmp_path, "--linger-seconds=30") as server:
        server.samples()
        server.predict("half", {"instances": [[2, 4]]})

        server.process.send_signal(signal.SIGTERM)
        wait_for(lambda: not server.pids("runner"), "the runner has ended")
        seen: list[float] = []

        def has_ended() -> bool:
            with suppress(requests.ConnectionError):
                seen.append(server.value("inferometer_rows_total", model="half"))
            return server.process.poll() is not None

        wait_for(has_ended, "the server ends with the last scrape", seconds=20)
        assert (1, 0) == (seen[-1], server.process.returncode)


def test_stuck_front_end_is_ended_and_its_callers_wait_no_longer(
    models: Path, tmp_path: Path
) -> None:
    arguments = ("--workers=1", "--front-end-hang-seconds=5")
    with start_server({"half": models / "half"}, tmp_path, *arguments) as server:
        (stuck,) = server.pids("frontend")

        os.kill(stuck, signal.SIGSTOP)
        waiting, answers = in_background(lambda: ask_new(server, "half", "[[2,4]]"))
        wait_for(
            lambda: server.value("inferometer_listen_backlog_connections") > 0,
            "a caller waits in the kernel's queue",
        )
        waiting.join()
        exits = {"role": "frontend", "cause": "timeout"}
        wait_for(
            lambda: server.value("inferometer_process_exits_total", **exits) == 1,
            "its end is counted",
        )

        assert [(200, {"predictions": [[1.0, 2.0]]})] == answers
        assert [stuck] != server.pids("frontend")


def test_server_that_was_paused_as_a_whole_goes_on(models: Path, tmp_path: Path) -> None:
    arguments = ("--hang-seconds=5", "--stall-seconds=4")
    with start_server({"half": models / "half"}, tmp_path, *arguments) as server:
        everything = [server.process.pid, *descendants(server.process.pid)]
        [runner] = server.pids("runner")
        for pid in everything:
            os.kill(pid, signal.SIGSTOP)
        paused = time.monotonic()
        wait_for(lambda: time.monotonic() - paused > 8, "a pause longer than a hang may be")
        for pid in everything:
            os.kill(pid, signal.SIGCONT)
        wait_for(server.is_ready, "it goes on")

        assert [runner] == server.pids("runner")
        assert "hangs" not in server.log


def test_stalled_runner_is_not_asked_while_there_is_another(models: Path, tmp_path: Path) -> None:
    arguments = ("--runners=2", "--workers=1", "--intra-op-threads=1")
    with start_server({"half": models / "half"}, tmp_path, *arguments) as server:
        wait_for(lambda: server.log.count("version 1 is ready") == 2, "both have the model")
        stalled, _ = server.pids("runner")
        os.kill(stalled, signal.SIGSTOP)
        try:
            wait_for(lambda: server.value("inferometer_runner_stalled") >= 1, "no sign of life")
            answers = [server.predict("half", {"instances": [[2, 4]]}) for _ in range(20)]
        finally:
            os.kill(stalled, signal.SIGCONT)

        assert {200} == {answer.status_code for answer in answers}


def test_phase_says_where_the_time_of_a_late_request_went(models: Path, tmp_path: Path) -> None:
    with start_server({"nap": models / "nap"}, tmp_path, "--max-batch-rows=1") as server:

        def ask() -> dict[str, float]:
            answer = requests.post(
                f"{server.url}/v1/models/nap:predict",
                data='{"instances":[2.0]}',
                headers={"X-Request-Timeout-Ms": "500", "X-Request-Priority": "3"},
                timeout=30,
            )
            assert answer.status_code == 504
            timing = re.findall(r"(\w+);dur=([0-9.]+)", answer.headers["Server-Timing"])
            return {name: float(milliseconds) for name, milliseconds in timing}

        computing, first = in_background(ask)
        wait_for(lambda: in_flight(server, "nap") == 1, "one is computed")
        waiting, second = in_background(ask)
        computing.join()
        waiting.join()

        assert first[0]["compute"] > 400
        assert second[0]["queue"] > 400


def test_phase_says_where_a_failed_request_was(models: Path, tmp_path: Path) -> None:
    with start_server({"grumpy": models / "grumpy"}, tmp_path) as server:
        answer = server.predict("grumpy", {"instances": [13]})
        phases = dict(re.findall(r"(\w+);dur=([0-9.]+)", answer.headers["Server-Timing"]))

        assert 500 == answer.status_code
        assert float(phases["compute"]) > 250


def test_rows_of_many_shapes_are_computed_one_by_one(models: Path, tmp_path: Path) -> None:
    with start_server({"ragged": models / "ragged"}, tmp_path) as server:
        answers = [
            server.predict("ragged", {"instances": [[1.0] * (width + 1)]}) for width in range(80)
        ]

        assert {200} == {answer.status_code for answer in answers}
        name = "inferometer_batch_rows"
        rows, batches = (server.value(f"{name}_{part}") for part in ("sum", "count"))
        assert (80, 80) == (rows, batches)


def test_caller_that_has_gone_is_counted_as_answered(models: Path, tmp_path: Path) -> None:
    with start_server({"nap": models / "nap"}, tmp_path) as server:
        host, _, port = server.url.removeprefix("http://").partition(":")
        body = b'{"instances":[1.0]}'
        with socket.create_connection((host, int(port)), timeout=10) as caller:
            caller.sendall(
                b"POST /v1/models/nap:predict HTTP/1.1\r\nHost: x\r\n"
                + f"Content-Length: {len(body)}\r\n\r\n".encode()
                + body
            )
            wait_for(lambda: in_flight(server, "nap") == 1, "in flight")

        wait_for(lambda: in_flight(server, "nap") == 0, "nobody waits any more")
        assert 1 == server.value("inferometer_requests_total", model="nap", code="200")
