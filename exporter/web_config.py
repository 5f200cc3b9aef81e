"""The file that `--web.config.file` names: TLS, authentication and limits.

The format is exporter-toolkit's, so that what users have for other exporters fits:
https://github.com/prometheus/exporter-toolkit/blob/master/docs/web-configuration.md. What cannot be
honoured here is an error, never ignored.
"""

import contextlib
import logging
import os
import ssl
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from exporter.errors import SettingsError

logger = logging.getLogger(__name__)

VERSIONS = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}
CLIENT_AUTHENTICATION = {
    "NoClientCert": ssl.CERT_NONE,
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}
HEADERS = (
    "Content-Security-Policy",
    "Strict-Transport-Security",
    "X-Content-Type-Options",
    "X-Frame-Options",
    "X-XSS-Protection",
)
TLS_KEYS = {
    "cert", "key", "cert_file", "key_file", "client_ca_file", "client_auth_type",
    "client_allowed_sans", "min_version", "max_version", "prefer_server_cipher_suites",
}  # fmt: skip


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
        if path is not None:
            self._read(path)

    def current(self) -> WebConfig:
        """Return what the file says now; an edit that is broken keeps the last good one."""
        if self._path is None:
            return self._config
        with self._lock:
            if self._stamps() != self._seen:
                try:
                    self._read(self._path)
                    logger.info("%s was read again", self._path)
                except SettingsError as error:
                    self._seen = self._stamps()  # Logged once for each edit.
                    logger.error("%s; the settings before stay in force", error)  # noqa: TRY400
            return self._config

    def _read(self, path: Path) -> None:
        document = _load(path)
        self._config, certificates = _parse(document, path)
        self._files = (path, *certificates)
        self._seen = self._stamps()

    def _stamps(self) -> tuple[object, ...]:
        return tuple(_stamp(file) for file in self._files or (self._path,))


def _stamp(file: Path | None) -> object:
    try:
        status = (file or Path()).stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino, status.st_size


def _load(path: Path) -> Mapping[str, object]:
    try:
        import yaml  # noqa: PLC0415 - only who names such a file needs the extra
    except ImportError as error:
        raise SettingsError(
            "--web.config.file needs the extra `web`: pip install 'inferometer[web]'"
        ) from error
    try:
        document = yaml.safe_load(path.read_text()) or {}
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is no YAML: {error}") from error
    return _section(document, "the file", path)


def _parse(document: Mapping[str, object], path: Path) -> tuple[WebConfig, tuple[Path, ...]]:
    known = {"tls_server_config", "http_server_config", "basic_auth_users", "rate_limit"}
    _only(document, known, "the file", path)
    tls = _section(document.get("tls_server_config"), "tls_server_config", path)
    http = _section(document.get("http_server_config"), "http_server_config", path)
    users = _section(document.get("basic_auth_users"), "basic_auth_users", path)
    rate = _section(document.get("rate_limit"), "rate_limit", path)
    _only(http, {"http2", "headers"}, "http_server_config", path)
    headers = _section(http.get("headers"), "http_server_config.headers", path)
    _only(headers, set(HEADERS), "http_server_config.headers", path)
    _only(rate, {"interval", "burst"}, "rate_limit", path)
    context, files = _tls(tls, path) if tls else (None, ())
    config = WebConfig(
        tls=context,
        allowed_sans=frozenset(_texts(tls.get("client_allowed_sans"), path)),
        users={name: _hash(name, value, path) for name, value in users.items()},
        headers={name: _header(name, value, path) for name, value in headers.items()},
        requests_per_second=_rate(rate.get("interval"), path),
        burst=_burst(rate.get("burst", 1), path),
    )
    return config, files


