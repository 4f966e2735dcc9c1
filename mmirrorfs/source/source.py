"""One source: what it is called, whether it is there, how it is asked.

Rule 1: a lost source is not an empty one. Lost means: its root is gone or cannot be read, fails with an I/O error, is
a link now, or is another directory (device or inode number moved) that is not the source come back: it is empty, as
an unplugged disk's mountpoint is, or lies on another filesystem and has nothing of what was known. What is excluded
does not count. The same directory, now empty, was emptied.
Rule 2: "not there" from inside a source is believed only after its root was seen to be there.
Rule 3: no descriptor is held between calls, so an idle source can be unmounted.
Rule 4: the root is resolved once, when the source is made; no link is followed on the way to it from then on.

``check_root``, ``scan`` and the functions of ``reader`` may run in any thread; the rest belongs to the loop.
"""

import errno
import math
import os
from collections.abc import Callable, Collection, Container, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import TypeVar, TypeVarTuple

import trio

from mmirrorfs.attributes import Attributes
from mmirrorfs.source.beneath import DIRECTORY, PATH_ONLY, open_beneath
from mmirrorfs.source.failures import Failures
from mmirrorfs.source.filesystems import Locality
from mmirrorfs.source.mountid import unique_id
from mmirrorfs.source.pace import Pace, beside
from mmirrorfs.source.reader import Excluded, NotAFile, Reader, nothing_excluded
from mmirrorfs.source.scan import Scanner
from mmirrorfs.source.search import Progress
from mmirrorfs.source.watch import Watch
from mmirrorfs.tree import Directory, Rank

T = TypeVar("T")
A = TypeVarTuple("A")

ABSENT = frozenset((errno.ENOENT, errno.ENOTDIR, errno.ELOOP))
"""Errors that a root which stands where it was leaves no doubt about."""
FAILING = frozenset((errno.EIO, errno.ESTALE, errno.ENODEV, errno.ENXIO, errno.EREMOTEIO, errno.ENOTCONN)) | {
    *(errno.ESHUTDOWN, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENETDOWN, errno.ENETUNREACH),
    *(errno.ECONNREFUSED, errno.ECONNRESET, errno.ECONNABORTED),
}
"""Errors that tell nothing of what was asked for: what was known of it is known still."""
DOUBTFUL = ABSENT | FAILING | {errno.EACCES}
"""Errors that a source gives when it is lost, and also when it is not."""
SHORTAGE = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOMEM))
"""Errors that tell of us and not of the source."""


class SourceLost(OSError):
    """A source's root is not there. Its errno is EIO, which is what an open of one of its files gives."""

    def __init__(self, reason: str) -> None:
        super().__init__(errno.EIO, reason)
        self.reason = reason


