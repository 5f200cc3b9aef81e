"""The README's questions about GPUs, evaluated by promtool over series of known outcome."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from exporter.catalogue.gpu import FAMILIES

PROJECT = Path(__file__).parents[2]
GPUS = (PROJECT / "docs" / "gpus.md").read_text()


def queries() -> dict[str, str]:
    """Return the README's queries by the remark above each."""
    section = (PROJECT / "README.md").read_text().partition("\n## GPUs\n")[2]
    block = section.partition("```\n")[2].partition("```")[0]
    lines = block.splitlines()
    return {
        remark.removeprefix("# ").partition(":")[0]: expression
        for remark, expression in zip(lines[::2], lines[1::2], strict=True)
    }


def series(name: str, labels: str, values: str) -> dict[str, str]:
    return {"series": f"inferometer_{name}{{{labels}}}", "values": values}


# Two servers of one host see GPU a, the second may not use it; GPU b is another host's.
# A minute apart; all rates are a second's sixtieth of the steps.
SERIES = [
    series("gpu_visible", 'instance="one",gpu_uuid="a"', "1x20"),
    series("gpu_visible", 'instance="two",gpu_uuid="a"', "1x20"),
    series("gpu_visible", 'instance="two",gpu_uuid="c"', "0x20"),
    series("gpu_visible", 'instance="far",gpu_uuid="b"', "1x20"),
    # Two share GPU d, of which one has all the work; a server without GPUs has rows, too.
    series("gpu_visible", 'instance="first",gpu_uuid="d"', "1x20"),
    series("gpu_visible", 'instance="second",gpu_uuid="d"', "1x20"),
    series("gpu_energy_joules_total", 'instance="first",gpu_uuid="d"', "0+6000x20"),
    series("gpu_energy_joules_total", 'instance="second",gpu_uuid="d"', "0+6000x20"),
    series("gpu_busy_seconds_total", 'instance="first",gpu_uuid="d"', "0+30x20"),
    series("gpu_busy_seconds_total", 'instance="second",gpu_uuid="d"', "0+30x20"),
    series("rows_total", 'instance="first",model="m",version="1"', "0+300x20"),
    series("rows_total", 'instance="second",model="m",version="1"', "0x20"),
    series("rows_total", 'instance="cpu",model="m",version="1"', "0+60000x20"),
    series("queue_rows", 'instance="first",model="m"', "1x20"),
    series("queue_rows", 'instance="second",model="m"', "0x20"),
    series("gpu_energy_joules_total", 'instance="one",gpu_uuid="a"', "0+6000x20"),
    series("gpu_energy_joules_total", 'instance="two",gpu_uuid="a"', "0+6000x20"),
    series("gpu_energy_joules_total", 'instance="two",gpu_uuid="c"', "0+60000x20"),
    series("gpu_energy_joules_total", 'instance="far",gpu_uuid="b"', "0+12000x20"),
    series("gpu_busy_seconds_total", 'instance="one",gpu_uuid="a"', "0+15x20"),
    series("gpu_busy_seconds_total", 'instance="two",gpu_uuid="a"', "0+15x20"),
    series("gpu_busy_seconds_total", 'instance="two",gpu_uuid="c"', "0+60x20"),
    series("gpu_busy_seconds_total", 'instance="far",gpu_uuid="b"', "0+45x20"),
    series("rows_total", 'instance="one",model="m",version="1"', "0+600x20"),
    series("rows_total", 'instance="two",model="m",version="1"', "0+300x20"),
    series("rows_total", 'instance="far",model="m",version="1"', "0x20"),
    series("queue_rows", 'instance="one",model="m"', "8x20"),
    series("queue_rows", 'instance="two",model="m"', "0x20"),
    series("queue_rows", 'instance="far",model="m"', "8x20"),
]
EXPECTED = {
    # (100 + 200 + 100) W over (10 + 5 + 5) rows a second.
    "joules a row": [{"labels": "{}", "value": 20}],
    # 20 rows a second over (0.25 + 0.75 + 0.5) busy seconds a second.
    "rows in a busy second of a GPU": [{"labels": "{}", "value": 20 / 1.5}],
    # The far one's GPU is busy for 0.75 of the time; the others have next to nothing waiting.
    "idle while serving": [{"labels": '{instance="one"}', "value": 0.25}],
    # GPU a is busy with the rows of both, d with those of one.
    "busy without traffic": [{"labels": '{gpu_uuid="b"}', "value": 0.75}],
}


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_questions_of_the_readme_have_the_answers_that_were_worked_out(tmp_path: Path):
    found = queries()
    (tmp_path / "rules.yml").write_text("groups: []\n")
    tests = [
        {"expr": found[name], "eval_time": "15m", "exp_samples": samples}
        for name, samples in EXPECTED.items()
    ]
    # JSON is YAML.
    content = {
        "rule_files": ["rules.yml"],
        "tests": [{"interval": "1m", "input_series": SERIES, "promql_expr_test": tests}],
    }
    (tmp_path / "test.yml").write_text(json.dumps(content))
    done = subprocess.run(
        ["promtool", "test", "rules", tmp_path / "test.yml"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert found.keys() == EXPECTED.keys()
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_metric_is_explained_in_a_row_of_its_own():
    rows = GPUS.partition("| metric |")[2].partition("\n## ")[0].splitlines()
    cells = [row.split("|")[1] for row in rows if row.startswith("| `")]
    named = [name for cell in cells for name in re.findall(r"`(\w+)`", cell)]

    assert sorted(one.name.removeprefix("inferometer_gpu_") for one in FAMILIES) == sorted(named)
