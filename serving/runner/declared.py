"""What of a version is measured: as `quality.json` declares it, as the model tells it, or nothing.

A wrong guess is worse than none: what is not declared is inferred only where it is certain.
"""

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from exporter.quality import (
    BOX_PARTS,
    BOX_PREFIXES,
    Declaration,
    DeclarationError,
    InputSpec,
    Measured,
    columns_of,
    joined_shape,
    read_declaration,
)
from serving.errors import ModelLoadError
from serving.model import ModelVersion, Signature, TensorSpec
from serving.runner.formats import QUALITY_FILE

LARGEST_FILE_BYTES = 8 << 20
FLOATS = frozenset(("FP16", "FP32", "FP64"))
NUMBERS = FLOATS | {
    f"{kind}{bits}" for kind in ("INT", "UINT") for bits in (8, 16, 32, 64)
}  # fmt: skip
# What a measured output may be; of a task that is not here, a float.
DATATYPES = {
    "regression": NUMBERS,
    "ranking": (NUMBERS - FLOATS) | {"BYTES"},
    # JSON's shortest decimal of a half number is another number as a float.
    "detection": NUMBERS - {"FP16"},
    "segmentation": NUMBERS,
    "translation": frozenset(("BYTES",)),
}
# The dimensions of an image's class ids.
PLANE = 2
NO_TASK = (
    "model %s version %s has no task, so its predictions are not judged; %s beside the model says"
    ' what they are, such as {"task": "binary"}'
)

Shape = tuple[int | None, ...]

logger = logging.getLogger(__name__)


def measured_version(
    file: Path | None, version: ModelVersion, inferred: Declaration | None
) -> Measured:
    """Return what of a version is measured; `file` is its declaration.

    Raises ModelLoadError for a declaration that is wrong or contradicts the model.
    """
    if file is None:
        return _inferred(version, inferred)
    try:
        task = "none" if inferred is None else inferred.task
        declaration = read_declaration(content_of(file), task=task)
        if declaration.task == "none":
            return unmeasured(version)
        measured = _resolved(declaration, version)
        measured.task  # noqa: B018 - whether it can be made
    except (DeclarationError, OSError) as error:
        raise ModelLoadError(f"{QUALITY_FILE}: {error}") from error
    return measured


def unmeasured(version: ModelVersion) -> Measured:
    """Return that a version has no task: rows count, and outputs that are not finite."""
    return Measured(Declaration(), version.default_signature, (), ())


def _inferred(version: ModelVersion, inferred: Declaration | None) -> Measured:
    try:
        if inferred is not None:
            measured = _resolved(inferred, version)
            measured.task  # noqa: B018 - whether it can be made
            return measured
    except DeclarationError as error:
        logger.info("model %s version %s: %s", version.model, version.version, error)
    logger.info(NO_TASK, version.model, version.version, QUALITY_FILE)
    return unmeasured(version)


def _resolved(declaration: Declaration, version: ModelVersion) -> Measured:
    signature = version.signatures.get(declaration.signature or version.default_signature)
    if signature is None:
        there = ", ".join(sorted(version.signatures))
        missing = declaration.signature or version.default_signature
        raise DeclarationError(f'signature: there is no "{missing}"; there are {there}')
    measured = _of_outputs(declaration, signature)
    return replace(measured, places=_places(declaration, version, signature.name))


def _of_outputs(declaration: Declaration, signature: Signature) -> Measured:
    parts = _parts(declaration, signature)
    if parts is not None:
        specs = [_output(name, signature) for name in parts.values()]
        known = replace(declaration, signature=signature.name, outputs=parts)
        shape = joined_shape(*(_row_shape(declaration, spec) for spec in specs))
        return Measured(known, signature.name, tuple(parts.values()), shape)
    if not declaration.output and len(signature.outputs) != 1:
        names = ", ".join(spec.name for spec in signature.outputs)
        raise DeclarationError(f"output: one of several is to be named: {names}")
    spec = _output(declaration.output or signature.outputs[0].name, signature)
    known = replace(declaration, signature=signature.name, output=spec.name)
    return Measured(known, signature.name, (spec.name,), _row_shape(declaration, spec))


def _places(
    declaration: Declaration, version: ModelVersion, signature: str
) -> dict[str, tuple[str, int | None]]:
    """Return where the keys of segments are read from. Raises DeclarationError."""
    if not declaration.segment_columns:
        return {}
    found = columns_of(input_specs(version, signature), declaration.features)
    is_readable = {
        spec.name: spec.datatype != "BF16" for spec in version.signatures[signature].inputs
    }
    columns = {c.name: c for c in found if not c.summary and is_readable[c.input]}
    for key, name in declaration.segment_columns.items():
        if name not in columns:
            there = ", ".join(columns) or "none"
            raise DeclarationError(f'segment_columns.{key}: no feature "{name}"; there are {there}')
    return {
        key: (columns[name].input, columns[name].place)
        for key, name in declaration.segment_columns.items()
    }


def _parts(declaration: Declaration, signature: Signature) -> Mapping[str, str] | None:
    """Return the outputs that have a detection's boxes, scores and classes; None if one has all."""
    if declaration.task != "detection" or declaration.output or declaration.outputs:
        return declaration.outputs
    names = {spec.name for spec in signature.outputs}
    for prefix in BOX_PREFIXES:
        if names.issuperset(prefix + part for part in BOX_PARTS):
            return {part: prefix + part for part in BOX_PARTS}
    return None


def _output(name: str, signature: Signature) -> TensorSpec:
    for spec in signature.outputs:
        if spec.name == name:
            return spec
    names = ", ".join(spec.name for spec in signature.outputs)
    raise DeclarationError(f'output: there is no "{name}"; there are {names}')


def _row_shape(declaration: Declaration, spec: TensorSpec) -> Shape:
    """Return the shape of an output's rows. Raises DeclarationError for what is not expected."""
    allowed = DATATYPES.get(declaration.task, FLOATS)
    if spec.datatype not in allowed:
        expected = ", ".join(sorted(allowed))
        raise DeclarationError(f'output "{spec.name}" is {spec.datatype}; expected: {expected}')
    if spec.row_shape is None or not spec.shape:
        raise DeclarationError(f'output "{spec.name}" has no rows, or unknown dimensions')
    shape = tuple(None if size < 0 else size for size in spec.row_shape)
    if declaration.task == "segmentation" and len(shape) == PLANE and spec.datatype in FLOATS:
        raise DeclarationError(
            f'output "{spec.name}" is {spec.datatype}; of class ids [n, H, W] whole numbers are'
            " expected, scores are [n, H, W, K] or [n, H, W, 1]"
        )
    return shape


def input_specs(version: ModelVersion, signature: str) -> list[InputSpec]:
    """Return a signature's inputs as features are made of them."""
    return [
        InputSpec(
            spec.name,
            spec.datatype,
            None
            if spec.row_shape is None
            else tuple(None if size < 0 else size for size in spec.row_shape),
        )
        for spec in version.signatures[signature].inputs
    ]


def content_of(file: Path) -> bytes:
    """Return what a declaration's file holds, or more than one may hold. Raises OSError."""
    with file.open("rb") as stream:
        return stream.read(LARGEST_FILE_BYTES + 1)
