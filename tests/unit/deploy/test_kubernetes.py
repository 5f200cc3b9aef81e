"""The manifests: rendered by kubectl, checked against Kubernetes' schemas and against ourselves."""

import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from serving.settings import Settings
from serving.settings_reading import load_settings

PROJECT = Path(__file__).parents[3]
KUBERNETES = PROJECT / "deploy/kubernetes"
OVERLAYS = sorted(path.name for path in (KUBERNETES / "overlays").iterdir())
# The newest that the schemas have, and two before.
VERSIONS = ("1.35", "1.36", "1.37")
# Of the Prometheus operator and of KEDA: Kubernetes' own schemas do not have them.
CUSTOM = {"PodMonitor", "PrometheusRule", "ScaledObject"}

pytestmark = pytest.mark.skipif(
    shutil.which("kubectl") is None, reason="kubectl, which renders, is not installed"
)

Manifest = dict[str, Any]


def kustomize(folder: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["kubectl", "kustomize", str(folder)], capture_output=True, text=True, check=False
    )


def render(folder: Path) -> list[Manifest]:
    ended = kustomize(folder)
    assert 0 == ended.returncode, ended.stderr
    return list(yaml.safe_load_all(ended.stdout))


@pytest.fixture(scope="module", params=OVERLAYS)
def manifests(request: pytest.FixtureRequest) -> list[Manifest]:
    return render(KUBERNETES / "overlays" / request.param)


def of_kind(manifests: list[Manifest], kind: str) -> list[Manifest]:
    return [manifest for manifest in manifests if manifest["kind"] == kind]


def pod(manifests: list[Manifest]) -> Manifest:
    [deployment] = of_kind(manifests, "Deployment")
    spec: Manifest = deployment["spec"]["template"]["spec"]
    return spec


def server_settings(manifests: list[Manifest], tmp_path: Path) -> Settings:
    """Return the settings with which the container's server starts."""
    [text] = [
        manifest["data"]["inferometer.toml"]
        for manifest in of_kind(manifests, "ConfigMap")
        if "inferometer.toml" in manifest["data"]
    ]
    [container] = pod(manifests)["containers"]
    assert container["command"] == ["inferometer"]
    verb, config = container["args"]
    assert (verb, config) == ("serve", "--config=/etc/inferometer/inferometer.toml")
    file = tmp_path / "inferometer.toml"
    for model in tomllib.loads(text)["models"].values():
        (tmp_path / model.lstrip("/")).mkdir(parents=True)
    file.write_text(text.replace('"/models/', f'"{tmp_path}/models/'))
    environment = {
        each["name"]: each.get("value", "redis://redis") for each in container.get("env", [])
    }
    if keys := environment.get("INFEROMETER_FEEDBACK_KEYS_FILE"):
        (tmp_path / "keys").write_text("k" * 32)
        environment["INFEROMETER_FEEDBACK_KEYS_FILE"] = str(tmp_path / Path(keys).name)
    return load_settings(flags={}, environment=environment, file=file)


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_takes_them(manifests: list[Manifest], version: str) -> None:
    own = [manifest for manifest in manifests if manifest["kind"] not in CUSTOM]

    assert len(own) > 10
    for manifest in own:
        kubernetes_validate.validate(manifest, version, strict=True)


def test_server_takes_its_settings_and_has_time_to_drain(
    manifests: list[Manifest], tmp_path: Path
) -> None:
    settings = server_settings(manifests, tmp_path)
    drain = (
        settings.pre_stop_seconds
        + settings.drain_seconds
        + settings.runner_stop_seconds
        + settings.linger_seconds
    )
    spec = pod(manifests)
    readiness = spec["containers"][0]["readinessProbe"]

    # What hangs has some seconds more at each step.
    assert spec["terminationGracePeriodSeconds"] >= drain + 20
    # Who looks by himself with the same probe, a load balancer, needs one failure to see it.
    assert settings.pre_stop_seconds >= readiness["periodSeconds"]
    assert {"http": settings.port, "metrics": settings.metrics_port} == {
        port["name"]: port["containerPort"] for port in spec["containers"][0]["ports"]
    }


def test_models_settings_and_store_are_where_the_server_looks(
    manifests: list[Manifest], tmp_path: Path
) -> None:
    settings = server_settings(manifests, tmp_path)
    spec = pod(manifests)
    mounts = {
        mount["name"]: Path(mount["mountPath"]) for mount in spec["containers"][0]["volumeMounts"]
    }
    volumes = {volume["name"]: volume for volume in spec["volumes"]}

    assert mounts.keys() == volumes.keys()
    models = tmp_path / mounts["models"].relative_to("/")
    assert all(path.is_relative_to(models) for path in settings.models.values())
    assert settings.store_path is not None
    assert settings.store_path.is_relative_to(mounts["store"])
    assert volumes["store"]["emptyDir"] == {"medium": "Memory", "sizeLimit": "256Mi"}


