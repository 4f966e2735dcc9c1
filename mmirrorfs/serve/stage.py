"""What the calls that announce something see of a view, and nobody else: a hidden directory, and what is under way.

Rule 1: a caller is an announcer by the number of its thread, which nobody else can have while it lives, and only for
the one name that its announcement is about. Whoever else would write gets EROFS.
Rule 2: the view is what it was: what departs is gone from it already, what arrives is in it. An announcer sees the one
still there and the other not yet, for no time at all: whoever else asks for the name is asked back, and told the truth.
Rule 3: the hidden directory has a name and a number that nobody can guess, and is there for announcers alone.

The announcers' threads enter what they are about to do; all else is the event loop's thread's.
"""

import errno
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from mmirrorfs.attributes import DIR, FILE, Attributes, bare
from mmirrorfs.merge.inodes import ROOT
from mmirrorfs.serve.acts import Act, Step
from mmirrorfs.source.fetch import failure
from mmirrorfs.source.known import Known
from mmirrorfs.source.walks import join
from mmirrorfs.view.inodes import Inodes
from mmirrorfs.view.nodes import FileNode, MergedNode, Node

HANDLE = 0
"""The file handle of what is open for writing: no other file has it."""
_HIDDEN_MODE = 0o040700


@dataclass(frozen=True, slots=True)
class Seen:
    """What an announcer is told of a name, for no time: a number (0: nothing is there), attributes, the incarnation."""

    ino: int
    attr: Attributes
    incarnation: int = 0


class Stage:
    """What is being announced in one view."""

    def __init__(self, inodes: Inodes, known: Sequence[Known]) -> None:
        self._inodes = inodes
        self._of = known
        self._hidden = secrets.randbits(63) | 1 << 63
        self.name = b".mmirrorfs-" + secrets.token_hex(16).encode()
        """The hidden directory's, in the view's root."""
        self.under_way: dict[int, Act] = {}
        """What each announcer is about to do, by the number of its thread."""

    def lookup(self, caller: int, parent: int, name: bytes) -> Seen | None:
        """What an announcer finds; None where that is what everybody finds. Raises ENOENT."""
        if parent == ROOT and name == self.name:
            if caller not in self.under_way:
                return _NOTHING
            return Seen(self._hidden, bare(0o040000)._replace(mode=_HIDDEN_MODE, nlink=2))
        act = self.under_way.get(caller)
        if act is None:
            return None
        own = act.path.rpartition(b"/")[2]
        if parent == self._hidden:
            return self._arriving(act, name) if name == own else _NOTHING
        if (parent, name) != (act.above, own):
            return None
        if act.step is Step.ARRIVE:
            return _NOTHING
        return self._departing(act) if act.step is Step.DEPART else None

    def _arriving(self, act: Act, name: bytes) -> Seen:
        """What the view has under that name, as far as it is known: nobody is waited for here."""
        above = self._inodes.held.get(act.above)
        node, attr = (None, None) if act.step is not Step.ARRIVE else self._known(above, name)
        if node is None or attr is None or not attr.is_known:
            return _NOTHING
        self._inodes.held.count(node)
        return Seen(node.ino, attr, node.incarnation)

    def _known(self, above: Node | None, name: bytes) -> tuple[Node | None, Attributes | None]:
        if isinstance(above, MergedNode):
            child = self._inodes.current(above).children.get(name)
            node = self._inodes.child(above, name, child) if child is not None else None
            if not isinstance(node, FileNode):
                return node, node.attr if isinstance(node, MergedNode) else None
            found = self._of[node.source.rank].entry(node.above, node.name)
        elif isinstance(above, FileNode):
            found = self._of[above.source.rank].entry(above.inner, name)
            kind = found.attr.kind if found is not None and found.attr is not None else FILE
            own = FileNode(above.source, join(above.inner, name), join(above.path, name), kind, False)
            node = self._inodes.known(own)
        else:
            return None, None
        if found is None or found.attr is None:
            return None, None
        return self._inodes.identified(node, found.attr), node.shown(found.attr)

    def _departing(self, act: Act) -> Seen:
        node = self._inodes.held.get(act.ino)
        if node is None:
            return Seen(act.ino, bare(act.kind))
        self._inodes.held.count(node)
        return Seen(act.ino, bare(act.kind), node.incarnation)

    def hidden(self, caller: int, ino: int) -> Seen | None:
        """The hidden directory, for an announcer; None for all other numbers. ESTALE for anybody else."""
        if ino != self._hidden:
            return None
        if caller not in self.under_way:
            raise failure(errno.ESTALE)
        return Seen(ino, bare(0o040000)._replace(mode=_HIDDEN_MODE, nlink=2))

    def check_name(self, caller: int, step: Step, parent: int, name: bytes) -> None:
        """EROFS for whatever is not the step that the caller is about to take."""
        act = self.under_way.get(caller)
        if act is None or act.step is not step or (act.above, act.path.rpartition(b"/")[2]) != (parent, name):
            raise failure(errno.EROFS)

    def make(self, caller: int, parent: int, name: bytes) -> Seen:
        """Let a directory arrive by mkdir(2), for an announcer. EROFS, or ENOENT where it is not there any more."""
        self.check_name(caller, Step.ARRIVE, parent, name)
        seen = self._arriving(self.under_way[caller], name)
        if not seen.ino:
            raise failure(errno.ENOENT)
        return seen

    def depart(self, caller: int, parent: int, name: bytes) -> None:
        """Let something go, for an announcer: a directory of that number is another one from now on. EROFS."""
        self.check_name(caller, Step.DEPART, parent, name)
        act = self.under_way[caller]
        node = self._inodes.held.get(act.ino)
        if node is not None and act.kind == DIR:
            node.incarnation += 1

    def check_rename(self, caller: int, parent: int, name: bytes, new_parent: int, new_name: bytes) -> None:
        """The same for a rename."""
        self.check_name(caller, Step.ARRIVE, new_parent, new_name)
        if parent != self._hidden or name != new_name:
            raise failure(errno.EROFS)

    def check_node(self, caller: int, ino: int, *steps: Step) -> None:
        """The same for what is done to an inode."""
        act, node = self.under_way.get(caller), self._inodes.held.get(ino)
        if act is None or act.step not in steps or node is None or node.path != act.path:
            raise failure(errno.EROFS)


_NOTHING = Seen(0, bare(0))
