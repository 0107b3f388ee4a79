"""JSON files that hold a checksum of themselves, so that one that is damaged is never taken for what it was."""

import json
from pathlib import Path
from typing import Any

from tut.errors import TutError
from tut.system.files import digest, write_json

_SEAL = "sha256"


class Damaged(TutError):
    """A file is not as it was written."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(
            f"{path}: damaged ({reason}); delete it and start the same run or sweep again, which writes it anew"
        )
        self.reason = reason


def sealed(content: dict[str, Any]) -> dict[str, Any]:
    """Return what a file is to hold that says `content`."""
    as_read = json.loads(json.dumps(content))  # where keys are text, whatever they were
    return {_SEAL: digest(as_read), **as_read}


def write_sealed(path: Path, content: dict[str, Any]) -> None:
    """Write such a file, whole."""
    write_json(path, sealed(content))


def read_sealed(path: Path) -> dict[str, Any]:
    """Return what such a file says. One without a checksum, of an earlier version, is believed.

    Raises:
        FileNotFoundError: it is not there.
        Damaged: it is not as it was written.
    """
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        seal = content.pop(_SEAL, None)
    except (ValueError, AttributeError, TypeError) as error:
        raise Damaged(path, "cannot be read") from error
    if seal is not None and seal != digest(content):
        raise Damaged(path, "does not match its checksum")
    return content