def test_containers_may_do_nothing_that_they_need_not(manifests: list[Manifest]) -> None:
    """Of the Pod Security Standards, "restricted"."""
    spec = pod(manifests)
    [container] = spec["containers"]

    assert spec["securityContext"]["runAsNonRoot"]
    assert {"type": "RuntimeDefault"} == spec["securityContext"]["seccompProfile"]
    assert not spec["automountServiceAccountToken"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_processors_are_whole_and_all_of_them_asked_for(manifests: list[Manifest]) -> None:
    [container] = pod(manifests)["containers"]
    resources = container["resources"]

    assert resources["requests"]["cpu"] == resources["limits"]["cpu"]
    assert int(resources["limits"]["cpu"]) >= 1


def test_every_replica_is_scraped_as_the_rules_expect(manifests: list[Manifest]) -> None:
    [monitor] = of_kind(manifests, "PodMonitor")
    [deployment] = of_kind(manifests, "Deployment")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    prometheus = yaml.safe_load((PROJECT / "deploy/prometheus/prometheus.yml").read_text())

    assert monitor["spec"]["selector"]["matchLabels"].items() <= labels.items()
    # Then the job is NAMESPACE/NAME.
    assert "jobLabel" not in monitor["spec"]
    assert "inferometer" in monitor["metadata"]["name"]
    assert monitor["spec"]["sampleLimit"] == prometheus["scrape_configs"][0]["sample_limit"]
    [endpoint] = monitor["spec"]["podMetricsEndpoints"]
    assert endpoint["port"] == "metrics"
    assert endpoint["interval"] == prometheus["global"]["scrape_interval"]


def test_rules_and_dashboards_are_those_that_are_shipped(manifests: list[Manifest]) -> None:
    [rule] = of_kind(manifests, "PrometheusRule")
    files = ["inferometer.yml", "quality.yml"]
    groups = [
        group
        for file in files
        for group in yaml.safe_load((PROJECT / "grafana/rules" / file).read_text())["groups"]
    ]
    shown = {
        name: text
        for manifest in of_kind(manifests, "ConfigMap")
        if manifest["metadata"].get("labels", {}).get("grafana_dashboard") == "1"
        for name, text in manifest["data"].items()
    }

    assert rule["spec"]["groups"] == groups
    dashboards = (PROJECT / "grafana/dashboards").glob("*.json")
    assert shown == {file.name: file.read_text() for file in dashboards}


def overlay(folder: Path, *components: str) -> Path:
    """Return an overlay of the base with these components, in a copy of the manifests."""
    shutil.copytree(PROJECT / "deploy", folder / "deploy")
    shutil.copytree(PROJECT / "grafana/dashboards", folder / "grafana/dashboards")
    made = folder / "deploy/kubernetes/overlays/made"
    made.mkdir()
    named = [f"../../components/{component}" for component in components]
    text = yaml.safe_dump({"resources": ["../../base"], "components": named})
    (made / "kustomization.yaml").write_text(text)
    return made


def test_autoscalers_ask_the_same_and_exclude_each_other(tmp_path: Path) -> None:
    components = KUBERNETES / "components"
    keda = yaml.safe_load((components / "autoscaling-keda/autoscaler.yaml").read_text())
    adapter = yaml.safe_load((components / "autoscaling-hpa/adapter-values.yaml").read_text())
    [trigger] = keda["spec"]["triggers"]
    [rule] = adapter["rules"]["external"]
    assert trigger["metadata"]["query"] == rule["metricsQuery"]

    ended = kustomize(overlay(tmp_path, "autoscaling-hpa", "autoscaling-keda"))
    assert ended.returncode
    assert "inferometer-autoscaler" in ended.stderr


@pytest.mark.parametrize(
    "component", sorted(path.name for path in (KUBERNETES / "components").iterdir())
)
def test_each_component_goes_with_the_base_alone(component: str, tmp_path: Path) -> None:
    manifests = render(overlay(tmp_path, component))

    for manifest in manifests:
        if manifest["kind"] not in CUSTOM:
            kubernetes_validate.validate(manifest, VERSIONS[-1], strict=True)
    [deployment] = of_kind(manifests, "Deployment")
    # A number in the manifest would put the fleet back with each apply.
    assert ("replicas" in deployment["spec"]) != component.startswith("autoscaling")


def test_disruption_budget_is_for_the_server(manifests: list[Manifest]) -> None:
    [budget] = of_kind(manifests, "PodDisruptionBudget")
    [deployment] = of_kind(manifests, "Deployment")

    # Without a selector it would be for no pod at all.
    assert budget["spec"]["selector"] == deployment["spec"]["selector"]


def test_network_policies_are_for_the_server_alone(manifests: list[Manifest]) -> None:
    policies = of_kind(manifests, "NetworkPolicy")

    assert policies
    ours = {"matchLabels": {"app.kubernetes.io/name": "inferometer"}}
    assert all(policy["spec"]["podSelector"] == ours for policy in policies)


def test_base_is_for_one_server_of_its_own_settings() -> None:
    settings = tomllib.loads((KUBERNETES / "base/inferometer.toml").read_text())

    assert settings.keys() <= Settings.model_fields.keys()
