"""The exporter process alone: its flags, paths, limits, TLS and authentication."""

import base64
import contextlib
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import bcrypt
import pytest

from exporter import CATALOGUE, Recorder, open_recorder
from tests.live.exporters import certificate, exporter, over_tls
from tests.live.servers import wait_for

pytestmark = pytest.mark.live

PASSWORD = "correct horse"  # noqa: S105 - of the test itself


@pytest.fixture
def recorder(store_path: Path) -> Iterator[Recorder]:
    recorder = open_recorder(store_path, "frontend", families=CATALOGUE)
    recorder.declare(model="digits", version="1")
    recorder.child("inferometer_rows_total", model="digits", version="1").inc(7)
    yield recorder
    recorder.close()


def refusal(*flags: str, **environment: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "exporter", *flags],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
        timeout=30,
    )
    return done.returncode, done.stderr


@pytest.mark.usefixtures("recorder")
def test_paths_and_methods(store_path: Path) -> None:
    with exporter(store_path) as running:
        assert running.get("/-/healthy")[0] == running.get("/-/ready")[0] == 200
        status, headers, page = running.get("/")
        assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
        assert b'href="/metrics"' in page
        assert b"<td>process</td>" in page
        assert running.get("/nothing")[0] == 404
        status, headers, _ = running.get(method="POST")
        assert (status, headers["Allow"]) == (405, "GET, HEAD")

        assert b'inferometer_rows_total{model="digits",version="1"} 7.0' in running.get()[2]
        status, headers, body = running.get(method="HEAD")
        assert (status, body) == (200, b"")
        assert int(headers["Content-Length"]) > 1_000
        assert headers["Vary"] == "Accept, Accept-Encoding"


@pytest.mark.usefixtures("recorder")
def test_families_and_collectors_are_selected(store_path: Path) -> None:
    def families(path: str) -> set[str]:
        body = running.get(path)[2].decode()
        return {line.split()[2] for line in body.splitlines() if line.startswith("# TYPE")}

    with exporter(store_path) as running:
        duration = "inferometer_request_duration_seconds"
        for name in (duration, f"{duration}_bucket", f"{duration}_count"):
            assert families(f"/metrics?name[]={name}") == {duration}
        assert families("/metrics?name[]=inferometer_rows_total&name[]=inferometer_processes") == {
            "inferometer_rows_total",
            "inferometer_processes",
        }
        assert families("/metrics?name[]=unknown") == set()
        success = running.get("/metrics?collect[]=process")[2].decode()
        assert 'inferometer_collector_success{collector="process"} 1.0' in success
        assert 'collector="build"' not in success
        status, _, body = running.get("/metrics?collect[]=nothing")
        assert (status, body[:24]) == (400, b"no collector 'nothing'; ")


@pytest.mark.usefixtures("recorder")
def test_settings_by_flag_and_by_variable(store_path: Path) -> None:
    flags = ("--web.telemetry-path=/m", "--no-collector.backlog", "--log.format=json")
    variables = {
        "INFEROMETER_EXPORTER_WEB_CREATED_SAMPLES": "true",
        "INFEROMETER_EXPORTER_COLLECTOR_BUILD": "false",
    }
    with exporter(store_path, *flags, addresses=2, **variables) as running:
        for port in (0, 1):
            status, _, body = running.get("/m", port=port)
            assert status == 200
            assert b"inferometer_rows_created" in body
            assert b'{collector="process"}' in body
            assert b'{collector="backlog"}' not in body
            assert b"inferometer_build_info" not in body
        lines = running.log.read_text().splitlines()
        assert {json.loads(line)["level"] for line in lines} == {"info"}


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--web.listen-address=nowhere", "--web.listen-address: 'nowhere' is not host:port"),
        ("--web.telemetry-path=metrics", "--web.telemetry-path: 'metrics' is no path"),
        ("--web.max-requests=-1", "--web.max-requests: '-1' is no number of 0 or more"),
        ("--web.timeout-offset=nan", "--web.timeout-offset: 'nan' is no number of 0 or more"),
        ("--log.level=loud", "--log.level: 'loud' is none of debug, info, warn, error"),
        ("--log.format=xml", "--log.format: 'xml' is none of logfmt, json"),
        ("--web.config.file=/nowhere.yml", "/nowhere.yml: No such file or directory"),
        ("--unknown", "--unknown"),
        ("--web.max-requests=0.5", "--web.max-requests: '0.5' is no whole number"),
        ("--web.telemetry-path=/m?x", "--web.telemetry-path: '/m?x' is no path"),
        ("--collector.backlog.address=localhost:1", "'localhost' is no IP address"),
        ("--store.path=", "--store.path: name a directory"),
    ],
)
def test_wrong_usage_names_the_flag(flag: str, message: str, store_path: Path) -> None:
    code, error = refusal(flag, INFEROMETER_STORE_PATH=str(store_path))

    assert code == 2
    assert message in error


