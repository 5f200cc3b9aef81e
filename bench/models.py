"""The benchmark's models.

A demo-sized dense network, a small one of a table's rows, one that computes for 20 ms a row, and
one that does next to nothing with large images. `python -m bench.models FOLDER` writes all of them;
`python -m bench.models --bare FOLDER BATCH ROWS` calls the slow one's concrete function in a bare
loop, BATCH rows at a time, and prints rows a second.
"""

import os
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf

PIXELS, HIDDEN, CLASSES = 784, 128, 10
IMAGE = (224, 224, 3)
FEATURES = 20
SIDE = 256
TARGET_ROW_SECONDS = 0.020
SEED = 7


class Dense(tf.Module):
    """784-128-10, as a classifier of small images would be."""

    def __init__(self) -> None:
        super().__init__()
        generator = np.random.default_rng(SEED)
        self.hidden = tf.Variable(generator.normal(0, 0.05, (PIXELS, HIDDEN)).astype(np.float32))
        self.output = tf.Variable(generator.normal(0, 0.05, (HIDDEN, CLASSES)).astype(np.float32))

    @tf.function(input_signature=[tf.TensorSpec([None, PIXELS], tf.float32, name="pixels")])
    def serve(self, pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return ten probabilities a row."""
        return {"probabilities": tf.nn.softmax(tf.nn.relu(pixels @ self.hidden) @ self.output)}


class Table(tf.Module):
    """20-32-1, as a classifier of a table's rows would be."""

    def __init__(self) -> None:
        super().__init__()
        generator = np.random.default_rng(SEED)
        self.hidden = tf.Variable(generator.normal(0, 0.5, (FEATURES, 32)).astype(np.float32))
        self.output = tf.Variable(generator.normal(0, 0.5, (32, 1)).astype(np.float32))

    @tf.function(input_signature=[tf.TensorSpec([None, FEATURES], tf.float32, name="x")])
    def serve(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return one probability a row."""
        return {"p": tf.nn.sigmoid(tf.nn.relu(x @ self.hidden) @ self.output)}


class Image(tf.Module):
    """One pixel of an image of any size, so that what is measured is how it gets there."""

    @tf.function(input_signature=[tf.TensorSpec([None] * 3 + [3], tf.float32, name="image")])
    def serve(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return the three colours of the last pixel."""
        return {"colour": image[:, -1, -1, :]}


class Heavy(tf.Module):
    """Matrix products whose time grows with the rows and nothing else."""

    def __init__(self, products: int) -> None:
        super().__init__()
        generator = np.random.default_rng(SEED)
        self.products = products
        self.matrix = tf.Variable(
            generator.normal(0, 1 / SIDE**0.5, (SIDE, SIDE)).astype(np.float32)
        )

    @tf.function(input_signature=[tf.TensorSpec([None, 1], tf.float32, name="x")])
    def serve(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return one number a row, after much ado."""
        # [rows × 256, 256]: one product over all rows, so that the cost per row does not depend on
        # their number.
        state = tf.repeat(x, SIDE, axis=0) + tf.ones([1, SIDE])
        for _ in range(self.products):
            state = tf.nn.tanh(state @ self.matrix)
        return {"y": tf.reduce_mean(tf.reshape(state, [-1, SIDE * SIDE]), axis=1, keepdims=True)}


def write(folder: Path) -> None:
    """Export the models, the heavy one sized to this machine."""
    _one_thread()
    dense = Dense()
    tf.saved_model.save(dense, str(folder / "dense" / "1"), signatures=dense.serve)
    table = Table()
    for name in ("table", "bare"):
        tf.saved_model.save(table, str(folder / name / "1"), signatures=table.serve)
    image = Image()
    tf.saved_model.save(image, str(folder / "image" / "1"), signatures=image.serve)
    products = 8
    seconds = _row_seconds(Heavy(products))
    heavy = Heavy(max(1, round(products * TARGET_ROW_SECONDS / seconds)))
    tf.saved_model.save(heavy, str(folder / "heavy" / "1"), signatures=heavy.serve)


def bare_loop(folder: Path, batch_rows: int, rows: int) -> float:
    """Return rows a second of calling the heavy model's concrete function and nothing else."""
    _one_thread()
    restored = tf.saved_model.load(str(folder / "heavy" / "1"))
    function = restored.signatures["serving_default"]
    batch = np.ones((batch_rows, 1), np.float32)
    function(x=tf.constant(batch))
    begun = time.perf_counter()
    for _ in range(rows // batch_rows):
        function(x=tf.constant(batch))["y"].numpy()
    return rows / (time.perf_counter() - begun)


def _one_thread() -> None:
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)


def _row_seconds(model: Heavy) -> float:
    batch = tf.ones([8, 1])
    model.serve(batch)
    begun = time.perf_counter()
    for _ in range(3):
        model.serve(batch)["y"].numpy()
    return (time.perf_counter() - begun) / 3 / 8


if __name__ == "__main__":
    if sys.argv[1] == "--bare":
        print(bare_loop(Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])))
    else:
        write(Path(sys.argv[1]))
