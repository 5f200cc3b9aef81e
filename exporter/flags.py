"""Flags of the exporter's command line, each of which is a variable of the environment too."""

import argparse
from collections.abc import Mapping

ENVIRONMENT_PREFIX = "INFEROMETER_EXPORTER_"
_TRUTHS = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}


class FlagParser:
    """Adds flags, each of which can also be given as an environment variable."""

    def __init__(self, environment: Mapping[str, str], problems: list[str]) -> None:
        self.parser = argparse.ArgumentParser(
            prog="inferometer exporter",
            description="Serve the merged metrics of all processes that record into a directory.",
            epilog=f"Each flag is also a variable: {ENVIRONMENT_PREFIX}WEB_LISTEN_ADDRESS and so "
            "on; where a flag is repeatable, its variable holds a list with commas.",
            allow_abbrev=False,
        )
        self._environment = environment
        self._problems = problems

    def text(self, flag: str, default: str, metavar: str, text: str) -> None:
        """Add a flag that takes a text."""
        given = self._environment.get(_variable(flag)) or default  # Empty is not set.
        self._add(flag, f"{text} (default: {given or 'none'})", metavar=metavar, default=given)

    def list(self, flag: str, default: str, metavar: str, text: str) -> None:
        """Add a flag that can be repeated."""
        given = self._environment.get(_variable(flag)) or default  # Empty is not set.
        # argparse would append to a default; None tells that the flag was not given.
        self._add(
            flag,
            f"{text} (default: {given or 'none'})",
            metavar=metavar,
            action=_Append,
            default=[t for t in given.split(",") if t],
        )

    def switch(self, flag: str, text: str, *, default: bool) -> None:
        """Add a flag that is on or, with `no-` before it, off."""
        given = self._environment.get(_variable(flag))
        if given:
            if given.lower() not in _TRUTHS:
                self._problems.append(f"{_variable(flag)}: {given!r} is neither true nor false")
            default = _TRUTHS.get(given.lower(), default)
        on = "on" if default else "off"
        self._add(
            flag,
            f"{text} (default: {on})",
            action=argparse.BooleanOptionalAction,
            default=default,
        )

    def _add(self, flag: str, text: str, **settings: object) -> None:
        self.parser.add_argument(
            f"--{flag}",
            dest=flag,
            help=text.replace("%", "%%"),
            **settings,  # type: ignore[arg-type]
        )


class _Append(argparse.Action):
    """Collects a repeatable flag's values; the first one replaces the default."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,  # noqa: ARG002
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,  # noqa: ARG002
    ) -> None:
        present = getattr(namespace, self.dest)
        setattr(namespace, self.dest, [*([] if present is self.default else present), values])


def _variable(flag: str) -> str:
    if flag == "store.path":
        return "INFEROMETER_STORE_PATH"  # the one that whoever records reads too
    return ENVIRONMENT_PREFIX + flag.upper().replace(".", "_").replace("-", "_")
