"""The models a front-end knows of, as the runners last told it.

One immutable table, replaced whole.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain

import orjson

from exporter.quality import measured_of
from serving.errors import Loading, UnknownModel, UnknownVersion, WireError
from serving.model import NO_VERSION, ON_DISK, ModelVersion, Signature, TensorSpec

LOADING_RETRY_SECONDS = 5.0
MAX_NAMES_IN_MESSAGE = 10

# The state of a version that several runners have is the first of these that one has.
COMING = frozenset({"loading", "warming", "failed"})
BEST_FIRST = ("ready", "warming", "loading", "draining", "failed", "unloaded")


@dataclass(frozen=True, slots=True)
class ModelTable:
    """Versions by model name, newest first, and the labels of each model's versions.

    `is_known` is false until a runner has told what there is.
    """

    versions: dict[str, tuple[ModelVersion, ...]] = field(default_factory=dict)
    is_known: bool = False
    labels: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    # The version that answers who names none; made by `table_of`, since every request asks.
    newest: Mapping[str, ModelVersion] = field(default_factory=dict)
    # Versions that are not served, of which labels may come.
    on_disk: tuple[ModelVersion, ...] = ()

    def served(self) -> Iterator[ModelVersion]:
        """Yield every version that is or was served."""
        return chain.from_iterable(self.versions.values())

    def model(self, name: str) -> tuple[ModelVersion, ...]:
        """Return a model's versions, newest first.

        Raises UnknownModel, or Loading while it cannot be known whether there is such a model.
        """
        versions = self.versions.get(name)
        if versions is not None:
            return versions
        if not self.is_known:
            raise Loading(
                f"model {name[:64]}: no runner is ready yet",
                retry_after_seconds=LOADING_RETRY_SECONDS,
            )
        raise UnknownModel(f'no model "{name[:64]}"; served here: {_listed(sorted(self.versions))}')

    def labelled(self, name: str, label: str) -> str:
        """Return the version of a label. Raises UnknownModel, UnknownVersion or Loading."""
        self.model(name)
        labels = self.labels.get(name, {})
        if label not in labels:
            there = _listed(sorted(labels))
            raise UnknownVersion(f'no label "{label[:64]}"; there are: {there}')
        return labels[label]

    def ready(
        self, name: str, version: str | None = None, label: str | None = None
    ) -> ModelVersion:
        """Return the version asked for, by number or by label, or the newest that is ready.

        Raises UnknownModel, UnknownVersion or Loading.
        """
        if version is None and label is None and name in self.newest:
            return self.newest[name]
        versions = self.model(name)
        if label is not None:
            version = self.labelled(name, label)
        ready = [candidate for candidate in versions if candidate.state == "ready"]
        if version is None:
            raise _not_served(_best(versions))
        for candidate in versions:
            if candidate.version == version:
                if candidate.state == "ready":
                    return candidate
                if candidate.state in COMING:
                    raise _not_served(candidate)
        if not ready:
            raise _not_served(_best(versions))
        names = ", ".join(sorted((one.version for one in ready), key=int))
        raise UnknownVersion(f"model {name} has no version {version[:64]}; ready: {names}")

    def is_ready(self, name: str, version: str) -> bool:
        """Return whether a version is ready."""
        return any(
            one.version == version and one.state == "ready" for one in self.versions.get(name, ())
        )

    def not_ready(self) -> list[str]:
        """Return why each model that is not ready is not, for the readiness answer."""
        if not self.is_known:
            return ["no runner is ready yet"]
        return [
            _reason(_best(found))
            for versions in self.versions.values()
            for found in [_missing(versions)]
            if found
        ]


def decode_models(payload: bytes | memoryview) -> ModelTable:
    """Return the table that a MODELS frame carries. Raises WireError for what is none."""
    versions = []
    try:
        for item in orjson.loads(payload):
            signatures = {
                name: _signature(fields) for name, fields in item.pop("signatures").items()
            }
            measured = item.pop("measured")
            versions.append(
                ModelVersion(
                    **item,
                    signatures=signatures,
                    measured=None if measured is None else measured_of(measured),
                )
            )
    except (AssertionError, AttributeError, KeyError, TypeError, ValueError) as error:
        # Of another build, which has other fields.
        raise WireError(f"the table of models is of another build: {error}") from error
    return table_of(versions)


def table_of(versions: Iterable[ModelVersion]) -> ModelTable:
    """Return the table of these versions."""
    by_name: dict[str, list[ModelVersion]] = {}
    on_disk = []
    for version in versions:
        if version.state == ON_DISK:
            on_disk.append(version)
        else:
            by_name.setdefault(version.model, []).append(version)
    ordered = {
        name: tuple(
            sorted(
                found,
                key=lambda one: int(one.version) if one.version.isdecimal() else -1,
                reverse=True,
            )
        )
        for name, found in by_name.items()
    }
    newest = {
        name: ready[0]
        for name, found in ordered.items()
        if (ready := [one for one in found if one.state == "ready"])
    }
    return ModelTable(ordered, is_known=True, newest=newest, on_disk=tuple(on_disk))


def merged(tables: Iterable[ModelTable], labels: Mapping[str, Mapping[str, str]]) -> ModelTable:
    """Return one table of several runners': each version in the best of its states."""
    best: dict[tuple[str, str], ModelVersion] = {}
    known = [table for table in tables if table.is_known]
    for table in known:
        for version in table.served():
            key = (version.model, version.version)
            if key not in best or _order(version) < _order(best[key]):
                best[key] = version
    # A model without versions on one runner has some on another.
    real = {model for model, version in best if version != NO_VERSION}
    versions = [v for (model, name), v in best.items() if name != NO_VERSION or model not in real]
    on_disk = {(one.model, one.version): one for table in known for one in table.on_disk}
    return replace(table_of([*versions, *on_disk.values()]), is_known=bool(known), labels=labels)


