"""Runs programs that record, in processes of their own."""

import subprocess
import sys
from pathlib import Path

# From 3.12 Python warns of a fork beside threads, which is tested here.
PYTHON = (sys.executable, "-W", "error", "-W", "ignore:This process:DeprecationWarning")


def run(body: str, *arguments: Path | str) -> None:
    """Run a program to its end, which must be a clean and silent one."""
    program = subprocess.run(
        [*PYTHON, "-c", body, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (program.returncode, program.stderr) == (0, "")


def wait_until_recorded(process: "subprocess.Popen[str]") -> None:
    """Wait for a program's word that it has recorded what it is told to."""
    assert process.stdout is not None
    assert process.stdout.readline() == "recorded\n"
