"""Faults made for real that take no measure of time, and run beside other tests."""

import os
import resource
import shutil
import signal
import socket
import time
from pathlib import Path
from typing import Any

import pytest
import requests

from serving.wire import FRAME, MAGIC, PROTOCOL, FrameReader, FrameType
from tests.live.servers import Server, ask_new, start_server, wait_for

ROOT = Path(__file__).parents[2]


def failures(server: Server, reason: str) -> float:
    return server.value("inferometer_request_failures_total", reason=reason)


def test_configuration_on_which_no_runner_starts_ends_the_server(
    models: Path, tmp_path: Path
) -> None:
    # TensorFlow refuses so many threads before any model is looked at.
    arguments = ("--intra-op-threads=99999999999",)
    with start_server({"half": models / "half"}, tmp_path, *arguments, waits=False) as server:
        assert server.process.wait(90) == 1

        assert "a runner ended 5 times and was never ready" in server.log


def test_front_end_of_another_protocol_is_told_both_numbers(models: Path, tmp_path: Path) -> None:
    store = Path("/dev/shm") / f"inferometer-test-{os.getpid()}"
    with start_server({"half": models / "half"}, tmp_path, f"--store-path={store}") as server:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as front_end:
            front_end.settimeout(10)
            front_end.connect(str(store / "runner-0.sock"))
            front_end.sendall(FRAME.pack(MAGIC, 99, FrameType.HELLO, 2, 0, 0) + b"{}")
            received = b""
            while piece := front_end.recv(65536):
                received += piece

        (goodbye,) = FrameReader(1 << 20).feed(received)
        assert goodbye.type == FrameType.GOODBYE
        assert "protocol 99, this side 1" in goodbye.head["reason"]
        assert server.predict("half", {"instances": [[2, 4]]}).status_code == 200


def test_partial_upgrade_shows_in_readiness_and_ends_with_the_upgrade(
    models: Path, tmp_path: Path
) -> None:
    program = tmp_path / "program"
    for package in ("serving", "exporter"):
        shutil.copytree(ROOT / package, program / package)
    where = {"PYTHONPATH": str(program)}
    with start_server(
        {"half": models / "half"}, tmp_path, "--workers=1", environment=where
    ) as server:
        wire = program / "serving" / "wire.py"
        upgraded = wire.read_text().replace(f"PROTOCOL = {PROTOCOL}\n", "PROTOCOL = 99\n")
        assert upgraded != wire.read_text()
        wire.write_text(upgraded)

        (runner,) = server.pids("runner")
        os.kill(runner, signal.SIGKILL)
        numbers = f"the peer speaks protocol 99, this side {PROTOCOL}"
        wait_for(
            lambda: numbers in requests.get(server.url + "/readyz", timeout=5).text,
            "readiness says which protocols meet",
        )
        refused = server.predict("half", {"instances": [[2, 4]]})
        counted = failures(server, "loading")
        (front_end,) = server.pids("frontend")
        os.kill(front_end, signal.SIGTERM)
        wait_for(server.is_ready, "both are of one build again")

        assert (503, "loading") == (refused.status_code, refused.json()["reason"])
        assert counted == 1
        assert (200, {"predictions": [[1.0, 2.0]]}) == ask_new(server, "half", "[[2,4]]")


def two_versions(models: Path, folder: Path, name: str) -> Path:
    """Return a model's folder with its version 1 twice."""
    for version in ("1", "2"):
        shutil.copytree(models / name / "1", folder / name / version)
    return folder / name


def restart_runner(server: Server) -> None:
    (runner,) = server.pids("runner")
    os.kill(runner, signal.SIGKILL)
    wait_for(lambda: server.pids("runner") not in ([runner], []), "another runner")


def test_runner_that_starts_beside_a_broken_version_serves_the_one_before(
    models: Path, tmp_path: Path
) -> None:
    folder = two_versions(models, tmp_path, "step")
    (folder / "2" / "saved_model.pb").write_bytes(b"no model")
    with start_server({"step": folder}, tmp_path, "--load-retry-seconds=0.2") as server:
        assert "1" == server.predict("step", {"instances": [5]}).headers["X-Model-Version"]

        restart_runner(server)
        wait_for(server.is_ready, "ready again")

        assert "1" == ask_headers(server, "step")["X-Model-Version"]
        # What is mended is served.
        shutil.copy(folder / "1" / "saved_model.pb", folder / "2" / "saved_model.pb")
        wait_for(
            lambda: ask_headers(server, "step").get("X-Model-Version") == "2", "version 2 answers"
        )


