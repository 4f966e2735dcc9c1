"""Output for a person: coloured lines, and times, durations, paths and shell words in a form that is safe to print.

Rule 1: nothing here lets text of a view, which may be another user's, send control characters to the terminal.
Rule 2: colours are for terminals only, and NO_COLOR turns them off.
"""

import os
import shlex
import time
from collections.abc import Iterable
from typing import Any

import click

from mmirrorfs.text import path_of, printable


def print_lines(lines: Iterable[str]) -> None:
    """Print lines, with their colours if stdout is a terminal."""
    for line in lines:
        click.echo(line, color=False if "NO_COLOR" in os.environ else None)


def path_text(path: dict[str, Any]) -> str:
    """A path in the form of ``text.json_path``, printable."""
    return printable(path_of(path))


def sanitized(text: str) -> str:
    """The text with ``?`` for each character that is not printable, newlines apart."""
    return "".join(char if char.isprintable() or char == "\n" else "?" for char in text)


def shell_quoted(word: str) -> str:
    """The word quoted for bash, and printable."""
    if word.isprintable():
        return shlex.quote(word)
    escaped = [char if char.isprintable() and char not in "\\'" else _hexadecimal(char) for char in word]
    return f"$'{''.join(escaped)}'"


def _hexadecimal(char: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in os.fsencode(char))


def local_time(moment: float | None) -> str:
    """A time in seconds since the epoch, as local date and time."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment)) if moment is not None else "a moment ago"


def duration(seconds: float) -> str:
    """A duration in its two largest units."""
    units = [(int(seconds) // size % limit, unit) for size, limit, unit in _UNITS]
    first = next((at for at, (number, _) in enumerate(units) if number), len(units) - 1)
    return " ".join(f"{number} {unit}" for number, unit in units[first : first + 2] if number or unit == "s")


def age(moment: float) -> str:
    """The duration since a time in seconds since the epoch; 0 for one in the future."""
    return duration(max(0.0, time.time() - moment))


_UNITS = ((86400, 1 << 30, "d"), (3600, 24, "h"), (60, 60, "min"), (1, 60, "s"))
