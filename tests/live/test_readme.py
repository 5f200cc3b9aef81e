"""The README's example of measuring one's own program, run as it stands, by two processes."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.live.exporters import exporter

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
