"""Alerts end to end: a real fault, Prometheus, Alertmanager, a webhook; and when it is over, again.

The shipped configurations and rules are taken as they are, but for addresses and for time, which
runs sixty times as fast: what says a minute lasts a second.
"""

import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests

from tests.databases import free_port
from tests.gpu.stand_in import UUID, WHOLE, Gpus, build
from tests.live.labels import KEY
from tests.live.profiles import profiled
from tests.live.prometheus import query
from tests.live.servers import Server, again_and_again, answers, start_server, wait_for

PROJECT = Path(__file__).parents[2]
HASTE = 60
MILLISECONDS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
# Not the ends of recorded names, such as :1d and ratio5m.
DURATION = re.compile(r"(?<![\w:])(\d+)([smhd])\b")
FIRES_WITHIN_SECONDS = 150

pytestmark = [
    pytest.mark.skipif(shutil.which(name) is None, reason=f"{name} is not installed")
    for name in ("prometheus", "prometheus-alertmanager", "cc")
]


def hastened(text: str) -> str:
    """Return a configuration or rules in which everything lasts a sixtieth."""

    def shorter(match: re.Match[str]) -> str:
        return f"{int(match[1]) * MILLISECONDS[match[2]] // HASTE}ms"

    return DURATION.sub(shorter, text)


@contextmanager
def running(*command: object, output: Path) -> Iterator[None]:
    with output.open("wb") as file:
        process = subprocess.Popen(
            [str(word) for word in command], stdout=file, stderr=file, cwd=PROJECT
        )
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)


class Webhook:
    """What has arrived: the demo's, whose lines are read."""

    def __init__(self, file: Path, alertmanager: str) -> None:
        self._file = file
        self._alertmanager = alertmanager

    @property
    def port(self) -> str | None:
        found = re.search(r"on port (\d+)", self._file.read_text())
        return found and found[1]

    def states(self, alert: str) -> set[str]:
        """Return the states in which Alertmanager has an alert: `active` or `suppressed`."""
        filters = {"filter": f'alertname="{alert}"'}
        found = requests.get(f"{self._alertmanager}/api/v2/alerts", params=filters, timeout=10)
        return {each["status"]["state"] for each in found.json()}

    def arrived(self, alert: str) -> list[str]:
        """Return what came of an alert: `firing pages`, `resolved pages`, in order."""
        return [f"{state} {receiver}" for state, receiver, name in self._lines() if name == alert]

    def alerts(self) -> set[tuple[str, str]]:
        """Return the receiver and name of every alert that has arrived."""
        return {(receiver, name) for _, receiver, name in self._lines()}

    def _lines(self) -> list[list[str]]:
        return [line.split(" ")[:3] for line in self._file.read_text().splitlines()[1:]]

    def fires(self, *alerts: str) -> None:
        for alert in alerts:
            wait_for(
                lambda a=alert: self.arrived(a)[-1:] and self.arrived(a)[-1].startswith("firing"),  # type: ignore[misc]
                f"{alert} fires",
                seconds=FIRES_WITHIN_SECONDS,
            )

    def resolves(self, *alerts: str) -> None:
        for alert in alerts:
            wait_for(
                lambda a=alert: self.arrived(a)[-1].startswith("resolved"),  # type: ignore[misc]
                f"{alert} is resolved",
                seconds=FIRES_WITHIN_SECONDS,
            )


@contextmanager
def watching(server: Server, folder: Path) -> Iterator[Webhook]:
    """Run Prometheus, Alertmanager and the webhook as deploy/ has them, for one server."""
    prometheus, alertmanager = (f"127.0.0.1:{free_port()}" for _ in range(2))
    rules = folder / "rules"
    rules.mkdir()
    for file in (PROJECT / "grafana/rules").glob("*.yml"):
        (rules / file.name).write_text(hastened(file.read_text()))
    configuration = hastened((PROJECT / "deploy/prometheus/prometheus.yml").read_text())
    for place, here in {
        # A quarter of a second is no time in which to scrape.
        "scrape_interval: 250ms": "scrape_interval: 500ms",
        "scrape_timeout: 166ms": "scrape_timeout: 500ms",
        "/etc/prometheus/rules": str(rules),
        "alertmanager:9093": alertmanager,
        "inferometer:8502": server.metrics_url.removeprefix("http://"),
        "localhost:9090": prometheus,
    }.items():
        assert place in configuration
        configuration = configuration.replace(place, here)
    (folder / "prometheus.yml").write_text(configuration)
    with ExitStack() as stack:
        webhook = Webhook(folder / "alerts.log", f"http://{alertmanager}")
        command = [sys.executable, "-m", "demo.alerts", "--port=0"]
        stack.enter_context(running(*command, output=folder / "alerts.log"))
        port = wait_for(lambda: webhook.port, "the webhook listens")
        text = hastened((PROJECT / "deploy/alertmanager/alertmanager.yml").read_text())
        (folder / "alertmanager.yml").write_text(
            text.replace("http://alerts:9095/", f"http://127.0.0.1:{port}/")
        )
        stack.enter_context(
            running(
                "prometheus-alertmanager",
                f"--config.file={folder}/alertmanager.yml",
                f"--storage.path={folder}/alertmanager",
                f"--web.listen-address={alertmanager}",
                "--cluster.listen-address=",
                output=folder / "alertmanager.log",
            )
        )
        stack.enter_context(
            running(
                "prometheus",
                f"--config.file={folder}/prometheus.yml",
                f"--storage.tsdb.path={folder}/data",
                f"--web.listen-address={prometheus}",
                output=folder / "prometheus.log",
            )
        )
        for name, address in (("Alertmanager", alertmanager), ("Prometheus", prometheus)):
            wait_for(lambda a=address: answers(f"http://{a}/-/ready"), f"{name} is ready")  # type: ignore[misc]
        # What a counter has at its first scrape is no increase.
        scraped = 'sum_over_time(up{job="inferometer"}[1m]) > 3'
        wait_for(lambda: query(f"http://{prometheus}", scraped), "the server is scraped")
        yield webhook


