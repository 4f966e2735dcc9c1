"""One source: its identity, whether it is lost, and where calls on it run.

Rule 1: a lost source is not an empty one. It is lost if its root is missing, unreadable, fails with an I/O error or is
a symbolic link, or if another (dev, ino) is there that is not the source remounted: that directory is empty, as the
mountpoint of an unplugged disk is, or is on another filesystem and has none of the known names. Excluded names do not
count. The same (dev, ino), now empty, was emptied.
Rule 2: ENOENT from inside a source is believed only after the root was found to be valid.
Rule 3: no descriptor is held between calls, so an idle source can be unmounted.
Rule 4: the root is resolved once, by the constructor; no link on the way to it is followed later.

``check_root``, ``scan`` and ``reader`` may be called in any thread; all else on the event loop. Raises OSError.
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
from mmirrorfs.source.exclude import Excluded, nothing_excluded
from mmirrorfs.source.failures import Failures
from mmirrorfs.source.filesystems import Locality, unique_id
from mmirrorfs.source.reader import NotAFile, Reader
from mmirrorfs.source.scan import Scanner
from mmirrorfs.source.search import Progress
from mmirrorfs.source.shared_check import SharedCheck
from mmirrorfs.source.threads import SourceThreads, spawn
from mmirrorfs.source.watch import Watch
from mmirrorfs.tree import Directory, Rank

T = TypeVar("T")
A = TypeVarTuple("A")

ABSENT = frozenset((errno.ENOENT, errno.ENOTDIR, errno.ELOOP))
"""Errors that are believed if the root is valid."""
FAILING = frozenset((errno.EIO, errno.ESTALE, errno.ENODEV, errno.ENXIO, errno.EREMOTEIO, errno.ENOTCONN)) | {
    *(errno.ESHUTDOWN, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENETDOWN, errno.ENETUNREACH),
    *(errno.ECONNREFUSED, errno.ECONNRESET, errno.ECONNABORTED),
}
"""Errors that prove nothing about the path: its cache entries stay."""
DOUBTFUL = ABSENT | FAILING | {errno.EACCES}
"""Errors that a lost source gives, and a source that is present, too."""
PATIENCE = 60.0
"""Seconds to wait for another thread's check of the root, which may be stuck in a mount that was replaced since."""
SHORTAGE = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOMEM))
"""Errors about this process, not about the source."""


class SourceLost(OSError):
    """The root of a source is not valid. errno is EIO, which an open of one of its files gives."""

    def __init__(self, reason: str) -> None:
        super().__init__(errno.EIO, reason)
        self.reason = reason


