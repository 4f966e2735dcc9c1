"""Asking a source about what lies inside folders, with cached metadata as the fallback.

Rule 1: who asks waits, for as long as the source takes: slow is neither hung nor lost.
Rule 2: of a lost source, and of one that hangs (``source.pace``), what was last seen answers; what never was is waited
for while the source hangs, and is an I/O error where it is lost.
Rule 3: what was seen proves what is there. That something is not there is proved by the source itself, or, once the
source is lost, by what was last seen of the whole directory.
Rule 4: an access list that cannot be had is an error, never "none": that would open what it closes.

Event loop's thread only. Functions raise OSError.
"""

import errno
import os
from collections.abc import Callable
from functools import partial

from mmirrorfs.source.reader import DirectoryReader, Listed
from mmirrorfs.source.source import Source, SourceLost
from mmirrorfs.tree import Attributes
from mmirrorfs.view.memory import Memory, Value

BRIEFLY = 0.3
"""Seconds that is waited for what a directory above the depth can do without."""
PIECE = 256
"""Entries read at once: half a millisecond's work."""
ACL = b"system.posix_acl_"
"""How the names of access lists begin."""


def failure(code: int) -> OSError:
    """The OSError of that errno."""
    return OSError(code, os.strerror(code))


class Fallback:
    """Asks the sources of one view. ``report_lost`` is called with one that turned out to be lost."""

    def __init__(self, memory: Memory, clock: Callable[[], float], keep: float) -> None:
        self.memory = memory
        self.report_lost: Callable[[Source], None] = lambda source: None
        self._clock = clock
        self._keep = keep

    async def attributes(self, source: Source, path: bytes) -> tuple[Attributes, bool]:
        """The attributes of a path inside a folder, a link not followed, and whether they are as good as new.

        Raises ENOENT where nothing is there, and EIO where that cannot be known.
        """
        rank = source.rank
        try:
            try:
                found, fresh = source.cached(source.reader.stat, path), True
            except BlockingIOError:
                recall = partial(self.memory.recall_one, rank, path)
                found, fresh = await source.patiently(recall, source.reader.stat, path)
        except SourceLost:
            return self._last_seen(source, path), True
        except FileNotFoundError:
            self.memory.see(rank, path, None)
            raise
        if fresh:
            self.memory.see(rank, path, found)
        return found, fresh

    def _last_seen(self, source: Source, path: bytes) -> Attributes:
        self.report_lost(source)
        found = self.memory.recall_one(source.rank, path)
        if found is None:
            listed = self.memory.is_listed((source.rank, path.rpartition(b"/")[0]))
            raise failure(errno.ENOENT if listed else errno.EIO)
        return found

    async def listing(
        self, source: Source, path: bytes
    ) -> tuple[Attributes | None, list[Listed], DirectoryReader | None, bool]:
        """A directory's own attributes, its first entries and a reader for the rest; and whether that is as new.

        Where the source is lost, or hangs and the directory was seen before: None and what was last seen of it.
        Raises EIO where it never was.
        """
        key = (source.rank, path)

        def recall() -> tuple[Attributes | None, list[Listed], DirectoryReader | None] | None:
            found = self.memory.recall(key)
            return None if found is None else (None, found, None)

        try:
            found, fresh = await source.patiently(recall, partial(_listing, source), path)
        except SourceLost as error:
            self.report_lost(source)
            last = recall()
            if last is None:
                raise failure(errno.EIO) from error
            found, fresh = last, True
        return *found, fresh

    async def value(self, source: Source, path: bytes, name: bytes, briefly: bool) -> bytes:
        """An extended attribute, or under the name b"" a link's target; ``briefly`` waits for BRIEFLY at the most.

        Access lists and targets are remembered, as listings need them. Raises ENODATA where an attribute is not set,
        or cannot be had and is no access list; EIO for an access list or a target that cannot be had (rule 4).
        """
        noted = self.memory.noted(source.rank, path, name)
        if noted is not None and self._clock() - noted[1] < self._keep:
            return _set(noted[0])
        try:
            if briefly:
                found = await source.within(BRIEFLY, _value, source, path, name)
            else:
                last = partial(self._last_value, source, path, name)
                found, fresh = await source.patiently(last, _value, source, path, name)
                if not fresh:
                    return _set(found)
        except (SourceLost, TimeoutError) as error:
            if isinstance(error, SourceLost):
                self.report_lost(source)
            if noted is not None:
                return _set(noted[0])
            raise failure(errno.EIO if not name or name.startswith(ACL) else errno.ENODATA) from error
        if not name or name.startswith(ACL):
            self.memory.note(source.rank, path, name, found, self._clock())
        return _set(found)

    def _last_value(self, source: Source, path: bytes, name: bytes) -> Value | None:
        noted = self.memory.noted(source.rank, path, name)
        return noted[0] if noted is not None else None


def _listing(source: Source, path: bytes) -> tuple[Attributes | None, list[Listed], DirectoryReader | None]:
    return source.reader.listing(path, PIECE)


def _value(source: Source, path: bytes, name: bytes) -> Value:
    """Blocking: an extended attribute, or why there is none; under the name b"" a link's target."""
    if not name:
        return source.reader.readlink(path)
    try:
        return source.reader.getxattr(path, name)
    except OSError as error:
        if error.errno not in (errno.ENODATA, errno.EOPNOTSUPP):
            raise
        return error.errno


def _set(value: Value) -> bytes:
    if isinstance(value, int):
        raise failure(value)
    return value
