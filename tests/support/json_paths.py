"""Paths in JSON that the program prints, read as its documentation tells a reader to."""

import base64
from collections.abc import Mapping
from typing import Any


def path_of(told: Mapping[str, Any]) -> bytes:
    """The bytes of the path that a JSON object has. Raises UnicodeEncodeError where its text is no text."""
    text: bytes = told["path"].encode()
    return base64.b64decode(told["path_b64"], validate=True) if "path_b64" in told else text
