"""Plans as ``--format json`` prints them, made from values."""

from collections.abc import Iterable, Mapping
from typing import Any

from mmirrorfs.text import json_path

Document = dict[str, Any]
Folders = Mapping[Any, Mapping[str, int | None]]
"""Folders at the depth, by path, text or bytes: how many files each source has in it."""


def planned(
    sources: Iterable[str],
    folders: Folders,
    *,
    near: Iterable[Mapping[str, Any]] = (),
    remarks: Iterable[tuple[str, str]] = (),
    depth: int = 2,
) -> Document:
    """A plan; ``remarks`` are what they are about and a path. Directories above the folders are made up."""
    names = list(sources)
    entries: dict[bytes, Document] = {}
    for parts, counts in sorted((_bytes(path).split(b"/"), counts) for path, counts in folders.items()):
        for level in range(1, len(parts)):
            above = entries.setdefault(b"/".join(parts[:level]), {"type": "merged", "sources": [], "files": {}})
            above["sources"] = [name for name in names if name in above["sources"] or name in counts]
        have = [name for name in names if name in counts]
        files = {name: count for name, count in counts.items() if count is not None}
        entries[b"/".join(parts)] = {
            "type": "folder",
            "sources": have,
            "high": have[0],
            "low": have[-1],
            "files": files,
        }
    return {
        "sources": names,
        "options": {"depth": depth, "match": "exact", "ignore": []},
        "entries": [{**json_path(path), "high": None, "low": None, **entry} for path, entry in entries.items()],
        "near": list(near),
        "groups": [],
        "remarks": [{"about": about, "path": path, "text": f"{about} it is"} for about, path in remarks],
        "totals": {},
    }


def near_miss(place: str | bytes, one: str, other: str, rule: str = "same", **more: object) -> Document:
    """What the first source has and the second has under another name, in the directory ``place``."""
    where = {key.replace("path", "in", 1): value for key, value in json_path(_bytes(place)).items()}
    names = [{"name": one, "sources": ["flac"]}, {"name": other, "sources": ["mp3"]}]
    return {**where, "names": names, "reason": "alike", "advice": f"--match {rule}", "pairs_with": rule, **more}


def _bytes(path: str | bytes) -> bytes:
    return path if isinstance(path, bytes) else path.encode()
