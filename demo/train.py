"""Trains the digit classifier and exports it as a SavedModel."""

import json
import shutil
import signal
import sys

import keras
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from demo.folder import DIGIT, FOLDER, HELD_OUT, MODEL, QUALITY, VERSION, is_trained
from serving.profiling.command import main as profile

SEED = 7
HELD_OUT_SHARE = 0.3
LARGEST_PIXEL = 16
EPOCHS = 15
REQUIRED_ACCURACY = 0.95


def main() -> int:
    """Return 0 when the model is exported, 1 when it did not reach the required accuracy."""
    # Ctrl-C ends the demo; a traceback of this half of it would only be noise.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if is_trained():
        print(f"The model is there already: {VERSION}")
        return 0
    digits = load_digits()
    images = (digits.images[..., np.newaxis] / LARGEST_PIXEL).astype(np.float32)
    print(f"Training a digit classifier on {1 - HELD_OUT_SHARE:.0%} of {len(images):,} images")
    training_images, held_out_images, training_labels, held_out_labels = train_test_split(
        images, digits.target, test_size=HELD_OUT_SHARE, random_state=SEED, stratify=digits.target
    )
    model = _train(training_images, training_labels)
    probabilities = model.predict(held_out_images, verbose=0)["probabilities"]
    accuracy = float(np.mean(probabilities.argmax(axis=1) == held_out_labels))
    print(f"Accuracy on the {len(held_out_images)} held-out images: {accuracy:.1%}")
    if accuracy <= REQUIRED_ACCURACY:
        print(f"That is not above {REQUIRED_ACCURACY:.0%}; no model is exported", file=sys.stderr)
        return 1
    _save(model, held_out_images, held_out_labels)
    print(f"Exported to {VERSION}")
    # By digits that the model was not trained on: it knows those too well.
    return profile([f"digits={MODEL}", f"--data={HELD_OUT}", "--label=label"])


def _train(images: np.ndarray, labels: np.ndarray) -> keras.Model:
    keras.utils.set_random_seed(SEED)
    layers = keras.layers
    image = keras.Input((8, 8, 1), name="image")
    features = layers.Conv2D(32, 3, activation="relu", padding="same")(image)
    features = layers.MaxPooling2D()(features)
    features = layers.Conv2D(64, 3, activation="relu", padding="same")(features)
    features = layers.Dropout(0.3)(layers.Flatten()(features))
    probabilities = layers.Dense(10, activation="softmax", name="probabilities")(features)
    model = keras.Model(image, {"probabilities": probabilities})
    model.compile(
        optimizer="adam",
        loss={"probabilities": "sparse_categorical_crossentropy"},
        metrics={"probabilities": "accuracy"},
    )
    progress = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, figures: print(
            f"  epoch {epoch + 1:2} of {EPOCHS}: accuracy {figures['accuracy']:.3f}", flush=True
        )
    )
    model.fit(images, {"probabilities": labels}, epochs=EPOCHS, verbose=0, callbacks=[progress])
    return model


def _save(model: keras.Model, images: np.ndarray, labels: np.ndarray) -> None:
    """Write the model last, and under another name first: where it is, all is complete."""
    FOLDER.mkdir(exist_ok=True)
    np.savez(HELD_OUT, image=images, label=labels)
    DIGIT.write_text(json.dumps({"instances": images[:1].tolist()}))
    unfinished = FOLDER / "unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    model.export(unfinished, verbose=False)
    MODEL.mkdir(parents=True, exist_ok=True)
    QUALITY.write_text(json.dumps({"task": "multiclass", "output": "probabilities"}))
    shutil.rmtree(VERSION, ignore_errors=True)
    unfinished.rename(VERSION)


if __name__ == "__main__":
    sys.exit(main())
