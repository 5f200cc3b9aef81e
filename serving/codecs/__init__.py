"""The prediction protocols, by their label on /metrics. A new one is a file and a line here."""

from serving.codecs.base import Codec
from serving.codecs.open_inference import OpenInferenceCodec
from serving.codecs.tf_serving import TfServingCodec

CODECS: dict[str, Codec] = {
    "open_inference": OpenInferenceCodec(),
    "tf_serving": TfServingCodec(),
}