def _best(versions: Sequence[ModelVersion]) -> ModelVersion:
    """Return the version that comes closest to being ready, the newest of several."""
    return min(versions, key=_rank)


def _missing(versions: tuple[ModelVersion, ...]) -> list[ModelVersion]:
    """Return the versions for which a model is not ready; none where it is."""
    awaited = [one for one in versions if one.is_first and one.state in {"loading", "warming"}]
    if awaited:
        return awaited
    # What an operator unloads is as it should be.
    is_served = any(one.state == "ready" for one in versions)
    is_unloaded = all(one.state in {"draining", "unloaded"} for one in versions)
    return [] if is_served or is_unloaded else list(versions)


def _order(version: ModelVersion) -> tuple[int, bool]:
    """Return what makes a version better; a task that ended on one runner has ended on all."""
    return _rank(version), version.task != "none"


def _rank(version: ModelVersion) -> int:
    return BEST_FIRST.index(version.state)


def _signature(fields: dict[str, object]) -> Signature:
    inputs, outputs = fields.pop("inputs"), fields.pop("outputs")
    return Signature(**fields, inputs=_specs(inputs), outputs=_specs(outputs))  # type: ignore[arg-type]


def _specs(items: object) -> tuple[TensorSpec, ...]:
    assert isinstance(items, list)
    return tuple(
        TensorSpec(**{**item, "shape": None if item["shape"] is None else tuple(item["shape"])})
        for item in items
    )


def _reason(version: ModelVersion) -> str:
    if version.state == "failed":
        return f"model {version.model} could not be loaded: {version.error}"
    step = f" (step {version.step})" if version.step else ""
    state = "loading" if version.state == "warming" else version.state
    return f"model {version.model} is {state}{step}"


def _not_served(version: ModelVersion) -> Loading | UnknownVersion:
    if version.state == "unloaded":
        return UnknownVersion(f"model {version.model} was unloaded")
    return Loading(_reason(version), retry_after_seconds=LOADING_RETRY_SECONDS)


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:MAX_NAMES_IN_MESSAGE])
    return shown + (", …" if len(names) > MAX_NAMES_IN_MESSAGE else "") if names else "none"
