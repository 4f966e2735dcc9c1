"""The last known truth: asks a source, and where it is lost or hangs tells what was last seen of it.

Rule 1: nothing in a merged directory waits for a source. What is asked of one there is asked within PATIENCE, once;
then the last known stands in, at the worst the attributes of the directory above.
Rule 2: inside a folder its own source is waited for, unless what was last seen there can stand in.

Event loop's thread only. Functions raise OSError.
"""

import errno
import os
from collections.abc import Callable
from functools import partial

from mmirrorfs.source.reader import DirectoryReader, Listed
from mmirrorfs.source.source import Source, SourceLost
from mmirrorfs.tree import Attributes
from mmirrorfs.view.memory import Memory

PATIENCE = 0.3
"""Seconds that a merged directory waits for a source, once; while the source hangs it waits no more."""
PIECE = 256
"""Entries read at once: half a millisecond's work."""
ACL = b"system.posix_acl_"
"""How the names of access lists begin."""

UNKNOWN = Attributes(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
"""Stands for attributes that could not be had."""


def failure(code: int) -> OSError:
    """The OSError of that errno."""
    return OSError(code, os.strerror(code))


class Witness:
    """Asks the sources for attributes and listings. ``surprised`` is called with one that turned out to be lost."""

    def __init__(self, memory: Memory) -> None:
        self.memory = memory
        self.surprised: Callable[[Source], None] = lambda source: None

    async def attributes(
        self, source: Source, path: bytes, otherwise: Callable[[], Attributes] | None = None
    ) -> Attributes:
        """The attributes of a path of a source, a link not followed.

        With ``otherwise`` (rule 1) they come within PATIENCE, from there if need be. Raises ENOENT where nothing
        is there, and EIO where that cannot be known.
        """
        bounded = otherwise is not None or self.memory.knows(source.rank, path)
        try:
            if bounded:
                found = await source.within(PATIENCE, source.reader.stat, path)
            else:
                found = await source.run(source.reader.stat, path)
        except (SourceLost, TimeoutError) as error:
            return self._last_seen(source, path, error, otherwise)
        if not self.memory.is_listed((source.rank, path.rpartition(b"/")[0])):
            self.memory.see(source.rank, path, found)
        return found

    def _last_seen(
        self, source: Source, path: bytes, error: OSError, otherwise: Callable[[], Attributes] | None
    ) -> Attributes:
        self._report(source, error)
        found = self.memory.recall_one(source.rank, path)
        if found is not None:
            return found
        if otherwise is not None:
            return otherwise()
        if self.memory.is_listed((source.rank, path.rpartition(b"/")[0])):
            raise failure(errno.ENOENT)
        raise failure(errno.EIO)

    async def listing(
        self, source: Source, path: bytes
    ) -> tuple[Attributes | None, list[Listed], DirectoryReader | None]:
        """A directory's own attributes, its first entries and a reader for the rest.

        Where the source is lost, or hangs and the directory was seen before: None and what was last seen of it.
        Raises EIO where it never was.
        """
        list_some = source.reader.listing
        try:
            if self.memory.is_listed((source.rank, path)):
                return await source.within(PATIENCE, list_some, path, PIECE)
            return await source.run(list_some, path, PIECE)
        except (SourceLost, TimeoutError) as error:
            self._report(source, error)
            found = self.memory.recall((source.rank, path))
            if found is None:
                raise failure(errno.EIO) from error
            return None, found, None

    async def several(self, source: Source, directory: bytes, names: list[bytes]) -> list[Attributes | None]:
        """The attributes of leaves of a merged directory (rule 1): None for one that is gone, or UNKNOWN."""
        paths = [directory + b"/" + name if directory else name for name in names]
        try:
            found = await source.within(PATIENCE, source.reader.stat_several, directory, names)
            if None in found:  # in the root of a lost source too, where an empty directory may have taken its place
                await source.confirm(PATIENCE)
        except FileNotFoundError:
            return [None] * len(names)
        except OSError as error:
            self._report(source, error)
            return [self.memory.recall_one(source.rank, path) or UNKNOWN for path in paths]
        for path, attr in zip(paths, found, strict=True):
            if attr is not None:
                self.memory.see(source.rank, path, attr)
        return found

    async def value(self, source: Source, path: bytes, name: bytes, bounded: bool = False) -> bytes:
        """An extended attribute, or under the name b"" a link's target; with ``bounded`` within PATIENCE.

        Of a lost source what was last seen: access lists and targets are remembered, as listings need them. ENODATA
        where an attribute is not set, or was not seen; EIO for a target that was not.
        """
        rank, reader = source.rank, source.reader
        call = partial(reader.getxattr, path, name) if name else partial(reader.readlink, path)
        try:
            if bounded or (self.memory.knows(rank, path) if name else self.memory.noted(rank, path, name)):
                found = await source.within(PATIENCE, call)
            else:
                found = await source.run(call)
        except (SourceLost, TimeoutError) as error:
            self._report(source, error)
            last = self.memory.noted(rank, path, name)
            if last is None:
                raise failure(errno.ENODATA if name else errno.EIO) from error
            return last
        except OSError:
            self.memory.note(rank, path, name, None)
            raise
        if not name or name.startswith(ACL):
            self.memory.note(rank, path, name, found)
        return found

    def _report(self, source: Source, error: OSError) -> None:
        if isinstance(error, SourceLost):
            self.surprised(source)
