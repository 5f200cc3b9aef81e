"""The settings of the exporter process.

Flags and INFEROMETER_EXPORTER_… variables, checked together.
"""

import argparse
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from exporter.collectors.base import CollectorSettings
from exporter.directory import default_store_path
from exporter.errors import SettingsError

DEFAULT_ADDRESS = "127.0.0.1:8502"  # loopback unless told otherwise
ENVIRONMENT_PREFIX = "INFEROMETER_EXPORTER_"
LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
}


@dataclass(frozen=True, slots=True)
class ExporterSettings:
    """Everything the exporter process is told.

    `listen_descriptor` is an inherited listening socket.
    """

    store_path: Path
    listen_address: tuple[str, int]
    collectors: CollectorSettings
    log_level: int
    listen_descriptor: int | None = None
    removes_abandoned_store: bool = False


def read_settings(
    arguments: Sequence[str], environment: Mapping[str, str] = os.environ
) -> ExporterSettings:
    """Return the settings; flags win over the environment.

    Raises SettingsError naming each wrong value. `--help` prints and exits as argparse does.
    """
    parser = _parser(environment)
    parsed = parser.parse_args(arguments)
    problems: list[str] = []
    listen = _address("--web.listen-address", parsed.listen_address, problems)
    backlog = tuple(
        _address("--collector.backlog.address", text, problems) for text in parsed.backlog_addresses
    )
    if parsed.log_level not in LEVELS:
        problems.append(f"--log.level: {parsed.log_level!r} is none of {', '.join(LEVELS)}")
    if problems:
        raise SettingsError("; ".join(problems))
    return ExporterSettings(
        store_path=Path(parsed.store_path),
        listen_address=listen,
        collectors=CollectorSettings(backlog),
        log_level=LEVELS[parsed.log_level],
        listen_descriptor=parsed.listen_descriptor,
        removes_abandoned_store=parsed.removes_abandoned_store,
    )


def parse_address(text: str) -> tuple[str, int]:
    """Return (host, port) of `host:port` or `[host]:port`.

    Raises ValueError saying what was expected.
    """
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:  # noqa: PLR2004
        raise ValueError(f"{text!r} is not host:port with a port from 0 to 65535")
    return host.strip("[]") or "0.0.0.0", int(port)  # noqa: S104 - an empty host means all, as everywhere


def _address(flag: str, text: str, problems: list[str]) -> tuple[str, int]:
    try:
        return parse_address(text)
    except ValueError as error:
        problems.append(f"{flag}: {error}")
        return "", 0


def _parser(environment: Mapping[str, str]) -> argparse.ArgumentParser:
    def default(name: str, value: str) -> str:
        return environment.get(ENVIRONMENT_PREFIX + name, value)

    parser = argparse.ArgumentParser(
        prog="inferometer exporter",
        description="Serve the merged metrics of all processes that record into a directory.",
        epilog=f"Each flag can also be given as {ENVIRONMENT_PREFIX}WEB_LISTEN_ADDRESS and so on.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--store.path",
        dest="store_path",
        metavar="DIRECTORY",
        default=environment.get("INFEROMETER_STORE_PATH", str(default_store_path("default"))),
        help="store directory, on tmpfs (default: %(default)s)",
    )
    parser.add_argument(
        "--web.listen-address",
        dest="listen_address",
        metavar="HOST:PORT",
        default=default("WEB_LISTEN_ADDRESS", DEFAULT_ADDRESS),
        help="where to answer scrapes (default: %(default)s)",
    )
    parser.add_argument(
        "--collector.backlog.address",
        dest="backlog_addresses",
        metavar="HOST:PORT",
        action="append",
        default=list(filter(None, default("COLLECTOR_BACKLOG_ADDRESS", "").split(","))),
        help="serving address whose accept queue is shown; repeatable",
    )
    parser.add_argument(
        "--log.level",
        dest="log_level",
        metavar="LEVEL",
        default=default("LOG_LEVEL", "info"),
        help=f"one of {', '.join(LEVELS)} (default: %(default)s)",
    )
    # How the supervisor of `inferometer serve` hands over the socket it has bound, and asks for the
    # store to be cleaned up should it die without doing so itself.
    parser.add_argument(
        "--web.listen-descriptor", dest="listen_descriptor", type=int, help=argparse.SUPPRESS
    )
    parser.add_argument(
        "--store.remove-abandoned",
        dest="removes_abandoned_store",
        action="store_true",
        help=argparse.SUPPRESS,
    )
    return parser
