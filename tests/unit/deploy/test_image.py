"""The Dockerfile: what can be said of it without a container engine."""

import json
import re
import subprocess
import sys
from pathlib import Path

from serving.settings import Settings

PROJECT = Path(__file__).parents[3]
DOCKERFILE = (PROJECT / "Dockerfile").read_text().replace("\\\n", " ").splitlines()
STAGES = [line.split()[-1] for line in DOCKERFILE if line.startswith("FROM ") and " AS " in line]


def instructions(name: str, *, of_last_stage: bool = False) -> list[str]:
    lines = DOCKERFILE
    if of_last_stage:
        lines = lines[max(n for n, line in enumerate(lines) if line.startswith("FROM ")) :]
    return [line.removeprefix(name).strip() for line in lines if line.startswith(f"{name} ")]


def test_hadolint_finds_nothing() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    ended = subprocess.run(
        [hadolint, "--no-color", PROJECT / "Dockerfile"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (0, "") == (ended.returncode, ended.stdout), ended.stdout + ended.stderr


def test_image_is_pinned_and_never_latest() -> None:
    images = {line.split()[0] for line in instructions("FROM")} - set(STAGES)

    assert images
    assert all(re.fullmatch(r"python:[\d.]+-slim-bookworm@sha256:[0-9a-f]{64}", i) for i in images)


def test_image_runs_the_command_in_exec_form() -> None:
    entry_points = instructions("ENTRYPOINT", of_last_stage=True)

    assert [["inferometer"]] == [json.loads(line) for line in entry_points]
    assert ["serve"] == json.loads(instructions("CMD")[-1])
    assert ["SIGTERM"] == instructions("STOPSIGNAL")


def test_image_runs_as_a_numeric_user() -> None:
    users = instructions("USER", of_last_stage=True)

    assert users
    assert all(re.fullmatch(r"[1-9]\d*:[1-9]\d*", user) for user in users)


def test_image_shows_both_ports() -> None:
    ports = {Settings.model_fields[name].default for name in ("port", "metrics_port")}

    assert [ports] == [set(map(int, line.split())) for line in instructions("EXPOSE")]


def test_image_checks_its_health_without_a_shell() -> None:
    [check] = instructions("HEALTHCHECK")
    command = json.loads(check.partition("CMD ")[2])

    assert ["python", "-c"] == command[:2]
    assert "/readyz" in command[2]
    compile(command[2], "health check", "exec")


def test_everything_that_is_copied_is_let_through_and_exists() -> None:
    words = [line.split()[:-1] for line in instructions("COPY") if "--from=" not in line]
    copied = {word.rstrip("/") for each in words for word in each if not word.startswith("--")}
    lines = (PROJECT / ".dockerignore").read_text().splitlines()
    let_through = {line[1:].removesuffix("/*.txt") for line in lines if line.startswith("!")}

    assert copied == let_through
    assert all((PROJECT / name).exists() for name in copied)
