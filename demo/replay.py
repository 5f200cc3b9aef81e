"""Replays the held-out digits as traffic: one to four rows a request, over both protocols."""

import http.client
import json
from typing import Any

import numpy as np

TIMEOUT_SECONDS = 10
MOST_ROWS = 4
# Every fourth request speaks the Open Inference Protocol, the others TensorFlow Serving's.
OPEN_INFERENCE_EVERY = 4
SEED = 7


class Replay:
    """Sends requests one at a time and counts how many of the answers were right."""

    def __init__(self, port: int, *, images: np.ndarray, labels: np.ndarray) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS)
        self._images = images
        self._labels = labels
        self._random = np.random.default_rng(SEED)
        self.requests = 0
        self.failures = 0
        self.rows = 0
        self.right_rows = 0

    @property
    def accuracy(self) -> float:
        """The share of answered rows whose most probable digit is the label; 0 without any."""
        return self.right_rows / self.rows if self.rows else 0.0

    def send(self) -> None:
        """Ask for some random digits; a refusal or a lost connection is counted, not raised."""
        count = self._random.integers(1, MOST_ROWS, endpoint=True)
        chosen = self._random.choice(len(self._labels), size=count, replace=False)
        ask = (
            self._open_inference if self.requests % OPEN_INFERENCE_EVERY == 0 else self._tf_serving
        )
        self.requests += 1
        try:
            probabilities = ask(self._images[chosen])
        except (OSError, http.client.HTTPException):
            self._connection.close()  # the next request opens a new one
            self.failures += 1
            return
        self.rows += len(chosen)
        self.right_rows += int(np.sum(probabilities.argmax(axis=1) == self._labels[chosen]))

    def _tf_serving(self, images: np.ndarray) -> np.ndarray:
        reply = self._post("/v1/models/digits:predict", {"instances": images.tolist()})
        return np.array(reply["predictions"])

    def _open_inference(self, images: np.ndarray) -> np.ndarray:
        tensor = {
            "name": "image",
            "datatype": "FP32",
            "shape": images.shape,
            "data": images.ravel().tolist(),
        }
        output = self._post("/v2/models/digits/infer", {"inputs": [tensor]})["outputs"][0]
        return np.array(output["data"]).reshape(output["shape"])

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Return the reply's body. Raises HTTPException when the status is not 200."""
        self._connection.request("POST", path, json.dumps(body))
        response = self._connection.getresponse()
        content = response.read()
        if response.status != http.client.OK:
            raise http.client.HTTPException(f"status {response.status}")
        reply: dict[str, Any] = json.loads(content)
        return reply
