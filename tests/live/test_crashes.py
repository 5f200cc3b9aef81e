"""Whatever is killed comes back by itself; no counter falls, no answer is wrong."""

import json
import os
import signal
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import requests

from tests.live.servers import Samples, Server, start_server, total, wait_for

pytestmark = pytest.mark.alone

CLIENTS = 8
KILLS = 3


class Refusal(NamedTuple):
    status: int
    body: dict[str, Any]
    headers: Mapping[str, str]


class Traffic:
    """Clients that ask until they are stopped, and remember what they were told."""

    def __init__(self, server: Server) -> None:
        self.answered = 0
        self.refused: list[Refusal] = []
        self.wrong: list[str] = []
        self._server = server
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(n,)) for n in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def _run(self, number: int) -> None:
        generator = np.random.default_rng(number)
        while not self._stopped.is_set():
            row = generator.integers(0, 1000, 2).tolist()
            try:
                answer = requests.post(
                    f"{self._server.url}/v1/models/half:predict",
                    data=json.dumps({"instances": [row]}),
                    timeout=60,
                )
            except requests.ConnectionError:
                continue  # The front-end that had this connection was killed.
            with self._lock:
                if answer.status_code == 200:
                    self.answered += 1
                    if answer.json()["predictions"] != [[row[0] / 2, row[1] / 2]]:
                        self.wrong.append(answer.text)
                else:
                    # Not the response itself: it would keep its connection open.
                    self.refused.append(Refusal(answer.status_code, answer.json(), answer.headers))
            if answer.status_code != 200:
                self._stopped.wait(0.01)


class CounterWatch:
    """Scrapes both faces all the time and remembers every counter that fell."""

    def __init__(self, server: Server) -> None:
        self.fallen: list[str] = []
        self.scrapes = 0
        self._server = server
        self._stopped = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(url,))
            for url in (server.metrics_url, server.url)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def _run(self, url: str) -> None:
        before: Samples = {}
        while not self._stopped.wait(0.05):
            try:
                samples = self._server.samples(url)
            except requests.ConnectionError:
                continue
            self.scrapes += 1
            for (name, labels), value in before.items():
                is_counter = name.endswith(("_total", "_count", "_bucket", "_sum"))
                if is_counter and samples.get((name, labels), 0.0) < value - 1e-9:
                    self.fallen.append(
                        f"{url} {name}{dict(labels)}: {value} to {samples.get((name, labels))}"
                    )
            before = samples


@pytest.mark.parametrize("role", ["frontend", "runner", "exporter"])
def test_a_killed_process_comes_back(models: Path, tmp_path: Path, role: str) -> None:
    with start_server({"half": models / "half"}, tmp_path, "--workers=2") as server:
        traffic, watch = Traffic(server), CounterWatch(server)
        try:
            for kill in range(1, KILLS + 1):
                kill_one(server, role)
                wait_for(exits_counted(server, role, kill), f"{kill} exits of a {role} on /metrics")
                wait_for(alive(server, role), f"the {role} is back")
                wait_for(server.is_ready, "ready again")
                answered = traffic.answered
                wait_for(lambda n=answered: traffic.answered > n + 50, "answers go on")  # type: ignore[misc]
        finally:
            traffic.stop()
            watch.stop()

        assert traffic.wrong == []
        assert watch.fallen == []
        assert watch.scrapes > 0
        check_refusals(traffic, role)
        # An answer that a killed front-end had counted may have been lost on its way: never the
        # reverse.
        lost = KILLS * CLIENTS if role == "frontend" else 0
        counted = server.value("inferometer_requests_total", code="200")
        assert traffic.answered <= counted <= traffic.answered + lost


def kill_one(server: Server, role: str) -> None:
    pids = wait_for(lambda: server.pids(role), f"a {role} to kill")
    os.kill(pids[0], signal.SIGKILL)


def exits_counted(server: Server, role: str, number: int) -> Callable[[], bool]:
    def check() -> bool:
        try:
            return (
                server.value("inferometer_process_exits_total", role=role, cause="signal") == number
            )
        except requests.ConnectionError:
            return False

    return check


