"""One call of NVML after another: what is under way, what failed how, what is not asked again."""

import contextlib
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeVar

import pynvml

from exporter.gpu.driver import Device, DeviceLost, DriverBroken
from exporter.process_hooks import tell_after_fork

# Not here, or not in this form: asked for once.
UNSUPPORTED = frozenset({3, 13, 25, 26})
NOTHING_NEW = frozenset({6})
INSUFFICIENT_SIZE = 7
LOST = {15: "gpu_is_lost", 16: "reset_required"}
BROKEN = {1: "uninitialized", 9: "driver_not_loaded", 18: "lib_rm_version_mismatch"}
# Said several times in a row of one GPU, that one is lost; said of none, the driver is broken.
UNKNOWN, TIMEOUT, GPU_NOT_FOUND = 999, 10, 28
NAMES = {
    4: "no_permission", 17: "no_permission", TIMEOUT: "timeout", GPU_NOT_FOUND: "gpu_not_found",
    UNKNOWN: "unknown",
}  # fmt: skip
MOST_IN_A_ROW = 3
FORBIDDEN = {4: "no_permission", 17: "no_permission"}
FORBIDDEN_SECONDS = 30.0
SUCCESS = 0
# Where the second argument says of what: a device may have one kind and not another.
OF_SEVERAL_KINDS = frozenset(
    (
        "nvmlDeviceGetClockInfo", "nvmlDeviceGetMaxClockInfo", "nvmlDeviceGetMemoryInfo",
        "nvmlDeviceGetTemperatureThreshold", "nvmlDeviceGetSamples",
        "nvmlDeviceGetTotalEccErrors", "nvmlDeviceGetFanSpeed_v2",
        "nvmlDeviceGetMigDeviceHandleByIndex",
    )
)  # fmt: skip

# How the value of each type of nvmlValueType_t is called in the union, and its width in bits.
VALUE_TYPES = {
    0: ("dVal", 64), 1: ("uiVal", 32), 2: ("ulVal", 64), 3: ("ullVal", 64), 4: ("sllVal", 64),
    5: ("siVal", 32), 6: ("usVal", 16),
}  # fmt: skip

Found = TypeVar("Found")

logger = logging.getLogger(__name__)


class FieldValue(NamedTuple):
    """A field's value of a scope, such as a link, and how many bits it has."""

    field: int
    scope: int
    value: float
    bits: int