def test_a_switch_that_is_neither_true_nor_false_is_named(store_path: Path) -> None:
    variable = "INFEROMETER_EXPORTER_WEB_NATIVE_HISTOGRAMS"

    code, error = refusal(f"--store.path={store_path}", **{variable: "perhaps"})

    assert (code, f"{variable}: 'perhaps' is neither true nor false" in error) == (2, True)


def users(password: str = PASSWORD) -> str:
    hashed = bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()
    return f"basic_auth_users: {{sre: '{hashed}'}}\n"


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


@pytest.mark.usefixtures("recorder")
def test_basic_authentication_and_a_change_of_the_file(store_path: Path, tmp_path: Path) -> None:
    config = tmp_path / "web.yml"
    config.write_text(users() + "http_server_config: {headers: {X-Frame-Options: deny}}\n")
    with exporter(store_path, f"--web.config.file={config}") as running:
        status, headers, _ = running.get()
        assert (status, headers["WWW-Authenticate"]) == (401, 'Basic realm="metrics"')
        for wrong in (
            basic("sre", "wrong"),
            basic("nobody", PASSWORD),
            basic("sre", ""),
            {"Authorization": "Basic !"},
            {"Authorization": "Bearer x"},
        ):
            assert running.get(**wrong)[0] == 401
            assert running.get("/", **wrong)[0] == 401
        status, headers, _ = running.get(**basic("sre", PASSWORD))
        assert (status, headers["X-Frame-Options"]) == (200, "deny")
        assert running.get("/-/healthy")[0] == 200

        def is_logged(message: str) -> bool:
            assert running.get()[0] == 401  # There is no moment without a password.
            assert running.get(**basic("sre", PASSWORD))[0] == 200
            return message in running.log.read_text()

        config.write_text("basic_auth_users: [broken\n")
        wait_for(lambda: is_logged("is no YAML"), "the broken edit is noticed")
        config.write_text("")
        wait_for(lambda: is_logged("is empty"), "the empty file is noticed")
        config.write_text(users("another"))
        new = basic("sre", "another")
        wait_for(lambda: running.get(**new)[0] == 200, "the new password holds")
        assert running.get(**basic("sre", PASSWORD))[0] == 401
        log = running.log.read_text()
        assert log.count("the settings before stay in force") == 2
        assert PASSWORD not in log


@pytest.mark.usefixtures("recorder")
def test_the_rate_limit(store_path: Path, tmp_path: Path) -> None:
    config = tmp_path / "web.yml"
    config.write_text("rate_limit: {interval: 1h, burst: 2}\n")
    with exporter(store_path, f"--web.config.file={config}") as running:
        assert [running.get()[0] for _ in range(3)] == [200, 200, 429]
        assert running.get("/-/ready")[0] == 200


@pytest.mark.usefixtures("recorder")
def test_tls_with_client_certificates(store_path: Path, tmp_path: Path) -> None:
    for name in ("server", "alice", "bob", "second"):
        certificate(tmp_path, name)
    both = (tmp_path / "alice.crt").read_text() + (tmp_path / "bob.crt").read_text()
    (tmp_path / "clients.crt").write_text(both)
    config = tmp_path / "web.yml"
    config.write_text(
        "tls_server_config: {cert_file: server.crt, key_file: server.key, "
        "client_ca_file: clients.crt, client_auth_type: RequireAndVerifyClientCert, "
        "client_allowed_sans: [alice]}\n"
    )

    def client(name: str, server_name: str = "server") -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=tmp_path / f"{server_name}.crt")
        context.check_hostname = False
        if name:
            context.load_cert_chain(tmp_path / f"{name}.crt", tmp_path / f"{name}.key")
        return context

    with exporter(store_path, f"--web.config.file={config}") as running:
        (port,) = running.ports
        silent = socket.create_connection(("127.0.0.1", port))
        assert over_tls(port, client("alice")) == 200
        for name in ("bob", "second", ""):
            with pytest.raises((ssl.SSLError, ConnectionError)):
                over_tls(port, client(name))
        for ending in (".crt", ".key"):
            (tmp_path / f"second{ending}").replace(tmp_path / f"server{ending}")

        def is_renewed() -> bool:
            with contextlib.suppress(ssl.SSLError):
                return over_tls(port, client("alice", "server")) == 200
            return False

        wait_for(is_renewed, "the new certificate is shown")
        silent.close()