def alive(server: Server, role: str) -> Callable[[], bool]:
    expected = 2 if role == "frontend" else 1
    return lambda: server.value("inferometer_processes", role=role) == expected


def check_refusals(traffic: Traffic, role: str) -> None:
    if role != "runner":
        assert traffic.refused == []
        return
    assert traffic.refused
    for answer in traffic.refused:
        assert answer.status == 503
        assert answer.body["reason"] in {"runner_lost", "loading"}
        assert 1 <= int(answer.headers["Retry-After"]) <= 30


def test_metrics_answer_while_the_runner_is_gone(models: Path, tmp_path: Path) -> None:
    with start_server({"half": models / "half"}, tmp_path) as server:
        server.predict("half", {"instances": [[2, 4]]})
        (runner,) = server.pids("runner")

        os.kill(runner, signal.SIGSTOP)
        try:
            stalled = wait_for(
                lambda: server.value("inferometer_runner_stalled") == 1,
                "the runner shows as stalled",
            )
            waiting = threading.Thread(
                target=server.predict,
                args=("half", {"instances": [[1, 1]]}),
                kwargs={"headers": {"X-Request-Timeout-Ms": "500"}},
            )
            waiting.start()
            waiting.join()
            late = server.value("inferometer_request_failures_total", reason="deadline_exceeded")
        finally:
            os.kill(runner, signal.SIGCONT)

        assert stalled
        assert late == 1
        assert server.predict("half", {"instances": [[2, 4]]}).json() == {
            "predictions": [[1.0, 2.0]]
        }


def test_a_killed_supervisor_leaves_nothing(models: Path, tmp_path: Path) -> None:
    store = Path("/dev/shm") / f"inferometer-test-{os.getpid()}"
    with start_server({"half": models / "half"}, tmp_path, f"--store-path={store}") as server:
        children = [pid for role in ("frontend", "runner", "exporter") for pid in server.pids(role)]
        assert len(children) >= 3

        server.process.kill()
        server.process.wait()

        wait_for(
            lambda: not any(map(is_running, children)), "the children end with their supervisor"
        )
        wait_for(lambda: not store.exists(), "the store is removed")


def test_a_stopped_server_leaves_nothing(models: Path, tmp_path: Path) -> None:
    store = Path("/dev/shm") / f"inferometer-test-{os.getpid()}"
    with start_server({"half": models / "half"}, tmp_path, f"--store-path={store}") as server:
        server.predict("half", {"instances": [[2, 4]]})
        children = [pid for role in ("frontend", "runner", "exporter") for pid in server.pids(role)]

        server.process.send_signal(signal.SIGINT)

        assert server.process.wait(30) == 0
        assert not any(map(is_running, children))
        assert not store.exists()


def is_running(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def test_requests_in_flight_finish_before_the_server_ends(models: Path, tmp_path: Path) -> None:
    answers: list[requests.Response] = []
    with start_server({"nap": models / "nap"}, tmp_path) as server:
        slow = threading.Thread(
            target=lambda: answers.append(server.predict("nap", {"instances": [2.0]}))
        )
        slow.start()
        wait_for(
            lambda: server.value("inferometer_requests_in_flight", model="nap") == 1, "in flight"
        )

        server.process.send_signal(signal.SIGTERM)
        slow.join()

        assert answers[0].json() == {"predictions": [2.0]}
        assert server.process.wait(30) == 0


def test_sums_of_phases_survive_kills(models: Path, tmp_path: Path) -> None:
    with start_server({"half": models / "half"}, tmp_path, "--workers=2") as server:
        traffic = Traffic(server)
        kill_one(server, "frontend")
        wait_for(exits_counted(server, "frontend", 1), "the exit on /metrics")
        wait_for(alive(server, "frontend"), "the front-end is back")
        traffic.stop()

        samples = server.samples()

    phases = total(samples, "inferometer_request_phase_seconds_sum")
    # The one record in progress at the kill may be there in part.
    assert phases == pytest.approx(
        total(samples, "inferometer_request_duration_seconds_sum"), rel=0.01
    )
