"""Read-ahead: which directories will be requested next. Event loop's thread only; no I/O."""

from collections.abc import Iterator
from itertools import islice

from mmirrorfs.source.known import Known
from mmirrorfs.tree import join

MOST = 16
"""Directories listed ahead of a requested one at most."""
NEAR = 4
"""Directories beyond the window that count as consecutive: a view shows some folders from another source."""
FAR = 8 * MOST
"""Directories searched at most for those that are not cached."""


class Ahead:
    """A window of directories that doubles with each consecutive request.

    From the ``depth`` on: those above it are left to the scan.
    """

    def __init__(self, known: Known, depth: int) -> None:
        self._known = known
        self._depth = depth
        self._expected: list[bytes] = []
        self._window = 0

    def of(self, path: bytes) -> list[bytes]:
        """The directories to list ahead of one: those that follow it in a walk and are not cached."""
        self._window = min(2 * self._window + 1, MOST) if path in self._expected else 0
        peek = self._known.listings.peek
        unknown = (one for one in islice(self._after(path), FAR) if peek(one) is None)
        found = list(islice(unknown, self._window + NEAR))
        self._expected = found[self._window :]
        return found[: self._window]

    def _after(self, path: bytes) -> Iterator[bytes]:
        """The directories that follow in a walk, as far as cached: siblings, then those of the parent, each with its
        descendants.
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
