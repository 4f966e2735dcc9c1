"""Sources on all filesystem types whose changes the kernel reports.

With ``HOURLY`` there is no periodic scan during a test: changes show because they were reported.
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
"""The filesystem types; all but the first need root."""


@contextlib.contextmanager
def source(where: Path, kind: str, tree: Tree) -> Iterator[Path]:
    """A source on a filesystem of that type; for a filesystem of its own a directory below its root."""
    if kind == HERE:
        yield grow(where, tree)
        return
    with plugged(where, "btrfs" if kind == SUBVOLUME else kind, {}) as disk:
        top = disk.where / "volume"
        if kind == SUBVOLUME:
            make_subvolume(top)
        yield grow(top, tree)
