"""The parts of feedback put together, for a front-end or for one process with all."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from exporter import Recorder
from serving.feedback.issuing import TokenIssuer
from serving.feedback.measured_versions import MeasuredVersions
from serving.feedback.preparing import Preparer
from serving.feedback.segmenting import Segmenter
from serving.feedback.service import FeedbackService, Waiting
from serving.feedback.stores.choice import make_store
from serving.feedback.tokens import TokenSigner
from serving.model import ModelVersion
from serving.model_table import ModelTable
from serving.settings import Settings

DAY_SECONDS = 86_400.0
# States of which something better may come.
COMING = frozenset({"loading", "warming"})


class Feedback(NamedTuple):
    """What predictions and labels need, and who follows the versions."""

    issuer: TokenIssuer
    segmenter: Segmenter
    service: FeedbackService
    follow_versions: Callable[[Iterable[ModelVersion]], None]


def make_feedback(
    settings: Settings,
    keys: list[str],
    recorder: Recorder,
    *,
    waiting: Waiting,
    table: Callable[[], ModelTable],
) -> Feedback:
    """Return the parts. `table` returns the models that are known at the moment."""
    max_age_seconds = settings.feedback_max_age_days * DAY_SECONDS
    signer = TokenSigner(keys, max_age_seconds=max_age_seconds)
    versions = MeasuredVersions(recorder)

    def may_come(model: str) -> bool:
        found = table().versions.get(model, ())
        is_coming = not table().is_known or any(one.state in COMING for one in found)
        return model in settings.models and is_coming

    preparer = Preparer(
        signer,
        versions,
        max_age_seconds=max_age_seconds,
        may_come=may_come,
        apart=waiting.computing,
    )
    service = FeedbackService(
        preparer,
        make_store(settings),
        recorder,
        waiting,
        takes_corrections=settings.feedback_corrections,
    )
    is_on = settings.feedback_tokens != "off"
    issuer = TokenIssuer(signer, is_on=is_on, apart=waiting.computing)
    return Feedback(issuer, Segmenter(versions), service, versions.follow)
