"""What an announcer's calls see of the view, and no other process: a hidden directory, and stand-ins for real entries.

Invariant 1: a caller is an announcer by its thread id, which nobody else can have while it lives, and only for the one
name that it is announcing. Any other write gets EROFS.
Invariant 2: a stand-in has the type of the real entry, and an inode number of its own that is never reused. The real
entry is not touched: it is not moved, unlinked or blocked.
Invariant 3: a stand-in has timeout 0, so any other process that uses the name causes a lookup, and gets the real entry.
Invariant 4: the hidden directory has a name and a number that cannot be guessed, and exists for announcers only.

The announcers' threads set ``under_way``; all else is for the event loop's thread only.
"""

import errno
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field

from mmirrorfs.attributes import DIR, Attributes, Kind, bare
from mmirrorfs.merge.inodes import ROOT
from mmirrorfs.serve.acts import Act, Step
from mmirrorfs.source.fetch import failure
from mmirrorfs.source.known import Known
from mmirrorfs.tree import Leaf
from mmirrorfs.view.inodes import Inodes
from mmirrorfs.view.nodes import FileNode, MergedNode

HANDLE = 0
"""The file handle of files open for writing; no other file has it."""


def _number() -> int:
    """An inode number that cannot be guessed."""
    return secrets.randbits(63) | 1 << 63


@dataclass(frozen=True, slots=True)
class Seen:
    """The reply to an announcer, with timeout 0: an inode number (0: no such entry), and attributes."""

    ino: int
    attr: Attributes


@dataclass(slots=True)
class Announcement:
    """The step that an announcer is taking, and the stand-in's inode number. ``is_seen`` once the kernel has that.

    Until then the kernel may have the real entry, by a lookup of another process, and must not unlink that.
    """

    act: Act
    stand_in: int = field(default_factory=_number)
    is_seen: bool = False

    @property
    def place(self) -> tuple[int, bytes]:
        """The parent's inode number, and the name in it."""
        return self.act.above, self.act.path.rpartition(b"/")[2]


class Stage:
    """The announcements under way in one view."""

    def __init__(self, inodes: Inodes, known: Sequence[Known]) -> None:
        self._inodes = inodes
        self._known = known
        self._hidden = _number()
        self.name = b".mmirrorfs-" + secrets.token_hex(16).encode()
        """The name of the hidden directory, in the view's root."""
        self.under_way: dict[int, Announcement] = {}
        """By the thread id of the announcer."""

    def lookup(self, caller: int, parent: int, name: bytes) -> Seen | None:
        """The reply to an announcer's lookup; None if it is the same as for any other process."""
        now = self.under_way.get(caller)
        if parent == ROOT and name == self.name:
            return Seen(self._hidden, bare(DIR)) if now is not None else _ABSENT
        if now is None:
            return None
        step = now.act.step
        if parent == self._hidden:
            kind = self._kind(now.act) if step is Step.ARRIVE and name == now.place[1] else None
            return Seen(now.stand_in, bare(kind)) if kind is not None else _ABSENT
        if (parent, name) != now.place or step not in (Step.ARRIVE, Step.DEPART):
            return None
        now.is_seen = True
        return Seen(now.stand_in, bare(now.act.kind)) if step is Step.DEPART else _ABSENT

    def _kind(self, act: Act) -> Kind | None:
        """The type of the real entry, if that is cached: never waits."""
        above, name = self._inodes.held.get(act.above), act.path.rpartition(b"/")[2]
        if isinstance(above, MergedNode):
            child = self._inodes.current(above).children.get(name)
            return child.kind if isinstance(child, Leaf) else DIR if child is not None else None
        if not isinstance(above, FileNode):
            return None
        found = self._known[above.source.rank].entry(above.source_path, name)
        return found.attr.kind if found is not None and found.attr is not None else None

    def getattr(self, caller: int, ino: int) -> Seen | None:
        """The hidden directory or the stand-in; None for other inodes. Raises ESTALE if the caller is no announcer."""
        now = self.under_way.get(caller)
        if ino == self._hidden:
            if now is None:
                raise failure(errno.ESTALE)
            return Seen(ino, bare(DIR))
        if now is None or ino != now.stand_in:
            return None
        return Seen(ino, bare(now.act.kind))

    def check_name(self, caller: int, step: Step, parent: int, name: bytes) -> None:
        """Raise EROFS unless it is the caller's step, ESTALE if the kernel may have the real entry."""
        now = self.under_way.get(caller)
        if now is None or now.act.step is not step or now.place != (parent, name):
            raise failure(errno.EROFS)
        if not now.is_seen:
            raise failure(errno.ESTALE)
        now.is_seen = False

    def check_rename(self, caller: int, parent: int, name: bytes, new_parent: int, new_name: bytes) -> None:
        """The same for rename(2)."""
        self.check_name(caller, Step.ARRIVE, new_parent, new_name)
        if parent != self._hidden or name != new_name:
            raise failure(errno.EROFS)

    def check_node(self, caller: int, ino: int, *steps: Step) -> None:
        """Raise EROFS unless the caller is taking one of these steps at the inode."""
        now, node = self.under_way.get(caller), self._inodes.held.get(ino)
        if now is None or now.act.step not in steps or node is None or node.path != now.act.path:
            raise failure(errno.EROFS)


_ABSENT = Seen(0, bare(0))
