"""The `parameters` of an Open Inference request: which are obeyed, which refused, which ignored.

Refused is what would give a wrong answer if it were ignored.
"""

from serving.codecs.json_text import InexactInteger
from serving.errors import InvalidInput, NotOffered
from serving.quoting import kind_of, quoted, shown

MICROSECONDS = 1e6  # in one second
LONGEST_TIMEOUT = 10**15  # microseconds; JSON's integers may be larger than any float
PRIORITIES = (1, 2, 3)
INEXACT = 2**63

_Parameters = dict[str, object]


def parameters_of(document: dict[str, object], owner: str) -> _Parameters:
    """Return the `parameters` of the request, an input or an output; empty if there are none."""
    parameters = document.get("parameters")
    if parameters is None:
        return {}
    if not isinstance(parameters, dict):
        raise InvalidInput(f"{owner}parameters must be an object, got {kind_of(parameters)}")
    return parameters


def timeout_seconds(parameters: _Parameters) -> float | None:
    """Return the caller's own time limit; None for the default."""
    timeout = parameters.get("timeout")
    if timeout is None:
        return None
    message = f"parameters.timeout must be whole microseconds, 0 or more; got {shown(timeout)}"
    timeout = _whole_number(timeout, message)
    return min(timeout, LONGEST_TIMEOUT) / MICROSECONDS if timeout else None


def validate_request(parameters: _Parameters) -> None:
    """Refuse what is malformed or not offered in the parameters of the request itself."""
    wanted = parameters.get("priority")
    if wanted is not None:
        _whole_number(
            wanted, f"parameters.priority must be a whole number, 0 or more; got {shown(wanted)}"
        )
    if parameters.get("sequence_id"):
        raise NotOffered("sequence_id: stateful sequences are not offered here")
    _refuse_shared_memory(parameters, "")
    _require_boolean(parameters, "binary_data_output", "")
    _require_boolean(parameters, "feedback_tokens", "")


def validate_input(parameters: _Parameters, name: str) -> None:
    """Refuse what is not offered in the parameters of an input."""
    owner = f"input {quoted(name)}: "
    _refuse_shared_memory(parameters, owner)


def validate_output(parameters: _Parameters, name: str) -> None:
    """Refuse what is not offered in the parameters of an output."""
    owner = f"output {quoted(name)}: "
    _refuse_shared_memory(parameters, owner)
    if parameters.get("classification"):
        raise NotOffered(f"{owner}classification is not offered here; ask for the tensor")
    _require_boolean(parameters, "binary_data", owner)


def priority(parameters: _Parameters) -> int | None:
    """Return the caller's priority: 1, 2 or 3; None for the default."""
    wanted = parameters.get("priority")
    return wanted if isinstance(wanted, int) and wanted in PRIORITIES else None


def _whole_number(value: object, message: str) -> int:
    """Return an integer of 0 or more; raise InvalidInput with the message for anything else."""
    if type(value) is float and value >= INEXACT:
        raise InexactInteger(message)  # It may be an integer, which one only the exact parser says.
    if type(value) is not int or value < 0:
        raise InvalidInput(message)
    return value


def _require_boolean(parameters: _Parameters, name: str, owner: str) -> None:
    value = parameters.get(name)
    if value is not None and type(value) is not bool:
        raise InvalidInput(f"{owner}{name} must be true or false; got {shown(value)}")


def _refuse_shared_memory(parameters: _Parameters, owner: str) -> None:
    if parameters.get("shared_memory_region") is not None:
        raise NotOffered(f"{owner}shared_memory_region: shared memory is not offered here")
