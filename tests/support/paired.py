"""A reference implementation of the merge with ``--match`` and ``--ignore``. Imports nothing of mmirrorfs.

1. Names with the same key are paired. The name shown is the spelling of the highest-ranked source.
2. Of several names of one source with the same key, the one that equals the shown name is paired, else the first in
   byte order. The others are shown under their own spelling.
3. A name that is not UTF-8 is its own key; so is a name of which ``--ignore`` would leave nothing.
"""

import os
import re
import stat
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.support.model import Shown, look

Key = Callable[[bytes], object]
Row = tuple[bytes, list[bytes | None]]
"""(name in the view, name in each source, the highest first)."""


def key_of(match: str, ignore: str) -> Key:
    """The function from a name to its key: names with equal keys are paired."""

    def key(name: bytes) -> object:
        try:
            text = name.decode()
        except UnicodeDecodeError:
            return name
        text = (re.sub(ignore, "", text) if ignore else text) or text
        if match == "nfc":
            return unicodedata.normalize("NFC", text)
        if match == "casefold":
            return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())
        if match == "loose":  # as far as the names go that the tests use
            bare = re.sub(r" ?\[\w+\]$", "", text) or text
            return "".join(filter(str.isalnum, unicodedata.normalize("NFD", bare).casefold()))
        return text

    return key


@dataclass(frozen=True)
class Model:
    """The sources, the highest first, their numbers in the view's order of preference, and the view's other options."""

    roots: Sequence[bytes]
    order: Sequence[int]
    depth: int
    key: Key

    def predict(self) -> dict[bytes, Shown]:
        """All that the view must show, by path."""
        found: dict[bytes, Shown] = {}
        self._merge(found, b"", list(self.roots), 1)
        return found

    def _merge(self, found: dict[bytes, Shown], prefix: bytes, places: list[bytes | None], level: int) -> None:
        for name, own in self._rows(places):
            pairs = zip(places, own, strict=True)
            paths = [place + b"/" + one if place is not None and one is not None else None for place, one in pairs]
            folders = [path if path is not None and os.path.isdir(path) else None for path in paths]
            if any(folders) and level < self.depth:
                found[prefix + name] = Shown(stat.S_IFDIR)
                self._merge(found, prefix + name + b"/", folders, level + 1)
            else:
                asked = folders if any(folders) else paths
                self._take(found, prefix + name, next(path for n in self.order if (path := asked[n]) is not None))

    def _rows(self, places: list[bytes | None]) -> list[Row]:
        names = [self._names(place) if place is not None else [] for place in places]
        rows: list[Row] = []
        left: dict[bytes, list[bytes | None]] = {}
        for common in {self.key(name) for some in names for name in some}:
            alike = [[name for name in some if self.key(name) == common] for some in names]
            shown = next(some[0] for some in alike if some)
            own = [shown if shown in some else some[0] if some else None for some in alike]
            rows.append((shown, own))
            for number, some in enumerate(alike):
                for name in some:
                    if name != own[number]:
                        left.setdefault(name, [None] * len(places))[number] = name
        return [*rows, *left.items()]

    @staticmethod
    def _names(place: bytes) -> list[bytes]:
        return sorted(name for name in os.listdir(place) if not os.path.islink(place + b"/" + name))

    def _take(self, found: dict[bytes, Shown], path: bytes, winner: bytes) -> None:
        found[path] = look(winner)
        if found[path].kind == stat.S_IFDIR:
            for name in os.listdir(winner):
                self._take(found, path + b"/" + name, winner + b"/" + name)
