"""What the README tells to do, done as it stands."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.databases import free_port
from tests.live.exporters import exporter
from tests.live.servers import clean_environment

pytestmark = pytest.mark.live

README = Path(__file__).parents[2] / "README.md"
MOST_LINES = 10


def test_the_example_of_an_own_program(store_path: Path) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert len([line for line in example.splitlines() if line.strip()]) <= MOST_LINES
    program = example.replace("/dev/shm/shop", str(store_path))

    for _ in range(2):
        subprocess.run([sys.executable, "-W", "error", "-c", program], check=True)
    with exporter(store_path) as running:
        body = running.get()[2].decode()

    assert 'shop_orders_total{kind="gift"} 2.0' in body
    assert 'shop_order_seconds_bucket{le="0.1"} 2.0' in body
    assert "shop_order_seconds_sum 0.04" in body


def test_the_walk_from_training_data_to_the_first_figure(tmp_path: Path) -> None:
    """Every command of the page on quality, in its order, in one shell."""
    page = README.read_text().split("## Prediction quality")[1].split("\n## ")[0]
    blocks = re.findall(r"```sh\n(.*?)```", page, re.DOTALL)
    commands = "\n".join(blocks)
    for port in ("8501", "8502"):
        commands = commands.replace(f":{port}", f":{free_port()}")
    port, metrics_port = (
        re.findall(r"127\.0\.0\.1:(\d+)", commands)[0],
        re.findall(r":(\d+)/metrics", commands)[0],
    )
    environment = clean_environment() | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(README.parent),
        "INFEROMETER_PORT": port,
        "INFEROMETER_METRICS_PORT": metrics_port,
    }

    ended = subprocess.run(
        ["bash", "-euo", "pipefail", "-m", "-c", commands],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip

    assert 0 == ended.returncode, ended.stderr[-3000:]
    assert 7 == len(blocks)
    assert '"result":"counted"' in ended.stdout
    assert re.search(r"\d+ labels: \d+ counted\n", ended.stdout)
    shown = re.findall(r"^inferometer_\w+\{.*\} [\d.]+$", ended.stdout, re.MULTILINE)
    right = [float(line.split()[-1]) for line in shown if 'outcome="tp"' in line]
    assert sum(right) > 200
    assert any("inferometer_baseline" in line and 'metric="accuracy"' in line for line in shown)
