"""A package that is hidden while others are imported, and is there again afterwards."""

import subprocess
import sys

import pytest

from serving.runner.lighter_imports import without


def test_package_is_not_found_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)

    with without("colorsys"), pytest.raises(ImportError):
        import colorsys
    import colorsys

    assert "colorsys" in sys.modules
    with without("colorsys"):
        import colorsys  # noqa: F401 - what was there stays


def test_runner_does_without_what_keras_would_import() -> None:
    program = (
        "import serving.runner.tensorflow_model, sys; print('sklearn' in sys.modules);"
        "import sklearn; print(sklearn.__name__)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120
    )

    assert "False\nsklearn\n" == ended.stdout
