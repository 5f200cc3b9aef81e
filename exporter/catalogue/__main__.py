"""Writes METRICS.md from the catalogue, or with --check says whether the file is current."""

import sys
from pathlib import Path

from exporter.catalogue.reference import metric_reference


def main(arguments: list[str]) -> int:
    """Return 0 when the file was written or is current, 1 when it is stale, 2 for wrong usage."""
    if arguments not in ([], ["--check"]):
        print("usage: python -m exporter.catalogue [--check]", file=sys.stderr)
        return 2
    path = Path("METRICS.md")
    if not arguments:
        path.write_text(metric_reference())
        return 0
    if path.exists() and path.read_text() == metric_reference():
        return 0
    print("METRICS.md is stale; run: make metrics", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
