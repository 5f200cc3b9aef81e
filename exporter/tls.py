"""TLS: what the web configuration says of it, and a connection that is secured by it."""

import contextlib
import ipaddress
import os
import socket
import ssl
from collections.abc import Mapping
from pathlib import Path

from exporter.errors import SettingsError
from exporter.yaml_file import only

HANDSHAKE_SECONDS = 10.0
VERSIONS = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}
CLIENT_AUTHENTICATION = {
    "NoClientCert": ssl.CERT_NONE,
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}
TLS_KEYS = {
    "cert", "key", "cert_file", "key_file", "client_ca_file", "client_auth_type",
    "client_allowed_sans", "min_version", "max_version", "prefer_server_cipher_suites",
}  # fmt: skip


def read_tls(tls: Mapping[str, object], path: Path) -> tuple[ssl.SSLContext, tuple[Path, ...]]:
    """Return the context that the section `tls_server_config` describes, and the files it names.

    Raises SettingsError naming what is wrong in the file at `path`.
    """
    only(tls, TLS_KEYS, "tls_server_config", path)
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
    if context.minimum_version > context.maximum_version:
        raise SettingsError(f"{path}: min_version is above max_version")
    try:
        if certificate is not None:
            context.load_cert_chain(certificate, key, _no_password)
        else:
            _load_inline(context, *map(str, inline))
        if authority is not None:
            context.load_verify_locations(authority)
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path}: the certificates cannot be loaded: {error}") from error
    context.verify_mode = CLIENT_AUTHENTICATION[mode]
    return context, tuple(file for file in (certificate, key, authority) if file is not None)


def _no_password() -> str:
    """Be asked for an encrypted key's password; without this, the terminal would be."""
    raise ValueError("the key is encrypted, which is not supported")


def _load_inline(context: ssl.SSLContext, certificate: str, key: str) -> None:
    """Load what stands in the configuration itself, through memory that has no name."""
    with contextlib.ExitStack() as stack:
        names = []
        for text in (certificate, key):
            descriptor = os.memfd_create("tls")
            stack.callback(os.close, descriptor)
            os.write(descriptor, text.encode())
            names.append(f"/proc/self/fd/{descriptor}")
        context.load_cert_chain(names[0], names[1], _no_password)


def _version(tls: Mapping[str, object], name: str, default: str, path: Path) -> ssl.TLSVersion:
    version = str(tls.get(name) or default)
    if version not in VERSIONS:
        raise SettingsError(f"{path}: {name} {version!r} is none of {', '.join(VERSIONS)}")
    return VERSIONS[version]


def _file(tls: Mapping[str, object], name: str, path: Path) -> Path | None:
    value = tls.get(name)
    # Relative to the configuration file, as in exporter-toolkit.
    return path.parent / str(value) if value else None


def wrapped(connection: socket.socket, context: ssl.SSLContext | None) -> socket.socket:
    """Return the connection under TLS if there is a context. Raises OSError when it has gone."""
    if context is None:
        return connection
    return context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)


def shake_hands(connection: socket.socket, allowed_sans: frozenset[str]) -> None:
    """Make the handshake of a connection under TLS. Raises OSError when it fails."""
    if isinstance(connection, ssl.SSLSocket):
        connection.settimeout(HANDSHAKE_SECONDS)
        connection.do_handshake()
        _check_names(connection, allowed_sans)


def _check_names(connection: ssl.SSLSocket, allowed: frozenset[str]) -> None:
    if not allowed:
        return
    certificate: Mapping[str, object] = connection.getpeercert() or {}
    names = certificate.get("subjectAltName", ())
    assert isinstance(names, tuple)
    if not any(san(name) in allowed for _, name in names):
        raise OSError("the client's certificate carries none of the allowed names")


def san(name: str) -> str:
    """Return a subject alternative name as it is compared: IP addresses have many spellings."""
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        return name
