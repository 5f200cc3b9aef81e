"""What judging predictions costs: throughput with and without, and times per token and label."""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from bench.load import Load, Sample, alternate, server
from bench.models import FEATURES
from bench.report import Cost, Ratio, summary
from exporter.quality import Declaration, Measured, Task
from serving.feedback.stores.base import Claim, Key
from serving.feedback.stores.sqlite import SqliteStore
from serving.feedback.tokens import RowOfPrediction, TokenSigner

STARTS = 4
CONNECTIONS = 64
REFERENCE_ROWS = 5_000
REPETITIONS = 300
KEY = "k" * 32
TABLE = "/v1/models/table:predict"


def measure(models: Path) -> list[Ratio]:
    """Return the ratios of a model with 20 features."""
    folder = models / "table"
    random = np.random.default_rng(1)
    rows = random.normal(size=(REFERENCE_ROWS, FEATURES)).astype(np.float32)
    truth = rows.sum(axis=1) > 0
    np.savez(models / "rows.npz", x=rows, truth=truth)
    body = models / "table.json"
    body.write_text(json.dumps({"instances": rows[:1].round(4).tolist()}))
    (folder / "quality.json").write_text('{"task": "binary"}')
    command = [sys.executable, "-m", "serving", "profile", str(folder)]
    command += [f"--data={models / 'rows.npz'}", "--label=truth"]
    subprocess.run(command, check=True, capture_output=True)
    bare = models / "bare"
    (bare / "quality.json").write_text('{"task": "none"}')
    load = Load(TABLE, body, CONNECTIONS)
    sides: list[list[Sample]] = [[], [], []]
    for _ in range(STARTS):
        with (
            server("serve", f"table={folder}") as judged,
            server("serve", f"table={folder}", "--feedback-tokens=off") as counted,
            server("serve", f"table={bare}", "--feedback-tokens=off") as unjudged,
        ):
            alternate([(each, load) for each in (judged, counted, unjudged)], sides)
    counted, bare = ([s.rate for s in side] for side in sides[1:])
    ratio = statistics.median(counted) / statistics.median(bare)
    return [
        Ratio(
            f"model of {FEATURES} features (binary) at {CONNECTIONS} connections with quality and"
            " drift, against the same without",
            summary(counted, "requests/s"),
            summary(bare, "requests/s"),
            ratio,
            "at least 0.95",
            ratio >= 0.95,  # noqa: PLR2004
        ),
        _token_cost(*sides[:2]),
    ]


def _token_cost(judged: list[Sample], counted: list[Sample]) -> Ratio:
    """Return the server's CPU time for a token: the load's own grows with the reply's headers."""
    ours, without = ([s.cpu for s in side] for side in (judged, counted))
    more = statistics.median(ours) - statistics.median(without)
    return Ratio(
        "CPU time that a token adds to a request of one row, in µs",
        summary(ours, "µs"),
        summary(without, "µs"),
        more,
        "below 60",
        more < 60,  # noqa: PLR2004
    )


def costs() -> list[Cost]:
    """Return the times of one token, of its check, and of claiming a label."""
    found = []
    for name, declaration, width in (
        ("binary", Declaration(task="binary"), 1),
        ("10 classes", Declaration(task="multiclass"), 10),
        ("32 classes", Declaration(task="multiclass"), 32),
    ):
        shape = () if width == 1 else (width,)
        task = Measured(declaration, "serving_default", "p", shape).task
        found += _token_costs(name, task, _scores(width))
    with tempfile.TemporaryDirectory() as folder:
        store = SqliteStore(Path(folder) / "claims.db", most_claims=0)
        found.append(_cost("claiming a label in SQLite, in chunks of 64", _claims(store), 64))
        store.close()
    return found


def _token_costs(name: str, task: Task, scores: np.ndarray) -> list[Cost]:
    signer = TokenSigner([KEY], max_age_seconds=1e6)

    def sign() -> list[str]:
        return [
            signer.sign(RowOfPrediction("A" * 22, row, "model", "1", "abcdef", values))
            for row, values in enumerate(task.pack(scores))
        ]

    tokens = sign()
    return [
        _cost(f"a token of a row, {name}", lambda _: sign(), len(scores)),
        _cost(
            f"checking a token, {name}",
            lambda _: [signer.read(each) for each in tokens],
            len(tokens),
        ),
    ]


def _scores(width: int) -> np.ndarray:
    random = np.random.default_rng(2)
    if width == 1:
        return random.random(64).astype(np.float32)
    logits = random.normal(size=(64, width))
    return (np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)).astype(np.float32)


def _claims(store: SqliteStore) -> Callable[[int], object]:
    def claim(number: int) -> object:
        return store.claim(
            [
                Claim(Key(number.to_bytes(8) + place.to_bytes(8), 0, 0), b"j1", 1 << 40)
                for place in range(64)
            ]
        )

    return claim


def _cost(what: str, call: Callable[[int], object], items: int) -> Cost:
    """Return the time an item takes; `call` does so many of them."""
    times = []
    for number in range(REPETITIONS):
        begun = time.perf_counter()
        call(number)
        times.append((time.perf_counter() - begun) / items * 1e6)
    slowest = statistics.quantiles(times, n=100)[-1]
    return Cost(what, "–", REPETITIONS, statistics.median(times), slowest)
