"""A front-end's request as a job: which version it asks for, its rows, what they may share."""

import logging
from collections.abc import Callable

from serving.errors import InternalError, Loading, PredictionError, UnknownVersion, WireError
from serving.runner.catalog import ModelCatalog
from serving.runner.job import BatchKey, Job
from serving.tensors import decode_tensors
from serving.wire import Frame

LOADING_RETRY_SECONDS = 5.0

logger = logging.getLogger(__name__)


def job_of(frame: Frame, catalog: ModelCatalog, answer: Callable[[Job], None]) -> Job:
    """Return the job of a PREDICT frame.

    Raises Loading or UnknownVersion when its version takes no requests, InternalError for tensors
    that do not fit the frame.
    """
    head = frame.head
    model, version, signature = head["model"], head["version"], head["signature"]
    served = catalog.find(model, version)
    if served is None:
        raise not_served(catalog, model, version)
    is_batchable = served.batchable.get(signature)
    if is_batchable is None:
        # The version was loaded anew with other signatures while the request was on its way.
        raise Loading(f"model {model} version {version} has changed", retry_after_seconds=1.0)
    try:
        tensors = decode_tensors(head["inputs"], frame.payload)
    except WireError as error:
        logger.error("a front-end sent a bad tensor: %s", error)  # noqa: TRY400
        raise InternalError("the server failed; its log says why") from error
    shapes = tuple((datatype, array.shape[1:]) for _, datatype, array in tensors)
    return Job(
        model=model,
        version=version,
        signature=signature,
        inputs=tuple(array for _, _, array in tensors),
        rows=head["rows"],
        size_bytes=len(frame.payload),
        key=BatchKey(version, signature, shapes, is_batchable),
        deadline_ns=head["deadline"],
        answer=answer,
        wanted=None if head["outputs"] is None else tuple(head["outputs"]),
        priority=head["priority"],
    )


def not_served(catalog: ModelCatalog, model: str, version: str) -> PredictionError:
    """Return why a version that a front-end thought ready takes no requests."""
    known = catalog.version(model, version)
    if known is None or known.state in {"draining", "unloaded"}:
        return UnknownVersion(f"model {model} has no version {version} any more")
    return Loading(
        f"model {model} version {version} is not ready",
        retry_after_seconds=LOADING_RETRY_SECONDS,
    )