class Source:
    """A source tree. ``path`` is as the user gave it, ``name`` is for messages, ``rank`` its place in the order of
    sources, ``depth`` the level of its folders.

    ``lost`` is the reason why the source is lost, or None; only the refresher clears it. ``brief`` is set while only
    names and types were scanned above the depth. ``local`` overrides what the mount table says: all of the source is
    local, or nothing. ``stable``: see ``Cache``. With ``skip_empty`` a scan searches folders for files
    (``source.search``).
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
        """``limit`` is that of ``SourceThreads``. Raises OSError if the root is missing or unreadable."""
        self.rank = rank
        self.name = name
        self.depth = depth
        self.path = os.path.abspath(path)
        self.root = os.path.realpath(self.path)
        self.locality = Locality(self.root)
        self.is_local: Callable[[bytes], bool] = self.locality.of if local is None else lambda path: local
        self.stable = self.locality.stable if local is None else local
        self.threads = SourceThreads(name=name, limit=limit)
        self.watch = Watch()
        self.skip_empty = skip_empty
        self.failures = Failures(self.root)
        self.reader = Reader(self.root, excluded, follow, self._answered, self.watch.mark)
        self.lost: str | None = None
        self.brief = False
        self._names: Container[bytes] = ()
        self._timed_out = set[tuple[object, ...]]()
        self.check_root = SharedCheck(self._check_root, SourceLost, PATIENCE)
        """Raises SourceLost unless the root is valid (rule 1); adopts the (dev, ino) of a source that was remounted.

        Raises another OSError if this process lacks descriptors or memory (SHORTAGE).
        """
        with self._opened_root() as fd:
            self._identity = _identity(fd)
            self.mounts = self._unique_ids(fd)
            """Unique ids of the mount of the root and of those inside; a new mount may reuse all other numbers."""
        self._scanner = Scanner(self.reader, rank, depth, lambda path: self.is_local(path), skip_empty)

    @property
    def local(self) -> bool:
        """Whether the root lies on a local filesystem."""
        return self.is_local(b"")

    @property
    def identity(self) -> tuple[int, int]:
        """(dev, ino) of the root when it was last valid."""
        return self._identity

    def _check_root(self) -> None:
        try:
            with self._opened_root() as fd:
                self.watch.hold(fd)
                self.mounts = self._unique_ids(fd)
                identity = _identity(fd)
                if identity != self._identity:
                    self._check_replacement(os.listdir(fd), identity)
        except SourceLost:
            raise
        except OSError as error:
            if error.errno in SHORTAGE:
                raise
            raise SourceLost(_reason(error)) from None
        self._identity = identity

    def _unique_ids(self, root: int) -> tuple[int, ...]:
        found = [unique_id(root)]
        for path in self.locality.inside():
            with suppress(OSError):
                fd = open_beneath(self.root, path, PATH_ONLY)
                found.append(unique_id(fd))
                os.close(fd)
        return tuple(found)

    def is_present(self) -> bool:
        """Whether the root is valid according to the kernel's caches. Never blocks."""
        return self.lost is None and self.local and self._is_valid_cached()

    def _check_replacement(self, names: list[str], identity: tuple[int, int]) -> None:
        """Raise SourceLost unless another directory in the place of the root is the source, remounted."""
        shown = [name for name in map(os.fsencode, names) if not self.reader.excluded(name)]
        if not shown:
            raise SourceLost("an empty directory is in its place")
        if identity[0] != self._identity[0] and self._names and not any(name in self._names for name in shown):
            raise SourceLost("another filesystem is in its place, with nothing of what was known")

    @contextmanager
    def _opened_root(self) -> Iterator[int]:
        """The root, open. Raises OSError: ELOOP or ENOTDIR for a link in its place, or on the way to it."""
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
        """The tree down to the depth, sharing unchanged parts with ``old`` (see ``Scanner.scan``). Blocking.

        Raises SourceLost; with ``old`` another OSError if this process lacks descriptors or memory (SHORTAGE).
        """
        self.check_root()
        try:
            found = self._scanner.scan(old, self.check_root, partial(self._note_progress, progress), only, anew, brief)
        except OSError as error:
            if old is not None and error.errno in SHORTAGE:
                raise
            self.check_root()
            raise SourceLost(_reason(error)) from error
        is_other = (found.attr.dev, found.attr.ino) != self._identity
        if is_other or not self._is_valid():  # it was unplugged just before the scan, or during it
            self.check_root()
        self._names = found.entries
        self.brief = self.brief or brief
        return found

    def _note_progress(self, progress: Progress | None, found: int) -> None:
        """A scan makes many requests: each response shows that the source does not hang."""
        self._answered()
        if progress is not None:
            progress(found)

    def _answered(self) -> None:
        self.threads.answered()

    def cached(self, call: Callable[[bytes, *A, bool], T], path: bytes, *args: *A) -> T:
        """Call ``call(path, *args, cached=True)`` on the event loop, for what the kernel has cached. Never blocks.

        Raises BlockingIOError if ``path`` is not cached, not on a local filesystem, or gave an error that the root has
        to be checked for (rule 2); any other OSError may be believed.
        """
        self._raise_if_lost()
        if not self.is_local(path):
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN), path)
        try:
            return call(path, *args, True)
        except OSError as error:
            if error.errno not in DOUBTFUL or (error.errno in ABSENT and self._is_valid_cached()):
                raise
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN), path) from None

    async def run(self, call: Callable[[*A], T], *args: *A) -> T:
        """Call it in a thread of the source, without a timeout. Raises OSError; SourceLost if the source is lost."""
        self._raise_if_lost()
        try:
            return await self.threads.in_thread(partial(self._checked, call, *args))
        except SourceLost as lost:
            self.lost = lost.reason
            raise

    def failed(self, path: bytes, error: OSError) -> None:
        """Record a path that could not be read, unless it is gone or the error is about this process."""
        if error.errno not in ABSENT | SHORTAGE and not isinstance(error, SourceLost | NotAFile):
            self.failures.note(path, error)

    async def open_content(self, path: bytes) -> tuple[int, Attributes]:
        """A descriptor to read a regular file with, and its attributes. Raises OSError as ``run``, and NotAFile.

        On the event loop if the inode is cached, else in a thread. Closes the descriptor if the caller was cancelled
        before it arrived.
        """
        try:
            try:
                found = self.cached(self.reader.open_content, path)
            except BlockingIOError:
                found = await self.threads.owned(partial(self._checked, self.reader.open_content, path), _close)
        except SourceLost as lost:
            self.lost = lost.reason
            raise
        except OSError as error:
            self.failed(path, error)
            raise
        self.failures.clear(path)
        return found

    async def within(self, seconds: float, call: Callable[[*A], T], *args: *A) -> T:
        """``run`` with a timeout: TimeoutError after ``seconds``, or at once while the source hangs."""
        with trio.move_on_after(0 if self.threads.hung else seconds):
            return await self.run(call, *args)
        raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))

    async def with_fallback(
        self, otherwise: Callable[[], T | None], call: Callable[[*A], T], *args: *A
    ) -> tuple[T, bool]:
        """``run`` with a fallback: the result and True; or ``otherwise()`` and False, if the source hangs or fails, or
        takes longer than the limit of ``threads``.

        Without a fallback (None) it waits. With one, a call that timed out is not repeated until it returns. Raises
        OSError as ``run``.
        """
        key: tuple[object, ...] = (call, *args)
        if (key in self._timed_out or self.threads.rests) and (last := otherwise()) is not None:
            return last, False
        answers: list[T | OSError] = []
        answered = trio.Event()

        async def ask() -> None:
            """Note the answer or the error, also when the caller has already fallen back."""
            try:
                answers.append(await self.run(call, *args))
            except OSError as error:
                answers.append(error)
            finally:
                if not answers:  # an unexpected error, which spawn() logs
                    answers.append(OSError(errno.EIO, os.strerror(errno.EIO)))
                self._timed_out.discard(key)
                answered.set()

        spawn(ask)
        since = self.threads.now
        while not answers:
            with trio.move_on_after(self.threads.pause(since)):
                await answered.wait()
            if not answers and self.threads.is_enough(since) and (last := otherwise()) is not None:
                self._timed_out.add(key)
                return last, False
        error = answers[0]
        if not isinstance(error, OSError):
            return error, True
        if error.errno in FAILING and not isinstance(error, SourceLost) and (last := otherwise()) is not None:
            return last, False
        raise error

    def stat_several(self, directory: bytes, names: list[bytes], cached: bool = False) -> list[Attributes | OSError]:
        """``Reader.stat_several`` with rule 2; to be passed to ``cached`` and ``run``."""
        found = self.reader.stat_several(directory, names, cached)
        if any(isinstance(one, OSError) and one.errno in ABSENT for one in found):
            if cached and not self._is_valid_cached():
                raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN), directory)
            if not cached and not self._is_valid():
                self.check_root()
        return found

    def _checked(self, call: Callable[[*A], T], *args: *A) -> T:
        """Rule 2, in the thread. Of a source that is found lost meanwhile nothing more is requested."""
        self._raise_if_lost()
        try:
            return call(*args)
        except OSError as error:
            if error.errno in DOUBTFUL and not (error.errno in ABSENT and self._is_valid()):
                self._raise_if_lost()
                self.check_root()
            raise

    def _raise_if_lost(self) -> None:
        if self.lost is not None:
            raise SourceLost(self.lost)

    def _is_valid(self) -> bool:
        """Whether the root has the (dev, ino) it had: one system call, for this follows each ENOENT."""
        try:
            st = os.stat(self.root, follow_symlinks=False)
        except OSError:
            return False
        return (st.st_dev, st.st_ino) == self._identity

    def _is_valid_cached(self) -> bool:
        """The same from the kernel's caches; false if the root is not cached."""
        try:
            found = self.reader.stat(b"", True)
        except OSError:
            return False
        return (found.dev, found.ino) == self._identity


def _close(opened: tuple[int, Attributes] | None) -> None:
    if opened is not None:
        os.close(opened[0])


def _identity(root: int) -> tuple[int, int]:
    """(dev, ino) of an open root. Raises OSError if it may not be searched."""
    if not os.access(b".", os.X_OK, dir_fd=root, effective_ids=True):
        os.stat(b".", dir_fd=root)  # raises the real error, unless it is the mode that denies it
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    st = os.fstat(root)
    return st.st_dev, st.st_ino


def _reason(error: OSError) -> str:
    """Why a root is not valid, in words."""
    if error.errno in (errno.ELOOP, errno.ENOTDIR):
        return "a link, or something else that is no directory, is in its place or on the way to it"
    return os.strerror(error.errno or errno.EIO)
