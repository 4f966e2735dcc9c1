"""POSIX access control lists (acl(5)) of the entries of a directory: reading them, and validating cached ones.

Rule 1: a change of a list moves the ctime of its inode. So a list is valid while (dev, ino, ctime) are unchanged,
unless it was read within COARSE of that ctime: a later change may have the same one.
Rule 2: a list that cannot be read is unknown, never "none", which would grant access.

Hardly any file has one, so ``Listing.lists`` of nearly all directories is the same object, NOTHING. Merged directories,
which are in no other listing, have their own lists under the name OWN.

Functions that read block: in any thread but the event loop's. All others are pure.
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
from mmirrorfs.source.freshness import COARSE, WallClock
from mmirrorfs.source.reader import CODEC, Reader
from mmirrorfs.tree import join

PREFIX = b"system.posix_acl_"
"""Prefix of the extended attributes that hold access lists."""
ACCESS, DEFAULT = "system.posix_acl_access", "system.posix_acl_default"
OWN = b""
NONE: AccessLists = {}
"""The lists of an entry that has none."""
NOTHING: Lists = {}
"""The lists of a directory in which no entry has one."""
NOTHING_ABOVE: Lists = {OWN: NONE}
"""The same of a merged directory, which has none itself."""

_STAMP = struct.Struct("<QQqq")

ReadLists = Callable[[bytes, Kind, int], AccessLists | None]
"""Reads the lists of a name with that type and device; None if they cannot be read."""


class Read(NamedTuple):
    """The lists of one directory with that stamp, read at ``when`` or later, in monotonic seconds."""

    path: bytes
    when: float
    stamp: Stamp
    lists: Lists

    def encoded(self) -> bytes:
        """Stamp and lists as bytes."""
        text = {os.fsdecode(name): _to_json(lists) if lists is not None else None for name, lists in self.lists.items()}
        return _STAMP.pack(*self.stamp) + (json.dumps(text).encode() if text else b"")

    @classmethod
    def decoded(cls, path: bytes, when: float, text: bytes) -> "Read":
        """The inverse of ``encoded``."""
        found = json.loads(text[_STAMP.size :] or b"{}")
        lists = {os.fsencode(name): _from_json(lists) if lists is not None else None for name, lists in found.items()}
        return cls(path, when, _STAMP.unpack_from(text), shared(lists))


def _to_json(lists: AccessLists) -> dict[str, str]:
    return {name.decode(): value.hex() for name, value in lists.items()}


def _from_json(lists: dict[str, str]) -> AccessLists:
    return {name.encode(): bytes.fromhex(value) for name, value in lists.items()} or NONE


def is_settled(ctime_ns: int, wall_ns: int) -> bool:
    """Whether a list read at that time of day or later is valid for as long as its inode has that ctime."""
    return wall_ns - ctime_ns > COARSE * 1e9


def is_valid(before: Attributes, after: Attributes, wall_ns: int) -> bool:
    """Whether a list read at that time of day or later, of an inode with attributes ``before``, is valid ``after``."""
    same = (before.dev, before.ino, before.ctime_ns) == (after.dev, after.ino, after.ctime_ns)
    return same and is_settled(before.ctime_ns, wall_ns)


def shared(lists: Lists) -> Lists:
    """Equal lists, as one object for nearly all directories."""
    if not lists:
        return NOTHING
    return NOTHING_ABOVE if lists == NOTHING_ABOVE else lists


def of_entries(
    new: Listing, old: Listing | None, wall_clock: WallClock, read_lists: ReadLists | None, own: bool = False
) -> Lists | None:
    """The lists of the entries of a directory that was just listed, and its ``own``: those of ``old`` that are valid.

    All others are read with ``read_lists``; without it they are unknown. None if all are.
    """
    lists, at = dict[bytes, AccessLists | None](), 0
    known: Lists = NOTHING
    last = dict[bytes, tuple[int, int, int]]()
    if old is not None and old.lists is not None:
        known = old.lists
        last = {name: (dev, ino, ctime) for name, _, dev, ino, ctime in old.identities()}
        at = wall_clock.at(old.fetched_at)
    elif read_lists is None:
        return None
    for name, kind, dev, ino, ctime in new.identities():
        if kind == LINK or not dev:
            continue  # links have none; an entry without attributes remains unknown
        found: AccessLists | None = None
        if last and last.get(name) == (dev, ino, ctime) and is_settled(ctime, at):
            found = known.get(name, NONE)
        if found is None and read_lists is not None:
            found = read_lists(name, kind, dev)
        if found is None or found:
            lists[name] = found
    if own:
        same = old is not None and old.stamp == new.stamp and is_settled(new.stamp[3], at)
        found = known.get(OWN) if same else None
        lists[OWN] = read_lists(OWN, DIR, new.stamp[0]) if found is None and read_lists is not None else found
    return shared(lists)


class AccessListReader:
    """Reads the lists of names in an open directory.

    ``where`` is the prefix of paths: that of the directory, with a slash, or empty for the working directory.
    ``listed`` is the device number of a filesystem whose listxattr(2) includes access lists, as local ones do: that
    takes half the calls.
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
            if dev == self._listed and not os.listxattr(path, follow_symlinks=False):  # the usual case
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
