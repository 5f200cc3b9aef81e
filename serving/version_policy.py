"""Which of a model's version folders are served: the newest, all, or those that are named."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

_LATEST = re.compile(r"latest(?::([1-9][0-9]{0,3}))?")
# "+" where a comma separates models.
_NAMED = re.compile(r"[0-9]{1,18}([,+][0-9]{1,18})*")

EXPECTED = 'expected "latest:N", "all" or versions such as "1+3"'


def canonical_version(text: str) -> str:
    """Return a decimal number without leading zeros: `02` is version 2."""
    return text.lstrip("0") or "0"


@dataclass(frozen=True, slots=True)
class VersionPolicy:
    """Served versions: the `latest` newest, those in `named`, or all where both are empty."""

    latest: int | None = 1
    named: frozenset[str] = frozenset()

    def choose(self, available: Iterable[str]) -> list[str]:
        """Return which of the available versions are wanted, newest first."""
        ordered = sorted(available, key=int, reverse=True)
        if self.named:
            return [version for version in ordered if version in self.named]
        return ordered if self.latest is None else ordered[: self.latest]


def parse_version_policy(text: str) -> VersionPolicy:
    """Return the policy that a setting names. Raises ValueError saying what was expected."""
    latest = _LATEST.fullmatch(text)
    if latest:
        return VersionPolicy(int(latest[1] or 1))
    if text == "all":
        return VersionPolicy(None)
    if _NAMED.fullmatch(text):
        names = re.split(r"[,+]", text)
        return VersionPolicy(None, frozenset(map(canonical_version, names)))
    raise ValueError(f"{text[:64]!r}: {EXPECTED}")
