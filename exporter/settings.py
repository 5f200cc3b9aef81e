"""The settings of the exporter process.

Flags and INFEROMETER_EXPORTER_… variables, checked together.
"""

import argparse
import ipaddress
import logging
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exporter.collectors import COLLECTORS
from exporter.collectors.base import CollectorSettings
from exporter.directory import default_store_path
from exporter.errors import SettingsError
from exporter.flags import FlagParser
from exporter.gpu.settings import GpuSettings
from exporter.log import FORMATS
from exporter.scrape import ExpositionSettings

DEFAULT_ADDRESS = "127.0.0.1:8502"  # loopback unless told otherwise
DEFAULT_MAX_REQUESTS = 40
# After which a hanging GPU driver has the exporter restarted, where somebody restarts it.
SUPERVISED_HANG_SECONDS = 300.0
MOST_SIMULATED = 64
LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
}
PATH = re.compile(r"/[A-Za-z0-9._~/-]+")


@dataclass(frozen=True, slots=True)
class WebSettings:
    """Where and how the exporter answers.

    `listen_descriptor` is an inherited listening socket. `max_requests` of 0 is no limit.
    """

    listen_addresses: tuple[tuple[str, int], ...]
    listen_descriptor: int | None = None
    telemetry_path: str = "/metrics"
    config_file: Path | None = None
    max_requests: int = DEFAULT_MAX_REQUESTS


@dataclass(frozen=True, slots=True)
class ExporterSettings:
    """Everything the exporter process is told."""

    store_path: Path
    web: WebSettings
    exposition: ExpositionSettings
    collectors: CollectorSettings
    log_level: int
    log_format: str
    removes_abandoned_store: bool = False
    linger_seconds: float = 0.0


def read_settings(
    arguments: Sequence[str], environment: Mapping[str, str] = os.environ
) -> ExporterSettings:
    """Return the settings; flags win over the environment.

    Raises SettingsError naming each wrong value. `--help` prints and exits as argparse does.
    """
    problems: list[str] = []
    parsed = vars(_parser(environment, problems).parse_args(arguments))
    if not parsed["store.path"]:
        problems.append("--store.path: name a directory")
    settings = ExporterSettings(
        store_path=Path(parsed["store.path"]),
        web=_web(parsed, problems),
        exposition=ExpositionSettings(
            parsed["web.created-samples"],
            parsed["web.native-histograms"],
            _number(parsed, "web.timeout-offset", problems),
        ),
        collectors=CollectorSettings(
            _ip_addresses(parsed, "collector.backlog.address", problems),
            frozenset(name for name in COLLECTORS if not parsed[f"collector.{name}"]),
            gpu=_gpu(parsed, problems),
            store_path=Path(parsed["store.path"]),
        ),
        log_level=LEVELS.get(_choice(parsed, "log.level", LEVELS, problems), logging.INFO),
        log_format=_choice(parsed, "log.format", FORMATS, problems),
        removes_abandoned_store=parsed["store.remove-abandoned"],
        linger_seconds=parsed["web.linger-seconds"],
    )
    if problems:
        raise SettingsError("; ".join(problems))
    return settings


def _gpu(parsed: Mapping[str, Any], problems: list[str]) -> GpuSettings:
    is_supervised = parsed["web.listen-descriptor"] is not None
    hang_restart = SUPERVISED_HANG_SECONDS if is_supervised else 0.0
    if parsed["gpu.hang-restart"]:
        hang_restart = _number(parsed, "gpu.hang-restart", problems)
    simulated = _whole(parsed, "gpu.simulate", problems)
    if simulated > MOST_SIMULATED:
        problems.append(f"--gpu.simulate: more than {MOST_SIMULATED} GPUs")
    return GpuSettings(
        interval_seconds=_positive(parsed, "gpu.interval", problems),
        min_age_seconds=_number(parsed, "gpu.min-age", problems),
        slow_interval_seconds=_positive(parsed, "gpu.slow-interval", problems),
        timeout_seconds=_positive(parsed, "gpu.timeout", problems),
        hang_restart_seconds=hang_restart,
        simulated=simulated,
    )


def _web(parsed: Mapping[str, Any], problems: list[str]) -> WebSettings:
    path = parsed["web.telemetry-path"]
    if not PATH.fullmatch(path) or path.startswith("/-/"):
        problems.append(f"--web.telemetry-path: {path!r} is no path like /metrics")
    config = parsed["web.config.file"]
    return WebSettings(
        _addresses(parsed, "web.listen-address", problems),
        parsed["web.listen-descriptor"],
        path,
        Path(config) if config else None,
        _whole(parsed, "web.max-requests", problems),
    )


