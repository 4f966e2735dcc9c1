"""One source: what it is called, whether it is there, how it is asked.

Rule 1: a lost source is not an empty one. Lost means: its root is gone or cannot be read, fails with an I/O error,
or is now another directory (device or inode number moved) that is empty, as an unplugged disk's mountpoint is.
Another directory that is not empty is the source, come back. The same directory, now empty, was emptied.
Rule 2: "not there" from inside a source is believed only after its root was seen to be there.
Rule 3: no descriptor is held between calls, so an idle source can be unmounted.

``check_root``, ``scan`` and everything called ``blocking`` may run in any thread; the rest belongs to the loop.
"""

import errno
import os
from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

from mmirrorfs.source.filesystems import is_local
from mmirrorfs.source.pace import Pace
from mmirrorfs.source.reader import Excluded, Reader, nothing_excluded
from mmirrorfs.source.scan import Progress, Scanner
from mmirrorfs.tree import Directory, Rank

T = TypeVar("T")
A = TypeVarTuple("A")

DOUBTFUL = frozenset(
    (
        errno.ENOENT,
        errno.EACCES,
        errno.ENOTDIR,
        errno.ELOOP,
        errno.ESTALE,
        errno.EIO,
        errno.ENOTCONN,
        errno.ENODEV,
        errno.ENXIO,
    )
)
"""Errors that a source gives when it is lost, and also when it is not."""
SHORTAGE = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOMEM))
"""Errors that tell of us and not of the source."""


class SourceLost(OSError):
    """A source's root is not there. Its errno is EIO, which is what an open of one of its files gives."""

    def __init__(self, reason: str) -> None:
        super().__init__(errno.EIO, reason)
        self.reason = reason


class Source:
    """A source tree. ``path`` is what the user gave, ``name`` what it is called in messages, ``rank`` its place.

    ``lost`` is the reason why the source counts as lost, or None. Only whoever refreshes clears it.
    """

    def __init__(
        self,
        rank: Rank,
        name: str,
        path: bytes,
        depth: int,
        excluded: Excluded = nothing_excluded,
        follow: bool = False,
        local: bool | None = None,
    ) -> None:
        """Raises OSError where the root is missing or cannot be read."""
        self.rank = rank
        self.name = name
        self.path = os.path.abspath(path)
        root = os.path.realpath(self.path)
        self.space = root
        self.local = is_local(root) if local is None else local
        self.reader = Reader(root, excluded, follow)
        self.pace = Pace(self.local)
        self.lost: str | None = None
        self.told_lost = False
        self._identity = _identity(root)
        self._scanner = Scanner(self.reader, rank, depth, attributes_too=not self.local)

    def check_root(self) -> None:
        """Raise SourceLost unless the root is there (rule 1); takes note of a root that came back elsewhere."""
        try:
            root = os.path.realpath(self.path)
            identity = _identity(root)
            if identity != self._identity and not os.listdir(root):
                raise SourceLost("an empty directory is in its place")
        except SourceLost:
            raise
        except OSError as error:
            raise SourceLost(os.strerror(error.errno or errno.EIO)) from None
        self.reader.root = root
        self._identity = identity

    def scan(self, old: Directory | None, progress: Progress | None = None) -> Directory:
        """The tree down to the depth, sharing with ``old`` what did not move. Blocking.

        Raises SourceLost, and OSError where ``old`` is as much as is known, for want of descriptors or memory.
        """
        self.check_root()
        try:
            found = self._scanner.scan(old, self.check_root, progress)
        except OSError as error:
            if old is not None and error.errno in SHORTAGE:
                raise
            self.check_root()
            raise SourceLost(os.strerror(error.errno or errno.EIO)) from error
        is_other = (found.attr.dev, found.attr.ino) != self._identity
        if is_other or not self._stands():  # it was unplugged just before the look, or meanwhile
            self.check_root()
        return found

    async def run(self, call: Callable[[*A, bool], T], *args: *A) -> T:
        """Ask the source, waiting as long as it takes. Raises OSError; SourceLost where the root is not there."""
        self._raise_if_lost()
        try:
            return await self.pace.run(call, *args)
        except OSError as error:
            await self._doubt(error)
            raise

    async def within(self, seconds: float, call: Callable[[*A, bool], T], *args: *A) -> T:
        """The same with a bound: TimeoutError after ``seconds``, or at once while the source hangs."""
        self._raise_if_lost()
        try:
            return await self.pace.within(seconds, call, *args)
        except TimeoutError:
            raise
        except OSError as error:
            await self._doubt(error, seconds)
            raise

    def _raise_if_lost(self) -> None:
        if self.lost is not None:
            raise SourceLost(self.lost)

    async def _doubt(self, error: OSError, seconds: float | None = None) -> None:
        if error.errno in DOUBTFUL:
            await self.confirm(seconds, denied=error.errno == errno.EACCES)

    def _stands(self) -> bool:
        """Whether the root is where it was: one call, for this is asked after each name that is not there."""
        try:
            st = os.stat(self.reader.root)
        except OSError:
            return False
        return (st.st_dev, st.st_ino) == self._identity

    async def confirm(self, seconds: float | None = None, denied: bool = False) -> None:
        """Rule 2: raise SourceLost unless the root is there, and with ``seconds`` TimeoutError after these.

        The root of a local source is in memory; any other is asked in a thread. Where something was ``denied``, the
        root may be where it was and not be readable any more.
        """
        try:
            if self.local:
                if denied or not self._stands():
                    self.check_root()
            elif seconds is None:
                await self.pace.in_thread(self.check_root)
            else:
                await self.pace.within(seconds, lambda cached: self.check_root())
        except SourceLost as lost:
            self.lost = lost.reason
            raise


def _identity(root: bytes) -> tuple[int, int]:
    """(dev, ino) of a root that can be listed; raises OSError otherwise."""
    st = os.stat(root)
    if not os.access(root, os.R_OK | os.X_OK, effective_ids=True):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), root)
    return st.st_dev, st.st_ino
