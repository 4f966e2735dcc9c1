"""Plans in the form of ``--format json``."""

from collections.abc import Iterable, Mapping
from typing import Any

from mmirrorfs.text import json_path

Document = dict[str, Any]
Folders = Mapping[Any, Mapping[str, int | None]]
"""By the path of a folder at the depth, text or bytes: the number of files in each source."""


def planned(
    sources: Iterable[str],
    folders: Folders,
    *,
    near: Iterable[Mapping[str, Any]] = (),
    remarks: Iterable[tuple[str, str]] = (),
    depth: int = 2,
) -> Document:
    """A plan; ``remarks`` are (about, path). Directories above the folders are added."""
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
    """A near miss in the directory ``place``: ``one`` in the first source, ``other`` in the second."""
    where = {key.replace("path", "in", 1): value for key, value in json_path(_bytes(place)).items()}
    names = [{"name": one, "sources": ["flac"]}, {"name": other, "sources": ["mp3"]}]
    return {**where, "names": names, "reason": "alike", "advice": f"--match {rule}", "pairs_with": rule, **more}


def _bytes(path: str | bytes) -> bytes:
    return path if isinstance(path, bytes) else path.encode()
