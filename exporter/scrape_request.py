"""What one scrape asks for, read from its query and headers."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qs

from exporter.errors import ScrapeRequestError
from exporter.metric import Family

DEFAULT_TIMEOUT_SECONDS = 10.0  # Prometheus's own default
LEAST_TIMEOUT_SECONDS = 0.05
MOST_TIMEOUT_SECONDS = 60.0
MOST_QUERY_FIELDS = 1_000

# What a sample's name may add to its family's.
SUFFIXES = ("_bucket", "_count", "_sum", "_created", "_total")


@dataclass(frozen=True, slots=True)
class ScrapeRequest:
    """Formats, families, collectors and time that the scraper wants.

    Empty `names` and `collectors` mean all of them.
    """

    accept: str = ""
    accept_encoding: str = ""
    names: frozenset[str] = frozenset()
    collectors: frozenset[str] = frozenset()
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS

    @classmethod
    def read(cls, query: str, headers: Mapping[str, str]) -> "ScrapeRequest":
        """Read a request's query string and headers.

        Raises ScrapeRequestError for a query of too many fields.
        """
        try:
            fields = parse_qs(query, max_num_fields=MOST_QUERY_FIELDS)
        except ValueError as error:
            raise ScrapeRequestError(
                f"the query has more than {MOST_QUERY_FIELDS} fields"
            ) from error
        return cls(
            accept=headers.get("Accept") or "",
            accept_encoding=headers.get("Accept-Encoding") or "",
            names=frozenset(fields.get("name[]", ())),
            collectors=frozenset(fields.get("collect[]", ())),
            timeout_seconds=_timeout(headers.get("X-Prometheus-Scrape-Timeout-Seconds")),
        )

    def wants(self, family: Family) -> bool:
        """Return whether a family is asked for, by its name or that of one of its samples."""
        if not self.names or family.name in self.names:
            return True
        base = family.name.removesuffix("_total")
        return any(f"{base}{suffix}" in self.names for suffix in ("", *SUFFIXES))


def _timeout(text: str | None) -> float:
    """Return the seconds a scraper waits; what it says is only believed when it makes sense."""
    try:
        seconds = float(text or "")
    except ValueError:
        return DEFAULT_TIMEOUT_SECONDS
    if not math.isfinite(seconds) or seconds <= 0:
        return DEFAULT_TIMEOUT_SECONDS
    return min(seconds, MOST_TIMEOUT_SECONDS)
