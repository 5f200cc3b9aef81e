"""Writes the dashboards and rules, or with --check says whether the files are current.

With a figure and a window it prints the figure's PromQL.
"""

import re
import sys
from pathlib import Path

from grafana.classic import dashboard_json
from grafana.definitions import DASHBOARDS
from grafana.expansion import promql
from grafana.figures import FIGURES
from grafana.rules import rules_text

WINDOW = re.compile(r"(\d+[smhdw])+")
FOLDER = Path(__file__).parent
# The objectives and the alerts; the figures they stand on are generated.
WRITTEN_BY_HAND = "rules/inferometer.yml"


def main(arguments: list[str]) -> int:
    """Return 0 when the files were written or are current, 1 when not, 2 for wrong usage."""
    match arguments:
        case [name, window] if name in FIGURES and WINDOW.fullmatch(window):
            print(promql(name, window))
            return 0
        case [] | ["--check"]:
            pass
        case _:
            print("usage: python -m grafana [--check | FIGURE WINDOW]", file=sys.stderr)
            return 2
    wanted = {
        f"dashboards/{dashboard.slug}.json": dashboard_json(dashboard) for dashboard in DASHBOARDS
    }
    wanted["rules/quality.yml"] = rules_text()
    if not arguments:
        for name, text in wanted.items():
            (FOLDER / name).write_text(text)
        return 0
    files = {*FOLDER.glob("dashboards/*"), *FOLDER.glob("rules/*")} - {FOLDER / WRITTEN_BY_HAND}
    found = {path.relative_to(FOLDER).as_posix(): path.read_text() for path in files}
    if found == wanted:
        return 0
    stale = sorted(
        name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name)
    )
    print(f"stale: {', '.join(stale)}; run: make dashboards", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
