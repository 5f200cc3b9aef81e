"""`python -m bench.at_scale METRICS`: asks every panel of a fleet of a thousand made-up replicas.

METRICS is a saved /metrics of a server. A thousand targets answer with it, their counters rising,
and a real Prometheus scrapes them for some minutes. Printed are the queries that take longer than
two seconds, that fail, and the graphs with more lines than can be read.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from grafana.definitions import DASHBOARDS
from grafana.panel_json import ONCE
from grafana.promql import filled
from grafana.scope import written_out

REPLICAS, MINUTES = 1_000, 8
MOST_SECONDS, MOST_LINES = 2.0, 20
RISES_SECONDS, FRESH_SECONDS = 600, 5
VALUES = {
    "__rate_interval": "1m", "__range": "5m", "__range_s": "300", "window": "5m",
    "threshold": "0.25", "cost": "1",
}  # fmt: skip
CONFIGURATION = """
global: {{scrape_interval: 15s, evaluation_interval: 1m}}
rule_files: ["{rules}/*.yml"]
scrape_configs:
  - {{job_name: inferometer, sample_limit: 10000, static_configs: [{{targets: {targets}}}]}}
"""


class Bodies:
    """What every replica answers now: counters rise from what they were."""

    def __init__(self, text: str) -> None:
        self._families = list(text_string_to_metric_families(text))
        self._begun = time.monotonic()
        self._lock = threading.Lock()
        self._made_at, self._body = float("-inf"), b""

    def now(self) -> bytes:
        """Return the exposition, made anew every five seconds."""
        with self._lock:
            if time.monotonic() - self._made_at > FRESH_SECONDS:
                self._made_at = time.monotonic()
                self._body = self._make(1 + (self._made_at - self._begun) / RISES_SECONDS)
            return self._body

    def _make(self, factor: float) -> bytes:
        lines = []
        for family in self._families:
            rises = family.type in {"counter", "histogram"}
            kind = "untyped" if family.type == "unknown" else family.type
            name = f"{family.name}_total" if family.type == "counter" else family.name
            lines.append(f"# TYPE {name} {kind}")
            for sample in family.samples:
                labels = ",".join(
                    f"{key}={json.dumps(value)}" for key, value in sample.labels.items()
                )
                value = sample.value * factor if rises else sample.value
                lines.append(f"{sample.name}{{{labels}}} {value!r}")
        return "\n".join([*lines, ""]).replace(" inf\n", " +Inf\n").encode()


def main() -> int:
    """Return 0 when every query was fast and every graph can be read."""
    parser = argparse.ArgumentParser(prog="python -m bench.at_scale", description=__doc__)
    parser.add_argument("metrics", type=Path, help="a saved /metrics of a server")
    bodies = Bodies(parser.parse_args().metrics.read_text())

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = bodies.now()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: object) -> None:
            """Say nothing."""

    # All of 127.0.0.0/8 is this host: each replica has an address of its own.
    server = ThreadingHTTPServer(("0.0.0.0", 0), Handler)  # noqa: S104
    threading.Thread(target=server.serve_forever, daemon=True).start()
    targets = [f"127.0.{1 + n // 250}.{1 + n % 250}:{server.server_port}" for n in range(REPLICAS)]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "prometheus.yml")
        rules = Path(__file__).parents[1] / "grafana/rules"
        file.write_text(CONFIGURATION.format(rules=rules, targets=json.dumps(targets)))
        prometheus = subprocess.Popen(
            [
                "prometheus", f"--config.file={file}", f"--storage.tsdb.path={folder}/data",
                "--web.listen-address=127.0.0.1:9899", "--log.level=warn",
            ]
        )  # fmt: skip
        try:
            time.sleep(60 * MINUTES)
            return _ask_all("http://127.0.0.1:9899")
        finally:
            prometheus.terminate()
            prometheus.wait()


def _ask_all(url: str) -> int:
    bad = 0
    for dashboard in DASHBOARDS:
        slowest = 0.0
        for panel in dashboard.panels:
            lines = 0
            for target in panel.targets:
                expression = filled(written_out(target.expression), VALUES)
                seconds, found, problem = _ask(url, expression, is_once=panel.kind in ONCE)
                lines += found
                slowest = max(slowest, seconds)
                if problem or seconds > MOST_SECONDS:
                    bad += 1
                    print(f"{dashboard.slug}/{panel.title}: {seconds:.1f} s {problem} {expression}")
            if lines > MOST_LINES and panel.kind not in {"heatmap", "table"}:
                bad += 1
                print(f"{dashboard.slug}/{panel.title}: {lines} lines")
        print(f"{dashboard.slug}: slowest query {slowest:.2f} s")
    groups = json.load(urllib.request.urlopen(f"{url}/api/v1/rules"))["data"]["groups"]
    for group in groups:
        print(f"rules {group['name']}: {group['evaluationTime']:.2f} s")
        bad += group["evaluationTime"] > 10 * MOST_SECONDS
    return 1 if bad else 0


def _ask(url: str, expression: str, *, is_once: bool) -> tuple[float, int, str]:
    now = time.time()
    asked = {"query": expression}
    asked |= (
        {"time": f"{now}"} if is_once else {"start": f"{now - 300}", "end": f"{now}", "step": "15"}
    )
    path = "query" if is_once else "query_range"
    begun = time.monotonic()
    try:
        with urllib.request.urlopen(
            f"{url}/api/v1/{path}", urllib.parse.urlencode(asked).encode(), timeout=120
        ) as answer:
            document = json.load(answer)
    except urllib.error.HTTPError as error:
        return time.monotonic() - begun, 0, error.read().decode()[:300]
    return time.monotonic() - begun, len(document["data"]["result"]), ""


if __name__ == "__main__":
    sys.exit(main())
