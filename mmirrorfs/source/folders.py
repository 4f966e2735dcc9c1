"""Which folders of one source have to be searched again for files (``--skip-empty``).

A folder is searched again after an event in a directory that its evidence depends on, or once a period if one of these
is not watched. Event loop's thread only; no I/O.
"""

from collections.abc import Iterable, Mapping

from mmirrorfs.source.listings import Keys
from mmirrorfs.source.trust import Trust
from mmirrorfs.tree import Directory, Entry, Evidence, Leaf, evidence_of, join

_NOTHING: Mapping[bytes, Entry] = {}


class Folders:
    """The folders of one source with evidence, by the event keys in it. ``polled`` are those that are not watched."""

    def __init__(self, trust: Trust) -> None:
        self._trust = trust
        self._missed: set[bytes] = set()
        self.keys = Keys()
        self.polled: set[bytes] = set()

    def update(self, path: bytes, old: Directory | None, new: Directory | None, names: Iterable[bytes]) -> list[bytes]:
        """Note the new evidence in a scanned directory above the depth; only these ``names`` may have changed.

        Returns the folders in it that held no file and do so now.
        """
        before, after = (directory.entries if directory is not None else _NOTHING for directory in (old, new))
        filled = list[bytes]()
        for name in names:
            last, now = before.get(name), after.get(name)
            if last is not now:
                folder = join(path, name)
                self._replace(folder, evidence_of(last), evidence_of(now))
                if isinstance(last, Leaf) and last.is_empty and isinstance(now, Leaf) and not now.is_empty:
                    filled.append(folder)
        return filled

    def _replace(self, folder: bytes, last: Evidence | None, now: Evidence | None) -> None:
        for key in last.keys if last is not None else ():
            if key:
                self.keys.release(key, folder)
        self.polled.discard(folder)
        for key in now.keys if now is not None else ():
            if not key:
                self.polled.add(folder)
                continue
            self.keys.add(key, folder)
            if now is not None and self._trust.last_report(key) >= now.fetched_at:
                self._missed.add(folder)

    def missed(self) -> set[bytes]:
        """The folders with an event that came before their evidence; each is returned once."""
        missed, self._missed = self._missed, set()
        return missed
