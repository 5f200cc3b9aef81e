"""The rules of the house that neither ruff nor import-linter knows."""

import ast
import re
import tomllib
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from types import ModuleType

import pytest

import exporter
from serving.settings import Settings

PROJECT = Path(__file__).parents[2]
PROJECT_FILE = tomllib.loads((PROJECT / "pyproject.toml").read_text())
LOCKS = sorted((PROJECT / "requirements").glob("*.txt"))

MODULE_LINES = 300
FUNCTION_LINES = 40

# (module, function): why it is longer.
LONG_FUNCTIONS = {
    ("exporter/bundle.py", "__init__"): "the hot path is a closure over its local variables",
    ("exporter/settings.py", "_parser"): "a list of flags reads best as a list",
    ("serving/app.py", "make_app"): "everything of the application is put together in one place",
    ("serving/routes/open_inference.py", "make_blueprint"): "each view is a function of its own",
    ("serving/runner/__main__.py", "_run"): "the process from its first step to its last",
    ("serving/runner/loading.py", "load_version"): "the steps of a load in their order",
}

# Module: why it may catch everything.
WALLS = {
    "exporter/block/layout.py": "whatever another process's entry brings about, it is left out",
    "exporter/collectors/base.py": "a collector that raises costs its own rows only",
    "exporter/gpu/calls.py": "whatever the binding of NVML raises, the driver is opened anew",
    "exporter/gpu/thread.py": "a defect must not end the thread that reads the GPUs",
    "exporter/gpu/watch.py": "a defect must not end the thread that sees the driver hang",
    "exporter/gpu/xid.py": "a defect must not end the thread that waits for XID errors",
    "exporter/registry_copies.py": "a program's own collector that raises costs its own rows only",
    "serving/body.py": "what reading a body raises is the web server's choice; the caller is told",
    "serving/front_end.py": "what is raised in a thread is raised again where it was asked for",
    "serving/runner/batcher.py": "what a model raises fails its batch only",
    "serving/runner/measuring.py": "rows of one version that cannot be counted lose no others",
    "serving/runner/receiver.py": "one front-end's frame must not end the thread that reads all",
    "serving/runner/canary.py": "whatever a model raises for its own row, it is a failure",
    "serving/runner/loader.py": "a model that cannot be loaded keeps no other from being served",
    "serving/runner/warm_up.py": "generated inputs need not make sense to a model",
    "serving/service.py": "a defect fails one request only",
}


def _modules(*packages: str) -> Iterator[tuple[str, ast.Module]]:
    for package in packages:
        for path in sorted((PROJECT / package).rglob("*.py")):
            yield path.relative_to(PROJECT).as_posix(), ast.parse(path.read_text())


def test_no_module_is_long() -> None:
    lengths = {
        path: len((PROJECT / path).read_text().splitlines())
        for path, _ in _modules("exporter", "serving", "demo")
    }

    assert {} == {path: lines for path, lines in lengths.items() if lines > MODULE_LINES}


def test_only_functions_with_a_reason_are_long() -> None:
    long = {
        (path, node.name)
        for path, module in _modules("exporter", "serving", "demo")
        for node in ast.walk(module)
        if isinstance(node, ast.FunctionDef)
        and (node.end_lineno or 0) - node.lineno + 1 > FUNCTION_LINES
    }

    assert LONG_FUNCTIONS.keys() == long


def test_everything_is_caught_at_the_walls_only() -> None:
    catching = {
        path
        for path, module in _modules("exporter", "serving", "demo")
        for node in ast.walk(module)
        if isinstance(node, ast.ExceptHandler) and _catches_everything(node)
    }

    assert WALLS.keys() == catching


def _catches_everything(handler: ast.ExceptHandler) -> bool:
    if handler.type is None:
        return True
    names = {node.id for node in ast.walk(handler.type) if isinstance(node, ast.Name)}
    return not names.isdisjoint({"Exception", "BaseException"})


def test_tests_wait_for_events_and_use_real_objects() -> None:
    called = {
        (path, getattr(node.func, "attr", getattr(node.func, "id", "")))
        for path, module in _modules("tests")
        for node in ast.walk(module)
        if isinstance(node, ast.Call)
    }
    imported = {
        (path, f"{getattr(node, 'module', '')}.{alias.name}")
        for path, module in _modules("tests")
        for node in ast.walk(module)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }

    assert [] == [path for path, name in called if name == "sleep"]
    assert [] == [path for path, name in imported if re.search(r"\bmock\b", name)]


def test_public_names_of_the_exporter_are_all_listed() -> None:
    public = [
        name
        for name, value in vars(exporter).items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    ]

    assert sorted(public) == sorted(exporter.__all__)


def test_readme_names_every_setting() -> None:
    text = (PROJECT / "README.md").read_text()

    assert [] == [name for name in Settings.model_fields if f"`{name}`" not in text]


def test_wheel_holds_the_two_packages_and_the_command() -> None:
    wheel = PROJECT_FILE["tool"]["hatch"]["build"]["targets"]["wheel"]

    assert ["exporter", "serving"] == wheel["packages"]
    assert {"inferometer": "serving.cli:main"} == PROJECT_FILE["project"]["scripts"]


def test_base_install_is_the_exporter_alone() -> None:
    names = {re.split(r"[^\w-]", line)[0] for line in PROJECT_FILE["project"]["dependencies"]}

    assert {"nvidia-ml-py", "prometheus-client"} == names


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_lock_pins_by_hash_and_names_no_address(lock: Path) -> None:
    text = lock.read_text()
    requirements = re.findall(r"^[a-z].*", text, flags=re.MULTILINE)

    assert requirements
    assert all("==" in line and line.endswith("\\") for line in requirements)
    assert "://" not in text


def test_contributing_gives_a_reason_for_every_dependency() -> None:
    project = PROJECT_FILE["project"]
    wanted = chain(project["dependencies"], *project["optional-dependencies"].values())
    names = {re.split(r"[^\w-]", line)[0] for line in wanted} - {"inferometer"}
    text = (PROJECT / "CONTRIBUTING.md").read_text()

    assert [] == [name for name in sorted(names) if f"| `{name}` |" not in text]
