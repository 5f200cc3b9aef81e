"""What both protocols ask of a model: which signature is meant and how its tensors are listed."""

from collections.abc import Iterable

from serving.errors import InvalidInput, NotOffered
from serving.model import NUMPY_DTYPES, ModelVersion, Signature, TensorSpec
from serving.quoting import quoted, quoted_names, shown_shape


def signature_of(version: ModelVersion, name: object) -> Signature:
    """Return the signature of that name; None and the empty name are the default signature."""
    if name is None:
        name = version.default_signature
    if not isinstance(name, str):
        raise InvalidInput("signature_name must be a string")
    signature = version.signatures.get(name or version.default_signature)
    if signature is None:
        known = quoted_names(sorted(version.signatures))
        raise InvalidInput(f"no signature {quoted(name)}; there are: {known}")
    if not signature.inputs:
        raise NotOffered(f"signature {quoted(signature.name)} has no inputs, so it has no rows")
    return signature


def require_json_outputs(outputs: Iterable[TensorSpec]) -> None:
    """Raise NotOffered for an output that JSON cannot carry."""
    for spec in outputs:
        if spec.datatype not in NUMPY_DTYPES:
            hint = "; ask for binary_data over /v2" if spec.datatype == "BF16" else ""
            raise NotOffered(
                f'output "{spec.name}" is {spec.datatype}, which JSON cannot carry{hint}'
            )


def input_names(signature: Signature) -> str:
    """Return the names of the inputs: `a, n`."""
    return quoted_names([spec.name for spec in signature.inputs])


def described_inputs(signature: Signature) -> str:
    """Return the inputs with datatype and row shape: `a FP32 [2], n INT64 []`."""
    return quoted_names([_described(spec) for spec in signature.inputs])


def require_equal_rows(rows_by_name: dict[str, int]) -> int:
    """Return the first dimension that all inputs share."""
    rows = next(iter(rows_by_name.values()))
    if any(found != rows for found in rows_by_name.values()):
        listed = quoted_names([f"{name} {found}" for name, found in rows_by_name.items()])
        raise InvalidInput(f"inputs differ in rows: {listed}")
    return rows


def _described(spec: TensorSpec) -> str:
    row_shape = "of any shape" if spec.row_shape is None else shown_shape(spec.row_shape)
    return f"{spec.name} {spec.datatype} {row_shape}"
