"""Names on their way to a person (a terminal, a log, an error message), or to a program as JSON."""

import base64
import os
from collections.abc import Mapping
from typing import Any

STACKS = "stacks"
"""The event of messages that somebody has asked for: all of them are said."""


def fields(event: str, **about: str | int | float) -> dict[str, object]:
    """What a log message is about, for ``extra``: the event, and what belongs to it, as names and values."""
    return {"event": event, "fields": {"event": event, **about}}


def printable(name: bytes | str) -> str:
    """A name that cannot do anything to a terminal or a log: control characters and odd bytes as escapes."""
    text = os.fsdecode(name)
    if text.isprintable() and "\\" not in text:
        return text
    return "".join(char if char.isprintable() and char != "\\" else _escaped(char) for char in text)


def _escaped(char: str) -> str:
    if "\udc80" <= char <= "\udcff":  # a byte that is no UTF-8, as os.fsdecode carries it
        return f"\\x{ord(char) - 0xDC00:02x}"
    return char.encode("unicode_escape").decode("ascii")


def path_of(values: Mapping[str, Any]) -> bytes:
    """The path that ``json_path`` made these members of."""
    return base64.b64decode(values["path_b64"]) if "path_b64" in values else str(values["path"]).encode()


def whole_text(value: str) -> str:
    """A word of a command line as text that every parser of JSON takes: U+FFFD for what is no UTF-8."""
    return os.fsencode(value).decode("utf-8", "replace")


def json_path(path: bytes) -> dict[str, str]:
    """A path as members of a JSON object that every parser takes, without loss.

    ``path`` is text, with U+FFFD for what is no UTF-8; ``path_b64`` is there exactly then, and has the bytes.
    """
    text = path.decode("utf-8", "replace")
    if text.encode() == path:
        return {"path": text}
    return {"path": text, "path_b64": base64.b64encode(path).decode()}