class Calls:
    """Makes calls, one at a time, and judges their codes."""

    def __init__(self) -> None:
        """Know of nothing that is not supported."""
        self.in_flight: tuple[str, float] | None = None
        self._errors: list[str] = []
        self._unsupported: set[tuple[str, str, object]] = set()
        self._forbidden: dict[tuple[str, str, object], float] = {}
        self._missing_fields: dict[str, set[tuple[int, int]]] = {}
        self._in_a_row: defaultdict[str, int] = defaultdict(int)
        self._longest = 0.0
        self._is_usable = True
        # Answers that may be other ones next time.
        self.failures = 0
        tell_after_fork(self)

    def forget_parent(self) -> None:
        """Make no call in a forked process: the library's state there is another process's."""
        self._is_usable = False

    def take_errors(self) -> list[str]:
        """Return the errors since the last time, as values of the label."""
        errors, self._errors = self._errors, []
        return errors

    def take_longest(self) -> float:
        """Return how many seconds the longest call since the last time took."""
        longest, self._longest = self._longest, 0.0
        return longest

    def forget(self, owner: str) -> None:
        """Ask a device again for what it did not support: it is another one now."""
        self._unsupported = {key for key in self._unsupported if key[0] != owner}
        self._missing_fields.pop(owner, None)

    def lacks_call(self, owner: str, function: Callable[..., object], kind: object) -> bool:
        """Return whether a call of one kind has been found not to be supported."""
        return (owner, function.__name__, (kind,)) in self._unsupported

    def lacks(self, device: Device, field: tuple[int, int]) -> bool:
        """Return whether a device has been found not to support a field."""
        return field in self._missing_fields.get(device.uuid, ())

    def count(self, error: str) -> None:
        """Count an error."""
        self._errors.append(error)

    def must(self, name: str, function: Callable[..., Found], *arguments: Any) -> Found:
        """Return what a call returns without which nothing goes on.

        Raises NVMLError where the library is missing, else DriverBroken.
        """
        self._check_usable()
        try:
            return self._make(name, function, *arguments)
        except pynvml.NVMLError as error:
            if error.value == pynvml.NVML_ERROR_LIBRARY_NOT_FOUND:
                raise
            label = BROKEN.get(error.value) or NAMES.get(error.value, "other")
            self.count(label)
            raise DriverBroken(label, f"{name}: {error}") from None
        except Exception as error:
            self.count("unknown")
            raise DriverBroken("unknown", f"{name}: {type(error).__name__}: {error}") from None

    def quietly(self, name: str, function: Callable[..., object]) -> None:
        """Make a call of which nothing depends."""
        # Whatever a broken driver answers to a farewell.
        with contextlib.suppress(Exception):
            self._check_usable()
            self._make(name, function)

    def ask(self, owner: str, function: Callable[..., Found], *arguments: Any) -> Found | None:
        """Return what a call returns; None where it is not supported or failed this time.

        Raises DeviceLost or DriverBroken.
        """
        self._check_usable()
        name = function.__name__
        key = (owner, name, arguments[1:2] if name in OF_SEVERAL_KINDS else None)
        if key in self._unsupported or time.monotonic() < self._forbidden.get(key, 0.0):
            return None
        try:
            try:
                found = self._make(name, function, *arguments)
            except pynvml.NVMLError as error:
                if error.value != INSUFFICIENT_SIZE:
                    raise
                # More came between the question for the size and the one for the content.
                found = self._make(name, function, *arguments)
        except pynvml.NVMLError as error:
            self._judge(key, error.value, f"{name}: {error}")
            return None
        except Exception as error:
            self._note_unknown(owner, f"{name}: {type(error).__name__}: {error}", "unknown")
            return None
        self._in_a_row.pop(owner, None)
        return found

    def fields(self, device: Device, wanted: Iterable[tuple[int, int]]) -> list[FieldValue]:
        """Return those (field, scope) that answer; what is not supported is not asked again.

        Raises DeviceLost or DriverBroken.
        """
        missing = self._missing_fields.setdefault(device.uuid, set())
        now = time.monotonic()
        asked = [
            each
            for each in wanted
            if each not in missing and now >= self._forbidden.get((device.uuid, "", each), 0.0)
        ]
        function = pynvml.nvmlDeviceGetFieldValues
        found = self.ask(device.uuid, function, device.handle, asked) if asked else None
        values = []
        for one in found or ():
            if one.nvmlReturn == SUCCESS and one.valueType in VALUE_TYPES:
                attribute, bits = VALUE_TYPES[one.valueType]
                value = getattr(one.value, attribute)
                values.append(FieldValue(one.fieldId, one.scopeId, value, bits))
            elif one.nvmlReturn in UNSUPPORTED:
                missing.add((one.fieldId, one.scopeId))
            elif one.nvmlReturn in LOST | FORBIDDEN:
                key = (device.uuid, "", (one.fieldId, one.scopeId))
                self._judge(key, one.nvmlReturn, f"field {one.fieldId}")
            elif one.nvmlReturn not in NOTHING_NEW:
                self.count(NAMES.get(one.nvmlReturn, "other"))
                self.failures += 1
        return values

    def _check_usable(self) -> None:
        if not self._is_usable:
            raise DriverBroken("uninitialized", "another process has opened it, before a fork")

    def _make(self, name: str, function: Callable[..., Found], *arguments: Any) -> Found:
        begun = time.monotonic()
        self.in_flight = (name, begun)
        try:
            return function(*arguments)
        finally:
            self.in_flight = None
            self._longest = max(self._longest, time.monotonic() - begun)

    def _judge(self, key: tuple[str, str, object], code: int, message: str) -> None:
        if code in UNSUPPORTED:
            self._unsupported.add(key)
        elif code in LOST:
            self.count(LOST[code])
            raise DeviceLost(LOST[code])
        elif code in BROKEN:
            self.count(BROKEN[code])
            raise DriverBroken(BROKEN[code], message)
        elif code in {UNKNOWN, TIMEOUT, GPU_NOT_FOUND}:
            self._note_unknown(key[0], message, NAMES[code])
        elif code not in NOTHING_NEW | {SUCCESS}:
            self.count(NAMES.get(code, "other"))
            self.failures += code not in FORBIDDEN
            if code in FORBIDDEN:
                if key not in self._forbidden:
                    logger.warning("rows are missing for want of permission: %s", message)
                self._forbidden[key] = time.monotonic() + FORBIDDEN_SECONDS

    def _note_unknown(self, owner: str, message: str, error: str) -> None:
        self.count(error)
        self.failures += 1
        self._in_a_row[owner] += 1
        if self._in_a_row[owner] < MOST_IN_A_ROW:
            return
        self._in_a_row.pop(owner)
        if owner:
            raise DeviceLost(error)
        raise DriverBroken(error, message)
