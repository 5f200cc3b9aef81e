"""Calls other people's clients as the tests ask: `client_program.py DESCRIPTOR URL`.

Runs in the environment of `requirements/clients.txt`, which lacks what the project installs.
`clients.py` is the other end of the connection. The clients are made and used with their defaults.
"""

import asyncio
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from httpx import HTTPStatusError
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.utils.numpy_codec import from_np_dtype
from tritonclient import http as triton
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

Tensors = Mapping[str, np.ndarray]
# What is passed on to the client for a tensor beside its name and value; nothing for its defaults.
Forms = Mapping[str, Mapping[str, Any]]
Answer = tuple[dict[str, Any], dict[str, np.ndarray]]


class Triton:
    """NVIDIA's client of Triton; what is not here is the client's own."""

    def __init__(self, url: str) -> None:
        self.client = triton.InferenceServerClient(url.removeprefix("http://"))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.client, name)

    def infer(
        self, model: str, tensors: Tensors, inputs: Forms, outputs: Forms, **options: Any
    ) -> Answer:
        wanted = [triton.InferRequestedOutput(name, **form) for name, form in outputs.items()]
        result = self.client.infer(
            model, _triton_inputs(tensors, inputs), outputs=wanted or None, **options
        )
        return _triton_answer(result)

    def infer_together(self, model: str, requests: Sequence[Tensors]) -> list[Answer]:
        """Send all before any is waited for."""
        sent = [self.client.async_infer(model, _triton_inputs(one, {})) for one in requests]
        return [_triton_answer(request.get_result()) for request in sent]


def _triton_inputs(tensors: Tensors, forms: Forms) -> list[triton.InferInput]:
    inputs = []
    for name, array in tensors.items():
        tensor = triton.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
        inputs.append(tensor.set_data_from_numpy(array, **forms.get(name, {})))
    return inputs


def _triton_answer(result: triton.InferResult) -> Answer:
    response = result.get_response()
    names = [output["name"] for output in response["outputs"]]
    return response, {name: result.as_numpy(name) for name in names}


class KServe:
    """KServe's client over one of its protocols; its coroutines are waited for."""

    def __init__(self, url: str, protocol: str, runner: asyncio.Runner) -> None:
        self.url = url
        self.client = InferenceRESTClient(RESTConfig(protocol=protocol))
        self.runner = runner

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            return self.runner.run(getattr(self.client, name)(self.url, *arguments, **options))

        return call

    def infer_tensors(self, model: str, tensors: Tensors, inputs: Forms, **options: Any) -> Answer:
        """Return the reply's fields and its outputs as arrays."""
        given = []
        for name, array in tensors.items():
            tensor = InferInput(name, list(array.shape), from_np_dtype(array.dtype))
            tensor.set_data_from_numpy(array, **inputs.get(name, {}))
            given.append(tensor)
        return self._answer(model, InferRequest(model, given, **options))

    def infer_document(self, model: str, document: dict[str, Any]) -> Answer:
        return self._answer(model, document)

    def _answer(self, model: str, request: InferRequest | dict[str, Any]) -> Answer:
        response = self.runner.run(self.client.infer(self.url, request, model))
        fields = {"id": response.id, "model_name": response.model_name}
        return fields, {output.name: output.as_numpy() for output in response.outputs}


def main(descriptor: str, url: str) -> None:
    connection = Connection(int(descriptor))
    with asyncio.Runner() as runner, suppress(EOFError):
        clients = {
            "triton": Triton(url),
            "kserve v1": KServe(url, "v1", runner),
            "kserve v2": KServe(url, "v2", runner),
        }
        while True:
            client, method, arguments, options = connection.recv()
            try:
                answer = getattr(clients[client], method)(*arguments, **options)
            except (InferenceServerException, HTTPStatusError) as error:
                connection.send((type(error).__name__, str(error)))
            else:
                connection.send((None, answer))


if __name__ == "__main__":
    main(*sys.argv[1:])
