"""Other people's clients, in a process of their own environment: `make clients` installs them."""

import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

PROJECT = Path(__file__).parents[2]
PYTHON = PROJECT / ".venv-clients" / "bin" / "python"
PROGRAM = Path(__file__).with_name("client_program.py")
DEADLINE_SECONDS = 90.0

Tensors = Mapping[str, np.ndarray]
Forms = Mapping[str, Mapping[str, Any]]


class ClientError(Exception):
    """What a client raised: `kind` is its class, the message its own."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class Answer:
    """An inference's answer: the reply's fields, and its outputs as the client's arrays."""

    fields: dict[str, Any]
    arrays: dict[str, np.ndarray]


@dataclass(frozen=True, slots=True)
class Client:
    """One of the clients; every method that it has can be called."""

    name: str
    connection: Connection

    def call(self, method: str, *arguments: Any, **options: Any) -> Any:
        self.connection.send((self.name, method, arguments, options))
        assert self.connection.poll(DEADLINE_SECONDS), f"no answer from {self.name} {method}"
        error, answer = self.connection.recv()
        if error is not None:
            raise ClientError(error, answer)
        return answer

    def infer(
        self,
        model: str,
        tensors: Tensors,
        inputs: Forms | None = None,
        outputs: Forms | None = None,
        **options: Any,
    ) -> Answer:
        """Infer with Triton's client; `inputs` and `outputs` are what differs from its defaults."""
        answer = self.call("infer", model, tensors, inputs or {}, outputs or {}, **options)
        return Answer(*answer)

    def infer_tensors(
        self, model: str, tensors: Tensors, inputs: Forms | None = None, **options: Any
    ) -> Answer:
        """Infer with KServe's client and an InferRequest, which has `options`."""
        return Answer(*self.call("infer_tensors", model, tensors, inputs or {}, **options))

    def infer_document(self, model: str, document: dict[str, Any]) -> Answer:
        """Infer with KServe's client and a body of one's own."""
        return Answer(*self.call("infer_document", model, document))


@contextmanager
def start_clients(url: str, folder: Path) -> Iterator[dict[str, Client]]:
    """Run the clients of the server at `url` until the block ends."""
    ours, theirs = Pipe()
    log_file = folder / "clients.log"
    command = [PYTHON, PROGRAM, str(theirs.fileno()), url]
    with ours, log_file.open("wb") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, pass_fds=[theirs.fileno()], cwd=folder
        )
        theirs.close()
        try:
            yield {name: Client(name, ours) for name in ("triton", "kserve v1", "kserve v2")}
        finally:
            ours.close()
            status = process.wait(30)
    assert status == 0, log_file.read_text()
