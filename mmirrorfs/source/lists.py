"""POSIX access lists (acl(5)) of the entries of a directory: reading them, and what known ones are worth later.

Rule 1: nothing changes a list without moving the ctime of its inode. So a list holds for as long as (dev, ino, ctime)
stand, unless it was read within COARSE of that ctime: a later change may carry the same one.
Rule 2: a list that cannot be read is not known, never "none": that would open what it closes.

Nearly always there are none, so ``Listing.lists`` of nearly all directories are the same NOTHING. The merged
directories, which are in no other listing, have their own lists under the name OWN.

What reads blocks, and may be called in any thread or process but the event loop's; the rest is pure.
"""

import errno
import json
import os
import stat
import struct
from collections.abc import Callable
from typing import NamedTuple

from mmirrorfs.attributes import DIR, LINK, Attributes, Kind
from mmirrorfs.listing import AccessLists, Listing, Lists, Stamp
from mmirrorfs.source.freshness import COARSE
from mmirrorfs.source.reader import CODEC, Reader
from mmirrorfs.source.walks import join
from mmirrorfs.source.walls import Walls

PREFIX = b"system.posix_acl_"
"""How the names of the attributes begin that hold access lists."""
ACCESS, DEFAULT = "system.posix_acl_access", "system.posix_acl_default"
OWN = b""
NONE: AccessLists = {}
"""Of an entry that has no list."""
NOTHING: Lists = {}
"""Of a directory in which no entry has one."""
NOTHING_ABOVE: Lists = {OWN: NONE}
"""Of a merged directory that has none either."""

_STAMP = struct.Struct("<QQqq")

Ask = Callable[[bytes, Kind, int], AccessLists | None]
"""Gives the lists of a name in a directory, of that type and device; None where they cannot be had."""


class Read(NamedTuple):
    """The lists in one directory, which had that stamp, read at ``when`` or later, in monotonic seconds."""

    path: bytes
    when: float
    stamp: Stamp
    lists: Lists

    def encoded(self) -> bytes:
        """Stamp and lists, to be sent."""
        told = {os.fsdecode(name): _told(lists) if lists is not None else None for name, lists in self.lists.items()}
        return _STAMP.pack(*self.stamp) + (json.dumps(told).encode() if told else b"")

    @classmethod
    def decoded(cls, path: bytes, when: float, text: bytes) -> "Read":
        """The other way round."""
        told = json.loads(text[_STAMP.size :] or b"{}")
        lists = {os.fsencode(name): _heard(lists) if lists is not None else None for name, lists in told.items()}
        return cls(path, when, _STAMP.unpack_from(text), shared(lists))


def _told(lists: AccessLists) -> dict[str, str]:
    return {name.decode(): value.hex() for name, value in lists.items()}


def _heard(lists: dict[str, str]) -> AccessLists:
    return {name.encode(): bytes.fromhex(value) for name, value in lists.items()} or NONE


def is_settled(ctime_ns: int, wall_ns: int) -> bool:
    """Whether a list that was read at that time of day, or later, holds for as long as its inode has that ctime."""
    return wall_ns - ctime_ns > COARSE * 1e9


def stands(before: Attributes, after: Attributes, wall_ns: int) -> bool:
    """Whether a list of what had these attributes, read at that time of day or later, is one of what has those."""
    same = (before.dev, before.ino, before.ctime_ns) == (after.dev, after.ino, after.ctime_ns)
    return same and is_settled(before.ctime_ns, wall_ns)


def shared(lists: Lists) -> Lists:
    """The same lists; those of nearly all directories are one value."""
    if not lists:
        return NOTHING
    return NOTHING_ABOVE if lists == NOTHING_ABOVE else lists


def of_entries(new: Listing, old: Listing | None, walls: Walls, ask: Ask | None, own: bool = False) -> Lists | None:
    """The lists of the entries of a directory that was just listed, and its own: those of ``old`` that stand.

    All others are asked for; where that may not be, they are not known. None where nothing is.
    """
    lists, at = dict[bytes, AccessLists | None](), 0
    known: Lists = NOTHING
    last = dict[bytes, tuple[int, int, int]]()
    if old is not None and old.lists is not None:
        known = old.lists
        last = {name: (dev, ino, ctime) for name, _, dev, ino, ctime in old.identities()}
        at = walls.at(old.fetched_at)
    elif ask is None:
        return None
    for name, kind, dev, ino, ctime in new.identities():
        if kind == LINK or not dev:
            continue  # a link has none, and of what has no attributes nothing is told
        found: AccessLists | None = None
        if last and last.get(name) == (dev, ino, ctime) and is_settled(ctime, at):
            found = known.get(name, NONE)
        if found is None and ask is not None:
            found = ask(name, kind, dev)
        if found is None or found:
            lists[name] = found
    if own:
        same = old is not None and old.stamp == new.stamp and is_settled(new.stamp[3], at)
        found = known.get(OWN) if same else None
        lists[OWN] = ask(OWN, DIR, new.stamp[0]) if found is None and ask is not None else found
    return shared(lists)


class Asker:
    """Asks for the lists of names in an open directory.

    ``where`` is what leads there: its path, with a slash, or nothing for the working directory. ``listed`` is the
    device number of its filesystem, if that can be trusted to list attributes with these among them, as local ones can:
    half the calls.
    """

    def __init__(self, reader: Reader, path: bytes, fd: int, listed: int | None, where: str | None = None) -> None:
        self._reader = reader
        self._path = path
        self._fd = fd
        self._listed = listed
        self._without = set[int]()
        self._where = f"/proc/self/fd/{fd}/" if where is None else where

    def __call__(self, name: bytes, kind: Kind, dev: int) -> AccessLists | None:
        """One name."""
        if dev in self._without:
            return NONE
        path = self._where + (name or b".").decode(CODEC, "surrogateescape")
        try:
            if self._reader.follow and name != OWN and self._is_link(name):
                return self._followed(name, kind)
            if dev == self._listed and not os.listxattr(path, follow_symlinks=False):  # as nearly always
                return NONE
            return _each(kind, lambda one: os.getxattr(path, one, follow_symlinks=False))
        except OSError as error:
            if error.errno != errno.EOPNOTSUPP:
                return None
        self._without.add(dev)
        return NONE

    def _followed(self, name: bytes, kind: Kind) -> AccessLists:
        inner = join(self._path, name)
        return _each(kind, lambda one: self._reader.getxattr(inner, one.encode()))

    def _is_link(self, name: bytes) -> bool:
        return stat.S_ISLNK(os.stat(name, dir_fd=self._fd, follow_symlinks=False).st_mode)


def _each(kind: Kind, get: Callable[[str], bytes]) -> AccessLists:
    lists = dict[bytes, bytes]()
    for one in (ACCESS, DEFAULT) if kind == DIR else (ACCESS,):
        try:
            lists[one.encode()] = get(one)
        except OSError as error:
            if error.errno != errno.ENODATA:
                raise
    return lists or NONE
