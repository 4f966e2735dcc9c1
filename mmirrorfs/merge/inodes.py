"""Inode numbers: where they come from and how long they are held.

Rule 1: a number is made from (source, path there, file type), so it is the same after a refresh and a remount.
Rule 2: it has 64 bits, spread over the low 32 too (MPD compares only those), and is never 0 or 1.
Rule 3: a node stays in the table while the kernel holds it, that is while its lookup count is above 0.

Pure: no I/O and no FUSE. Called from the event loop's thread only; nothing here awaits.
"""

from collections.abc import Callable, Iterable, Iterator
from hashlib import blake2b
from typing import Generic, Protocol, TypeVar

ROOT = 1
"""The number of the view's root, given by the FUSE protocol."""


def number(inode_namespace: bytes, path: bytes, kind: int) -> int:
    """The inode number of ``path`` in ``inode_namespace`` (a source's root, or empty for merged directories)."""
    value = int.from_bytes(blake2b(b"%o\0%b\0%b" % (kind, inode_namespace, path), digest_size=8).digest(), "little")
    return value if value > ROOT else value + 2


def numbers(inode_namespace: bytes, directory: bytes) -> Callable[[bytes, int], int]:
    """The same for the names in one directory: a function of (name, kind) that hashes what they share only once."""
    begun: dict[int, Callable[[], blake2b]] = {}

    def _of(name: bytes, kind: int) -> int:
        copy = begun.get(kind)
        if copy is None:
            above = directory + b"/" if directory else b""
            copy = begun[kind] = blake2b(b"%o\0%b\0%b" % (kind, inode_namespace, above), digest_size=8).copy
        digest = copy()
        digest.update(name)
        value = int.from_bytes(digest.digest(), "little")
        return value if value > ROOT else value + 2

    return _of


class Countable(Protocol):
    """What the table asks of a node."""

    ino: int
    nlookup: int


N = TypeVar("N", bound=Countable)


class InodeTable(Generic[N]):
    """The nodes that the kernel still holds, by inode number; the root, entered first, stays."""

    def __init__(self) -> None:
        self._nodes: dict[int, N] = {}
        self.get: Callable[[int], N | None] = self._nodes.get
        """The node of that number, if the kernel holds it. The dictionary's own: this is asked for every entry."""

    def count(self, node: N) -> None:
        """The kernel was told of ``node`` once more. Where the number is known already, the known node is counted."""
        self._nodes.setdefault(node.ino, node).nlookup += 1

    def count_all(self, nodes: Iterable[N]) -> None:
        """The same for several nodes, each told of once."""
        known = self._nodes
        for node in nodes:
            known.setdefault(node.ino, node).nlookup += 1

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
