"""Writes the dashboards, or with --check says whether the files are current."""

import sys
from pathlib import Path

from grafana.classic import dashboard_json
from grafana.definitions import DASHBOARDS

FOLDER = Path(__file__).parent / "dashboards"


def main(arguments: list[str]) -> int:
    """Return 0 when the files were written or are current, 1 when not, 2 for wrong usage."""
    if arguments not in ([], ["--check"]):
        print("usage: python -m grafana [--check]", file=sys.stderr)
        return 2
    wanted = {f"{dashboard.slug}.json": dashboard_json(dashboard) for dashboard in DASHBOARDS}
    if not arguments:
        for name, text in wanted.items():
            (FOLDER / name).write_text(text)
        return 0
    found = {path.name: path.read_text() for path in FOLDER.glob("*.json")}
    if found == wanted:
        return 0
    stale = sorted(
        name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name)
    )
    print(f"stale dashboards: {', '.join(stale)}; run: make dashboards", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
