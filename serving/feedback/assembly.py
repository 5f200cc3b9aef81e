"""The parts of feedback put together, for a front-end or for one process with all."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from exporter import Recorder
from serving.errors import Loading
from serving.feedback.measured_versions import MeasuredVersions
from serving.feedback.preparing import Preparer
from serving.feedback.service import FeedbackService, Waiting
from serving.feedback.stores.choice import make_store
from serving.feedback.tokens import TokenSigner
from serving.model import ModelVersion
from serving.model_table import LOADING_RETRY_SECONDS, ModelTable
from serving.settings import Settings

DAY_SECONDS = 86_400.0


class Feedback(NamedTuple):
    """What predictions and labels need: the keys, the service, and who follows the versions."""

    signer: TokenSigner
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

    def require_known(model: str) -> None:
        # While a model is being loaded, what is not known may be known in a moment.
        if model in settings.models and model not in table().newest:
            raise Loading(
                f"model {model} is not ready, so its labels cannot be counted yet",
                retry_after_seconds=LOADING_RETRY_SECONDS,
            )

    preparer = Preparer(
        signer, versions, max_age_seconds=max_age_seconds, require_known=require_known
    )
    service = FeedbackService(
        preparer,
        make_store(settings),
        recorder,
        waiting,
        takes_corrections=settings.feedback_corrections,
    )
    return Feedback(signer, service, versions.follow)
