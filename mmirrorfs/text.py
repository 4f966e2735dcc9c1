"""Names on their way to a person: to a terminal, a log or an error message."""

import os


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
