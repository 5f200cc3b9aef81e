"""What every child of the supervisor does first.

Read the settings, start logging, open its block.
"""

import json
import logging
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

from pydantic import SecretStr

from exporter import (
    CATALOGUE,
    Family,
    Lock,
    NullRecorder,
    Recorder,
    StoreError,
    open_recorder,
)
from serving.settings import Settings

logger = logging.getLogger(__name__)


def write_process_settings(settings: Settings, file: Path) -> None:
    """Write the settings for child processes, readable by this user alone."""
    file.touch(mode=0o600)
    values = settings.model_dump(mode="json")
    for name in values:
        value = getattr(settings, name)
        if isinstance(value, SecretStr):
            # Only here is it written out: shown anywhere else it is a row of asterisks.
            values[name] = value.get_secret_value()
    file.write_text(json.dumps(values))


def read_process_settings(file: Path) -> Settings:
    """Return the settings that the supervisor wrote."""
    return Settings.model_validate_json(file.read_bytes())


def store_path_of(settings: Settings) -> Path:
    """Return the store directory, which the supervisor has chosen by now."""
    assert settings.store_path is not None
    return settings.store_path


def start_logging(settings: Settings, name: str) -> None:
    """Log to standard error, each line with the process's name."""
    logging.basicConfig(
        level=settings.log_level.upper(),
        format=f"%(asctime)s %(levelname)s {name}: %(message)s",
        force=True,
    )


def open_process_recorder(
    settings: Settings,
    role: str,
    *,
    families: Iterable[Family] = CATALOGUE,
    make_lock: Callable[[], Lock] = threading.Lock,
) -> Recorder:
    """Open this process's block.

    `make_lock` replaces the native lock, `tick` is the caller's to call.
    """
    if not settings.record_metrics:
        return NullRecorder(families)
    try:
        return open_recorder(store_path_of(settings), role, families=families, make_lock=make_lock)
    except StoreError as error:
        # A store that cannot be used must not end the serving. Want of room passes: see Residence.
        logger.error("this process is not on /metrics: %s", error)  # noqa: TRY400
        return NullRecorder(families)
