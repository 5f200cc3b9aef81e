"""The keys that sign feedback tokens: given by a file or a setting, or drawn at the start."""

import logging
import secrets
from pathlib import Path

from serving.feedback.tokens import KeyProblem, TokenSigner
from serving.settings import Settings
from serving.settings_forms import split_list

# In the run directory: what the front-ends read.
KEYS_FILE = "feedback.keys"
LARGEST_BYTES = 64 << 10
DRAWN_BYTES = 32

logger = logging.getLogger(__name__)


def read_keys(settings: Settings) -> list[str] | None:
    """Return the keys of the settings, the oldest first; None where there are none.

    Raises KeyProblem for a file that cannot be read, and for keys that cannot be used.
    """
    if settings.feedback_keys is not None:
        found = split_list(settings.feedback_keys.get_secret_value())
    elif settings.feedback_keys_file is not None:
        found = _content(settings.feedback_keys_file).split()
    else:
        return None
    keys = [str(key) for key in found] if isinstance(found, list) else []
    TokenSigner(keys, max_age_seconds=1.0)
    return keys


def keys_for_this_run(settings: Settings) -> list[str]:
    """Return the keys of the settings, or one that is drawn; warn of what is left open."""
    keys = read_keys(settings)
    # With neither tokens nor keys there is no label that could be taken.
    takes_labels = keys is not None or settings.feedback_tokens != "off"
    if takes_labels and settings.feedback_auth_token is None:
        logger.warning("anyone who can reach the server may send labels: set feedback_auth_token")
    if takes_labels and keys is None:
        logger.warning(
            "feedback tokens end with this server, and hold on no other replica: set feedback_keys"
        )
    return keys or [secrets.token_urlsafe(DRAWN_BYTES)]


def write_keys(keys: list[str], directory: Path) -> None:
    """Write keys for this server's own processes, readable by this user alone."""
    file = directory / KEYS_FILE
    file.touch(mode=0o600)
    file.write_text("\n".join(keys))


def written_keys(directory: Path) -> list[str]:
    """Return the keys that the server's first process has written."""
    return (directory / KEYS_FILE).read_text().split()


def _content(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            content = stream.read(LARGEST_BYTES + 1)
        if len(content) > LARGEST_BYTES:
            raise KeyProblem(f"feedback_keys_file: {file} has more than {LARGEST_BYTES} bytes")
        return content.decode()
    except OSError as error:
        raise KeyProblem(f"feedback_keys_file: {file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise KeyProblem(f"feedback_keys_file: {file} is no text") from None
