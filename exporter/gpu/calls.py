"""One call of NVML after another: what is under way, what failed how, what is not asked again."""

import contextlib
import logging
import time
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
BROKEN = {
    1: "uninitialized", 9: "driver_not_loaded", 18: "lib_rm_version_mismatch",
    28: "gpu_not_found",
}  # fmt: skip
# Also without a reason the driver is opened anew when it says so several times in a row.
UNKNOWN, TIMEOUT = 999, 10
NAMES = {4: "no_permission", 17: "no_permission", TIMEOUT: "timeout", UNKNOWN: "unknown"}
MOST_IN_A_ROW = 3
FORBIDDEN = frozenset({4, 17})
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


class ForkedError(Exception):
    """The library was opened by the process that this one was forked from."""


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
        self._in_a_row = 0
        self._is_usable = True
        tell_after_fork(self)

    def forget_parent(self) -> None:
        """Make no call in a forked process: the library's state there is another process's."""
        self._is_usable = False

    def take_errors(self) -> list[str]:
        """Return the errors since the last time, as values of the label."""
        errors, self._errors = self._errors, []
        return errors

    def count(self, error: str) -> None:
        """Count an error."""
        self._errors.append(error)

    def must(self, name: str, function: Callable[..., Found], *arguments: Any) -> Found:
        """Return what a call returns without which nothing goes on.

        Raises NVMLError where the library is missing, else DriverBroken.
        """
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
            self._make(name, function)

    def ask(self, owner: str, function: Callable[..., Found], *arguments: Any) -> Found | None:
        """Return what a call returns; None where it is not supported or failed this time.

        Raises DeviceLost or DriverBroken.
        """
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
            self._note_unknown(f"{name}: {type(error).__name__}: {error}")
            return None
        self._in_a_row = 0
        return found

    def fields(self, device: Device, wanted: Iterable[tuple[int, int]]) -> list[FieldValue]:
        """Return those (field, scope) that answer; what is not supported is not asked again."""
        missing = self._missing_fields.setdefault(device.uuid, set())
        asked = [each for each in wanted if each not in missing]
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
            elif one.nvmlReturn not in NOTHING_NEW:
                self.count(NAMES.get(one.nvmlReturn, "other"))
        return values

    def _make(self, name: str, function: Callable[..., Found], *arguments: Any) -> Found:
        if not self._is_usable:
            raise ForkedError
        self.in_flight = (name, time.monotonic())
        try:
            return function(*arguments)
        finally:
            self.in_flight = None

    def _judge(self, key: tuple[str, str, object], code: int, message: str) -> None:
        if code in UNSUPPORTED:
            self._unsupported.add(key)
        elif code in LOST:
            self.count(LOST[code])
            raise DeviceLost(LOST[code])
        elif code in BROKEN:
            self.count(BROKEN[code])
            raise DriverBroken(BROKEN[code], message)
        elif code in {UNKNOWN, TIMEOUT}:
            self._note_unknown(message, NAMES[code])
        elif code not in NOTHING_NEW | {SUCCESS}:
            self.count(NAMES.get(code, "other"))
            if code in FORBIDDEN:
                if key not in self._forbidden:
                    logger.warning("rows are missing for want of permission: %s", message)
                self._forbidden[key] = time.monotonic() + FORBIDDEN_SECONDS

    def _note_unknown(self, message: str, error: str = "unknown") -> None:
        self.count(error)
        self._in_a_row += 1
        if self._in_a_row >= MOST_IN_A_ROW:
            self._in_a_row = 0
            raise DriverBroken(error, message)
