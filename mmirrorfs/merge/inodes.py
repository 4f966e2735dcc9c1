"""Inode numbers: where they come from and how long they are held.

Rule 1: a number is made from (source, path there, file type), so it is the same after a refresh and a remount.
Rule 2: it has 64 bits, spread over the low 32 too (MPD compares only those), and is never 0 or 1.
Rule 3: a node stays in the table while the kernel holds it, that is while its lookup count is above 0.

Pure: no I/O and no FUSE. Called from the event loop's thread only; nothing here awaits.
"""

from collections.abc import Iterator
from hashlib import blake2b
from typing import Generic, Protocol, TypeVar

ROOT = 1
"""The number of the view's root, given by the FUSE protocol."""


def number(space: bytes, path: bytes, kind: int) -> int:
    """The inode number of ``path`` in ``space`` (a source's root, or empty for merged directories)."""
    value = int.from_bytes(blake2b(b"%o\0%b\0%b" % (kind, space, path), digest_size=8).digest(), "little")
    return value if value > ROOT else value + 2


class Countable(Protocol):
    """What the table asks of a node."""

    ino: int
    nlookup: int


N = TypeVar("N", bound=Countable)


class InodeTable(Generic[N]):
    """The nodes that the kernel still holds, by inode number; the root, entered first, stays."""

    def __init__(self) -> None:
        self._nodes: dict[int, N] = {}

    def get(self, ino: int) -> N | None:
        """The node of that number, if anybody holds it."""
        return self._nodes.get(ino)

    def count(self, node: N) -> None:
        """The kernel was told of ``node`` once more. Where the number is known already, the known node is counted."""
        self._nodes.setdefault(node.ino, node).nlookup += 1

    def forget(self, ino: int, nlookup: int) -> None:
        """The kernel gives ``nlookup`` references back. Never raises: an unknown number or too many are ignored."""
        node = self._nodes.get(ino)
        if node is not None and ino != ROOT:
            node.nlookup -= nlookup
            if node.nlookup <= 0:
                del self._nodes[ino]

    def __len__(self) -> int:
        return len(self._nodes)

    def __iter__(self) -> Iterator[N]:
        return iter(list(self._nodes.values()))
