"""Settings: three sources, one verdict, and a sentence for everything that is wrong."""

from pathlib import Path

import pytest

from serving.errors import SettingsError
from serving.settings import Settings
from serving.settings_reading import load_settings


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "digits"
    folder.mkdir()
    return folder


def test_flags_win_over_the_environment_and_that_over_the_file(tmp_path: Path, model: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text(
        f"port = 1\nworkers = 2\nmax_batch_rows = 8\n[models]\ndigits = {str(model)!r}\n"
    )

    settings = load_settings(
        flags={"port": "3"},
        environment={"INFEROMETER_PORT": "2", "INFEROMETER_WORKERS": "5", "HOME": "/"},
        file=file,
    )

    assert (settings.port, settings.workers, settings.max_batch_rows) == (3, 5, 8)
    assert settings.models == {"digits": model}


def test_a_model_without_a_name_is_called_like_its_folder(model: Path, tmp_path: Path) -> None:
    (tmp_path / "net.keras").touch()

    settings = load_settings(
        flags={"models": [str(model), str(tmp_path / "net.keras")]}, environment={}, file=None
    )

    assert set(settings.models) == {"digits", "net"}


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ({"port": "99999"}, r"port: .*99999.*\(from the command line\)"),
        ({"workers": "many"}, "workers: .*'many'"),
        ({"max_batch_rows": "600"}, "queue_limit_rows: 1024 is less than 2 × max_batch_rows"),
        ({"max_request_rows": "2000"}, "max_request_rows: 2000 is over queue_limit_rows"),
        ({"allowed_batch_rows": "4,2,64"}, "allowed_batch_rows: .* must rise"),
        ({"allowed_batch_rows": "1,2"}, "must rise from at least 1 and end with"),
        ({"models": ["a=/does/not/exist"]}, "models: a: no such file or folder: /does/not/exist"),
        ({"models": ["stats=/"]}, "'stats' cannot be a model's name"),
        ({"models": ["a/b=/"]}, "'a/b' cannot be a model's name"),
        ({"models": ["a=/", "a=/tmp"]}, "model name 'a' is given twice"),
        ({"log_level": "loud"}, "log_level: .*'loud'"),
    ],
)
def test_a_wrong_setting_is_named(flags: dict[str, object], sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence):
        load_settings(flags=flags, environment={}, file=None)


def test_all_problems_are_reported_together() -> None:
    environment = {"INFEROMETER_PRT": "1", "INFEROMETER_WORKERS": "0", "INFEROMETER_PORT": "x"}

    with pytest.raises(SettingsError) as problems:
        load_settings(flags={}, environment=environment, file=None)

    text = str(problems.value)
    assert "INFEROMETER_PRT names no setting" in text
    assert "(from INFEROMETER_WORKERS)" in text
    assert "(from INFEROMETER_PORT)" in text


@pytest.mark.parametrize(
    ("content", "sentence"),
    [("port = ", "settings file"), ("prt = 1", r"prt names no setting \(from ")],
    ids=["not-toml", "unknown"],
)
def test_a_wrong_file_is_named(tmp_path: Path, content: str, sentence: str) -> None:
    file = tmp_path / "settings.toml"
    file.write_text(content)

    with pytest.raises(SettingsError, match=sentence):
        load_settings(flags={}, environment={}, file=file)


def test_what_kubernetes_injects_for_a_service_of_this_name_is_no_setting() -> None:
    environment = {
        "INFEROMETER_SERVICE_HOST": "10.0.0.1",
        "INFEROMETER_METRICS_SERVICE_HOST": "None",
        "INFEROMETER_METRICS_PORT": "tcp://10.0.0.2:8502",
        "INFEROMETER_SERVICE_PORT_HTTP": "8501",
        "INFEROMETER_PORT": "tcp://10.0.0.1:8501",
        "INFEROMETER_PORT_8501_TCP_ADDR": "10.0.0.1",
    }

    assert load_settings(flags={}, environment=environment, file=None).port == 8501


def test_settings_survive_the_way_to_a_child_process() -> None:
    settings = Settings(
        models={"a": Path("/")}, allowed_batch_rows=(1, 64), store_path=Path("/dev/shm/x")
    )

    assert Settings.model_validate_json(settings.model_dump_json()) == settings