def ask(server: Server, model: str, instances: list[Any]) -> requests.Response:
    """Ask over a connection of its own."""
    body = {"instances": instances}
    return requests.post(f"{server.url}/v1/models/{model}:predict", json=body, timeout=60)


def label(server: Server, rows: np.ndarray, *, are_right: bool) -> None:
    """Predict rows, and say that each prediction was right, or that each was wrong."""
    names = ("cat", "dog") if are_right else ("dog", "cat")
    for start in range(0, len(rows), 60):
        some = rows[start : start + 60].tolist()
        answer = server.predict("half", {"instances": some}, params={"feedback_tokens": "true"})
        items = [
            {"token": token, "label": names[int(b > a)]}
            for token, (a, b) in zip(answer.json()["feedback_tokens"], some, strict=True)
        ]
        counted = server.post("/v1/feedback/batch", items).json()["counted"]
        assert len(items) == counted


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_faults_arrive_at_the_webhook_and_so_does_their_end(models: Path, tmp_path: Path) -> None:
    gpus = Gpus(tmp_path, build(tmp_path))
    gpus.say(WHOLE)
    environment = {
        **gpus.environment,
        "INFEROMETER_EXPORTER_GPU_INTERVAL": "0.2",
        "INFEROMETER_EXPORTER_GPU_MIN_AGE": "0.2",
    }
    served = {"half": profiled(models, tmp_path)["half"], "nap": models / "nap"}
    arguments = (
        f"--feedback-keys={KEY}",
        "--workers=1",
        "--max-batch-rows=32",
        "--queue-limit-rows=64",
        "--max-request-rows=64",
    )
    random = np.random.default_rng(7)
    with ExitStack() as stack:
        server = stack.enter_context(
            start_server(served, tmp_path, *arguments, environment=environment)
        )
        wait_for(lambda: server.value("inferometer_gpu_up", gpu_uuid=UUID) == 1, "the GPU is up")
        webhook = stack.enter_context(watching(server, tmp_path))

        with (
            # Thirty-two rows of a nap: two requests fill the queue.
            again_and_again(lambda: ask(server, "nap", [0.3] * 32), at_once=6),
            again_and_again(lambda: ask(server, "half", [["no number", 1]])),
        ):
            label(server, random.normal(size=(540, 2)) + 1, are_right=False)
            gpus.say(WHOLE, "fail nvmlDeviceGetMemoryInfo_v2 code=15 gpu=0")
            webhook.fires(
                "InferometerGpuLost",
                "InferometerManyGpusFailing",
                "InferometerRequestsShed",
                "InferometerClientErrorsHigh",
                "InferometerAccuracyCollapsed",
            )
        gpus.say(WHOLE)

        # Drift fires when it has lasted for an hour: the rest of this one is for other faults.
        with again_and_again(lambda: ask(server, "half", [[1, 2]])):
            server.signal("runner", signal.SIGSTOP)
            webhook.fires("InferometerRunnerStalled")
            server.signal("runner", signal.SIGCONT)
            webhook.resolves("InferometerRunnerStalled")
        # It is started again at once, but not for ever.
        with again_and_again(lambda: server.signal("runner", signal.SIGKILL)):
            webhook.fires("InferometerProcessMissing", "InferometerModelUnavailable")
        webhook.resolves("InferometerProcessMissing", "InferometerModelUnavailable")
        wait_for(server.is_ready, "the runner is back")
        webhook.fires("InferometerInputDrift")

        label(server, random.normal(size=(9_000, 2)), are_right=True)
        webhook.resolves(
            "InferometerGpuLost",
            "InferometerManyGpusFailing",
            "InferometerRequestsShed",
            "InferometerClientErrorsHigh",
            "InferometerAccuracyCollapsed",
            "InferometerInputDrift",
        )

        server.signal("exporter", signal.SIGSTOP)
        webhook.fires("InferometerAllReplicasDown")
        # Who is told that no replica answers is not told of each.
        wait_for(lambda: "suppressed" in webhook.states("InferometerTargetDown"), "it is muted")
        server.signal("exporter", signal.SIGCONT)
        webhook.resolves("InferometerAllReplicasDown")

    assert [] == webhook.arrived("InferometerTargetDown")
    assert ("pages", "InferometerAllReplicasDown") in webhook.alerts()
    assert ("pages", "InferometerModelUnavailable") in webhook.alerts()
    assert ("tickets", "InferometerRequestsShed") in webhook.alerts()
    assert ("notes", "InferometerClientErrorsHigh") in webhook.alerts()
