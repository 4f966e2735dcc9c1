"""The interface by which a view reports what it finds out during requests."""

from typing import Protocol

from mmirrorfs.source.source import Source
from mmirrorfs.view.nodes import FileNode


class Reports(Protocol):
    """Receives the findings. Called on the event loop's thread, in the middle of a request."""

    def lost(self, source: Source) -> None:
        """A source is lost."""

    def missing(self, source: Source, paths: list[bytes]) -> None:
        """Some paths of a source that the index has do not exist any more, or have another type."""

    def merge_pending(self) -> bool:
        """The index contradicts cached metadata. Merge the latest scans; returns whether the index changed."""

    def contents(self, node: FileNode) -> None:
        """The contents of a file changed, with neither mtime nor size: its cached pages are invalid."""
