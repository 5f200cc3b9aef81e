"""Where settings come from: a TOML file, the environment and the command line, each stronger."""

import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from serving.errors import SettingsError
from serving.feedback.keys import read_keys
from serving.feedback.stores.choice import store_problems
from serving.feedback.tokens import KeyProblem
from serving.settings import ENVIRONMENT_PREFIX, EXPORTER_PREFIX, Settings

# What Kubernetes injects for Services called `inferometer` and `inferometer-…`.
SERVICE_LINK = re.compile(r"INFEROMETER_(\w+_)?(SERVICE_(HOST|PORT)|PORT_\d+_TCP)(_|$)")

MAX_STORE_PATH_BYTES = 90  # A Unix socket's whole path has at most 107.


def load_settings(
    *, flags: Mapping[str, object], environment: Mapping[str, str], file: Path | None
) -> Settings:
    """Return the settings of all three sources; flags win over the environment, that over the file.

    Raises SettingsError, a sentence for each wrong setting with where it came from.
    """
    sources: dict[str, str] = {}
    merged: dict[str, Any] = {}
    problems: list[str] = []
    for name, value in _read_file(file).items():
        merged[name], sources[name] = value, str(file)
    for variable, name, value in _read_environment(environment, problems):
        merged[name], sources[name] = value, variable
    for name, value in flags.items():
        merged[name], sources[name] = value, "the command line"
    try:
        settings = Settings.model_validate(merged)
    except ValidationError as error:
        problems += [_sentence(details, sources) for details in error.errors(include_url=False)]
        raise SettingsError("\n".join(problems)) from error
    # Looked for here alone: a restarted child must not stumble over a path that has gone since.
    problems += _file_problems(settings)
    if problems:
        raise SettingsError("\n".join(problems))
    return settings


def _file_problems(settings: Settings) -> Iterable[str]:
    """Yield what is wrong with the files that settings name."""
    for name, path in settings.models.items():
        if not path.exists():
            yield f"models: {name}: no such file or folder: {path}"
    try:
        read_keys(settings)
    except KeyProblem as error:
        yield str(error)
    yield from store_problems(settings)
    store = settings.store_path
    if store and len(os.fsencode(store.absolute())) > MAX_STORE_PATH_BYTES:
        yield (
            f"store_path: longer than {MAX_STORE_PATH_BYTES} bytes, and sockets lie in it, "
            f"got {str(store)[:64]!r}"
        )


def _read_file(file: Path | None) -> dict[str, Any]:
    if file is None:
        return {}
    try:
        return tomllib.loads(file.read_text())
    except OSError as error:
        raise SettingsError(f"settings file {file}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"settings file {file}: {error}") from error


def _read_environment(
    environment: Mapping[str, str], problems: list[str]
) -> Iterable[tuple[str, str, str]]:
    for variable, value in environment.items():
        if not variable.startswith(ENVIRONMENT_PREFIX) or variable.startswith(EXPORTER_PREFIX):
            continue
        if SERVICE_LINK.match(variable) or (variable.endswith("_PORT") and "://" in value):
            continue
        name = variable.removeprefix(ENVIRONMENT_PREFIX).lower()
        if name not in Settings.model_fields:
            problems.append(f"{variable} names no setting")
            continue
        yield variable, name, value


def _sentence(details: ErrorDetails, sources: Mapping[str, str]) -> str:
    message = details["msg"].removeprefix("Value error, ")
    if not details["loc"]:
        return message
    name = str(details["loc"][0])
    origin = f" (from {sources[name]})" if name in sources else ""
    if details["type"] == "extra_forbidden":
        return f"{name} names no setting{origin}"
    place = ".".join(map(str, details["loc"]))
    return f"{place}: {message}, got {str(details['input'])[:64]!r}{origin}"
