"""Nothing outside the sources is reachable through a view served by root, whatever is swapped meanwhile."""

import contextlib
import os
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.support.mounts import COMMAND, mounted
from tests.support.swapping import Pair, swapping
from tests.support.trees import Tree, grow
from tests.support.users import needs_root

pytestmark = needs_root

WALK = (
    sys.executable,
    "-c",
    "from mmirrorfs.source.beneath import Support; Support.openat2 = False\n"
    "from mmirrorfs.cli.main import main; main()",
)
"""The command without openat2, as on an old kernel or in a sandbox: each path is walked name by name."""
COMMANDS = {"openat2": COMMAND, "walk": WALK}

SECRET = b"never to be seen" * 100
SECONDS = 2.5
"""How long one kind of file is swapped."""
CLIENTS = 2
"""Threads for each view."""

IN_FOLDER: Tree = {b"track": b"inside", b"sub": {b"track": b"inside"}}
OUTSIDE: Tree = {b"track": SECRET, b"hidden": SECRET, b"sub": {b"track": SECRET, b"hidden": SECRET}}
DIRECTORIES = ("Artist", "Band/Folder", "Group/Folder/sub")
FILES = ("Folk/Folder/track", "Folk/Folder/sub/track", "Folk/loose", "top")


def source(place: Path) -> Path:
    """A source in which DIRECTORIES and FILES can be swapped, and next to it files that must not be reachable."""
    folder: Tree = {b"Folder": IN_FOLDER}
    tree: Tree = {
        b"Artist": folder,
        b"Band": folder,
        b"Group": folder,
        b"Folk": {**folder, b"loose": b"l"},
        b"top": b"t",
    }
    grow(place / "outside", {**OUTSIDE, b"Folder": OUTSIDE})
    return grow(place / "high", tree)


def links(place: Path) -> Iterator[Pair]:
    """Symlinks that lead outside when followed in the source, and nowhere when followed in the view."""
    for number, path in enumerate(DIRECTORIES + FILES):
        up = "../" * len(Path(path).parts)
        evil = place / f"evil-{number}"
        evil.symlink_to(f"{up}outside" + ("" if path in DIRECTORIES else "/hidden"))
        yield place / "high" / path, evil


def fifos(place: Path) -> Iterator[Pair]:
    """FIFOs without a writer."""
    for number, path in enumerate(DIRECTORIES + FILES):
        os.mkfifo(place / f"evil-{number}")
        yield place / "high" / path, place / f"evil-{number}"


def devices(place: Path) -> Iterator[Pair]:
    """Devices that return endless zeros, and terminals."""
    for number, path in enumerate(FILES):
        device = os.makedev(1, 5) if number % 2 else os.makedev(5, 0)
        os.mknod(place / f"evil-{number}", stat.S_IFCHR | 0o666, device)
        yield place / "high" / path, place / f"evil-{number}"


class Client(threading.Thread):
    """A thread that stats, reads and lists everything in a view, and records the results."""

    def __init__(self, view: Path, seconds: float) -> None:
        super().__init__()
        self.seen: set[bytes] = set()
        self.sizes: set[int] = set()
        self.names: set[str] = set()
        self.slowest = 0.0
        self._view, self._seconds = view, seconds

    def run(self) -> None:
        """Repeat until the time is over."""
        paths = [self._view / path for path in DIRECTORIES + FILES]
        paths += [
            path / name for path in paths for name in ("track", "sub/track", "Folder/track", "Folder/sub", "hidden")
        ]
        end = time.monotonic() + self._seconds
        while time.monotonic() < end:
            for path in paths:
                for call in (self._stat, self._read, self._list):
                    start = time.monotonic()
                    with contextlib.suppress(OSError):
                        call(path)
                    self.slowest = max(self.slowest, time.monotonic() - start)

    def _stat(self, path: Path) -> None:
        st = os.lstat(path)
        if stat.S_ISREG(st.st_mode):
            self.sizes.add(st.st_size)

    def _read(self, path: Path) -> None:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_NOCTTY)
        try:
            self.seen.add(os.read(fd, 1000))
        finally:
            os.close(fd)

    def _list(self, path: Path) -> None:
        self.names.update(os.listdir(path))


@pytest.mark.slow
@pytest.mark.parametrize("evil", [links, fifos, devices])
def test_files_swapped_for_others_give_access_to_nothing_outside(
    place: Path, evil: Callable[[Path], Iterator[Pair]]
) -> None:
    """Both commands serve the same sources at once."""
    high, low = source(place), grow(place / "low", {b"Other": {b"Folder": {b"track": b"other"}}})
    with contextlib.ExitStack() as stack:
        clients: dict[str, list[Client]] = {}
        for name, command in COMMANDS.items():
            (place / f"mnt-{name}").mkdir()
            where = place / f"mnt-{name}/view"
            view = stack.enter_context(mounted(where, high, low, depth=2, options=("--refresh=0.2",), command=command))
            view.expect("")  # it may warn of what it cannot read
            clients[name] = [Client(view.mountpoint, SECONDS) for _ in range(CLIENTS)]
        with swapping(list(evil(place))):
            run_all([client for some in clients.values() for client in some])
        for name, some in clients.items():
            check(name, some)
            assert (place / f"mnt-{name}/view/Other/Folder/track").read_bytes() == b"other", name


def check(name: str, clients: Sequence[Client]) -> None:
    """The clients of one command saw nothing from outside, and none was blocked."""
    seen = set.union(*(client.seen for client in clients))
    assert seen >= {b"inside"}, f"{name}: files were read in time"
    assert seen <= {b"inside", b"l", b"t", b""}, name
    assert set.union(*(client.sizes for client in clients)) <= {0, 1, len(b"inside")}, name
    assert "hidden" not in set.union(*(client.names for client in clients)), name
    assert max(client.slowest for client in clients) < 10, f"{name}: no client was blocked"


def run_all(clients: Sequence[Client]) -> None:
    """Run the clients concurrently and wait for them."""
    for client in clients:
        client.start()
    for client in clients:
        client.join()
