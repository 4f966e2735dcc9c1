"""``--on-change``: a command of the user's, run after the view has changed.

Rule 1: never two at once. What changes while it runs is told to the next run.
Rule 2: it gets one JSON object a line on its standard input: ``{"change": "added", "path": "Artist/Album", "type":
"directory"}``, where change is added, removed or changed, path is in the view, in the form of ``text.json_path``, and
type that of what is there, or was. A directory in which something changed is not told of, what changed in it is.
Rule 3: whatever it does, the mount goes on: a failure is logged.
Rule 4: it ends with the view, and so does all that it started and left running: SIGTERM to its process group, SIGKILL
GRACE seconds later, also where the daemon was killed. Only what made itself a process group of its own stays. The
daemon never waits for it: a command that is stuck in the view is freed only when the view has gone.

Runs as a task on the event loop.
"""

import json
import logging
import os
import subprocess
from collections.abc import Iterable

import trio

from mmirrorfs.attributes import DIR, FILE, LINK
from mmirrorfs.merge.index import Change
from mmirrorfs.serve.changelog import is_directory_that_stayed
from mmirrorfs.text import json_path
from mmirrorfs.tree import Child, Leaf

log = logging.getLogger(__name__)

GRACE = 1
"""Seconds between SIGTERM and SIGKILL."""

_TYPES: dict[int, str] = {DIR: "directory", FILE: "file", LINK: "symlink"}
_KEEPER = f"trap '' HUP INT QUIT TERM; read -r _; kill -TERM 0; sleep {GRACE}; kill -KILL 0"
"""The leader of the commands' process group, a shell: waits for the end of the pipe that the daemon holds open.

As long as it lives no stranger can get the number of the group.
"""


class Hook:
    """Runs ``command`` with the shell; it finds the view's mountpoint in MMIRRORFS_MOUNTPOINT."""

    def __init__(self, command: str, mountpoint: bytes) -> None:
        self._command = command
        self._environment = {**os.environ, "MMIRRORFS_MOUNTPOINT": os.fsdecode(mountpoint)}
        self._waiting: dict[bytes, Change] = {}
        self._something = trio.Event()
        self._group = _Group()

    def changed(self, changes: Iterable[Change]) -> None:
        """Tell of changes; a path that changed twice is told as one change."""
        for change in changes:
            if not is_directory_that_stayed(change):
                earlier = self._waiting.get(change.path)
                before = earlier.before if earlier is not None else change.before
                self._waiting[change.path] = Change(change.path, before, change.after, change.attributes)
        if self._waiting:
            self._something.set()

    async def run(self) -> None:
        """Run the command each time that something changed. Until cancelled."""
        try:
            while True:
                await self._something.wait()
                self._something = trio.Event()
                changes, self._waiting = self._waiting, {}
                lines = b"".join(line(change) for change in changes.values() if _is_news(change))
                if lines:
                    await self._run_once(lines)
        finally:
            self._group.end()

    async def _run_once(self, lines: bytes) -> None:
        try:
            process = await trio.lowlevel.open_process(
                ["/bin/sh", "-c", self._command],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=self._environment,
                process_group=await self._group.number(),
            )
        except OSError as error:
            log.warning("--on-change: %s", error.strerror)
            return
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_feed, process, lines)
            code = await process.wait()
            nursery.cancel_scope.cancel()  # what it left running may hold its standard input, and never read it
        if code:
            log.warning("--on-change: the command ended with %d", code)


async def _feed(process: trio.Process, lines: bytes) -> None:
    assert process.stdin is not None
    try:
        async with process.stdin:
            await process.stdin.send_all(lines)
    except trio.BrokenResourceError:
        return  # it need not read them


class _Group:
    """The process group of all runs of the command."""

    def __init__(self) -> None:
        self._keeper: trio.Process | None = None
        self._held = -1

    async def number(self) -> int:
        """Its number; it is made when it is first wanted. Raises OSError."""
        if self._keeper is None or self._keeper.poll() is not None:
            self.end()
            readable, self._held = os.pipe()
            try:
                self._keeper = await trio.lowlevel.open_process(
                    ["/bin/sh", "-c", _KEEPER, "mmirrorfs-on-change"],
                    stdin=readable,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    process_group=0,
                )
            finally:
                os.close(readable)
        return self._keeper.pid

    def end(self) -> None:
        """Have all that is in it ended. Does not wait for it."""
        held, self._held = self._held, -1
        if held >= 0:
            os.close(held)


def line(change: Change) -> bytes:
    """One change as a line of JSON."""
    kind = "added" if change.before is None else "removed" if change.after is None else "changed"
    what = _TYPES.get(_kind(change.after or change.before), "special")
    return json.dumps({"change": kind, **json_path(change.path), "type": what}).encode() + b"\n"


def _is_news(change: Change) -> bool:
    """Whether a path is another than when the command was told last, all in all."""
    if change.before is None and change.after is None:
        return False
    return change.before is not change.after or change.attributes is not None


def _kind(child: Child | None) -> int:
    return child.kind if isinstance(child, Leaf) else DIR
