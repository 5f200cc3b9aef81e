"""The exporter's log on standard error: one line a message, in logfmt or JSON."""

import json
import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime


def start_logging(level: int, format_name: str) -> None:
    """Log from `level` up in one of FORMATS."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Formatter(FORMATS[format_name]))
    logging.basicConfig(level=level, handlers=[handler], force=True)


class _Formatter(logging.Formatter):
    """Turns a record into fields and these into a line."""

    def __init__(self, write: Callable[[Mapping[str, str]], str]) -> None:
        super().__init__()
        self._write = write

    def format(self, record: logging.LogRecord) -> str:
        fields = {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "process": "exporter",
            "msg": record.getMessage(),
        }
        if record.exc_info:
            fields["error"] = self.formatException(record.exc_info)
        return self._write(fields)


def _logfmt(fields: Mapping[str, str]) -> str:
    return " ".join(f"{name}={_quoted(value)}" for name, value in fields.items())


def _quoted(value: str) -> str:
    is_plain = value.isprintable() and not set(value) & set(' "=')
    return value if is_plain and value else json.dumps(value)


FORMATS: dict[str, Callable[[Mapping[str, str]], str]] = {"logfmt": _logfmt, "json": json.dumps}
