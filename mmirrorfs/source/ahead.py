"""Which directories will be asked for next. Event loop's thread only; no I/O."""

from mmirrorfs.source.known import Known
from mmirrorfs.source.walks import join

MOST = 16
"""Directories that are looked at beside one that is asked for, at the most."""


class Ahead:
    """Which directories will be asked for next: the more, the longer one after the other was asked for."""

    def __init__(self, known: Known) -> None:
        self._known = known
        self._expected = b""
        self._window = 0

    def of(self, path: bytes) -> list[bytes]:
        """The unknown directories that come after one in the listing that it is in."""
        above, _, name = path.rpartition(b"/")
        listing = self._known.listing(above)
        if listing is None or not path:
            return []
        self._window = min(2 * self._window + 1, MOST) if path == self._expected else 0
        found: list[bytes] = []
        for other in listing.folders_after(name, MOST * 2):
            inner = join(above, other)
            if self._known.listing(inner) is None:
                self._expected = inner
                if len(found) == self._window:
                    break
                found.append(inner)
        return found
