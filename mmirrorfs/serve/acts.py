"""What is done in a view, for its watchers to see, where something changed in it. Pure; any thread may call this.

inotify(7) shows what is done through the mount, and nothing else. So each change is done there once more, by calls that
change nothing: what they look like is what a watcher of a plain directory would be told, as far as that can be had.
"""

from collections.abc import Iterator
from enum import Enum, auto
from typing import NamedTuple

from mmirrorfs.attributes import DIR, FILE, Attributes, Kind
from mmirrorfs.merge.index import Change
from mmirrorfs.tree import Child, Merged


class Step(Enum):
    """One kind of call, and the events that it makes."""

    ARRIVE = auto()
    """A rename out of a hidden directory, over what had the name: MOVED_TO. CREATE alone is ignored by many."""
    DEPART = auto()
    """unlink(2) or rmdir(2): DELETE."""
    EDIT = auto()
    """A file is opened for writing, given a time, and closed: MODIFY and CLOSE_WRITE. Nothing is cut, or written."""
    TOUCH = auto()
    """utimensat(2): ATTRIB."""


class Act(NamedTuple):
    """A step to be taken at a path of the view: ``kind`` is the type of what departs, or of what is there.

    ``above`` is the inode number of the directory that it is in.
    """

    step: Step
    path: bytes
    kind: Kind
    above: int = 0


def acts(change: Change) -> Iterator[Act]:
    """What is to be done for one change in a view, in order; without inode numbers.

    Times of a directory move with what is in it, and that is told by itself.
    """
    path, before, after = change.path, _kind(change.before), _kind(change.after)
    if change.attributes is not None and None not in change.attributes:
        yield from _moved(path, *change.attributes)  # type: ignore[arg-type]  # both are there
    elif isinstance(change.before, Merged) and isinstance(change.after, Merged):
        if _owned(change.before) != _owned(change.after):
            yield Act(Step.TOUCH, path, DIR)
    else:
        if before is not None and (after is None or DIR in (before, after)):
            yield Act(Step.DEPART, path, before)
        if after is not None:
            yield Act(Step.ARRIVE, path, after)


def _moved(path: bytes, before: Attributes, after: Attributes) -> Iterator[Act]:
    kind = after.kind
    if before.kind != kind or (before.dev, before.ino) != (after.dev, after.ino):
        if DIR in (before.kind, kind):
            yield Act(Step.DEPART, path, before.kind)
        yield Act(Step.ARRIVE, path, kind)
    elif kind == FILE and (before.size, before.mtime_ns) != (after.size, after.mtime_ns):
        yield Act(Step.EDIT, path, kind)
    elif kind != DIR or _rights(before) != _rights(after):
        yield Act(Step.TOUCH, path, kind)


def _kind(child: Child | None) -> Kind | None:
    if child is None:
        return None
    return DIR if isinstance(child, Merged) else child.kind


def _rights(attr: Attributes) -> tuple[int, int, int]:
    return attr.mode, attr.uid, attr.gid


def _owned(merged: Merged) -> list[tuple[int, int, int] | None]:
    return [_rights(found.attr) if found is not None else None for found in merged.inputs]
