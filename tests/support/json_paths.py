"""Paths in the program's JSON output, decoded as docs/ describe."""

import base64
from collections.abc import Mapping
from typing import Any


def path_of(member: Mapping[str, Any]) -> bytes:
    """The path of a JSON object, in bytes. Raises UnicodeEncodeError for text with lone surrogates."""
    text: bytes = member["path"].encode()
    return base64.b64decode(member["path_b64"], validate=True) if "path_b64" in member else text
