"""The alerts: promtool evaluates them over made-up series; each has its section in the runbook."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from grafana.definitions import DASHBOARDS

FOLDER = Path(__file__).parent
RULES = FOLDER.parents[2] / "grafana" / "rules"
RUNBOOK = FOLDER.parents[2] / "docs" / "runbook.md"
TESTS = sorted(FOLDER.glob("rules*_test.yml"))
SEVERITIES = {"critical", "warning", "info"}
LOOK_AT = re.compile(
    r"(overview|latency|batching|quality|drift|GPU|fleet): ([^.\n]+?)(?:[.\n]|; (?=[a-z`]|GPU:))"
)
# level:metric:operation, https://prometheus.io/docs/practices/rules/.
RECORDED = re.compile(r"[a-z_]+:inferometer_[a-z0-9_]+:[a-z0-9_]+")

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed"
)


def rules() -> list[dict[str, object]]:
    return [
        rule
        for file in sorted(RULES.glob("*.yml"))
        for group in yaml.safe_load(file.read_text())["groups"]
        for rule in group["rules"]
    ]


def promtool(*arguments: str, cwd: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["promtool", *arguments], cwd=cwd, capture_output=True, text=True, check=False, timeout=300
    )


@needs_promtool
@pytest.mark.parametrize("name", [file.name for file in TESTS])
def test_alerts_fire_and_stay_quiet_as_they_are_meant_to(tmp_path: Path, name: str) -> None:
    for file in (*RULES.glob("*.yml"), *TESTS):
        shutil.copy(file, tmp_path)
    ended = promtool("test", "rules", name, cwd=tmp_path)

    assert 0 == ended.returncode, ended.stdout[-6000:] + ended.stderr[-6000:]


@needs_promtool
@pytest.mark.parametrize("file", sorted(RULES.glob("*.yml")), ids=lambda file: file.name)
def test_rules_are_well_formed(file: Path) -> None:
    ended = promtool("check", "rules", "--lint=all", "--lint-fatal", file.name, cwd=RULES)

    assert 0 == ended.returncode, ended.stdout + ended.stderr


def test_every_alert_is_tested() -> None:
    text = "".join(file.read_text() for file in TESTS)
    tested = set(re.findall(r"alertname: (\w+)", text))

    assert [] == sorted({str(rule["alert"]) for rule in rules() if "alert" in rule} - tested)


def test_every_alert_says_how_bad_it_is_and_what_to_do() -> None:
    sections = set(re.findall(r"^### (\w+)$", RUNBOOK.read_text(), re.MULTILINE))
    alerts = [rule for rule in rules() if "alert" in rule]
    for rule in alerts:
        labels, annotations = rule["labels"], rule["annotations"]
        assert isinstance(labels, dict)
        assert isinstance(annotations, dict)
        assert labels["severity"] in SEVERITIES, rule["alert"]
        assert "for" in rule, rule["alert"]
        assert {"summary", "description", "runbook_url"} == annotations.keys(), rule["alert"]
        assert annotations["runbook_url"] == f"docs/runbook.md#{str(rule['alert']).lower()}"

    assert sections == {rule["alert"] for rule in alerts}


def test_every_section_of_the_runbook_says_four_things() -> None:
    for section in RUNBOOK.read_text().split("\n### ")[1:]:
        words = re.findall(r"^\*\*(\w+(?: at)?)\*\*", section, re.MULTILINE)

        assert ["Means", "Causes", "Look at", "Do"] == words, section[:60]


def test_panels_that_the_runbook_names_are_there() -> None:
    slugs = {dashboard.slug: dashboard for dashboard in DASHBOARDS}
    for name, named in LOOK_AT.findall(RUNBOOK.read_text()):
        rest = named
        for panel in sorted(slugs[name.lower()].panels, key=lambda panel: -len(panel.title)):
            rest = rest.replace(panel.title, "")

        assert not re.search(r"\b[A-Z]", rest), f"{name}: {named}"


def test_recorded_series_have_names_of_their_level() -> None:
    names = {str(rule["record"]) for rule in rules() if "record" in rule}

    assert [] == sorted(
        name
        for name in names
        if not RECORDED.fullmatch(name) and name != "slo:inferometer_objective:ratio"
    )
