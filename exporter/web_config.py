"""The file that `--web.config.file` names: TLS, authentication and limits.

The format is exporter-toolkit's, so that what users have for other exporters fits:
https://github.com/prometheus/exporter-toolkit/blob/master/docs/web-configuration.md. What cannot be
honoured here is an error, but for `http2` and `prefer_server_cipher_suites`, which change nothing.
"""

import logging
import math
import re
import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from exporter.errors import SettingsError
from exporter.tls import read_tls, san
from exporter.yaml_file import load, only, section, texts

logger = logging.getLogger(__name__)

HEADERS = (
    "Content-Security-Policy",
    "Strict-Transport-Security",
    "X-Content-Type-Options",
    "X-Frame-Options",
    "X-XSS-Protection",
)


BCRYPT_HASH = re.compile(r"\$2[aby]\$(0[4-9]|[12][0-9]|3[01])\$[./A-Za-z0-9]{53}")
RATE_DIGITS = re.compile(r"[0-9]{1,9}")
# A file younger than this may be half written; a broken one is looked at again as often.
REST_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class WebConfig:
    """What the file says. `allowed_sans` empty means every client certificate that verifies."""

    tls: ssl.SSLContext | None = None
    allowed_sans: frozenset[str] = frozenset()
    users: Mapping[str, bytes] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    requests_per_second: float = 0.0
    burst: int = 1


class WebConfigFile:
    """The file, read again when it or a certificate it names has changed."""

    def __init__(self, path: Path | None) -> None:
        """Read it. Raises SettingsError saying what is wrong; without a path nothing is set."""
        self._path = path
        self._lock = threading.Lock()
        self._config = WebConfig()
        self._files: tuple[Path, ...] = ()
        self._seen: tuple[object, ...] = ()
        self._is_broken = False
        self._checked = -math.inf
        if path is not None:
            self._read(path)

    def current(self) -> WebConfig:
        """Return what the file says now; an edit that is broken keeps the last good one."""
        if self._path is None:
            return self._config
        with self._lock:
            stamps = self._stamps()
            if (stamps != self._seen or self._is_broken) and self._is_due(stamps):
                self._checked = time.monotonic()
                try:
                    self._read(self._path)
                    logger.info("%s was read again", self._path)
                except SettingsError as error:
                    if not self._is_broken or stamps != self._seen:
                        logger.error("%s; the settings before stay in force", error)  # noqa: TRY400
                    self._is_broken = True  # Perhaps what it names is still to come.
                    self._seen = stamps
            return self._config

    def _is_due(self, stamps: tuple[object, ...]) -> bool:
        """Return whether to read now: not too often, and no file that is being written."""
        newest = max((stamp.changed for stamp in stamps if isinstance(stamp, _Stamp)), default=0.0)
        is_at_rest = not 0 <= time.time() - newest < REST_SECONDS
        return is_at_rest and time.monotonic() - self._checked > REST_SECONDS

    def _read(self, path: Path) -> None:
        document = load(path)
        self._config, certificates = _parse(document, path)
        self._files = (path, *certificates)
        self._seen = self._stamps()
        self._is_broken = False

    def _stamps(self) -> tuple[object, ...]:
        return tuple(_stamp(file) for file in self._files or (self._path,))


class _Stamp(NamedTuple):
    """What is another when a file has been changed; wall-clock seconds."""

    changed: float
    inode: int
    size: int


def _stamp(file: Path | None) -> _Stamp | None:
    try:
        status = (file or Path()).stat()
    except OSError:
        return None
    return _Stamp(status.st_mtime, status.st_ino, status.st_size)


def _parse(document: Mapping[str, object], path: Path) -> tuple[WebConfig, tuple[Path, ...]]:
    known = {"tls_server_config", "http_server_config", "basic_auth_users", "rate_limit"}
    only(document, known, "the file", path)
    tls = section(document, "tls_server_config", path)
    http = section(document, "http_server_config", path)
    users = section(document, "basic_auth_users", path)
    rate = section(document, "rate_limit", path)
    only(http, {"http2", "headers"}, "http_server_config", path)
    if not isinstance(http.get("http2", True), bool):
        raise SettingsError(f"{path}: http2 must be true or false")
    headers = section(http, "headers", path)
    only(headers, set(HEADERS), "http_server_config.headers", path)
    only(rate, {"interval", "burst"}, "rate_limit", path)
    context, files = read_tls(tls, path) if tls else (None, ())
    config = WebConfig(
        tls=context,
        allowed_sans=frozenset(map(san, texts(tls.get("client_allowed_sans"), path))),
        users={name: _hash(name, value, path) for name, value in users.items()},
        headers={name: _header(name, value, path) for name, value in headers.items()},
        requests_per_second=_rate(rate.get("interval"), path),
        burst=_burst(rate.get("burst", 1), path),
    )
    return config, files


def _hash(name: str, value: object, path: Path) -> bytes:
    if not isinstance(value, str) or not BCRYPT_HASH.fullmatch(value):
        raise SettingsError(f"{path}: basic_auth_users.{name} must be a bcrypt hash")
    try:
        import bcrypt  # noqa: F401, PLC0415 - only who names users needs the extra
    except ImportError as error:
        raise SettingsError(
            "basic_auth_users needs the extra `web`: pip install 'inferometer[web]'"
        ) from error
    return value.encode()


def _header(name: str, value: object, path: Path) -> str:
    if not isinstance(value, str) or not (value.isascii() and value.isprintable()):
        raise SettingsError(f"{path}: the header {name} must be one line of ASCII text")
    return value


def _rate(value: object, path: Path) -> float:
    """Return requests a second of an interval such as 100ms, 1s or 1m; 0 for no limit."""
    if value in (None, "", 0, "0"):
        return 0.0
    units = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
    text = str(value)
    digits = text.rstrip("msh")
    unit = units.get(text[len(digits) :])
    if unit is None or not RATE_DIGITS.fullmatch(digits) or not int(digits):
        raise SettingsError(f"{path}: rate_limit.interval {text!r} is no time such as 100ms or 1s")
    return 1 / (int(digits) * unit)


def _burst(value: object, path: Path) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise SettingsError(f"{path}: rate_limit.burst must be a whole number above 0")
    return value
