"""A version's reference profile: `reference.json` beside it, used where it fits the model."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from exporter import Child, Recorder
from exporter.quality import (
    DeclarationError,
    Measured,
    ProfileError,
    Reference,
    check_task,
    columns_of,
    read_profile,
    show_reference,
    show_refusal,
    widened,
)
from serving.model import ModelVersion
from serving.runner.declared import content_of, input_specs

Shown = Callable[[Recorder], list[Child]]

logger = logging.getLogger(__name__)


class Profiled(NamedTuple):
    """What is measured of a version with what its profile knows, and the profile in use.

    `show` puts on /metrics what there is to say of the profile.
    """

    measured: Measured
    reference: Reference | None
    show: Shown


def profiled(file: Path | None, version: ModelVersion, measured: Measured) -> Profiled:
    """Return a version's profile; a wrong one is refused, and the version serves without."""
    name = (version.model, version.version)
    if file is None:
        return Profiled(measured, None, lambda _recorder: [])
    try:
        return _read(file, version, measured)
    except ProfileError as error:
        reason, text = error.reason, str(error)
    except (DeclarationError, OSError) as error:
        reason, text = "features", str(error)
    logger.error("model %s version %s: %s is not used: %s", *name, file.name, text)
    return Profiled(measured, None, lambda recorder: show_refusal(recorder, *name, reason))


def _read(file: Path, version: ModelVersion, measured: Measured) -> Profiled:
    profile, checksum = read_profile(content_of(file))
    name = (version.model, version.version)
    is_own = (profile.model, profile.version) == name
    if is_own:
        check_task(profile, measured, measured.classes)
        measured = widened(measured, profile)
    specs = input_specs(version, measured.signature)
    columns = columns_of(specs, measured.declaration.features)
    reference = Reference(profile, columns, measured.task, is_own=is_own)
    return Profiled(
        measured,
        reference,
        lambda recorder: show_reference(recorder, *name, reference, checksum),
    )
