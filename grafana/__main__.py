"""Writes the dashboards and rules, or with --check says whether the files are current.

With a figure and a window it prints the figure's PromQL.
"""

import re
import sys
from pathlib import Path

from grafana import kubernetes
from grafana.classic import dashboard_json
from grafana.definitions import DASHBOARDS
from grafana.expansion import promql
from grafana.figures import FIGURES
from grafana.rules import rules_text

WINDOW = re.compile(r"(\d+[smhdw])+")
PROJECT = Path(__file__).parents[1]
# The objectives and the alerts; the figures they stand on are generated.
WRITTEN_BY_HAND = "grafana/rules/inferometer.yml"
FOLDERS = ("grafana/dashboards", "grafana/rules")
KUBERNETES_RULES = "deploy/kubernetes/components/rules/rules.yaml"


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
    wanted = _wanted()
    if not arguments:
        for name, text in wanted.items():
            (PROJECT / name).write_text(text)
        return 0
    files = {path for folder in FOLDERS for path in (PROJECT / folder).iterdir()}
    names = {path.relative_to(PROJECT).as_posix() for path in files} | {KUBERNETES_RULES}
    found = {
        name: (PROJECT / name).read_text()
        for name in names - {WRITTEN_BY_HAND}
        if (PROJECT / name).exists()
    }
    if found == wanted:
        return 0
    stale = sorted(
        name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name)
    )
    print(f"stale: {', '.join(stale)}; run: make dashboards", file=sys.stderr)
    return 1


def _wanted() -> dict[str, str]:
    """Return each generated file's text by its path in the project."""
    dashboards = {f"{dashboard.slug}.json": dashboard_json(dashboard) for dashboard in DASHBOARDS}
    quality = rules_text()
    return {
        **{f"grafana/dashboards/{file}": text for file, text in dashboards.items()},
        "grafana/dashboards/kustomization.yaml": kubernetes.dashboards_text(dashboards),
        "grafana/rules/quality.yml": quality,
        KUBERNETES_RULES: kubernetes.rules_text([(PROJECT / WRITTEN_BY_HAND).read_text(), quality]),
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
