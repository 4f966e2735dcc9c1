"""The calls that make inotify events on the mount for a change in the view. Pure; any thread may call this.

inotify(7) reports only what is done through the mount. So each change is replayed there, by calls that change nothing
and cause the events that a watcher of a plain directory would get, as far as that is possible.
"""

from collections.abc import Iterator
from enum import Enum, auto
from typing import NamedTuple

from mmirrorfs.attributes import DIR, FILE, Attributes, Kind
from mmirrorfs.merge.index import Change
from mmirrorfs.tree import Child, Merged


class Step(Enum):
    """A kind of call, and the events that it causes."""

    ARRIVE = auto()
    """rename(2) out of a hidden directory, over what had the name: MOVED_TO. Many programs ignore CREATE alone."""
    DEPART = auto()
    """unlink(2) or rmdir(2): DELETE."""
    EDIT = auto()
    """open(2) for writing, futimens(3), close(2): MODIFY and CLOSE_WRITE. Nothing is truncated or written."""
    TOUCH = auto()
    """utimensat(2): ATTRIB."""


AT_INODE = frozenset((Step.EDIT, Step.TOUCH))
"""The steps that a watch of the file or directory itself reports; the others are reported for its parent alone."""


class Act(NamedTuple):
    """A step at a path of the view. ``kind`` is the file type there, before the step for DEPART, else after it.

    ``above`` is the inode number of the parent.
    """

    step: Step
    path: bytes
    kind: Kind
    above: int = 0


def acts(change: Change) -> Iterator[Act]:
    """The steps for one change in a view, in order; ``above`` is left 0.

    None for the times of a directory: they move with its entries, which have changes of their own.
    """
    path, before, after = change.path, _kind(change.before), _kind(change.after)
    if change.attributes is not None and None not in change.attributes:
        yield from _acts_of_attributes(path, *change.attributes)  # type: ignore[arg-type]  # both are there
    elif isinstance(change.before, Merged) and isinstance(change.after, Merged):
        if _permissions_of(change.before) != _permissions_of(change.after):
            yield Act(Step.TOUCH, path, DIR)
    else:
        if before is not None and (after is None or DIR in (before, after)):
            yield Act(Step.DEPART, path, before)
        if after is not None:
            yield Act(Step.ARRIVE, path, after)


def _acts_of_attributes(path: bytes, before: Attributes, after: Attributes) -> Iterator[Act]:
    kind = after.kind
    if before.kind != kind or (before.dev, before.ino) != (after.dev, after.ino):
        if DIR in (before.kind, kind):
            yield Act(Step.DEPART, path, before.kind)
        yield Act(Step.ARRIVE, path, kind)
        if before.kind == kind == FILE:  # the inode number stays: to a watch of the file itself this is an edit
            yield Act(Step.EDIT, path, kind)
    elif kind == FILE and (before.size, before.mtime_ns) != (after.size, after.mtime_ns):
        yield Act(Step.EDIT, path, kind)
    elif kind != DIR or _permissions(before) != _permissions(after):
        yield Act(Step.TOUCH, path, kind)


def _kind(child: Child | None) -> Kind | None:
    if child is None:
        return None
    return DIR if isinstance(child, Merged) else child.kind


def _permissions(attr: Attributes) -> tuple[int, int, int]:
    return attr.mode, attr.uid, attr.gid


def _permissions_of(merged: Merged) -> list[tuple[int, int, int] | None]:
    return [_permissions(found.attr) if found is not None else None for found in merged.inputs]
