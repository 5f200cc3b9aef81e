"""Models with profiles of data that a test can send, or move away from."""

import math
import subprocess
import sys
from pathlib import Path

import numpy as np

from tests.live.labels import CATS, NUMBER, declared
from tests.live.servers import clean_environment

# One process for both: most of the time is TensorFlow's import.
PROFILES = """
import sys
from serving.cli import main

for model, data in zip(sys.argv[1::2], sys.argv[2::2]):
    assert 0 == main(["profile", model, f"--data={data}", "--label=truth"])
"""
SEGMENTS = {"segments": {"country": ["de", "at"]}}


def profiled(models: Path, folder: Path) -> dict[str, Path]:
    """Return a classifier and a regression with profiles of rows like those that are sent."""
    features = {"features": {"x": ["age", "pay"]}}
    half = declared(models, "half", folder, CATS | SEGMENTS | features)
    log = declared(models, "log", folder, NUMBER | SEGMENTS)
    numbers = np.random.default_rng(1).normal(size=(600, 2))
    lines = [f"{a!r},{b!r},{'cat' if a > b else 'dog'}" for a, b in numbers.tolist()]
    (folder / "half.csv").write_text("\n".join(["age,pay,truth", *lines]) + "\n")
    lines = [f"{abs(a)!r},{math.log(abs(a)) + b / 10!r}" for a, b in numbers.tolist()]
    (folder / "log.csv").write_text("\n".join(["x,truth", *lines]) + "\n")
    subprocess.run(
        [sys.executable, "-c", PROFILES, half, folder / "half.csv", log, folder / "log.csv"],
        env=clean_environment(), check=True, timeout=120,
    )  # fmt: skip
    return {"half": half, "log": log}
