"""A server whose exporter reads stand-in GPUs: serving never waits, all processes show the same."""

import os
import shutil
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from tests.gpu.stand_in import UUID, WHOLE, Gpus, build, gpu_rows
from tests.live.servers import Server, samples_of, start_server, total, wait_for

OTHER = "GPU-99999999-1111-2222-3333-444444444444"


@pytest.fixture
def gpus(tmp_path: Path) -> Gpus:
    if shutil.which("cc") is None:
        pytest.skip("no C compiler (cc)")
    return Gpus(tmp_path, build(tmp_path))


def test_serving_goes_on_while_the_driver_hangs(gpus: Gpus, models: Path, tmp_path: Path):
    gpus.say(WHOLE)
    where = {**gpus.environment, "INFEROMETER_EXPORTER_GPU_TIMEOUT": "0.5"}
    with start_server({"half": models / "half"}, tmp_path, environment=where) as server:
        up = {"gpu_uuid": UUID}
        wait_for(lambda: server.value("inferometer_gpu_up", **up) == 1, "the GPU is up")
        before = [ask(server) for _ in range(200)]
        gpus.say(WHOLE, "hang nvmlDeviceGetFieldValues")
        wait_for(lambda: server.value("inferometer_gpu_collect_stuck") == 1, "it hangs")
        during = [ask(server) for _ in range(200)]
        begun = time.monotonic()
        samples = server.samples()
        took = time.monotonic() - begun
        gpus.say(WHOLE)
        wait_for(lambda: server.value("inferometer_gpu_up", **up) == 1, "it is back")
        threads = {thread for mark, thread, *_ in gpus.trace() if mark == "+"}

    assert {200} == {status for status, _ in (*before, *during)}
    # Half of them, so that this machine's moods say nothing.
    medians = [sorted(seconds for _, seconds in side)[100] for side in (before, during)]
    assert medians[1] < 3 * medians[0]
    assert took < 5
    assert 1 == total(samples, "inferometer_gpu_collect_stuck")
    assert 400 == total(samples, "inferometer_rows_total", model="half")
    assert 1 == len(threads)


def ask(server: Server) -> tuple[int, float]:
    begun = time.monotonic()
    answer = server.predict("half", {"instances": [[2, 4]]})
    return answer.status_code, time.monotonic() - begun


def test_each_gpu_is_shown_once_by_every_process_whoever_asks(
    gpus: Gpus, models: Path, tmp_path: Path
):
    gpus.say(WHOLE, f"gpu 1 uuid={OTHER} name=Other memory_total=100 memory_used=10")
    where = {
        **gpus.environment,
        "INFEROMETER_EXPORTER_GPU_INTERVAL": "0.2",
        "INFEROMETER_EXPORTER_GPU_MIN_AGE": "0.2",
    }
    with start_server(
        {"half": models / "half"}, tmp_path, "--workers=4", "--runners=2", environment=where
    ) as server:
        wait_for(lambda: len(server.pids("frontend")) == 4, "four front-ends")
        wait_for(
            lambda: gpu_rows(server.samples()).get(("up", OTHER)) == 1, "the exporter has them"
        )
        with ThreadPoolExecutor(8) as pool:
            urls = 20 * [server.url, server.metrics_url]
            texts = list(pool.map(lambda url: requests.get(url + "/metrics", timeout=30), urls))
        shown = [gpu_rows(samples_of(answer.text)) for answer in texts]
        opened = gpus.calls()["nvmlInitWithFlags"]
        threads = {
            thread for mark, thread, name, _ in gpus.trace() if name != "nvmlEventSetWait_v2"
        }

    assert {200} == {answer.status_code for answer in texts}
    for answer in texts:
        assert 2 == answer.text.count("\ninferometer_gpu_up{")
    for rows in shown:
        assert (1, 1) == (rows["up", UUID], rows["up", OTHER])
        assert 70.5 == rows["power_watts", UUID]
    assert 1 == opened
    assert 1 == len(threads)


def test_front_ends_drop_rows_of_an_exporter_that_is_gone(gpus: Gpus, models: Path, tmp_path: Path):
    gpus.say(WHOLE)
    where = {**gpus.environment, "INFEROMETER_EXPORTER_GPU_INTERVAL": "0.2"}
    with start_server({"half": models / "half"}, tmp_path, environment=where) as server:

        def shown() -> dict[tuple[str, str], float]:
            return gpu_rows(server.samples(server.url))

        wait_for(lambda: ("power_watts", UUID) in shown(), "the front-end shows it")
        os.kill(server.pids("exporter")[0], signal.SIGSTOP)
        wait_for(lambda: not shown(), "the rows are too old")
        success = server.samples(server.url)[
            "inferometer_collector_success", frozenset({("collector", "gpu")})
        ]
        os.kill(server.pids("exporter")[0], signal.SIGCONT)
        wait_for(lambda: ("power_watts", UUID) in shown(), "they are back")

    assert 0 == success


def test_exporter_that_hangs_for_long_is_started_anew(gpus: Gpus, models: Path, tmp_path: Path):
    gpus.say(WHOLE)
    where = {
        **gpus.environment,
        "INFEROMETER_EXPORTER_GPU_TIMEOUT": "0.3",
        "INFEROMETER_EXPORTER_GPU_HANG_RESTART": "1",
    }
    with start_server({"half": models / "half"}, tmp_path, environment=where) as server:
        wait_for(lambda: gpu_rows(server.samples()).get(("up", UUID)) == 1, "the GPU is up")
        first = server.pids("exporter")
        gpus.say(WHOLE, "hang nvmlDeviceGetUtilizationRates")
        wait_for(lambda: server.pids("exporter") not in ([], first), "another exporter")
        gpus.say(WHOLE)
        wait_for(lambda: gpu_rows(server.samples()).get(("up", UUID)) == 1, "the GPU is up again")
        samples = server.samples()
        answers = [ask(server) for _ in range(20)]

    assert {200} == {status for status, _ in answers}
    assert total(samples, "inferometer_process_exits_total", role="exporter", cause="timeout") >= 1
    assert total(samples, "inferometer_gpu_errors_total", error="stuck") >= 1
    assert "exporter ended with exit code 75" in server.log
