"""Where the demo keeps things: in one folder of the project. Paths are relative to the project."""

from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]

FOLDER = Path(".demo")
MODEL = FOLDER / "models" / "digits"
VERSION = MODEL / "1"
# What the predictions are, and what digits looked like before anything was served.
QUALITY = MODEL / "quality.json"
REFERENCE = VERSION / "reference.json"
HELD_OUT = FOLDER / "held_out.npz"
DIGIT = FOLDER / "digit.json"
SERVER_LOG = FOLDER / "server.log"
# Not on tmpfs, as a real server's: here nothing may be left behind outside, even by a SIGKILL.
STORE = FOLDER / "store"


def is_trained() -> bool:
    """Return whether the model is there, with all that is made beside it."""
    return REFERENCE.exists()
