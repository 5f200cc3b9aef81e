"""A real Prometheus for the tests, and questions to it."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests

from tests.databases import free_port
from tests.live.servers import answers, wait_for


@contextmanager
def prometheus(
    folder: Path, target: str, *features: str, rules: Path | None = None
) -> Iterator[str]:
    """Run a real Prometheus that scrapes `target` each second; yield its URL when it is ready.

    There may be several targets, with commas between; `job=target` is of a job of its own. `rules`
    is a folder of rules.
    """
    jobs: dict[str, list[str]] = {}
    for each in target.split(","):
        job, _, address = each.rpartition("=")
        jobs.setdefault(job or "inferometer", []).append(address)
    address = f"127.0.0.1:{free_port()}"
    (folder / "prometheus.yml").write_text(
        "global: {scrape_interval: 1s}\n"
        "scrape_configs:\n"
        + "".join(
            f"  - {{job_name: {job}, static_configs: [{{targets: {addresses}}}]}}\n"
            for job, addresses in jobs.items()
        )
        + f"rule_files: [{'' if rules is None else f'{rules}/*.yml'}]\n"
    )
    process = subprocess.Popen(
        [
            "prometheus",
            f"--config.file={folder}/prometheus.yml",
            f"--web.listen-address={address}",
            f"--storage.tsdb.path={folder}/data",
            "--log.level=error",
            *(f"--enable-feature={feature}" for feature in features),
        ]
    )
    url = f"http://{address}"
    try:
        # It listens before it can answer, and says 503 until then.
        wait_for(lambda: answers(f"{url}/-/ready"), "Prometheus is ready")
        yield url
    finally:
        process.terminate()
        process.wait()


def query(url: str, expression: str) -> dict[frozenset[tuple[str, str]], float]:
    """Return an instant query's samples by their labels."""
    answer = requests.get(f"{url}/api/v1/query", params={"query": expression}, timeout=5).json()
    return {
        frozenset(sample["metric"].items()): float(sample["value"][1])
        for sample in answer["data"]["result"]
        if "value" in sample
    }
