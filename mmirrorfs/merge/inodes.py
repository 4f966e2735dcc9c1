"""Inode numbers, and the table of the inodes that the kernel holds.

Rule 1: a number is a hash of (source, path there, file type), so it is the same after a refresh and a remount.
Rule 2: it has 64 bits, hashed over the low 32 too (MPD compares only those), and is never 0 or 1.
Rule 3: a node stays in the table while its lookup count is above 0.

Pure: no I/O and no FUSE. Called from the event loop's thread only; nothing here awaits.
"""

from collections.abc import Callable, Iterable, Iterator
from hashlib import blake2b
from typing import Generic, Protocol, TypeVar

ROOT = 1
"""The number of the root, FUSE_ROOT_ID."""


def number(inode_namespace: bytes, path: bytes, kind: int) -> int:
    """The inode number of ``path`` in ``inode_namespace`` (a source's root, or empty for merged directories)."""
    value = int.from_bytes(blake2b(b"%o\0%b\0%b" % (kind, inode_namespace, path), digest_size=8).digest(), "little")
    return value if value > ROOT else value + 2


def numbers(inode_namespace: bytes, directory: bytes) -> Callable[[bytes, int], int]:
    """The same for the names in one directory: a function of (name, kind) that hashes their common prefix only once."""
    prefixes: dict[int, Callable[[], blake2b]] = {}

    def _of(name: bytes, kind: int) -> int:
        copy = prefixes.get(kind)
        if copy is None:
            above = directory + b"/" if directory else b""
            copy = prefixes[kind] = blake2b(b"%o\0%b\0%b" % (kind, inode_namespace, above), digest_size=8).copy
        digest = copy()
        digest.update(name)
        value = int.from_bytes(digest.digest(), "little")
        return value if value > ROOT else value + 2

    return _of


class Countable(Protocol):
    """A node that the table can hold."""

    ino: int
    nlookup: int


N = TypeVar("N", bound=Countable)


class InodeTable(Generic[N]):
    """The nodes that the kernel holds, by inode number; the root is never dropped."""

    def __init__(self) -> None:
        self._nodes: dict[int, N] = {}
        self.get: Callable[[int], N | None] = self._nodes.get
        """The node of a number, or None. The dictionary's own method: it is called for every entry of a listing."""

    def count(self, node: N) -> None:
        """Count one lookup of ``node``, or of the node that the table already has under its number."""
        self._nodes.setdefault(node.ino, node).nlookup += 1

    def count_all(self, nodes: Iterable[N]) -> None:
        """Count one lookup of each node."""
        held = self._nodes
        for node in nodes:
            held.setdefault(node.ino, node).nlookup += 1

    def forget(self, ino: int, nlookup: int) -> None:
        """Subtract ``nlookup`` references (FUSE_FORGET). Never raises: unknown numbers and excess are ignored."""
        node = self._nodes.get(ino)
        if node is not None and ino != ROOT:
            node.nlookup -= nlookup
            if node.nlookup <= 0:
                del self._nodes[ino]

    def __len__(self) -> int:
        return len(self._nodes)

    def __iter__(self) -> Iterator[N]:
        return iter(list(self._nodes.values()))
