"""Small TensorFlow models for the live tests, exported once: `python tests/models.py FOLDER`."""

import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import tensorflow as tf

FLOATS = tf.TensorSpec([None], tf.float32, name="x")


class Half(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, name="x")])
    def serve(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": x / 2}


class Step(tf.Module):
    def __init__(self, step: float) -> None:
        super().__init__()
        self.step = tf.Variable(step)

    @tf.function(input_signature=[FLOATS])
    def serve(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": x + self.step}


class Pair(tf.Module):
    @tf.function(
        input_signature=[
            tf.TensorSpec([None, 2], tf.float32, name="a"),
            tf.TensorSpec([None], tf.int64, name="n"),
        ]
    )
    def serve(self, a: tf.Tensor, n: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"sum": tf.reduce_sum(a, axis=1) + tf.cast(n, tf.float32), "next": n + 1}


class Log(tf.Module):
    @tf.function(input_signature=[FLOATS])
    def serve(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": tf.math.log(x)}


class Text(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="s")])
    def serve(self, s: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"t": tf.identity(s), "t_bytes": tf.identity(s)}


def compute_for(seconds: tf.Tensor) -> list[tf.Tensor]:
    """Return what has to be waited for: it computes for as long."""
    end = tf.timestamp() + tf.cast(seconds, tf.float64)
    rounds: list[tf.Tensor] = tf.while_loop(
        lambda _: tf.timestamp() < end, lambda n: [n + 1], [tf.constant(0, tf.int64)]
    )
    return rounds


class Nap(tf.Module):
    """Computes for as many seconds as the largest x that is a whole number of milliseconds.

    Warm-up's random numbers are not, so that loading does not take a nap.
    """

    @tf.function(input_signature=[FLOATS])
    def serve(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        is_whole = tf.abs(tf.round(x * 1000) - x * 1000) < 1e-3
        seconds = tf.reduce_max(tf.where(is_whole, x, tf.zeros_like(x)))
        with tf.control_dependencies(compute_for(seconds)):
            return {"y": tf.identity(x)}


class Picky(tf.Module):
    @tf.function(input_signature=[FLOATS])
    def serve(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        check = tf.debugging.assert_none_equal(x, tf.constant(13.0), message="13 brings bad luck")
        with tf.control_dependencies([check] if check is not None else []):
            return {"y": tf.identity(x)}


class Grumpy(tf.Module):
    """Computes for 0.3 seconds, and then fails, once x is 13."""

    @tf.function(input_signature=[FLOATS])
    def serve(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        is_bad = tf.reduce_any(tf.equal(x, 13.0))
        with tf.control_dependencies(compute_for(tf.where(is_bad, 0.3, 0.0))):
            check = tf.debugging.Assert(~is_bad, ["13 brings bad luck"])
        with tf.control_dependencies([check] if check is not None else []):
            return {"y": tf.identity(x)}


class Sick(tf.Module):
    """Computes well until a row is 666; from then on every call fails, as on a broken device."""

    def __init__(self) -> None:
        super().__init__()
        self.is_broken = tf.Variable(False)  # noqa: FBT003

    @tf.function(input_signature=[FLOATS])
    def serve(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        self.is_broken.assign(self.is_broken | tf.reduce_any(tf.equal(x, 666.0)))
        check = tf.debugging.Assert(~self.is_broken, ["the device is broken"])
        with tf.control_dependencies([check] if check is not None else []):
            return {"y": tf.identity(x)}


class Together(tf.Module):
    """A row's result depends on its whole batch: such a model must never be batched."""

    @tf.function(input_signature=[FLOATS])
    def serve(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": x - tf.reduce_mean(x)}


class Rows(tf.Module):
    """Returns one row too many once x is 13: a broken model."""

    @tf.function(input_signature=[FLOATS])
    def serve(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        more = tf.concat([x, x[:1]], axis=0)
        return {"y": tf.cond(tf.reduce_any(tf.equal(x, 13.0)), lambda: more, lambda: x)}


class Wide(tf.Module):
    """Two million numbers a row: more than a reply may hold after a few rows."""

    @tf.function(input_signature=[FLOATS])
    def serve(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": tf.tile(x[:, None], [1, 2_000_000])}


class Named(tf.Module):
    """Tells its name beside its answer, once and not for each row."""

    @tf.function(input_signature=[FLOATS])
    def serve(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": x, "name": tf.constant("named")}


class Ragged(tf.Module):
    """Rows may have any length: the mean of each."""

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.float32, name="x")])
    def serve(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"mean": tf.reduce_mean(x, axis=1)}


class Order(tf.Module):
    """The places of a row's numbers, the largest first: a ranking."""

    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, name="x")])
    def serve(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"items": tf.argsort(x, axis=1, direction="DESCENDING")}


class Boxes(tf.Module):
    """What is put in, in three outputs: four numbers, a score and a class of each box."""

    @tf.function(input_signature=[tf.TensorSpec([None, None, 6], tf.float32, name="x")])
    def serve(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {
            "detection_boxes": x[:, :, :4],
            "detection_scores": x[:, :, 4],
            "detection_classes": tf.cast(x[:, :, 5], tf.int32),
            "num_detections": tf.reduce_sum(tf.ones_like(x[:, :, 0]), axis=1),
        }


class Pixels(tf.Module):
    """Scores of three classes for each pixel, of which the one that is put in is the highest."""

    @tf.function(input_signature=[tf.TensorSpec([None, None, None], tf.int32, name="x")])
    def serve(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"scores": tf.one_hot(x, 3) * 0.5 + 0.25}


class Types(tf.Module):
    """An input and an output of each dtype: numbers plus one, truths negated, strings unchanged."""

    def __init__(self, dtypes: dict[str, tf.DType]) -> None:
        super().__init__()
        specs = {name: tf.TensorSpec([None, 2], dtype, name) for name, dtype in dtypes.items()}
        self.serve = self.answers.get_concrete_function(**specs)

    @tf.function
    def answers(self, **tensors: tf.Tensor) -> dict[str, tf.Tensor]:
        return {name: self.answer(tensor) for name, tensor in tensors.items()}

    def answer(self, tensor: tf.Tensor) -> tf.Tensor:
        if tensor.dtype == tf.bool:
            return tf.logical_not(tensor)
        return tf.identity(tensor) if tensor.dtype == tf.string else tensor + 1


# By the datatype's name in the Open Inference Protocol, in lower case.
DTYPES = {
    "bool": tf.bool,
    "int8": tf.int8,
    "int16": tf.int16,
    "int32": tf.int32,
    "int64": tf.int64,
    "uint8": tf.uint8,
    "uint16": tf.uint16,
    "uint32": tf.uint32,
    "uint64": tf.uint64,
    "fp16": tf.float16,
    "fp32": tf.float32,
    "fp64": tf.float64,
    "bytes": tf.string,
}


def export(folder: Path) -> None:
    modules = {
        "half/1": Half(),
        "step/1": Step(1.0),
        "step/2": Step(2.0),
        "pair/1": Pair(),
        "log/1": Log(),
        "text/1": Text(),
        "nap/1": Nap(),
        "picky/1": Picky(),
        "grumpy/1": Grumpy(),
        "sick/1": Sick(),
        "together/1": Together(),
        "rows/1": Rows(),
        "ragged/1": Ragged(),
        "wide/1": Wide(),
        "named/1": Named(),
        "order/1": Order(),
        "boxes/1": Boxes(),
        "pixels/1": Pixels(),
        "types/1": Types(DTYPES),
        # Of its own: JSON cannot carry it, and KServe's client does not know it.
        "bfloat/1": Types({"bf16": tf.bfloat16}),
    }
    for name, module in modules.items():
        tf.saved_model.save(module, str(folder / name), signatures=module.serve)
    keras.utils.set_random_seed(3)
    network = keras.Sequential(
        [
            keras.layers.Input((16,), name="x"),
            keras.layers.Dense(32, activation="relu"),
            keras.layers.Dense(10, activation="softmax", name="p"),
        ]
    )
    network.save(folder / "network.keras")
    network.export(str(folder / "network"), verbose=False)
    broken = folder / "broken" / "1"
    broken.mkdir(parents=True)
    (broken / "saved_model.pb").write_bytes(b"not a model")


if __name__ == "__main__":
    export(Path(sys.argv[1]))
