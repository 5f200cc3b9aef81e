"""One line of a benchmark, and the table that the lines make."""

import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

DISTRIBUTIONS = (
    "flask", "gunicorn", "gevent", "prometheus-client", "tensorflow-cpu", "numpy", "orjson",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Ratio:
    """A measurement beside its reference. `target` says what the ratio must be."""

    what: str
    measured: str
    reference: str
    ratio: float
    target: str
    is_met: bool
    spread: str = ""


@dataclass(frozen=True, slots=True)
class Cost:
    """How long something took, in microseconds, over so many times, with `library`."""

    what: str
    library: str
    times: int
    median: float
    slowest: float


def summary(samples: Sequence[float], unit: str) -> str:
    """Return median and range of rounds."""
    digits = 0 if statistics.median(samples) >= 100 else 2  # noqa: PLR2004
    low, high = min(samples), max(samples)
    return f"{statistics.median(samples):,.{digits}f} {unit} ({low:,.{digits}f}–{high:,.{digits}f})"


def table(rows: Sequence[Ratio]) -> str:
    """Return the lines as a Markdown table."""
    head = "| what | measured | reference | ratio | target | met |\n"
    head += "| --- | --- | --- | --- | --- | --- |\n"
    return head + "".join(
        f"| {row.what} | {row.measured} | {row.reference} | **{row.ratio:.3f}** | {row.target} | "
        f"{'yes' if row.is_met else 'no'} |\n"
        for row in rows
    )


def cost_table(costs: Sequence[Cost]) -> str:
    """Return costs as a Markdown table, the longest first."""
    head = "| costs of parts | library | times | median µs | 99th percentile µs |\n"
    head += "| --- | --- | --- | --- | --- |\n"
    return head + "".join(
        f"| {one.what} | {one.library} | {one.times} | {one.median:,.1f} | {one.slowest:,.1f} |\n"
        for one in sorted(costs, key=lambda one: -one.median)
    )


def document(rows: Sequence[Ratio], costs: Sequence[Cost]) -> str:
    """Return BENCHMARKS.md's text."""
    return (
        "# Benchmarks\n\n"
        "Written by `make bench`. Each row compares two things measured side by side in one run on "
        "loopback, in alternating rounds; shown are median and range. The ratio is what counts: "
        "absolute numbers say more about the machine than about the software.\n\n"
        f"{_machine()}\n\n{table(rows)}\n{cost_table(costs)}"
    )


def _machine() -> str:
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in DISTRIBUTIONS)
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"Machine: {os.cpu_count()} cores ({model}), {memory:.0f} GiB, Linux {platform.release()}. "
        f"Python {platform.python_version()}, {versions}."
    )