@pytest.mark.usefixtures("recorder")
def test_tls_from_the_configuration_itself(store_path: Path, tmp_path: Path) -> None:
    certificate(tmp_path, "server")
    config = tmp_path / "web.yml"
    texts = {"cert": "server.crt", "key": "server.key"}
    inline = {name: (tmp_path / file).read_text() for name, file in texts.items()}
    config.write_text(json.dumps({"tls_server_config": inline}))
    context = ssl.create_default_context(cafile=tmp_path / "server.crt")
    context.check_hostname = False

    with exporter(store_path, f"--web.config.file={config}") as running:
        assert over_tls(running.ports[0], context) == 200
        assert "PRIVATE" not in running.log.read_text()


@pytest.mark.usefixtures("recorder")
def test_an_encrypted_key_is_refused_and_asks_nobody(store_path: Path, tmp_path: Path) -> None:
    certificate(tmp_path, "server")
    key = tmp_path / "server.key"
    encrypt = ("openssl", "ec", "-aes256", "-passout", "pass:secret")
    subprocess.run([*encrypt, "-in", key, "-out", key], check=True, capture_output=True)
    config = tmp_path / "web.yml"
    config.write_text("tls_server_config: {cert_file: server.crt, key_file: server.key}\n")

    code, error = refusal(f"--store.path={store_path}", f"--web.config.file={config}")

    assert (code, "the key is encrypted, which is not supported" in error) == (2, True), error


@pytest.mark.usefixtures("recorder")
def test_certificates_that_come_after_the_edit_that_names_them_are_loaded(
    store_path: Path, tmp_path: Path
) -> None:
    config = tmp_path / "web.yml"
    config.write_text("{}")
    with exporter(store_path, f"--web.config.file={config}") as running:
        config.write_text("tls_server_config: {cert_file: late.crt, key_file: late.key}\n")
        wait_for(
            lambda: running.get()[0] == 200 and "stay in force" in running.log.read_text(),
            "the edit is noticed",
        )
        certificate(tmp_path, "late")
        context = ssl.create_default_context(cafile=tmp_path / "late.crt")
        context.check_hostname = False

        def is_there() -> bool:
            with contextlib.suppress(OSError):
                return over_tls(running.ports[0], context) == 200
            return False

        wait_for(is_there, "the certificate is loaded")


@pytest.mark.usefixtures("recorder")
def test_wrong_passwords_do_not_delay_who_is_known(store_path: Path, tmp_path: Path) -> None:
    config = tmp_path / "web.yml"
    hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(12)).decode()
    config.write_text(f"basic_auth_users: {{sre: '{hashed}'}}\n")
    with exporter(store_path, f"--web.config.file={config}") as running:
        assert running.get(**basic("sre", PASSWORD))[0] == 200
        began = time.monotonic()
        assert running.get(**basic("sre", "wrong"))[0] == 401
        comparison_seconds = time.monotonic() - began

        threads = [
            threading.Thread(target=running.get, kwargs=basic("sre", f"wrong {number}"))
            for number in range(10)
        ]
        for thread in threads:
            thread.start()
        began = time.monotonic()
        assert running.get(**basic("sre", PASSWORD))[0] == 200
        known_seconds = time.monotonic() - began
        for thread in threads:
            thread.join()

    assert known_seconds < 5 * comparison_seconds


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tls_server_config: {cert: a}", "or cert and key"),
        ("tls_server_config: {cert: a, key: b}", "certificates cannot be loaded"),
        ("tls_server_config: {cert: a, key: b, cert_file: c, key_file: d}", "or cert and key"),
        ("tls: {}", "'tls' in the file is not supported"),
        ("tls_server_config: {cert_file: a}", "needs cert_file and key_file"),
        (
            "tls_server_config: {cert_file: a, key_file: b, curve_preferences: [X]}",
            "'curve_preferences' in tls_server_config is not supported",
        ),
        (
            "tls_server_config: {cert_file: a, key_file: b, client_auth_type: RequestClientCert}",
            "client_auth_type 'RequestClientCert' is none of",
        ),
        ("tls_server_config: {cert_file: a, key_file: b, min_version: TLS10}", "min_version"),
        ("tls_server_config: {cert_file: a, key_file: b}", "certificates cannot be loaded"),
        ("http_server_config: {headers: {X-Own: a}}", "'X-Own' in http_server_config.headers"),
        ("basic_auth_users: {sre: secret}", "basic_auth_users.sre must be a bcrypt hash"),
        ("rate_limit: {interval: soon}", "rate_limit.interval 'soon'"),
        ("rate_limit: {interval: 1s, burst: 0}", "rate_limit.burst"),
        ("[1]", "the file must be a mapping"),
        ("a: [", "is no YAML"),
        ("", "is empty; write {}"),
        ("[]", "the file must be a mapping"),
        ("basic_auth_users:", "basic_auth_users must be a mapping"),
        ("rate_limit:", "rate_limit must be a mapping"),
        ("basic_auth_users: {a: b}\nbasic_auth_users: {}", "a key is there twice"),
        ("x: 2024-13-45", "is no YAML"),
        ("x: " + 3_000 * "[", "is no YAML"),
        ('tls_server_config: {cert_file: "a\\0b", key_file: b}', "cannot be loaded"),
        ("rate_limit: {interval: 1" + 400 * "0" + "s}", "rate_limit.interval"),
        ("http_server_config: {http2: banana}", "http2 must be true or false"),
        ("http_server_config: {headers: {X-Frame-Options: d…}}", "one line of ASCII"),
        ("basic_auth_users: {sre: $2b$10$secret}", "basic_auth_users.sre must be a bcrypt hash"),
        ("basic_auth_users: {1: a}", "1 in basic_auth_users must be text"),
    ],
)
def test_what_the_web_configuration_cannot_hold_is_refused_by_name(
    text: str, message: str, tmp_path: Path, store_path: Path
) -> None:
    config = tmp_path / "web.yml"
    config.write_text(text)

    flags = (f"--web.config.file={config}", "--web.listen-address=127.0.0.1:0")
    code, error = refusal(f"--store.path={store_path}", *flags)

    assert (code, message in error) == (2, True), error
    assert "secret" not in error


