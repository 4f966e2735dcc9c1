"""Names as text, for a terminal, a log or an error message, and paths as JSON."""

import base64
import os
from collections.abc import Mapping
from typing import Any

STACKS = "stacks"
"""The event of messages that were requested: none of them is suppressed."""


def fields(event: str, **about: str | int | float) -> dict[str, object]:
    """The ``extra`` of a log message: the event and its fields."""
    return {"event": event, "fields": {"event": event, **about}}


def printable(name: bytes | str) -> str:
    """A name that is safe in a terminal and a log: control characters and bytes that are not UTF-8 are escaped."""
    text = os.fsdecode(name)
    if text.isprintable() and "\\" not in text:
        return text
    return "".join(char if char.isprintable() and char != "\\" else _escaped(char) for char in text)


def _escaped(char: str) -> str:
    if "\udc80" <= char <= "\udcff":  # a byte that is not UTF-8: surrogateescape
        return f"\\x{ord(char) - 0xDC00:02x}"
    return char.encode("unicode_escape").decode("ascii")


def path_of(values: Mapping[str, Any]) -> bytes:
    """The inverse of ``json_path``."""
    return base64.b64decode(values["path_b64"]) if "path_b64" in values else str(values["path"]).encode()


def whole_text(value: str) -> str:
    """A command-line argument as text for any JSON parser: U+FFFD for what is not UTF-8."""
    return os.fsencode(value).decode("utf-8", "replace")


def json_path(path: bytes) -> dict[str, str]:
    """A path as members of a JSON object, for any parser and without loss.

    ``path`` is text, with U+FFFD for what is not UTF-8; only then ``path_b64`` has the bytes.
    """
    text = path.decode("utf-8", "replace")
    if text.encode() == path:
        return {"path": text}
    return {"path": text, "path_b64": base64.b64encode(path).decode()}
