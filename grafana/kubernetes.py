"""The dashboards and rules as Kubernetes has them: nothing is kept twice by hand."""

from collections.abc import Iterable

import yaml

HEAD = "---\n# Written by `make dashboards`; do not edit.\n"


def dashboards_text(files: Iterable[str]) -> str:
    """Return a kustomization that makes a ConfigMap of each dashboard's file.

    Grafana's sidecar looks for the label.
    """
    generators = [
        {"name": f"inferometer-dashboard-{file.removesuffix('.json')}", "files": [file]}
        for file in files
    ]
    return _text(
        {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "configMapGenerator": generators,
            "generatorOptions": {
                "disableNameSuffixHash": True,
                "labels": {"grafana_dashboard": "1"},
            },
        }
    )


def rules_text(files: Iterable[str]) -> str:
    """Return a PrometheusRule with the groups of all these rules files, given as their texts."""
    groups = [group for text in files for group in yaml.safe_load(text)["groups"]]
    return _text(
        {
            "apiVersion": "monitoring.coreos.com/v1",
            "kind": "PrometheusRule",
            "metadata": {
                "name": "inferometer",
                "labels": {"app.kubernetes.io/name": "inferometer"},
            },
            "spec": {"groups": groups},
        }
    )


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as blocks, to be read, and sequences indented."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002 # PyYAML's own
        super().increase_indent(flow, indentless=False)


def _string(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = "|" if "\n" in value else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _string)


def _text(document: dict[str, object]) -> str:
    return HEAD + yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=110)
