"""The ways of asking for predictions, by name. A new one is a file and a line here."""

from serving.codecs.base import Codec
from serving.codecs.classification import CLASSIFY, REGRESS
from serving.codecs.open_inference import OpenInferenceCodec
from serving.codecs.tf_serving import TfServingCodec

CODECS: dict[str, Codec] = {
    "classify": CLASSIFY,
    "open_inference": OpenInferenceCodec(),
    "regress": REGRESS,
    "tf_serving": TfServingCodec(),
}