def ask_headers(server: Server, model: str) -> Any:
    return requests.post(
        f"{server.url}/v1/models/{model}:predict", data='{"instances":[5]}', timeout=60
    ).headers


def test_version_whose_loading_ends_the_runner_keeps_no_other_from_being_served(
    models: Path, tmp_path: Path
) -> None:
    folder = two_versions(models, tmp_path, "step")
    # Whoever reads this waits for ever.
    os.mkfifo(folder / "2" / "warm_up.json")
    with start_server(
        {"step": folder}, tmp_path, "--load-retry-seconds=300", waits=False
    ) as server:
        state = {"model": "step", "version": "2", "state": "warming"}
        wait_for(lambda: server.value("inferometer_model_state", **state) == 1, "2 is warming")

        restart_runner(server)
        wait_for(server.is_ready, "the version before is served, and will be")

        assert "1" == ask_headers(server, "step")["X-Model-Version"]
        assert "the runner died while it loaded model step version 2" in server.log


def test_unloaded_model_stays_so_when_the_runner_is_replaced(models: Path, tmp_path: Path) -> None:
    token = {"Authorization": "Bearer secret"}
    with start_server({"half": models / "half"}, tmp_path, "--control-token=secret") as server:
        assert server.post("/v2/repository/models/half/unload", headers=token).status_code == 200

        restart_runner(server)
        wait_for(server.is_ready, "a server without models that should be there is ready")
        unloaded = requests.post(
            f"{server.url}/v1/models/half:predict", data='{"instances":[[2,4]]}', timeout=30
        )
        loaded = requests.post(
            f"{server.url}/v2/repository/models/half/load", headers=token, timeout=60
        )

        assert (404, "unknown_version") == (unloaded.status_code, unloaded.json()["reason"])
        assert loaded.status_code == 200
        assert (200, {"predictions": [[1.0, 2.0]]}) == ask_new(server, "half", "[[2,4]]")


def test_unloaded_model_whose_files_are_gone_is_not_missed(models: Path, tmp_path: Path) -> None:
    token = {"Authorization": "Bearer secret"}
    folder = tmp_path / "half"
    shutil.copytree(models / "half", folder)
    arguments = ("--control-token=secret", "--poll-seconds=0.2")
    with start_server({"half": folder}, tmp_path, *arguments) as server:
        assert server.post("/v2/repository/models/half/unload", headers=token).status_code == 200
        folder.rename(tmp_path / "away")

        restart_runner(server)
        wait_for(server.is_ready, "a server without models that should be there is ready")
        states = {"model": "half", "version": "__unknown__"}
        assert 1 == server.value("inferometer_model_state", **states, state="unloaded")

        # The same files again are what was unloaded; what is new is not.
        (tmp_path / "away").rename(folder)
        shutil.copytree(folder / "1", tmp_path / "2")
        (tmp_path / "2").rename(folder / "2")
        wait_for(lambda: ask_new(server, "half", "[[2,4]]")[0] == 200, "what is new is loaded")
        assert 0 == server.value(
            "inferometer_model_state", model="half", version="1", state="ready"
        )


def test_unloaded_version_is_not_served_where_a_newer_one_is_broken(
    models: Path, tmp_path: Path
) -> None:
    token = {"Authorization": "Bearer secret"}
    folder = tmp_path / "half"
    shutil.copytree(models / "half", folder)
    arguments = ("--control-token=secret", "--poll-seconds=0.2")
    with start_server({"half": folder}, tmp_path, *arguments) as server:
        assert server.post("/v2/repository/models/half/unload", headers=token).status_code == 200
        (tmp_path / "2").mkdir()
        (tmp_path / "2" / "saved_model.pb").write_bytes(b"broken")
        (tmp_path / "2").rename(folder / "2")
        failed = {"model": "half", "version": "2", "state": "failed"}
        wait_for(lambda: server.value("inferometer_model_state", **failed) == 1, "2 is broken")
        restart_runner(server)
        wait_for(lambda: server.value("inferometer_model_state", **failed) == 1, "2 is broken")

        assert 0 == server.value("inferometer_model_state", model="half", state="ready")
        assert 200 != ask_new(server, "half", "[[2,4]]")[0]


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="setpriv is not installed")
def test_folder_that_may_not_be_read_is_no_matter_of_other_models(
    models: Path, tmp_path: Path
) -> None:
    folder = two_versions(models, tmp_path, "step")
    half = tmp_path / "half"
    shutil.copytree(models / "half", half)
    # Without it root reads everything.
    powerless = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []
    served = {"half": half, "step": folder}
    with start_server(served, tmp_path, "--poll-seconds=0.2", wrapper=powerless) as server:
        (half / "2").mkdir(mode=0)
        try:
            shutil.copytree(folder / "2", tmp_path / "3")
            (tmp_path / "3").rename(folder / "3")
            wait_for(lambda: ask_headers(server, "step")["X-Model-Version"] == "3", "3 is served")

            assert (200, {"predictions": [[1.0, 2.0]]}) == ask_new(server, "half", "[[2,4]]")
            assert "Traceback" not in server.log
        finally:
            (half / "2").rmdir()