def _tls(tls: Mapping[str, object], path: Path) -> tuple[ssl.SSLContext, tuple[Path, ...]]:
    _only(tls, TLS_KEYS, "tls_server_config", path)
    certificate, key = (_file(tls, name, path) for name in ("cert_file", "key_file"))
    inline = tuple(tls.get(name) for name in ("cert", "key"))
    is_in_files = certificate is not None and key is not None
    if is_in_files == any(inline) or not (is_in_files or all(inline)):
        raise SettingsError(
            f"{path}: tls_server_config needs cert_file and key_file, or cert and key"
        )
    authority = _file(tls, "client_ca_file", path)
    mode = str(tls.get("client_auth_type") or "NoClientCert")
    if mode not in CLIENT_AUTHENTICATION:
        raise SettingsError(
            f"{path}: client_auth_type {mode!r} is none of {', '.join(CLIENT_AUTHENTICATION)}"
        )
    if (authority is None) != (mode == "NoClientCert"):
        raise SettingsError(f"{path}: client_ca_file and client_auth_type go together")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _version(tls, "min_version", "TLS12", path)
    context.maximum_version = _version(tls, "max_version", "TLS13", path)
    try:
        if certificate is not None:
            context.load_cert_chain(certificate, key)
        else:
            _load_inline(context, *map(str, inline))
        if authority is not None:
            context.load_verify_locations(authority)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(f"{path}: the certificates cannot be loaded: {error}") from error
    context.verify_mode = CLIENT_AUTHENTICATION[mode]
    return context, tuple(file for file in (certificate, key, authority) if file is not None)


def _load_inline(context: ssl.SSLContext, certificate: str, key: str) -> None:
    """Load what stands in the configuration itself, through memory that has no name."""
    with contextlib.ExitStack() as stack:
        names = []
        for text in (certificate, key):
            descriptor = os.memfd_create("tls")
            stack.callback(os.close, descriptor)
            os.write(descriptor, text.encode())
            names.append(f"/proc/self/fd/{descriptor}")
        context.load_cert_chain(*names)


def _version(tls: Mapping[str, object], name: str, default: str, path: Path) -> ssl.TLSVersion:
    version = str(tls.get(name) or default)
    if version not in VERSIONS:
        raise SettingsError(f"{path}: {name} {version!r} is none of {', '.join(VERSIONS)}")
    return VERSIONS[version]


def _file(tls: Mapping[str, object], name: str, path: Path) -> Path | None:
    value = tls.get(name)
    # Relative to the configuration file, as in exporter-toolkit.
    return path.parent / str(value) if value else None


def _hash(name: str, value: object, path: Path) -> bytes:
    if not isinstance(value, str) or not value.startswith(("$2a$", "$2b$", "$2y$")):
        raise SettingsError(f"{path}: basic_auth_users.{name} must be a bcrypt hash")
    try:
        import bcrypt  # noqa: F401, PLC0415 - only who names users needs the extra
    except ImportError as error:
        raise SettingsError(
            "basic_auth_users needs the extra `web`: pip install 'inferometer[web]'"
        ) from error
    return value.encode()


def _header(name: str, value: object, path: Path) -> str:
    if not isinstance(value, str) or not value.isprintable():
        raise SettingsError(f"{path}: the header {name} must be one line of text")
    return value


def _rate(value: object, path: Path) -> float:
    """Return requests a second of an interval such as 100ms, 1s or 1m; 0 for no limit."""
    if value in (None, "", 0, "0"):
        return 0.0
    units = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
    text = str(value)
    digits = text.rstrip("msh")
    unit = units.get(text[len(digits) :])
    if unit is None or not digits.isdecimal() or not int(digits):
        raise SettingsError(f"{path}: rate_limit.interval {text!r} is no time such as 100ms or 1s")
    return 1 / (int(digits) * unit)


def _burst(value: object, path: Path) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise SettingsError(f"{path}: rate_limit.burst must be a whole number above 0")
    return value


def _texts(value: object, path: Path) -> list[str]:
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise SettingsError(f"{path}: client_allowed_sans must be a list of names")
    return value


def _section(value: object, name: str, path: Path) -> Mapping[str, object]:
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise SettingsError(f"{path}: {name} must be a mapping")
    return value


def _only(section: Mapping[str, object], known: set[str], name: str, path: Path) -> None:
    unknown = sorted(section.keys() - known)
    if unknown:
        raise SettingsError(
            f"{path}: {unknown[0]!r} in {name} is not supported; there are "
            f"{', '.join(sorted(known))}"
        )
