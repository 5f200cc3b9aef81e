"""`python -m grafana.pictures.record`: runs the demo, and writes what each panel asks of it.

The demo's server, with two simulated GPUs, gets the demo's traffic and labels for some minutes,
more than it can answer for one of them, and is scraped by a real Prometheus with the shipped
rules. The answers lie in .cache/pictures, where `npm run pictures` finds them.
"""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from grafana.promql import filled

PROJECT = Path(__file__).parents[2]
DASHBOARDS = PROJECT / "grafana/dashboards"
FOLDER = PROJECT / ".cache/pictures"
CALM_SECONDS, OVERLOAD_SECONDS, AFTERWARDS_SECONDS = 420, 45, 135
RANGE_SECONDS, STEP_SECONDS, SCRAPE_SECONDS = 600, 5, 5
READY_SECONDS = 300
VALUES = {
    "__rate_interval": "20s", "__range": f"{RANGE_SECONDS}s", "__range_s": f"{RANGE_SECONDS}",
    "window": "10m", "threshold": "0.25", "feature": "image:mean", "cost": "1",
}  # fmt: skip
CONFIGURATION = """
global: {{scrape_interval: {seconds}s, evaluation_interval: 1m}}
rule_files: ["{rules}/*.yml"]
scrape_configs:
  - {{job_name: inferometer, static_configs: [{{targets: ["127.0.0.1:{port}"]}}]}}
"""


def main() -> int:
    """Return 0 when the answers were written."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    ports = [_free_port() for _ in range(3)]
    serving, metrics, prometheus = ports
    server = f"http://127.0.0.1:{serving}"
    demo = [sys.executable, "-m", "demo", f"--port={serving}", f"--metrics-port={metrics}"]
    with ExitStack() as stack:
        gpus = {"INFEROMETER_EXPORTER_GPU_SIMULATE": "2"}
        stack.enter_context(_running(demo, "demo", gpus))
        _wait_for(lambda: _answer(f"{server}/readyz"), "the demo is ready")
        configuration = FOLDER / "prometheus.yml"
        configuration.write_text(
            CONFIGURATION.format(
                seconds=SCRAPE_SECONDS, rules=PROJECT / "grafana/rules", port=metrics
            )
        )
        command = [
            "prometheus",
            f"--config.file={configuration}",
            f"--storage.tsdb.path={FOLDER}/data-{os.getpid()}",
            f"--web.listen-address=127.0.0.1:{prometheus}",
        ]
        stack.enter_context(_running(command, "prometheus", {}))
        url = f"http://127.0.0.1:{prometheus}"
        _wait_for(lambda: _answer(f"{url}/-/ready"), "Prometheus is ready")
        time.sleep(CALM_SECONDS)
        load = [sys.executable, "-m", "demo.load", f"--url={server}", "--fault=overload"]
        with _running(load, "load", {}):
            time.sleep(OVERLOAD_SECONDS)
        time.sleep(AFTERWARDS_SECONDS)
        for file in sorted(DASHBOARDS.glob("*.json")):
            record = _record(url, json.loads(file.read_text()), time.time())
            (FOLDER / file.name).write_text(json.dumps(record))
    return 0


def _record(url: str, dashboard: dict[str, Any], now: float) -> dict[str, Any]:
    panels = [panel for panel in dashboard["panels"] if "targets" in panel]
    panels += [inner for panel in dashboard["panels"] for inner in panel.get("panels", [])]
    answers = {
        panel["id"]: [_ask(url, target, now) for target in panel["targets"]] for panel in panels
    }
    begun = now - RANGE_SECONDS
    return {
        "dashboard": dashboard,
        "answers": answers,
        "values": VALUES,
        "from": begun,
        "to": now,
    }


def _ask(url: str, target: dict[str, Any], now: float) -> list[Any]:
    asked = {"query": filled(target["expr"], VALUES)}
    if target["instant"]:
        path, asked["time"] = "query", f"{now}"
    else:
        path = "query_range"
        asked |= {"start": f"{now - RANGE_SECONDS}", "end": f"{now}", "step": f"{STEP_SECONDS}"}
    answer = _answer(f"{url}/api/v1/{path}?{urllib.parse.urlencode(asked)}")
    found: list[Any] = json.loads(answer)["data"]["result"]
    return found


def _answer(url: str) -> bytes:
    """Return the body; empty while nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            body: bytes = answer.read()
            return body
    except (urllib.error.URLError, OSError):
        return b""


def _wait_for(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"not within {READY_SECONDS} s: {what}; see {FOLDER}")
        time.sleep(1)


@contextmanager
def _running(command: list[str], name: str, environment: dict[str, str]) -> Iterator[None]:
    with (FOLDER / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, cwd=PROJECT, env=os.environ | environment
        )
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


if __name__ == "__main__":
    sys.exit(main())
