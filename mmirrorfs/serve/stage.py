"""What the calls that announce something see of a view, and nobody else: a hidden directory, and what stands in.

Rule 1: a caller is an announcer by the number of its thread, which nobody else can have while it lives, and only for
the one name that its announcement is about. Whoever else would write gets EROFS.
Rule 2: what arrives and departs there stands in for what is in the view: something of the same type, with a number of
its own that is never used again. What is in the view has no part in it: it is not moved, unlinked or made to wait.
Rule 3: what stands in is there for no time at all. The kernel asks whoever else comes by its name, who finds what is in
the view.
Rule 4: the hidden directory has a name and a number that nobody can guess, and is there for announcers alone.

The announcers' threads enter what they are about to do; all else is the event loop's thread's.
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
"""The file handle of what is open for writing: no other file has it."""


def _number() -> int:
    """An inode number that nobody can guess."""
    return secrets.randbits(63) | 1 << 63


@dataclass(frozen=True, slots=True)
class Seen:
    """What an announcer is told of a name, for no time at all: a number (0: nothing is there), and attributes."""

    ino: int
    attr: Attributes


@dataclass(slots=True)
class Announcement:
    """What an announcer is about to do, and the number of what stands in; ``is_seen`` once the kernel was told of it.

    Else it has what is in the view in the name's place, from somebody who asked in between: that must not depart.
    """

    act: Act
    stands_in: int = field(default_factory=_number)
    is_seen: bool = False

    @property
    def place(self) -> tuple[int, bytes]:
        """The directory's number, and the name in it."""
        return self.act.above, self.act.path.rpartition(b"/")[2]


class Stage:
    """What is being announced in one view."""

    def __init__(self, inodes: Inodes, known: Sequence[Known]) -> None:
        self._inodes = inodes
        self._known = known
        self._hidden = _number()
        self.name = b".mmirrorfs-" + secrets.token_hex(16).encode()
        """The hidden directory's, in the view's root."""
        self.under_way: dict[int, Announcement] = {}
        """What each announcer is about to do, by the number of its thread."""

    def lookup(self, caller: int, parent: int, name: bytes) -> Seen | None:
        """What an announcer finds; None where that is what everybody finds."""
        now = self.under_way.get(caller)
        if parent == ROOT and name == self.name:
            return Seen(self._hidden, bare(DIR)) if now is not None else _NOTHING
        if now is None:
            return None
        step = now.act.step
        if parent == self._hidden:
            kind = self._kind(now.act) if step is Step.ARRIVE and name == now.place[1] else None
            return Seen(now.stands_in, bare(kind)) if kind is not None else _NOTHING
        if (parent, name) != now.place or step not in (Step.ARRIVE, Step.DEPART):
            return None
        now.is_seen = True
        return Seen(now.stands_in, bare(now.act.kind)) if step is Step.DEPART else _NOTHING

    def _kind(self, act: Act) -> Kind | None:
        """The type of what the view has there now, as far as it is known: nobody is waited for here."""
        above, name = self._inodes.held.get(act.above), act.path.rpartition(b"/")[2]
        if isinstance(above, MergedNode):
            child = self._inodes.current(above).children.get(name)
            return child.kind if isinstance(child, Leaf) else DIR if child is not None else None
        if not isinstance(above, FileNode):
            return None
        found = self._known[above.source.rank].entry(above.source_path, name)
        return found.attr.kind if found is not None and found.attr is not None else None

    def getattr(self, caller: int, ino: int) -> Seen | None:
        """The hidden directory, or what stands in, for an announcer; None for all other numbers. ESTALE."""
        now = self.under_way.get(caller)
        if ino == self._hidden:
            if now is None:
                raise failure(errno.ESTALE)
            return Seen(ino, bare(DIR))
        if now is None or ino != now.stands_in:
            return None
        return Seen(ino, bare(now.act.kind))

    def check_name(self, caller: int, step: Step, parent: int, name: bytes) -> None:
        """EROFS for whatever is not the step that the caller is about to take."""
        now = self.under_way.get(caller)
        if now is None or now.act.step is not step or now.place != (parent, name):
            raise failure(errno.EROFS)
        if not now.is_seen:
            raise failure(errno.ESTALE)
        now.is_seen = False

    def check_rename(self, caller: int, parent: int, name: bytes, new_parent: int, new_name: bytes) -> None:
        """The same for a rename."""
        self.check_name(caller, Step.ARRIVE, new_parent, new_name)
        if parent != self._hidden or name != new_name:
            raise failure(errno.EROFS)

    def check_node(self, caller: int, ino: int, *steps: Step) -> None:
        """The same for what is done to an inode."""
        now, node = self.under_way.get(caller), self._inodes.held.get(ino)
        if now is None or now.act.step not in steps or node is None or node.path != now.act.path:
            raise failure(errno.EROFS)


_NOTHING = Seen(0, bare(0))
