"""The command `inferometer` and its verbs. Nothing heavy is imported before a verb is chosen."""

import argparse
import importlib.util
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from serving import __version__
from serving.errors import ServingError, SettingsError

if TYPE_CHECKING:
    from serving.settings import Settings

USAGE = """usage: inferometer VERB …

  serve      serve models over HTTP, with everything measured
  describe   show what is known of a model's predictions, and what is to be declared
  profile    describe a model's training data, so that drift can be told
  feedback   send the labels of a file to a server
  exporter   serve the metrics of programs that record into a store directory

inferometer VERB --help tells more; inferometer --version prints the version.
"""

LAST_STANDARD_STREAM = 2
SERVE_LIBRARIES = ("flask", "gevent", "gunicorn", "numpy", "orjson", "pydantic", "tensorflow")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a verb; return 0 when it is done, 1 when it failed, 2 for wrong usage."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    verb = arguments[0] if arguments else ""
    if verb in {"-h", "--help"}:
        print(USAGE, end="")
        return 0
    if verb == "--version":
        print(f"inferometer {__version__}")
        return 0
    run = VERBS.get(verb)
    if run is not None:
        return run(arguments[1:])
    print(USAGE, end="", file=sys.stderr)
    return 2


def _open_standard_streams() -> None:
    """Open what a service manager has closed, or a socket would get standard error's number."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= LAST_STANDARD_STREAM:
        os.set_inheritable(descriptor, True)  # noqa: FBT003 - its only form
    os.close(descriptor)


def _has_libraries(verb: str, libraries: Sequence[str] = SERVE_LIBRARIES) -> bool:
    """Return whether a verb can do its work; say what is missing."""
    missing = [name for name in libraries if importlib.util.find_spec(name) is None]
    if missing:
        print(
            f"inferometer {verb}: {', '.join(missing)} not installed; "
            "run: pip install 'inferometer[serve]' (or serve-cpu, serve-gpu)",
            file=sys.stderr,
        )
    return not missing


def _exporter(arguments: list[str]) -> int:
    from exporter.__main__ import main as run

    return run(arguments)


def _profile(arguments: list[str]) -> int:
    if not _has_libraries("profile"):
        return 1
    from serving.profiling.command import main as run

    return run(arguments)


def _describe(arguments: list[str]) -> int:
    if not _has_libraries("describe"):
        return 1
    from serving.profiling.describing import main as run

    return run(arguments)


def _feedback(arguments: list[str]) -> int:
    if not _has_libraries("feedback", ["orjson"]):
        return 1
    from serving.importing.command import main as run

    return run(arguments)


def _serve(arguments: list[str]) -> int:
    # The kernel gives a container's first process no signal that it has not asked for.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    from exporter import ExporterError, ExporterSettingsError

    if not _has_libraries("serve"):
        return 1
    _open_standard_streams()
    try:
        settings = _read_serve_settings(arguments)
    except SettingsError as error:
        for line in str(error).splitlines():
            print(f"inferometer serve: {line}", file=sys.stderr)
        return 2
    logging.basicConfig(
        level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    try:
        if settings.inline:
            from serving.inline import serve_inline

            return serve_inline(settings)
        from serving.supervisor import Supervisor

        return Supervisor(settings).run()
    except ExporterSettingsError as error:
        print(f"inferometer serve: {error}", file=sys.stderr)
        return 2
    except (ServingError, ExporterError, OSError) as error:
        print(f"inferometer serve: {error}", file=sys.stderr)
        return 1


def _read_serve_settings(arguments: list[str]) -> "Settings":
    from serving.settings_reading import load_settings

    parsed = vars(_parser().parse_args(arguments))
    file = parsed.pop("config")
    models = parsed.pop("model_arguments")
    flags = {name: value for name, value in parsed.items() if value is not None}
    if models:
        flags["models"] = models
    settings = load_settings(flags=flags, environment=os.environ, file=Path(file) if file else None)
    if not settings.models:
        raise SettingsError("models: none given; try: inferometer serve digits=path/to/model")
    return settings


def _parser() -> argparse.ArgumentParser:
    """Build the flags from the settings, so that each is described in one place."""
    from serving.settings import ENVIRONMENT_PREFIX, Settings

    parser = argparse.ArgumentParser(
        prog="inferometer serve",
        description="Serve TensorFlow SavedModel folders and .keras files over HTTP.",
        epilog="Each flag can also be set in the TOML file of --config or as "
        f"{ENVIRONMENT_PREFIX}PORT and so on. Flags win over the environment, that over the file.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "model_arguments", nargs="*", metavar="[NAME=]PATH", help="a model to serve"
    )
    parser.add_argument("--config", metavar="FILE", help="a TOML file of settings")
    for name, field in Settings.model_fields.items():
        if name == "models":
            continue
        flag = "--" + name.replace("_", "-")
        default = field.get_default(call_default_factory=True, validated_data={})
        shown = "" if default in (None, ()) else f" (default: {default})"
        text = (field.description or "").replace("%", "%%") + shown
        if field.annotation is bool:
            parser.add_argument(
                flag, action=argparse.BooleanOptionalAction, default=None, help=text
            )
        else:
            parser.add_argument(flag, metavar="VALUE", help=text)
    return parser


VERBS = {
    "serve": _serve,
    "describe": _describe,
    "profile": _profile,
    "feedback": _feedback,
    "exporter": _exporter,
}
