"""Models with tasks, tokens of any kind, and labels, for the tests of feedback."""

import hashlib
import json
import shutil
import time
from pathlib import Path
from typing import Any

from itsdangerous import TimestampSigner, URLSafeTimedSerializer

from tests.live.servers import Server

KEY = "0123456789abcdef0123456789abcdef"
OTHER_KEY = "fedcba9876543210fedcba9876543210"
CATS = {"task": "binary", "scores": "logits", "classes": ["cat", "dog"]}
NUMBER = {"task": "regression", "label_min": -1000, "label_max": 1000}


def declared(models: Path, name: str, folder: Path, declaration: dict[str, Any]) -> Path:
    """Return a copy of a test model that declares its task."""
    copy = folder / name
    shutil.copytree(models / name, copy)
    (copy / "quality.json").write_text(json.dumps(declaration))
    return copy


def token_of(server: Server, model: str, row: Any) -> str:
    """Predict one row and return its token."""
    answer = server.predict(model, {"instances": [row]})
    assert answer.status_code == 200, answer.text
    return answer.headers["X-Feedback-Token"]


def signed(token: str, *, key: str = KEY, shift_seconds: float = 0.0, **changes: Any) -> str:
    """Return a token with other content or of another time, signed as the server does."""
    names = ("id", "row", "model", "version", "declaration", "values")
    format_, key_id, content = token.split(".", 2)
    values = _serializer(KEY, 0.0).loads(content)
    changed = [changes.get(name, value) for name, value in zip(names, values, strict=True)]
    return f"{format_}.{key_id}.{_serializer(key, shift_seconds).dumps(changed)}"


def _serializer(key: str, shift_seconds: float) -> URLSafeTimedSerializer:
    class Signer(TimestampSigner):
        def get_timestamp(self) -> int:
            return int(time.time() + shift_seconds)

    return URLSafeTimedSerializer(
        key,
        salt=b"inferometer feedback token",
        signer=Signer,
        signer_kwargs={"digest_method": hashlib.sha256, "key_derivation": "hmac"},
    )


def send(server: Server, token: object, label: object, **more: Any) -> Any:
    """Send one label; return status and document."""
    answer = server.post("/v1/feedback", {"token": token, "label": label, **more})
    return answer.status_code, answer.json()
