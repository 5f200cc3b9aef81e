"""The dashboards keep the rules of grafana/lint.py, and each rule finds what breaks it."""

import json
from dataclasses import replace

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard as Decoded

from exporter import CATALOGUE
from grafana import promql
from grafana.classic import dashboard_json
from grafana.definitions import DASHBOARDS
from grafana.known import rule_expressions
from grafana.lint import problems
from grafana.model import Dashboard, Panel, Row, Target
from grafana.scope import written_out

# Context for queries of one's own.
ON_NO_PANEL = {"inferometer_bleu_info", "inferometer_bleu_sentences_total"}


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda dashboard: dashboard.slug)
def test_dashboard_keeps_the_rules(dashboard: Dashboard) -> None:
    assert [] == problems(dashboard)


def test_every_metric_is_on_a_panel_or_in_a_rule() -> None:
    expressions = [
        written_out(target.expression)
        for dashboard in DASHBOARDS
        for panel in dashboard.panels
        for target in panel.targets
    ]
    used = {
        selector.metric
        for expression in (*expressions, *rule_expressions())
        for selector in promql.used(expression).selectors
    }
    parts = ("", "_bucket", "_sum", "_count")
    missing = {
        family.name for family in CATALOGUE if not used & {family.name + part for part in parts}
    }

    assert ON_NO_PANEL == missing


PANEL = Panel(
    "Requests",
    "timeseries",
    "reqps",
    "Requests answered, failures included.",
    (
        Target(
            "sum by (model) (rate(inferometer_request_duration_seconds_count{S}[RI]))", "{{model}}"
        ),
    ),
)
SOUND = Dashboard("sound", "Sound", "Is it?", (Row("Now", (PANEL,)),))


def with_panel(**changes: object) -> Dashboard:
    return replace(SOUND, rows=(Row("Now", (replace(PANEL, **changes),)),))  # type: ignore[arg-type]


def with_query(expression: str, legend: str = "", **changes: object) -> Dashboard:
    return with_panel(targets=(Target(expression, legend),), **changes)


REQUESTS = "sum(rate(inferometer_requests_total{S%s}[RI]))"
FAILURES = "sum(rate(inferometer_request_failures_total{S%s}[RI]))"
BUCKETS = "sum(rate(inferometer_request_duration_seconds_bucket{S%s}[RI]))"
BY_CLASS = "sum by (predicted) (rate(inferometer_predictions_total{S}[RI]))"


def test_sound_dashboard_has_no_problem() -> None:
    assert [] == problems(SOUND)


@pytest.mark.parametrize(
    ("rule", "dashboard"),
    [
        ("frame", replace(SOUND, rows=(Row("Now", (PANEL, PANEL)),))),
        ("variables", replace(SOUND, variables=("job", "instance", "model"))),
        ("variables", replace(SOUND, variables=(*SOUND.variables, "window"))),
        ("described", with_panel(description="short.")),
        ("described", with_panel(targets=())),
        ("absence", with_panel(absent="")),
        ("absence", with_query(REQUESTS % "", kind="stat")),
        ("lines", with_query(REQUESTS.replace("sum", "sum by (predicted)") % "", "{{predicted}}")),
        ("lines", with_query(f"topk(20, {BY_CLASS})", "{{predicted}}")),
        ("exemplar", with_panel(has_exemplars=True)),
        ("parses", with_query("sum(")),
        ("known", with_query("sum(rate(inferometer_request_total{S}[RI]))")),
        ("known", with_query(REQUESTS % ', colour="red"')),
        ("known", with_query(REQUESTS.replace("sum", "sum by (colour)") % "")),
        ("known", with_query(REQUESTS % "", "{{colour}}")),
        ("known", with_query(FAILURES % ', reason="bored"')),
        ("scoped", with_query("sum(rate(inferometer_requests_total[RI]))")),
        ("rates", with_query("sum(inferometer_requests_total{S})")),
        ("rates", with_query("sum(rate(inferometer_queue_rows{SM}[RI]))")),
        ("bucket", with_query(BUCKETS % ', le="0.2"')),
    ],
)  # fmt: skip
def test_what_breaks_a_rule_is_reported_under_its_name(rule: str, dashboard: Dashboard) -> None:
    assert rule in {problem.rule for problem in problems(dashboard)}


def test_rows_of_tables_open_dashboards_with_labels_they_have() -> None:
    slugs = {dashboard.slug for dashboard in DASHBOARDS}
    linking = [panel for dashboard in DASHBOARDS for panel in dashboard.panels if panel.link]
    for panel in linking:
        grouped = {
            label
            for target in panel.targets
            for _, labels in promql.used(written_out(target.expression)).grouped
            for label in labels
        }
        recorded = (
            {"model", "version", "feature"} if ":inferometer_" in str(panel.targets) else set()
        )

        assert panel.link in slugs
        assert panel.linked
        assert set(panel.linked) <= grouped | recorded, panel.title

    assert linking


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda dashboard: dashboard.slug)
def test_foundation_sdk_reads_and_writes_it(dashboard: Dashboard) -> None:
    document = json.loads(dashboard_json(dashboard))
    again = json.loads(JSONEncoder(sort_keys=True).encode(Decoded.from_json(document)))
    for each in (document, again):
        # Those of closed rows too.
        each["panels"] += [panel for row in each["panels"] for panel in row.get("panels", ())]

    assert document.keys() <= again.keys()
    assert [panel["title"] for panel in document["panels"]] == [
        panel["title"] for panel in again["panels"]
    ]
    for ours, theirs in zip(document["panels"], again["panels"], strict=True):
        if ours["type"] != "row":
            assert [t["expr"] for t in ours["targets"]] == [t["expr"] for t in theirs["targets"]]
            assert ours["gridPos"].items() <= theirs["gridPos"].items()
