"""`python -m demo.cancer`: a small model of a table, and rows whose truth is known, to try out.

scikit-learn's breast cancer data. Written to the present folder: `cancer/1/model.keras`,
`cancer.csv` with rows that the model was not trained on, and `request.json` with one of them.
"""

import csv
import json
from pathlib import Path

import keras
import numpy as np
from sklearn.datasets import load_breast_cancer

SEED = 3
COLUMNS = 10
TRAINED_ROWS = 300
EPOCHS = 40


def main() -> None:
    """Train and write."""
    data = load_breast_cancer()
    order = np.random.default_rng(SEED).permutation(len(data.target))
    rows, kinds = data.data[order, :COLUMNS].astype(np.float32), data.target[order]
    names = [name.replace(" ", "_") for name in data.feature_names[:COLUMNS]]
    folder = Path("cancer/1")
    folder.mkdir(parents=True, exist_ok=True)
    _train(rows[:TRAINED_ROWS], kinds[:TRAINED_ROWS]).save(folder / "model.keras")
    with Path("cancer.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow([*names, "diagnosis"])
        for row, kind in zip(rows[TRAINED_ROWS:], kinds[TRAINED_ROWS:], strict=True):
            writer.writerow([*map(float, row), data.target_names[kind]])
    Path("request.json").write_text(json.dumps({"instances": rows[-1:].tolist()}))


def _train(rows: np.ndarray, kinds: np.ndarray) -> keras.Model:
    keras.utils.set_random_seed(SEED)
    scale = keras.layers.Normalization()
    scale.adapt(rows)
    model = keras.Sequential(
        [
            keras.layers.Input((COLUMNS,), name="x"),
            scale,
            keras.layers.Dense(16, activation="relu"),
            keras.layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.compile(optimizer="adam", loss="binary_crossentropy")
    model.fit(rows, kinds, epochs=EPOCHS, verbose=0)
    return model


if __name__ == "__main__":
    main()