def parse_address(text: str) -> tuple[str, int]:
    """Return (host, port) of `host:port` or `[host]:port`.

    Raises ValueError saying what was expected.
    """
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:  # noqa: PLR2004
        raise ValueError(f"{text!r} is not host:port with a port from 0 to 65535")
    return host.strip("[]") or "0.0.0.0", int(port)  # noqa: S104 - an empty host means all, as everywhere


def _addresses(
    parsed: Mapping[str, Any], flag: str, problems: list[str]
) -> tuple[tuple[str, int], ...]:
    addresses = []
    for text in parsed[flag]:
        try:
            addresses.append(parse_address(text))
        except ValueError as error:
            problems.append(f"--{flag}: {error}")
    return tuple(addresses)


def _ip_addresses(
    parsed: Mapping[str, Any], flag: str, problems: list[str]
) -> tuple[tuple[str, int], ...]:
    addresses = _addresses(parsed, flag, problems)
    for host, _ in addresses:
        try:
            ipaddress.ip_address(host)
        except ValueError:
            problems.append(f"--{flag}: {host!r} is no IP address, such as 127.0.0.1")
    return addresses


def _choice(
    parsed: Mapping[str, Any], flag: str, choices: Mapping[str, object], problems: list[str]
) -> str:
    text = str(parsed[flag])
    if text not in choices:
        problems.append(f"--{flag}: {text!r} is none of {', '.join(choices)}")
    return text


def _number(parsed: Mapping[str, Any], flag: str, problems: list[str]) -> float:
    text = parsed[flag]
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        problems.append(f"--{flag}: {text!r} is no number of 0 or more")
        return 0.0
    return value


def _positive(parsed: Mapping[str, Any], flag: str, problems: list[str]) -> float:
    value = _number(parsed, flag, problems)
    if not value and parsed[flag]:
        problems.append(f"--{flag}: must be more than 0")
    return value


def _whole(parsed: Mapping[str, Any], flag: str, problems: list[str]) -> int:
    value = _number(parsed, flag, problems)
    if value != int(value):
        problems.append(f"--{flag}: {parsed[flag]!r} is no whole number")
    return int(value)


def _parser(environment: Mapping[str, str], problems: list[str]) -> argparse.ArgumentParser:
    add = FlagParser(environment, problems)
    store = str(default_store_path("default"))
    add.text("store.path", store, "DIRECTORY", "store directory, on tmpfs")
    add.list("web.listen-address", DEFAULT_ADDRESS, "HOST:PORT", "where to answer; repeatable")
    add.text("web.telemetry-path", "/metrics", "PATH", "path of the metrics")
    add.text("web.config.file", "", "FILE", "TLS and authentication, in exporter-toolkit's format")
    add.text("web.max-requests", str(DEFAULT_MAX_REQUESTS), "N", "scrapes at once; 0 for no limit")
    add.text(
        "web.timeout-offset", "0.5", "SECONDS", "how long before the scraper's limit to answer"
    )
    add.switch("web.created-samples", "show when each counter began", default=False)
    add.switch("web.native-histograms", "add native histograms to protobuf", default=True)
    for name in COLLECTORS:
        add.switch(f"collector.{name}", f"run the collector {name}", default=True)
    add.list(
        "collector.backlog.address",
        "",
        "IP:PORT",
        "serving address whose accept queue is shown; repeatable",
    )
    add.text("gpu.interval", "5", "SECONDS", "how often GPUs are read when nobody scrapes")
    add.text("gpu.min-age", "1", "SECONDS", "age up to which a reading serves another scrape")
    add.text("gpu.slow-interval", "30", "SECONDS", "how often what takes long is read")
    add.text("gpu.timeout", "5", "SECONDS", "after which a call of the driver is stuck")
    add.text(
        "gpu.hang-restart",
        "",
        "SECONDS",
        "how long a call may hang before the exporter ends with 75; 0 for ever, 300 under serve",
    )
    add.text("gpu.simulate", "0", "N", "show so many simulated GPUs in place of the real ones")
    add.text("log.level", "info", "LEVEL", f"one of {', '.join(LEVELS)}")
    add.text("log.format", "logfmt", "FORMAT", f"one of {', '.join(FORMATS)}")
    # How the supervisor of `inferometer serve` hands over the socket it has bound, says how long a
    # last scrape is waited for, and asks for the store to be cleaned up should it die.
    add.parser.add_argument(
        "--web.listen-descriptor",
        dest="web.listen-descriptor",
        type=int,
        help=argparse.SUPPRESS,
    )
    add.parser.add_argument(
        "--web.linger-seconds",
        dest="web.linger-seconds",
        type=float,
        default=0.0,
        help=argparse.SUPPRESS,
    )
    add.parser.add_argument(
        "--store.remove-abandoned",
        dest="store.remove-abandoned",
        action="store_true",
        help=argparse.SUPPRESS,
    )
    return add.parser
