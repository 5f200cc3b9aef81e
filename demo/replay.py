"""Replays the held-out digits as traffic: one to four rows a request, over both protocols.

What each digit really is, is told some seconds later. After a minute the digits begin to turn, as
if a camera had slipped.
"""

import http.client
import json
import time
from collections import deque
from typing import Any

import numpy as np
from scipy import ndimage

TIMEOUT_SECONDS = 10
MOST_ROWS = 4
# Every fourth request speaks the Open Inference Protocol, the others TensorFlow Serving's.
OPEN_INFERENCE_EVERY = 4
SEED = 7
LABEL_DELAY_SECONDS = 5.0
REQUEST_INTERVAL_SECONDS = 0.05
REPORT_SECONDS = 10
CALM_SECONDS, DEGREES_A_SECOND, MOST_DEGREES = 60.0, 1.0, 90.0
TOKENS = "inferometer_feedback_token"


class Replay:
    """Sends requests one at a time and counts how many of the answers were right."""

    def __init__(
        self,
        address: str,
        *,
        images: np.ndarray,
        labels: np.ndarray,
        most_rows: int = MOST_ROWS,
        seed: int = SEED,
    ) -> None:
        """Send to the server at `address`, HOST:PORT, over one connection."""
        self._connection = http.client.HTTPConnection(address, timeout=TIMEOUT_SECONDS)
        self._images = images
        self._labels = labels
        self._most_rows = most_rows
        self._random = np.random.default_rng(seed)
        self._begun = time.monotonic()
        # When to send what: the rows' tokens and digits, in order.
        self._awaited: deque[tuple[float, list[dict[str, Any]]]] = deque()
        self.requests = 0
        self.failures = 0
        self.labelled = 0
        self._rows = 0
        self._right_rows = 0

    @property
    def degrees(self) -> float:
        """By how much the digits are turned now."""
        turning = time.monotonic() - self._begun - CALM_SECONDS
        return min(MOST_DEGREES, max(0.0, turning * DEGREES_A_SECOND))

    def accuracy_since(self) -> float:
        """Return the share of right rows since it was last asked for; 0 without any."""
        accuracy = self._right_rows / self._rows if self._rows else 0.0
        self._rows = self._right_rows = 0
        return accuracy

    def report(self) -> str:
        """Return a line about what has been sent, and how the model did since the last one."""
        return (
            f"{self.requests:,} requests, {self.failures:,} failed, "
            f"{self.labelled:,} labels, digits turned by {self.degrees:.0f} degrees, "
            f"accuracy since the last line {self.accuracy_since():.1%}"
        )

    def send(self) -> None:
        """Ask for some random digits, and tell what earlier ones were.

        A refusal or a lost connection is counted, not raised.
        """
        count = self._random.integers(1, self._most_rows, endpoint=True)
        chosen = self._random.choice(len(self._labels), size=count, replace=False)
        ask = (
            self._open_inference if self.requests % OPEN_INFERENCE_EVERY == 0 else self._tf_serving
        )
        self.requests += 1
        images = self._images[chosen]
        if self.degrees:
            turned = ndimage.rotate(images, self.degrees, axes=(1, 2), reshape=False, order=1)
            images = np.clip(turned, 0, 1)
        try:
            probabilities, tokens = ask(images)
            self._send_labels()
        except (OSError, http.client.HTTPException):
            self._connection.close()  # the next request opens a new one
            self.failures += 1
            return
        digits = self._labels[chosen]
        items = [
            {"token": token, "label": int(digit)}
            for token, digit in zip(tokens, digits, strict=True)
        ]
        self._awaited.append((time.monotonic() + LABEL_DELAY_SECONDS, items))
        self._rows += len(chosen)
        self._right_rows += int(np.sum(probabilities.argmax(axis=1) == digits))

    def _send_labels(self) -> None:
        """Send the labels whose time has come."""
        items: list[dict[str, Any]] = []
        while self._awaited and self._awaited[0][0] <= time.monotonic():
            items += self._awaited.popleft()[1]
        if items:
            self.labelled += self._post("/v1/feedback/batch", items)["counted"]

    def _tf_serving(self, images: np.ndarray) -> tuple[np.ndarray, list[str]]:
        """Return the probabilities, and the rows' feedback tokens."""
        path = "/v1/models/digits:predict?feedback_tokens=true"
        reply = self._post(path, {"instances": images.tolist()})
        return np.array(reply["predictions"]), reply["feedback_tokens"]

    def _open_inference(self, images: np.ndarray) -> tuple[np.ndarray, list[str]]:
        tensor = {
            "name": "image",
            "datatype": "FP32",
            "shape": images.shape,
            "data": images.ravel().tolist(),
        }
        body = {"inputs": [tensor], "parameters": {"feedback_tokens": True}}
        outputs = {o["name"]: o for o in self._post("/v2/models/digits/infer", body)["outputs"]}
        output = outputs["probabilities"]
        probabilities = np.array(output["data"]).reshape(output["shape"])
        return probabilities, outputs[TOKENS]["data"]

    def _post(self, path: str, body: object) -> dict[str, Any]:
        """Return the reply's body. Raises HTTPException when the status is not 200."""
        self._connection.request("POST", path, json.dumps(body))
        response = self._connection.getresponse()
        content = response.read()
        if response.status != http.client.OK:
            raise http.client.HTTPException(f"status {response.status}")
        reply: dict[str, Any] = json.loads(content)
        return reply
