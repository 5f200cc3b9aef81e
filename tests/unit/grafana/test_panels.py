"""Panels of several jobs, models and replicas, by promtool: what is added up, and over what."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

from grafana.definitions import DASHBOARDS
from grafana.promql import filled
from grafana.scope import written_out

VALUES = {
    "__rate_interval": "5m",
    "__range": "1h",
    "window": "1h",
    "job": ".+",
    "instance": ".+",
    "model": ".*",
    "version": ".*",
    "gpu": ".+",
    "cost": "1",
    "threshold": "0.25",
}
SM_BUSY = "inferometer_gpu_serving_sm_busy_seconds_total"
REQUESTS = "inferometer_request_duration_seconds_count"

pytestmark = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed"
)


class Case(NamedTuple):
    """A panel's query, the series there are, each minute of an hour, and what is to come of it."""

    where: str
    series: dict[str, str]
    expected: dict[str, float]
    chosen: dict[str, str] = {}  # noqa: RUF012 - nobody writes to it
    target: int = 0


def two_jobs(name: str, first: str, second: str, labels: str = "") -> dict[str, str]:
    """Return a series of two replicas of the same name in each of two jobs."""
    return {
        f'{name}{{job="{job}",instance="{instance}"{labels}}}': values
        for job, values in (("a", first), ("b", second))
        for instance in ("1", "2")
    }


