"""Nothing from outside the sources comes through a view, whatever is swapped for whatever while root serves it."""

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
"""The command on a kernel, or in a sandbox, without openat2: every path is walked name by name."""
COMMANDS = {"openat2": COMMAND, "walk": WALK}

SECRET = b"never to be seen" * 100
SECONDS = 2.5
"""How long one kind of thing is swapped."""
CLIENTS = 4

IN_FOLDER: Tree = {b"track": b"inside", b"sub": {b"track": b"inside"}}
OUTSIDE: Tree = {b"track": SECRET, b"hidden": SECRET, b"sub": {b"track": SECRET, b"hidden": SECRET}}
DIRECTORIES = ("Artist", "Band/Folder", "Group/Folder/sub")
FILES = ("Folk/Folder/track", "Folk/Folder/sub/track", "Folk/loose", "top")


def source(place: Path) -> Path:
    """A source in which DIRECTORIES and FILES can be swapped, and beside it, outside, what must not be seen."""
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
    """Links that lead outside from where they are in the source, and nowhere from where they are in the view."""
    for number, path in enumerate(DIRECTORIES + FILES):
        up = "../" * len(Path(path).parts)
        evil = place / f"evil-{number}"
        evil.symlink_to(f"{up}outside" + ("" if path in DIRECTORIES else "/hidden"))
        yield place / "high" / path, evil


def fifos(place: Path) -> Iterator[Pair]:
    """FIFOs that nobody writes to."""
    for number, path in enumerate(DIRECTORIES + FILES):
        os.mkfifo(place / f"evil-{number}")
        yield place / "high" / path, place / f"evil-{number}"


def devices(place: Path) -> Iterator[Pair]:
    """Devices that give zeros without end, and terminals without a line."""
    for number, path in enumerate(FILES):
        device = os.makedev(1, 5) if number % 2 else os.makedev(5, 0)
        os.mknod(place / f"evil-{number}", stat.S_IFCHR | 0o666, device)
        yield place / "high" / path, place / f"evil-{number}"


class Client(threading.Thread):
    """Somebody who looks at everything in a view, and remembers what was seen."""

    def __init__(self, view: Path, until: float) -> None:
        super().__init__()
        self.seen: set[bytes] = set()
        self.sizes: set[int] = set()
        self.names: set[str] = set()
        self.slowest = 0.0
        self._view, self._until = view, until

    def run(self) -> None:
        """Look at everything, again and again."""
        paths = [self._view / path for path in DIRECTORIES + FILES]
        paths += [
            path / name for path in paths for name in ("track", "sub/track", "Folder/track", "Folder/sub", "hidden")
        ]
        while time.monotonic() < self._until:
            for path in paths:
                for look in (self._stat, self._read, self._list):
                    start = time.monotonic()
                    with contextlib.suppress(OSError):
                        look(path)
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
@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("evil", [links, fifos, devices])
def test_what_is_swapped_for_something_else_leads_nowhere(
    place: Path, evil: Callable[[Path], Iterator[Pair]], command: str
) -> None:
    high, low = source(place), grow(place / "low", {b"Other": {b"Folder": {b"track": b"other"}}})
    (place / "mnt").mkdir()
    with mounted(place / "mnt/view", high, low, depth=2, options=("--refresh=0.2",), command=COMMANDS[command]) as view:
        view.expect("")  # it may complain of what it cannot read
        clients = [Client(view.mountpoint, time.monotonic() + SECONDS) for _ in range(CLIENTS)]
        with swapping(list(evil(place))):
            run_all(clients)
        assert set.union(*(client.seen for client in clients)) >= {b"inside"}, "it was looked at in time"
        assert set.union(*(client.seen for client in clients)) <= {b"inside", b"l", b"t", b""}
        assert set.union(*(client.sizes for client in clients)) <= {0, 1, len(b"inside")}
        assert "hidden" not in set.union(*(client.names for client in clients))
        assert max(client.slowest for client in clients) < 10, "nobody was kept"
        assert (view.mountpoint / "Other/Folder/track").read_bytes() == b"other"


def run_all(clients: Sequence[Client]) -> None:
    """Run them at the same time, to the end."""
    for client in clients:
        client.start()
    for client in clients:
        client.join()
