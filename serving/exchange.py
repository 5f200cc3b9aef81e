"""What the gateway and the service exchange: a request as it arrives, an answer as it leaves."""

from typing import NamedTuple

from serving.body import Fillable, Readable

Environ = dict[str, object]


class Target(NamedTuple):
    """What a path names: a model, and a version or a label of it or neither."""

    model: str
    version: str | None = None
    label: str | None = None


class Incoming(NamedTuple):
    """A prediction request: what its path names, its WSGI environment, where its body is read."""

    target: Target
    environ: Environ
    body: Readable | Fillable


class Answer(NamedTuple):
    """A reply: status line, headers, body.

    `closes` says that the request's body was not read whole, `keeps_open` that the connection may
    bring more requests.
    """

    status: str
    headers: list[tuple[str, str]]
    body: bytes
    closes: bool = False
    keeps_open: bool = True
