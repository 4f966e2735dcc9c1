"""Sources on filesystems of every kind that report their changes, and views that nothing else tells of a change.

With ``HOURLY`` the timer comes too late for any test: what shows was reported.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.changes import make_subvolume
from tests.support.plugs import plugged
from tests.support.trees import Tree, grow
from tests.support.users import needs_root

HOURLY = "--refresh=3600"
HERE = "here"
SUBVOLUME = "a btrfs subvolume"
OVERLAY = "overlay"
KINDS = [
    HERE,
    *(pytest.param(kind, marks=needs_root) for kind in ("ext4", "xfs", "btrfs", SUBVOLUME, "tmpfs", OVERLAY)),
]
"""Of all but the first only root can have one."""


@contextlib.contextmanager
def source(where: Path, kind: str, tree: Tree) -> Iterator[Path]:
    """A source on a filesystem of that kind, which is a directory below its root where it is a whole one."""
    if kind == HERE:
        yield grow(where, tree)
        return
    with plugged(where, "btrfs" if kind == SUBVOLUME else kind, {}) as disk:
        top = disk.where / "volume"
        if kind == SUBVOLUME:
            make_subvolume(top)
        yield grow(top, tree)