class Source:
    """A source tree. ``path`` is what the user gave, ``name`` what it is called in messages, ``rank`` its place,
    ``depth`` the level at which its folders are.

    ``lost`` is the reason why the source counts as lost, or None. Only whoever refreshes clears it. ``brief`` says that
    the first scan took names and types alone; it is cleared when all is known that is above the depth. ``locality``
    says which parts of it are local; ``local``, if given, that all of it is or that nothing is. ``stable``: see Known.
    With ``skip_empty`` its folders are searched for files (``source.search``).
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
        skip_empty: bool = False,
        limit: float = math.inf,
    ) -> None:
        """``limit`` is for ``pace``. Raises OSError where the root is missing or cannot be read."""
        self.rank = rank
        self.name = name
        self.depth = depth
        self.path = os.path.abspath(path)
        self.root = os.path.realpath(self.path)
        self.locality = Locality(self.root)
        self.is_local: Callable[[bytes], bool] = self.locality.of if local is None else lambda path: local
        self.stable = self.locality.stable if local is None else local
        self.pace = Pace(name=name, limit=limit)
        self.watch = Watch()
        self.skip_empty = skip_empty
        self.failures = Failures(self.root)
        self.reader = Reader(self.root, excluded, follow, self._answered, self.watch.mark)
        self.lost: str | None = None
        self.brief = False
        self._names: Container[bytes] = ()
        self._given_up = set[tuple[object, ...]]()
        with self._opened_root() as fd:
            self._identity = _identity(fd)
            self.mounts = self._unique_ids(fd)
            """Of the mounts that the root is on and that are inside: others may have all their numbers."""
        self._scanner = Scanner(self.reader, rank, depth, lambda path: self.is_local(path), skip_empty)

    @property
    def local(self) -> bool:
        """Whether the root lies on a local filesystem."""
        return self.is_local(b"")

    @property
    def identity(self) -> tuple[int, int]:
        """(dev, ino) of the root, as it was last found to be the source's."""
        return self._identity

    def check_root(self) -> None:
        """Raise SourceLost unless the root is there (rule 1); takes note of a root that came back elsewhere.

        OSError where that cannot be found out for want of descriptors or memory.
        """
        try:
            with self._opened_root() as fd:
                self.watch.hold(fd)
                self.mounts = self._unique_ids(fd)
                identity = _identity(fd)
                if identity != self._identity:
                    self._check_stranger(os.listdir(fd), identity)
        except SourceLost:
            raise
        except OSError as error:
            if error.errno in SHORTAGE:
                raise
            raise SourceLost(_reason(error)) from None
        self._identity = identity

    def _unique_ids(self, root: int) -> tuple[int, ...]:
        found = [unique_id(root)]
        for path in self.locality.inside:
            with suppress(OSError):
                fd = open_beneath(self.root, path, PATH_ONLY)
                found.append(unique_id(fd))
                os.close(fd)
        return tuple(found)

    def stands(self) -> bool:
        """Whether memory says that the root is there, and that it is the source's. Never waits."""
        return self.lost is None and self.local and self._stands_cached()

    def _check_stranger(self, names: list[str], identity: tuple[int, int]) -> None:
        """Raise SourceLost unless another directory, in the place of the root, is the source come back."""
        shown = [name for name in map(os.fsencode, names) if not self.reader.excluded(name)]
        if not shown:
            raise SourceLost("an empty directory is in its place")
        if identity[0] != self._identity[0] and self._names and not any(name in self._names for name in shown):
            raise SourceLost("another filesystem is in its place, with nothing of what was known")

    @contextmanager
    def _opened_root(self) -> Iterator[int]:
        """The root, open; ELOOP or ENOTDIR where a link is in its place, or on the way to it."""
        fd = open_beneath(self.root, b"", DIRECTORY)
        try:
            yield fd
        finally:
            os.close(fd)

    def scan(
        self,
        old: Directory | None,
        progress: Progress | None = None,
        only: Collection[bytes] | None = None,
        anew: bool = False,
        brief: bool = False,
    ) -> Directory:
        """The tree down to the depth, sharing with ``old`` what did not move (see ``Scanner.scan``). Blocking.

        Raises SourceLost, and OSError where ``old`` is as much as is known, for want of descriptors or memory.
        """
        self.check_root()
        try:
            found = self._scanner.scan(old, self.check_root, partial(self._heard, progress), only, anew, brief)
        except OSError as error:
            if old is not None and error.errno in SHORTAGE:
                raise
            self.check_root()
            raise SourceLost(_reason(error)) from error
        is_other = (found.attr.dev, found.attr.ino) != self._identity
        if is_other or not self._stands():  # it was unplugged just before the scan, or meanwhile
            self.check_root()
        self._names = found.entries
        self.brief = self.brief or brief
        return found

    def _heard(self, progress: Progress | None, found: int) -> None:
        """A scan asks many things: each answer shows that the source does not hang."""
        self._answered()
        if progress is not None:
            progress(found)

    def _answered(self) -> None:
        self.pace.answered()

    def cached(self, call: Callable[[bytes, *A, bool], T], path: bytes, *args: *A) -> T:
        """Ask for what is in memory, here on the event loop: ``call(path, *args, cached=True)``. Never waits.

        Raises BlockingIOError where ``path`` is not in memory, not on a local filesystem, or the error that it gave
        needs a look at the root (rule 2); any other OSError may be believed.
        """
        self._raise_if_lost()
        if not self.is_local(path):
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN), path)
        try:
            return call(path, *args, True)
        except OSError as error:
            if error.errno not in DOUBTFUL or (error.errno in ABSENT and self._stands_cached()):
                raise
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN), path) from None

    async def run(self, call: Callable[[*A], T], *args: *A) -> T:
        """Ask the source in a thread, for as long as it takes. Raises OSError; SourceLost where it is lost."""
        self._raise_if_lost()
        try:
            return await self.pace.in_thread(partial(self._asked, call, *args))
        except SourceLost as lost:
            self.lost = lost.reason
            raise

    def failed(self, path: bytes, error: OSError) -> None:
        """Take note of what could not be read, if that tells of it and not of us, or of what is gone."""
        if error.errno not in ABSENT | SHORTAGE and not isinstance(error, SourceLost | NotAFile):
            self.failures.note(path, error)

    async def open_content(self, path: bytes) -> tuple[int, Attributes]:
        """A descriptor to read a regular file with, and its attributes. Raises OSError as ``run``, and NotAFile.

        From memory where that will do. What arrives when nobody waits for it any more is closed.
        """
        try:
            try:
                found = self.cached(self.reader.open_content, path)
            except BlockingIOError:
                found = await self.pace.owned(partial(self._asked, self.reader.open_content, path), _close)
        except SourceLost as lost:
            self.lost = lost.reason
            raise
        except OSError as error:
            self.failed(path, error)
            raise
        self.failures.clear(path)
        return found

    async def within(self, seconds: float, call: Callable[[*A], T], *args: *A) -> T:
        """The same with a bound: TimeoutError after ``seconds``, or at once while the source hangs."""
        with trio.move_on_after(0 if self.pace.hung else seconds):
            return await self.run(call, *args)
        raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))

    async def patiently(self, otherwise: Callable[[], T | None], call: Callable[[*A], T], *args: *A) -> tuple[T, bool]:
        """The same; what ``otherwise`` returns, if that is not None, and False, where the source hangs or fails, or was
        waited for long enough.

        What is asked of a source that hangs and cannot be had otherwise is waited for; what can is not asked for again
        meanwhile. Raises OSError as ``run``.
        """
        key: tuple[object, ...] = (call, *args)
        if (key in self._given_up or self.pace.rests) and (last := otherwise()) is not None:
            return last, False
        answers: list[T | OSError] = []
        answered = trio.Event()

        async def ask() -> None:
            """Note the answer, or the error; nobody may be waiting for it any longer."""
            try:
                answers.append(await self.run(call, *args))
            except OSError as error:
                answers.append(error)
            finally:
                if not answers:  # an error that nobody foresaw: it is logged
                    answers.append(OSError(errno.EIO, os.strerror(errno.EIO)))
                self._given_up.discard(key)
                answered.set()

        beside(ask)
        since = self.pace.now
        while not answers:
            with trio.move_on_after(self.pace.pause(since)):
                await answered.wait()
            if not answers and self.pace.is_enough(since) and (last := otherwise()) is not None:
                self._given_up.add(key)
                return last, False
        error = answers[0]
        if not isinstance(error, OSError):
            return error, True
        if error.errno in FAILING and not isinstance(error, SourceLost) and (last := otherwise()) is not None:
            return last, False
        raise error

    def stat_several(self, directory: bytes, names: list[bytes], cached: bool = False) -> list[Attributes | OSError]:
        """As the reader's, with rule 2: for ``cached`` and ``run``."""
        found = self.reader.stat_several(directory, names, cached)
        if any(isinstance(one, OSError) and one.errno in ABSENT for one in found):
            if cached and not self._stands_cached():
                raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN), directory)
            if not cached and not self._stands():
                self.check_root()
        return found

    def _asked(self, call: Callable[[*A], T], *args: *A) -> T:
        """In the thread: rule 2."""
        try:
            return call(*args)
        except OSError as error:
            if error.errno in DOUBTFUL and not (error.errno in ABSENT and self._stands()):
                self.check_root()
            raise

    def _raise_if_lost(self) -> None:
        if self.lost is not None:
            raise SourceLost(self.lost)

    def _stands(self) -> bool:
        """Whether the root is where it was: one call, for this is asked after each name that is not there."""
        try:
            st = os.stat(self.root, follow_symlinks=False)
        except OSError:
            return False
        return (st.st_dev, st.st_ino) == self._identity

    def _stands_cached(self) -> bool:
        """The same from memory only; false where that does not tell."""
        try:
            found = self.reader.stat(b"", True)
        except OSError:
            return False
        return (found.dev, found.ino) == self._identity


def _close(opened: tuple[int, Attributes] | None) -> None:
    if opened is not None:
        os.close(opened[0])


def _identity(root: int) -> tuple[int, int]:
    """(dev, ino) of an open root, which may be entered; raises OSError otherwise."""
    if not os.access(b".", os.X_OK, dir_fd=root, effective_ids=True):
        os.stat(b".", dir_fd=root)  # where it is not the mode that denies it, this fails too, and says why
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    st = os.fstat(root)
    return st.st_dev, st.st_ino


def _reason(error: OSError) -> str:
    """Why a root cannot be used, in words."""
    if error.errno in (errno.ELOOP, errno.ENOTDIR):
        return "a link, or something else that is no directory, is in its place or on the way to it"
    return os.strerror(error.errno or errno.EIO)
