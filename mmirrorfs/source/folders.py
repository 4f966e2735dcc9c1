"""How it comes to be known that a folder of one source holds a file, or none any more (``--skip-empty``).

A folder is searched again when something is reported of a directory by whose listing that was found, or once a period
where its changes are not reported. Event loop's thread only; no I/O.
"""

from collections.abc import Iterable, Mapping

from mmirrorfs.source.keys import Keys
from mmirrorfs.source.trust import Trust
from mmirrorfs.source.walks import join
from mmirrorfs.tree import Directory, Entry, Evidence, Leaf, evidence_of

_NOTHING: Mapping[bytes, Entry] = {}


class Folders:
    """The folders of one source of which there is evidence. ``polled`` are those whose changes are not reported."""

    def __init__(self, trust: Trust) -> None:
        self._trust = trust
        self._missed: set[bytes] = set()
        self.keys = Keys()
        self.polled: set[bytes] = set()

    def update(self, path: bytes, old: Directory | None, new: Directory | None, names: Iterable[bytes]) -> list[bytes]:
        """A directory above the depth was looked at, in which only these names may lead to others by now. Returns the
        folders in it that held no file and do so now.
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
        """Those of which something was reported before it was known that it is about them; only once."""
        missed, self._missed = self._missed, set()
        return missed
