"""The system calls and results of a scan, and readers that fail."""

import os
from pathlib import Path

import pytest

from mmirrorfs.attributes import Attributes
from mmirrorfs.source.reader import Reader
from mmirrorfs.tree import Directory


class Counting:
    """Records which directories of a root are listed, and which only get a stat, by their relative paths."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._root = os.fsencode(root)
        self._scandir, self._stat = os.scandir, os.stat
        self.listed: list[str] = []
        self.looked_at: list[str] = []
        monkeypatch.setattr(os, "scandir", self.scandir)
        monkeypatch.setattr(os, "stat", self.stat)

    def scandir(self, fd: int) -> object:
        if isinstance(fd, int):
            self.listed.append(os.path.relpath(os.readlink(f"/proc/self/fd/{fd}"), os.fsdecode(self._root)))
        return self._scandir(fd)

    def stat(self, path: bytes, *, dir_fd: int | None = None, follow_symlinks: bool = True) -> os.stat_result:
        if isinstance(path, bytes) and path.startswith(self._root):
            self.looked_at.append(os.fsdecode(os.path.relpath(path, self._root)))
        return self._stat(path, dir_fd=dir_fd, follow_symlinks=follow_symlinks)


def shape(directory: Directory) -> dict[str, object]:
    return {
        os.fsdecode(name): shape(entry) if isinstance(entry, Directory) else entry.kind
        for name, entry in directory.entries.items()
    }


class Failing(Reader):
    """A reader that fails on some paths, with the errno of ``codes``: on open, with ``stat_too`` also on stat."""

    def __init__(self, root: Path) -> None:
        super().__init__(os.fsencode(root))
        self.codes: dict[bytes, int] = {}
        self.stat_too = False

    def open_directory(self, path: bytes) -> int:
        self._fail(path)
        return super().open_directory(path)

    def stat(self, path: bytes, cached: bool = False) -> Attributes:
        if self.stat_too:
            self._fail(path)
        return super().stat(path, cached)

    def _fail(self, path: bytes) -> None:
        if path in self.codes:
            raise OSError(self.codes[path], os.strerror(self.codes[path]))