@pytest.mark.usefixtures("recorder")
def test_more_scrapes_at_once_than_allowed_are_turned_away(store_path: Path) -> None:
    with exporter(store_path, "--web.max-requests=1") as running:
        statuses: list[int] = []
        deadline = time.monotonic() + 60

        def scrape() -> None:
            # Until two have met: on a busy machine they may come one after the other for a while.
            while not {200, 503} <= set(statuses) and time.monotonic() < deadline:
                statuses.append(running.get()[0])

        threads = [threading.Thread(target=scrape) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert set(statuses) == {200, 503}
        assert running.get()[0] == 200


@pytest.mark.usefixtures("recorder")
def test_a_body_is_never_taken_for_the_next_request(store_path: Path) -> None:
    with (
        exporter(store_path) as running,
        socket.create_connection(("127.0.0.1", running.ports[0]), timeout=10) as connection,
    ):
        body = b"GET /-/ready HTTP/1.1\r\n\r\n"
        head = b"GET /-/healthy HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
        connection.sendall(head + body)
        answer = b""
        with contextlib.suppress(ConnectionError):
            while chunk := connection.recv(4_096):
                answer += chunk
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"Connection: close" in answer
    assert answer.endswith(b"healthy\n")


@pytest.mark.usefixtures("recorder")
def test_requests_may_follow_each_other_on_a_connection(store_path: Path) -> None:
    with (
        exporter(store_path) as running,
        contextlib.closing(HTTPConnection("127.0.0.1", running.ports[0])) as connection,
    ):
        for path in ("/-/healthy", "/metrics", "/", "/metrics"):
            connection.request("GET", path)
            answer = connection.getresponse()
            assert (answer.status, len(answer.read()) > 5) == (200, True)


def test_without_a_store_it_is_healthy_but_not_ready(store_path: Path) -> None:
    with exporter(store_path) as running:
        for path in store_path.iterdir():
            path.unlink()
        store_path.rmdir()
        status, _, body = running.get()
        assert (status, b"inferometer_exporter_blocks 0.0" in body) == (200, True)
        assert running.get("/-/ready")[0] == 503
        assert running.get("/-/healthy")[0] == 200
        store_path.mkdir(mode=0o700)


def test_two_exporters_on_one_store_agree_and_survive_a_kill(
    store_path: Path, recorder: Recorder
) -> None:
    child = recorder.child("inferometer_rows_total", model="digits", version="1")
    row = b'inferometer_rows_total{model="digits",version="1"} %d.0'
    with exporter(store_path) as first, exporter(store_path) as second:
        child.inc()
        assert row % 8 in first.get()[2]
        assert row % 8 in second.get()[2]
        second.process.send_signal(signal.SIGKILL)
        second.process.wait()
        child.inc()
        assert row % 9 in first.get()[2]