CASES = {
    "each job is even by itself": Case(
        "fleet/Imbalance",
        two_jobs(REQUESTS, "0+600x60", "0+60x60"),
        {'{job="a"}': 1, '{job="b"}': 1},
    ),
    "replicas of the same name in two jobs are two": Case(
        "fleet/Busiest replicas",
        two_jobs(REQUESTS, "600+600x60", "60+60x60"),
        {
            '{job="a", instance="1"}': 10,
            '{job="a", instance="2"}': 10,
            '{job="b", instance="1"}': 1,
            '{job="b", instance="2"}': 1,
        },
    ),
    "of replicas that came late only their hours cost": Case(
        "fleet/Cost of 1,000 good answers",
        {
            'up{job="a",instance="1"}': "1x60",
            'up{job="a",instance="2"}': "_x30 1x29",
            f'{REQUESTS}{{job="a",instance="1",outcome="ok"}}': "0+100x60",
        },
        {"{}": 0.25},
    ),
    "replicas that do not have the chosen model are not expected": Case(
        "overview/Replicas ready",
        {
            **two_jobs("up", "1x60", "1x60"),
            'inferometer_model_state{job="a",instance="1",model="m",state="ready"}': "1x60",
            # Of one that is dead nothing is known: it counts.
            'up{job="a",instance="3"}': "0x60",
            **two_jobs("inferometer_model_state", "1x60", "1x60", ',model="n",state="ready"'),
        },
        {"{}": 2},
        {"model": "m", "job": "a|b"},
        target=1,
    ),
    "rows of replicas without a GPU are not a GPU's": Case(
        "gpu/Rows per busy second",
        {
            'inferometer_rows_total{job="a",instance="1"}': "0+6000x60",
            'inferometer_rows_total{job="a",instance="2"}': "0+6000x60",
            'inferometer_gpu_visible{job="a",instance="1",gpu_uuid="G"}': "1x60",
            'inferometer_gpu_busy_seconds_total{job="a",instance="1",gpu_uuid="G"}': "0+30x60",
        },
        {'{job="a"}': 200},
    ),
    "replicas that share a GPU have their shares of it": Case(
        "gpu/Our share",
        {f'{SM_BUSY}{{job="a",instance="{each}",gpu_uuid="G"}}': "0+24x60" for each in (1, 2)}
        | {'inferometer_gpu_utilization_ratio{job="a",instance="1",gpu_uuid="G"}': "0.8x60"},
        {'{gpu_uuid="G"}': 0.8},
    ),
    "a version that is not served any more has no last batch": Case(
        "batching/Runner stalled, age of the last batch",
        {
            f'inferometer_model_last_batch_timestamp_seconds{{instance="1",job="a",model="m",version="{version}"}}': at  # noqa: E501
            for version, at in (("1", "60x60"), ("2", "0+60x60"))
        }
        | {
            f'inferometer_model_state{{instance="1",job="a",model="m",state="ready",version="{version}"}}': at  # noqa: E501
            for version, at in (("1", "0x60"), ("2", "1x60"))
        },
        {'{model="m", version="2"}': 0},
        target=1,
    ),
    "a version with few rows is not the worst": Case(
        "drift/Worst input",
        {
            f'job_model_version_feature:inferometer_{name}:1d{{job="a",model="m",feature="age",version="{version}"}}': f"{value}x60"  # noqa: E501
            for version, of in {
                "1": {"psi": 0.4, "feature_rows": 100_000},
                "2": {"psi": 0.86, "feature_rows": 12},
            }.items()
            for name, value in of.items()
        },
        {"{}": 0.4},
    ),
    "the fullest queue is that of the smallest limit": Case(
        "batching/Rows waiting and their limit",
        {
            f'inferometer_queue_{name}{{job="a",instance="{instance}",model="m"}}': f"{value}x60"
            for instance, of in {
                "1": {"rows": 200, "limit_rows": 1000},
                "2": {"rows": 32, "limit_rows": 64},
            }.items()
            for name, value in of.items()
        },
        {'{model="m"}': 0.5},
        target=2,
    ),
    "blocks are held against the processes of their own replica": Case(
        "fleet/Blocks and processes",
        {
            'inferometer_exporter_blocks{job="a",instance="1"}': "30x60",
            'inferometer_processes{job="a",instance="1",role="runner"}': "4x60",
            'inferometer_exporter_blocks{job="a",instance="2"}': "34x60",
            'inferometer_processes{job="a",instance="2",role="runner"}': "34x60",
        },
        {"{}": 26},
        target=1,
    ),
    "runners that share a device share its time": Case(
        "batching/Device busy",
        {
            'inferometer_device_active_seconds_total{job="a",instance="1",device="cpu"}': "0+72x60",
            'inferometer_device_runners{job="a",instance="1",device="cpu"}': "2x60",
        },
        {'{job="a", instance="1", device="cpu"}': 0.6},
    ),
    "refusals in a millisecond do not make it fast": Case(
        "overview/Latency",
        {
            f'inferometer_request_duration_seconds_bucket{{job="a",instance="1",model="m",outcome="{outcome}",le="{le}"}}': values  # noqa: E501
            for outcome, le, values in (
                ("server_error", "0.001", "0+600x60"),
                ("server_error", "+Inf", "0+600x60"),
                ("ok", "0.25", "0x60"),
                ("ok", "0.5", "0+60x60"),
                ("ok", "+Inf", "0+60x60"),
            )
        },
        {"{}": 0.38},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_panel_adds_up_what_belongs_together(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    slug, _, title = case.where.partition("/")
    [dashboard] = [each for each in DASHBOARDS if each.slug == slug]
    [panel] = [each for each in dashboard.panels if each.title == title]
    expression = filled(written_out(panel.targets[case.target].expression), VALUES | case.chosen)
    test = {
        "interval": "1m",
        "input_series": [
            {"series": name, "values": values} for name, values in case.series.items()
        ],
        "promql_expr_test": [
            {
                "expr": f"round({expression}, 0.01)",
                "eval_time": "59m",
                "exp_samples": [
                    {"labels": labels, "value": value} for labels, value in case.expected.items()
                ],
            }
        ],
    }
    (tmp_path / "test.yml").write_text(json.dumps({"evaluation_interval": "1m", "tests": [test]}))

    ended = subprocess.run(
        ["promtool", "test", "rules", "test.yml"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert 0 == ended.returncode, ended.stdout + ended.stderr
