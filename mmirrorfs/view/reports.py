"""What a view finds out while it answers, and whom it tells."""

from typing import Protocol

from mmirrorfs.source.source import Source
from mmirrorfs.view.nodes import FileNode


class Reports(Protocol):
    """Who is told of what a view finds out while it answers."""

    def lost(self, source: Source) -> None:
        """A source is lost."""

    def missing(self, source: Source, paths: list[bytes]) -> None:
        """What the index has at some paths of a source is not there, or is something else now."""

    def outdated(self) -> bool:
        """The index has what is known to be gone, or something else: merge what was scanned since; whether it moved."""

    def contents(self, node: FileNode) -> None:
        """The contents of a file changed in a way that the kernel cannot see from its attributes."""
