"""Images as raw tensors, beside the same as JSON and beside the bare copying of their bytes."""

import json
import statistics
from pathlib import Path

import numpy as np

from bench.load import Load, Sample, alternate, copying, server
from bench.models import IMAGE, SEED
from bench.report import Ratio, summary

TINY = (2, 2, 3)
CONNECTIONS = 4
STARTS = 2
INFER = "/v2/models/image/infer"


def measure(models: Path) -> list[Ratio]:
    """Return the rate against JSON's, and what the bytes cost against the bare copying of them."""
    raw, as_json = _bodies(models, IMAGE)
    tiny, _ = _bodies(models, TINY)
    samples: list[list[Sample]] = [[], [], [], [], []]
    for _ in range(STARTS):
        with server("serve", f"image={models}/image") as ours, copying() as bare:
            asked = [(ours, raw), (ours, as_json), (ours, tiny), (bare, raw), (bare, tiny)]
            alternate(asked, samples)
    raw_rates, json_rates = ([one.rate for one in side] for side in samples[:2])
    against_json = statistics.median(raw_rates) / statistics.median(json_rates)
    our_cpu = [large.cpu - small.cpu for large, small in zip(samples[0], samples[2], strict=True)]
    bare_cpu = [large.cpu - small.cpu for large, small in zip(samples[3], samples[4], strict=True)]
    against_copying = statistics.median(our_cpu) / statistics.median(bare_cpu)
    size = raw.body.stat().st_size
    return [
        Ratio(
            f"one image of 224×224×3 FP32 as a raw tensor ({size:,} bytes) over"
            f" {CONNECTIONS} connections, against the same as JSON"
            f" ({as_json.body.stat().st_size:,} bytes)",
            summary(raw_rates, "requests/s"),
            summary(json_rates, "requests/s"),
            against_json,
            "at least 3",
            against_json >= 3,  # noqa: PLR2004
        ),
        Ratio(
            "what its bytes cost: CPU time a request beyond that of one of 2×2×3, model and all,"
            " against two processes that only copy bodies over TCP and a Unix socket",
            summary(our_cpu, "µs"),
            summary(bare_cpu, "µs"),
            against_copying,
            "at most 2",
            against_copying <= 2,  # noqa: PLR2004
        ),
    ]


def _bodies(folder: Path, shape: tuple[int, ...]) -> tuple[Load, Load]:
    image = np.random.default_rng(SEED).random(shape).astype(np.float32).round(4)
    tensor = {"name": "image", "datatype": "FP32", "shape": [1, *shape]}
    data = image.tobytes()
    head = json.dumps(
        {"inputs": [{**tensor, "parameters": {"binary_data_size": len(data)}}]}
    ).encode()
    raw, as_json = folder / f"image-{shape[0]}.raw", folder / f"image-{shape[0]}.json"
    raw.write_bytes(head + data)
    as_json.write_text(json.dumps({"inputs": [{**tensor, "data": image.ravel().tolist()}]}))
    return (
        Load(INFER, raw, CONNECTIONS, json_bytes=len(head)),
        Load(INFER, as_json, CONNECTIONS),
    )
