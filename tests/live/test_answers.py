"""Whoever asks gets the answer to their own question, however many ask at once."""

import json
import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import requests
from numpy.typing import NDArray

from tests.live.servers import start_server, total

CLIENTS = 32
SECONDS = 30.0
MAX_ROWS = 4


@pytest.fixture(scope="module")
def network(models: Path) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Distinct rows and what the model itself, called directly, says of them."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import keras

    rows = np.random.default_rng(5).standard_normal((4000, 16)).astype(np.float32)
    model = keras.saving.load_model(models / "network.keras", compile=False)
    return rows, np.asarray(model(rows, training=False))


@pytest.mark.parametrize("path", ["network", "network.keras"])
def test_32_clients_for_half_a_minute_each_get_their_own_answers(
    models: Path,
    tmp_path: Path,
    path: str,
    network: tuple[NDArray[np.float32], NDArray[np.float32]],
) -> None:
    rows, expected = network
    wrong: list[str] = []
    with start_server({"network": models / path}, tmp_path, "--workers=2") as server:
        # The minute is the SavedModel's; the same model as a .keras file gets a tenth of it.
        end = time.monotonic() + (SECONDS if path == "network" else SECONDS / 10)

        def work(number: int) -> None:
            generator = np.random.default_rng(number)
            with requests.Session() as session:
                while time.monotonic() < end:
                    chosen = generator.integers(0, len(rows), generator.integers(1, MAX_ROWS + 1))
                    body = json.dumps({"instances": rows[chosen].tolist()})
                    answer = session.post(
                        f"{server.url}/v1/models/network:predict", data=body, timeout=60
                    )
                    if answer.status_code != 200 or not np.allclose(
                        answer.json()["predictions"], expected[chosen], rtol=1e-5, atol=1e-6
                    ):
                        wrong.append(answer.text)

        clients = [threading.Thread(target=work, args=(number,)) for number in range(CLIENTS)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        samples = server.samples()

    assert wrong == []
    batches = total(samples, "inferometer_batch_rows_count")
    assert total(samples, "inferometer_batch_rows_sum") / batches > 2
    assert total(samples, "inferometer_model_traces_total") == 0
