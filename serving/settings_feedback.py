"""The settings of feedback: which predictions get tokens, and where labels are claimed."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, Field, SecretStr

from serving.settings_forms import none_if_empty

MEBIBYTE = 1 << 20
Secret = Annotated[SecretStr | None, BeforeValidator(none_if_empty)]


class FeedbackSettings(BaseModel):
    """A part of the settings of `inferometer serve`."""

    feedback_tokens: Literal["auto", "off"] = Field(
        "auto", description="auto gives each prediction of a model with a task a feedback token"
    )
    # A file can be replaced and mounted; the environment suits a container.
    feedback_keys_file: Annotated[Path | None, BeforeValidator(none_if_empty)] = Field(
        None, description="file of keys for tokens, one a line, the oldest first; the last signs"
    )
    feedback_keys: Secret = Field(
        None, description="the same keys with commas between; default: drawn at each start"
    )
    feedback_max_age_days: float = Field(
        90.0, gt=0, le=3650, description="how long after a prediction its label is taken"
    )
    # One nightly file in a few calls.
    feedback_max_items: int = Field(10_000, ge=1, description="most labels in one request")
    feedback_max_bytes: int = Field(
        8 * MEBIBYTE, ge=1, description="largest body of a request with labels"
    )
    feedback_store: Literal["memory", "sqlite", "redis", "postgres"] = Field(
        "sqlite",
        description="what makes each label count once: memory of one process, sqlite on one host;"
        " redis or postgres for several servers",
    )
    feedback_store_path: Annotated[Path | None, BeforeValidator(none_if_empty)] = Field(
        None, description="file of the sqlite store, on a local disk; default: ends with the server"
    )
    feedback_store_url: Secret = Field(
        None, description="of redis (redis://HOST) or postgres (postgresql://USER@HOST/NAME)"
    )
    feedback_corrections: bool = Field(
        default=False, description="let a second label replace the first of a classification"
    )
    feedback_auth_token: Secret = Field(
        None, description="bearer token of the feedback routes; unset: anyone may send labels"
    )

    def feedback_problems(self, *, processes: int) -> Iterable[str]:
        """Yield what does not fit together; `processes` take labels."""
        if self.feedback_store == "memory" and processes > 1:
            yield (
                f"feedback_store: memory is one process's own, and there are {processes} workers:"
                " each would count a label; use sqlite, or --workers 1"
            )
        if self.feedback_keys is not None and self.feedback_keys_file is not None:
            yield "feedback_keys and feedback_keys_file: give one of them"
        if self.feedback_store_path is not None and self.feedback_store != "sqlite":
            yield "feedback_store_path: only the sqlite store has a file"
        is_remote = self.feedback_store in {"redis", "postgres"}
        if is_remote != (self.feedback_store_url is not None):
            yield "feedback_store_url: it belongs to the stores redis and postgres, and to no other"
        if self.feedback_corrections and self.feedback_store == "memory":
            yield "feedback_corrections: the memory store forgets labels, so none can be corrected"
