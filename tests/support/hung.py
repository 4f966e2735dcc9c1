"""A view with a source that can hang, readers that are stuck in it, and a look at all the rest."""

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
from tests.support.polling import poll
from tests.support.readers import Readers, readers
from tests.support.trees import Tree, grow

T = TypeVar("T")


SOON = 3.0
"""Seconds that what does not wait for the hung source may take: far from a hang, and far from a busy machine's pace."""


READERS = 200


SIZE = 8192


def soon(call: Callable[[], T], seconds: float = SOON) -> T:
    """What the call returns, which must not take long; one that hangs is freed by the test's time limit."""
    start = time.monotonic()
    found = call()
    took = time.monotonic() - start
    assert took < seconds, f"it took {took:.1f} s"
    return found


def content(number: int) -> bytes:
    """What is in file ``number`` of the source that hangs."""
    return b"%08d" % number * (SIZE // 8)


def sources(place: Path) -> tuple[Path, Path]:
    """The tree under the source that hangs, and a source that does not."""
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
    """A view of depth 2 with a source that can hang, preferred, and one that does not."""
    under, fast = grown(place)
    with (
        hanging(under, place / "slow", hang, delay) as source,
        mounted(place / "view", place / "slow", fast, depth=2, options=options) as view,
    ):
        try:
            yield source, view
        except BaseException:
            source.abort()  # or the daemon, which may wait for it, cannot even be killed
            raise


@contextmanager
def stuck_readers(place: Path, source: Hanging, view: View, hang: str = "all") -> Iterator[Readers]:
    """READERS readers of the source, which then hangs, or is ``frozen``; all of them wait."""
    paths = [view.mountpoint / f"Both/Slow/{number:03}" for number in range(READERS)]
    with readers(paths, place / "answers") as stuck:
        (source.freeze if hang == "frozen" else source.hang)()
        stuck.start()
        poll(lambda: stuck.reading == READERS, "readers that are stuck")
        yield stuck


def check_the_rest(view: View) -> None:
    """All that does not lie in a folder of the hung source: names, listings, attributes, and the other's bytes."""
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
    """The same again and again while refreshes go on, and the kernel forgets what it was told."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        view.send(signal.SIGHUP)
        check_the_rest(view)


def is_waiting(pid: int) -> bool:
    """Whether a thread of the process waits for an answer of a FUSE filesystem."""
    found = set()
    for task in Path(f"/proc/{pid}/task").glob("*"):
        with contextlib.suppress(OSError):
            found.add((task / "wchan").read_text())
    return "request_wait_answer" in found
