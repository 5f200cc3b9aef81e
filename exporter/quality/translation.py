"""A text: outputs [n] or [n, 1] of texts. Labels are reference translations, one or several."""

import base64
from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from exporter.quality.bleu import Bleu, declare_bleu
from exporter.quality.chrf import count_chrf, declare_chrf
from exporter.quality.echo import canonical_texts, text_of
from exporter.quality.errors import LabelError, ScoreError
from exporter.quality.sums import Sums
from exporter.quality.task import VALUE, Values
from exporter.quality.word_edits import count_words, declare_words

MOST_CHARACTERS, MOST_REFERENCES = 5_000, 8


class Translation:
    """Counts what BLEU, chrF and the word error rate of all texts are worked out of."""

    is_correctable = False

    def __init__(self, *, tokenizer: str = "13a", lowercase: bool = False) -> None:
        """Both are BLEU's; the other two take characters and words as they are."""
        self._bleu = Bleu(tokenizer=tokenizer, lowercase=lowercase)

    def observe(self, outputs: NDArray[Any], sums: Sums) -> None:
        """Count rows."""
        sums.add("nonfinite_outputs_total", 0.0)
        sums.add("predictions_total", float(len(outputs)), predicted=VALUE)

    def columns(self, outputs: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Return no features."""
        del outputs
        return {}

    def pack(self, outputs: NDArray[Any]) -> list[Values | None]:
        """Return each row's text; None for one that is longer than a label may be."""
        if outputs.size != len(outputs):
            raise ScoreError(f"a row has {outputs[0].size} texts; one is expected")
        texts = [text_of(item) for item in outputs.ravel().tolist()]
        return [text if len(text) <= MOST_CHARACTERS else None for text in texts]

    def echoed(self, prediction: object) -> str:
        """Return the text of a prediction that came back as the reply had it. Raises LabelError."""
        if isinstance(prediction, list) and len(prediction) == 1:
            (prediction,) = prediction
        if isinstance(prediction, Mapping) and prediction.keys() == {"b64"}:
            prediction = _unpacked(prediction["b64"])
        if not _is_text(prediction):
            raise LabelError("prediction is to be the text that was predicted")
        return str(prediction)

    def canonical(self, values: str) -> bytes:
        """Return bytes that are the same for the same text."""
        return canonical_texts([values])

    def parse(self, label: object) -> list[str]:
        """Return the references. Raises LabelError."""
        references = [label] if isinstance(label, str) else label
        if not isinstance(references, list) or not 1 <= len(references) <= MOST_REFERENCES:
            raise LabelError(f"label is to be a text, or a list of up to {MOST_REFERENCES}")
        if not all(map(_is_text, references)):
            raise LabelError(f"a reference is to be a text of up to {MOST_CHARACTERS} characters")
        return list(map(str, references))

    def count(self, values: str, label: Sequence[str], sums: Sums) -> None:
        """Count a labelled text."""
        self._bleu.count(values, label, sums)
        count_chrf(values, label, sums)
        count_words(values, label, sums)

    def retract(self, values: Values, label: Sequence[str], sums: Sums) -> None:  # noqa: ARG002
        """Nothing of a text can be taken back: a correction is a conflict."""
        raise LabelError("the label of a translation cannot be corrected")

    def declare(self, sums: Sums) -> None:
        """Make known every series."""
        sums.add("nonfinite_outputs_total", 0.0)
        sums.add("predictions_total", 0.0, predicted=VALUE)
        declare_bleu(sums)
        declare_chrf(sums)
        declare_words(sums)


def _unpacked(value: object) -> str | None:
    """Return the text of base64; None for what is none."""
    try:
        return text_of(base64.b64decode(value, validate=True))  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None


def _is_text(value: object) -> bool:
    return isinstance(value, str) and len(value) <= MOST_CHARACTERS
