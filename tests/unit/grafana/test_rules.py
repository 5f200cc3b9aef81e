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


OBJECTIVES = """
rule_files: [inferometer.yml]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - {series: '%s_count{job="inferometer",model="m",outcome="ok"}', values: '0+60x60'}
      - {series: '%s_bucket{job="inferometer",model="m",outcome="ok",le="0.25"}', values: '0x60'}
      - {series: '%s_bucket{job="inferometer",model="m",outcome="ok",le="2.5"}', values: '0+55x60'}
      - {series: '%s_count{job="inferometer",model="translate",outcome="ok"}', values: '0+60x60'}
      - {series: '%s_bucket{job="inferometer",model="translate",outcome="ok",le="0.25"}', values: '0x60'}
      - {series: '%s_bucket{job="inferometer",model="translate",outcome="ok",le="2.5"}', values: '0+55x60'}
    promql_expr_test:
      - expr: count by (model) (ALERTS{alertname="InferometerErrorBudgetBurn",alertstate="firing",window="1h"})
        eval_time: 50m
        exp_samples: [{samples}]
      - expr: round(60 * job_model:inferometer_slo_bad:rate5m{slo="latency",model="translate"}, 0.1)
        eval_time: 50m
        exp_samples: [{labels: '{job="inferometer",model="translate",slo="latency"}', value: {late}}]
""".replace("%s", "inferometer_request_duration_seconds")  # fmt: skip # noqa: E501


@needs_promtool
def test_model_may_have_an_objective_and_a_threshold_of_its_own(tmp_path: Path) -> None:
    shipped = (RULES / "inferometer.yml").read_text()
    head, groups = shipped.split("\ngroups:\n")
    # As the head of the rules says it.
    commented = [line[4:] for line in head.splitlines() if line.startswith("#   ")]
    start = commented.index("- record: slo:inferometer_objective:ratio")
    objective, threshold = commented[start : start + 3], commented[start + 3 :]
    first = "      - record: slo:inferometer_objective:ratio\n"
    ours = groups.replace(first, "\n".join(" " * 6 + line for line in objective) + f"\n{first}", 1)
    given = re.search(r"sum by \(job, model\) \(\n[^\n]*le=\"0.25\"[^\n]*\n +\)", ours)
    assert given is not None
    slower = ours.replace(given[0], "\n".join(" " * 14 + line for line in threshold).strip())

    burns = "{labels: '{model=\"m\"}', value: 1}"
    both_burn = burns + ", {labels: '{model=\"translate\"}', value: 1}"
    for text, samples, late in (
        (shipped, both_burn, "60"),
        # An objective of 0.9 cannot be missed 14.4 times over, and pages all the same.
        (f"groups:\n{ours}", both_burn, "60"),
        (f"groups:\n{slower}", burns, "5"),
    ):
        (tmp_path / "inferometer.yml").write_text(text)
        (tmp_path / "test.yml").write_text(
            OBJECTIVES.replace("{samples}", samples).replace("{late}", late)
        )
        ended = promtool("test", "rules", "test.yml", cwd=tmp_path)

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
