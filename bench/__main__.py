"""Runs every benchmark, prints the table and writes BENCHMARKS.md.

About a quarter of an hour on two cores.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from bench import gpus, quality, raw_tensors, recording, scraping, throughput
from bench.report import Ratio, cost_table, document, table


def main() -> int:
    """Return 0 when everything was measured, whatever the ratios."""
    if shutil.which("wrk") is None:
        print("bench: wrk is missing; on Debian: apt-get install wrk", file=sys.stderr)
        return 1
    rows: list[Ratio] = []
    with tempfile.TemporaryDirectory() as folder:
        print("making the models", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "bench.models", folder], check=True)
        print("throughput", file=sys.stderr)
        rows += throughput.measure(Path(folder))
        print("raw tensors", file=sys.stderr)
        rows += raw_tensors.measure(Path(folder))
        print("quality", file=sys.stderr)
        rows += quality.measure(Path(folder))
        print("GPUs", file=sys.stderr)
        rows += gpus.measure(Path(folder))
    costs = [*gpus.costs(), *quality.costs()]
    print("recording", file=sys.stderr)
    rows += recording.measure()
    print("scraping", file=sys.stderr)
    rows += scraping.measure()
    print(table(rows), cost_table(costs), sep="\n")
    Path("BENCHMARKS.md").write_text(document(rows, costs))
    return 0


if __name__ == "__main__":
    sys.exit(main())