def test_host_without_room_for_a_process_has_it_later(models: Path, tmp_path: Path) -> None:
    with start_server({"half": models / "half"}, tmp_path) as server:
        supervisor = server.process.pid
        most = resource.prlimit(supervisor, resource.RLIMIT_NOFILE)
        resource.prlimit(supervisor, resource.RLIMIT_NOFILE, (6, most[1]))
        server.signal("runner", signal.SIGKILL)
        wait_for(lambda: "runner cannot be started" in server.log, "there is no room")
        resource.prlimit(supervisor, resource.RLIMIT_NOFILE, most)

        wait_for(server.is_ready, "there is room again")


def test_signals_that_are_not_for_the_server_do_not_end_it(models: Path, tmp_path: Path) -> None:
    with start_server({"half": models / "half"}, tmp_path, wrapper=["nohup"]) as server:
        server.process.send_signal(signal.SIGHUP)
        [runner] = server.pids("runner")
        os.kill(runner, signal.SIGRTMIN + 1)

        wait_for(lambda: server.pids("runner") not in ([runner], []), "the runner was replaced")
        wait_for(server.is_ready, "it serves")
        assert f"runner ended with signal {signal.SIGRTMIN + 1}" in server.log


def test_broken_version_beside_a_good_one_is_found(models: Path, tmp_path: Path) -> None:
    folder = two_versions(models, tmp_path, "sick")
    arguments = ("--versions=all", "--canary-seconds=1")
    with start_server({"sick": folder}, tmp_path, *arguments) as server:
        (runner,) = server.pids("runner")

        first = server.post("/v1/models/sick/versions/1:predict", {"instances": [666]})

        assert first.status_code == 500
        wait_for(lambda: server.pids("runner") not in ([runner], []), "the runner was replaced")
        assert "version 1 cannot compute its own warm-up row (3 of 3)" in server.log


def test_server_whose_supervisor_hangs_is_not_alive(models: Path, tmp_path: Path) -> None:
    with start_server({"half": models / "half"}, tmp_path, "--workers=1") as server:
        assert 200 == server.get("/livez").status_code
        os.kill(server.process.pid, signal.SIGSTOP)
        try:
            hung = wait_for(lambda: server.get("/livez").status_code == 503, "it is noticed")
            reply = server.get("/v2/health/live").json()
        finally:
            os.kill(server.process.pid, signal.SIGCONT)

        assert hung
        assert ["the supervisor makes no progress"] == reply["reasons"]
        wait_for(lambda: server.get("/livez").status_code == 200, "it goes on")


def test_runners_that_hang_delay_the_end_together(models: Path, tmp_path: Path) -> None:
    # Three seconds more each: together they take 13, one after the other 39.
    arguments = ("--runners=3", "--workers=1", "--runner-stop-seconds=10", "--drain-seconds=1")
    with start_server({"half": models / "half"}, tmp_path, *arguments) as server:
        wait_for(lambda: server.log.count("version 1 is ready") == 3, "all have the model")
        server.signal("runner", signal.SIGSTOP)
        begun = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(60)

    assert 3 == server.log.count("did not end within")
    assert time.monotonic() - begun < 30


def test_another_runner_answers_while_one_is_gone(models: Path, tmp_path: Path) -> None:
    runners = 2
    arguments = (f"--runners={runners}", "--workers=1")
    with start_server({"half": models / "half"}, tmp_path, *arguments) as server:
        wait_for(
            lambda: server.value("inferometer_processes", role="runner") == runners, "both run"
        )
        wait_for(lambda: server.log.count("version 1 is ready") == runners, "both have the model")
        first, *_ = server.pids("runner")

        os.kill(first, signal.SIGKILL)
        answers = [server.predict("half", {"instances": [[2, 4]]}) for _ in range(50)]

        lost = [answer for answer in answers if answer.status_code != 200]
        assert all(answer.json()["reason"] in {"runner_lost", "loading"} for answer in lost)
        assert len(lost) <= 2
        assert server.is_ready()
        wait_for(
            lambda: server.value("inferometer_processes", role="runner") == runners, "it is back"
        )
