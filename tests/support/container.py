"""A container as far as mounts matter: a namespace with a bind mount of a host directory, like ``docker run -v``."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from tests.support.kernel import TYPE
from tests.support.servers import unshared
from tests.support.users import output_of

_BIND = """
mkdir "$3"
mount --rbind "$2" "$3"
mount "--make-r$1" "$3"
while read -r _ where type _; do
    case "$type $where" in "$4 $3"*) ;; "$4 "*) umount --lazy --internal-only "$where" ;; esac
done </proc/self/mounts
"""


@contextlib.contextmanager
def container(place: Path, host: Path, propagation: str) -> Iterator[Path]:
    """The path, from outside, at which a container sees the directory ``host``."""
    inside = place / "container"
    flags = ("--mount", "--propagation", "slave")
    with unshared(*flags, script=_BIND, words=(propagation, host, inside, TYPE)) as pid:
        yield Path(f"/proc/{pid}/root{inside}")
    inside.rmdir()


@contextlib.contextmanager
def shared_directory(where: Path) -> Iterator[Path]:
    """A directory with shared mount propagation, which is systemd's default for all."""
    where.mkdir()
    output_of("mount", "--bind", where, where)
    try:
        output_of("mount", "--make-shared", where)
        yield where
    finally:
        if os.path.ismount(where):
            output_of("umount", "--lazy", where)
