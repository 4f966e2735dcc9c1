"""A view with a source that can hang, readers that block on it, and checks that everything else still answers."""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from tests.support.hanging import Hanging, hanging
from tests.support.mounts import View, mounted
from tests.support.polling import poll, repeat
from tests.support.readers import Readers, readers
from tests.support.trees import Tree, grow

T = TypeVar("T")


SOON = 3.0
"""Seconds that a call may take that does not wait for the hung source, on a busy machine."""


READERS = 200


SIZE = 8192


def soon(call: Callable[[], T], seconds: float = SOON) -> T:
    """What the call returns. Raises AssertionError where it took longer; a hang is ended by the test's time limit."""
    start = time.monotonic()
    found = call()
    took = time.monotonic() - start
    assert took < seconds, f"it took {took:.1f} s"
    return found


def content(number: int) -> bytes:
    """The content of file ``number`` of the source that can hang."""
    return b"%08d" % number * (SIZE // 8)


def sources(place: Path) -> tuple[Path, Path]:
    """Make the tree below the source that can hang, and a healthy source."""
    many: Tree = {b"%03d" % number: content(number) for number in range(READERS)}
    own: Tree = {b"Both": {b"Slow": many, b"loose": b"s"}, b"Slow": {b"One": {b"track": b"s"}}}
    healthy: Tree = {b"Both": {b"Fast": {b"track": b"f"}}, b"Fast": {b"One": {b"track": b"f"}}}
    return grow(place / "under", own), grow(place / "fast", healthy)


@contextmanager
def hanging_view(
    place: Path,
    hang: str = "all",
    options: tuple[str, ...] = ("--refresh=1",),
    delay: float = 0,
    grown: Callable[[Path], tuple[Path, Path]] = sources,
) -> Iterator[tuple[Hanging, View]]:
    """Mount a view of depth 2 of a preferred source that can hang, and a healthy one."""
    under, fast = grown(place)
    with (
        hanging(under, place / "slow", hang, delay) as source,
        mounted(place / "view", place / "slow", fast, depth=2, options=options) as view,
    ):
        try:
            yield source, view
        except BaseException:
            source.abort()  # a daemon that waits for it cannot even be killed
            raise


@contextmanager
def stuck_readers(place: Path, source: Hanging, view: View, hang: str = "all") -> Iterator[Readers]:
    """Start READERS readers of the source, which hangs, or with ``hang="frozen"`` is stopped; all of them block."""
    paths = [view.mountpoint / f"Both/Slow/{number:03}" for number in range(READERS)]
    with readers(paths, place / "answers") as stuck:
        (source.freeze if hang == "frozen" else source.hang)()
        stuck.start()
        poll(lambda: stuck.reading == READERS, "blocked readers")
        yield stuck


def check_the_rest(view: View) -> None:
    """Check that all outside of the hung source's folders answers: lookups, listings, attributes, and contents."""
    top = view.mountpoint
    assert soon(lambda: os.listdir(top)) == ["Both", "Fast", "Slow"]
    assert soon(lambda: os.listdir(top / "Both")) == ["Fast", "Slow", "loose"]
    assert soon(lambda: [entry.stat().st_mode for entry in os.scandir(top / "Both")])
    assert soon(lambda: os.listdir(top / "Slow")) == ["One"]
    for folder in ("Both", "Both/Slow", "Slow", "Slow/One", "Both/loose"):
        soon(lambda folder=folder: os.stat(top / folder))  # type: ignore[misc]
    assert not soon(lambda: (top / "Both/absent").exists())
    for folder in ("Both/Fast", "Fast/One"):
        assert soon(lambda folder=folder: os.listdir(top / folder)) == ["track"]  # type: ignore[misc]
        assert soon(lambda folder=folder: (top / folder / "track").read_bytes()) == b"f"  # type: ignore[misc]


def check_the_rest_for(view: View, seconds: float) -> None:
    """Repeat ``check_the_rest`` for ``seconds``, with a refresh each time, while the kernel's cache expires."""

    def check() -> None:
        view.send(signal.SIGHUP)
        check_the_rest(view)

    repeat(check, seconds)


def is_waiting(pid: int) -> bool:
    """Whether a thread of the process waits for the reply to a FUSE request."""
    found = set()
    for task in Path(f"/proc/{pid}/task").glob("*"):
        with contextlib.suppress(OSError):
            found.add((task / "wchan").read_text())
    return "request_wait_answer" in found
