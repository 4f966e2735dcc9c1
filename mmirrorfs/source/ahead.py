"""Which directories will be asked for next. Event loop's thread only; no I/O."""

from collections.abc import Iterator
from itertools import islice

from mmirrorfs.source.known import Known
from mmirrorfs.source.walks import join

MOST = 16
"""Directories that are looked at beside one that is asked for, at the most."""
NEAR = 4
"""Of what is next any one may be asked for: a view shows some folders of another source."""
FAR = 8 * MOST
"""Directories that are gone through to find some that are not known."""


class Ahead:
    """Which directories will be asked for next: the more, the longer one after the other was asked for.

    From the ``depth`` on: those above it are the scan's, also one that it could not scan yet.
    """

    def __init__(self, known: Known, depth: int) -> None:
        self._known = known
        self._depth = depth
        self._expected: list[bytes] = []
        self._window = 0

    def of(self, path: bytes) -> list[bytes]:
        """The unknown directories that come after one in a walk."""
        self._window = min(2 * self._window + 1, MOST) if path in self._expected else 0
        peek = self._known.listings.peek
        unknown = (one for one in islice(self._after(path), FAR) if peek(one) is None)
        found = list(islice(unknown, self._window + NEAR))
        self._expected = found[self._window :]
        return found[: self._window]

    def _after(self, path: bytes) -> Iterator[bytes]:
        """What a walk comes by after a directory, as far as that is known: those beside it, then those beside the one
        that it is in, each with what is in it.
        """
        while path:
            above, _, name = path.rpartition(b"/")
            yield from self._from(above, name)
            path = above

    def _from(self, above: bytes, name: bytes) -> Iterator[bytes]:
        listing = self._known.listings.peek(above)
        for other in listing.folders_after(name, 2 * MOST) if listing is not None else ():
            inner = join(above, other)
            if inner.count(b"/") + 1 >= self._depth:
                yield inner
            yield from self._from(inner, b"")
