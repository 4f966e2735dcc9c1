"""What differs between a view that is mounted and one that is asked for. Pure."""

from collections.abc import Mapping
from typing import Any

from mmirrorfs.cli.settings import as_said
from mmirrorfs.text import printable


def differing(there: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """In words, for each long option that both have: what the view was told, and what is asked for instead."""
    return [
        f"{as_said(name)} is {_said(there[name])}, not {_said(value)}"
        for name, value in wanted.items()
        if name in there and _plain(there[name]) != _plain(value)
    ]


def _plain(value: object) -> object:
    """What is compared: the order of patterns means nothing."""
    return sorted(value) if isinstance(value, list | tuple) else value


def _said(value: object) -> str:
    if isinstance(value, list | tuple):
        return " and ".join(map(_said, value)) or "nothing"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float):
        return f"{value:g}"
    return printable(str(value)) if value is not None else "nothing"
