"""The shipped configurations of Prometheus, Alertmanager and Grafana."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

PROJECT = Path(__file__).parents[3]
PROMETHEUS = PROJECT / "deploy/prometheus/prometheus.yml"
ALERTMANAGER = PROJECT / "deploy/alertmanager/alertmanager.yml"
PROVISIONING = PROJECT / "grafana/provisioning"

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed"
)
needs_amtool = pytest.mark.skipif(shutil.which("amtool") is None, reason="amtool is not installed")


def run(*command: object) -> str:
    ended = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, check=False, timeout=60
    )
    assert 0 == ended.returncode, ended.stdout + ended.stderr
    return ended.stdout


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


@needs_promtool
def test_promtool_takes_the_configuration_with_the_shipped_rules(tmp_path: Path) -> None:
    rules = PROJECT / "grafana/rules"
    (tmp_path / "prometheus.yml").write_text(
        PROMETHEUS.read_text().replace("/etc/prometheus/rules", str(rules))
    )

    output = run("promtool", "check", "config", tmp_path / "prometheus.yml")
    assert output.count("rules found") == len(list(rules.glob("*.yml")))


def test_native_variant_differs_by_its_two_keys() -> None:
    native = load(PROMETHEUS.with_name("prometheus-native.yml"))
    job = native["scrape_configs"][0]

    assert job.pop("scrape_native_histograms")
    assert job.pop("always_scrape_classic_histograms")
    assert native == load(PROMETHEUS)


@needs_amtool
def test_amtool_takes_the_alertmanagers_configuration() -> None:
    run("amtool", "check-config", ALERTMANAGER)


@needs_amtool
@pytest.mark.parametrize(
    ("severity", "receiver"), [("critical", "pages"), ("warning", "tickets"), ("info", "notes")]
)
def test_each_severity_goes_to_its_receiver(severity: str, receiver: str) -> None:
    route = ["config", "routes", "test", f"--config.file={ALERTMANAGER}"]
    labels = ["alertname=InferometerTargetDown", f"severity={severity}"]

    assert receiver == run("amtool", *route, *labels).strip()


def test_what_inhibits_is_an_alert_that_there_is() -> None:
    rules = (PROJECT / "grafana/rules/inferometer.yml").read_text()
    sources = [
        matcher
        for rule in load(ALERTMANAGER)["inhibit_rules"]
        for matcher in rule["source_matchers"]
    ]
    names = re.findall(r'alertname = "(\w+)"', "\n".join(sources))

    assert names
    assert all(f"- alert: {name}\n" in rules for name in names)


def test_grafana_finds_the_data_source_and_the_dashboards() -> None:
    [source] = load(PROVISIONING / "datasources/prometheus.yml")["datasources"]
    [provider] = load(PROVISIONING / "dashboards/inferometer.yml")["providers"]
    grafana = load(PROJECT / "deploy/compose.yml")["services"]["grafana"]
    mounts = dict(mount.split(":")[:2] for mount in grafana["volumes"])
    interval = load(PROMETHEUS)["global"]["scrape_interval"]

    assert interval == source["jsonData"]["timeInterval"]
    assert provider["options"]["path"] == mounts["../grafana/dashboards"]
    home = Path(grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert provider["options"]["path"] == str(home.parent)
    assert json.loads((PROJECT / "grafana/dashboards" / home.name).read_text())["uid"]
