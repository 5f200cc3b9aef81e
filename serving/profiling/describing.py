"""`inferometer describe`: what is known of a model's predictions, and what is to be declared."""

import argparse
import sys
from collections.abc import Iterator, Sequence

from exporter.quality import ProfileError, columns_of, read_profile
from serving.errors import DataError, ModelLoadError
from serving.model import TensorSpec
from serving.profiling.models import Subject, load_subject
from serving.runner.declared import content_of, input_specs
from serving.runner.formats import PROFILE_FILE, QUALITY_FILE

MOST_SHOWN = 10


def main(arguments: Sequence[str]) -> int:
    """Print a description; return 0, or 1 when the model cannot be loaded or declares nonsense."""
    parser = argparse.ArgumentParser(
        prog="inferometer describe",
        description="Show a model's tensors, its task and its features, and where they come from.",
        allow_abbrev=False,
    )
    parser.add_argument("model", metavar="[NAME=]PATH", help="the model, as it is served")
    parser.add_argument("--version", metavar="NUMBER", help="the version (default: the newest)")
    options = parser.parse_args(arguments)
    try:
        subject = load_subject(options.model, options.version)
        for line in _lines(subject):
            print(line)
    except (DataError, ModelLoadError, OSError) as error:
        print(f"inferometer describe: {error}", file=sys.stderr)
        return 1
    return 0


def _lines(subject: Subject) -> Iterator[str]:
    source, version, _, measured = subject
    yield f"{version.model} version {version.version} ({version.format}, {source.path})"
    for name, signature in version.signatures.items():
        yield f"signature {name}"
        for kind, specs in (("input", signature.inputs), ("output", signature.outputs)):
            yield from (f"  {kind} {_tensor(spec)}" for spec in specs)
    yield from _task_lines(subject)
    columns = columns_of(input_specs(version, measured.signature), measured.declaration.features)
    yield f"features: {_listed([column.name for column in columns])}"
    yield _profile_line(subject)


def _task_lines(subject: Subject) -> Iterator[str]:
    file, measured = subject.source.companion(QUALITY_FILE), subject.measured
    declaration = measured.declaration
    origin = f"declared in {file}" if file else "told by the model's last layer"
    if declaration.task == "none":
        yield (
            f"task: none; declare it in {subject.source.folder / QUALITY_FILE},"
            ' such as {"task": "binary"}'
            if file is None
            else f"task: none, {origin}"
        )
        return
    yield f"task: {declaration.task} of output {', '.join(measured.outputs)}, {origin}"
    classes = measured.classes or (("0", "1") if declaration.task == "binary" else ())
    if classes:
        named = "" if declaration.classes else "; their names are to be declared"
        yield f"classes: {_listed(classes)}{named}"


def _profile_line(subject: Subject) -> str:
    file = subject.source.companion(PROFILE_FILE)
    if file is None:
        return "profile: none; make one with inferometer profile"
    try:
        profile, _ = read_profile(content_of(file))
    except ProfileError as error:
        return f"profile: {file} is not used: {error}"
    made_of = f"model {profile.model} version {profile.version}"
    return f"profile: {file} of {profile.rows:,} rows, {made_of}, {profile.created}"


def _tensor(spec: TensorSpec) -> str:
    shape = "of any shape" if spec.shape is None else str(list(spec.shape)).replace("-1", "n")
    return f"{spec.name}: {spec.datatype} {shape}"


def _listed(names: Sequence[str]) -> str:
    more = len(names) - MOST_SHOWN
    return ", ".join(names[:MOST_SHOWN]) + (f" and {more} more" if more > 0 else "")
