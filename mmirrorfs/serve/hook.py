"""``--on-change``: a command of the user's, run after the view has changed.

Rule 1: never two at once. What changes while it runs is told to the next run.
Rule 2: it gets one JSON object a line on its standard input: ``{"change": "added", "path": "Artist/Album"}``, where
change is added, removed or changed, and path is in the view; bytes that are no UTF-8 stand as surrogate escapes.
Rule 3: whatever it does, the mount goes on: a failure is logged, and the end of the mount ends it too.

Runs as a task on the event loop.
"""

import json
import logging
import os
import subprocess
from collections.abc import Iterable

import trio

from mmirrorfs.merge.index import Change
from mmirrorfs.tree import Merged

log = logging.getLogger(__name__)


class Hook:
    """Runs ``command`` with the shell; it finds the view's mountpoint in MMIRRORFS_MOUNTPOINT."""

    def __init__(self, command: str, mountpoint: bytes) -> None:
        self._command = command
        self._environment = {**os.environ, "MMIRRORFS_MOUNTPOINT": os.fsdecode(mountpoint)}
        self._waiting: dict[bytes, Change] = {}
        self._something = trio.Event()

    def changed(self, changes: Iterable[Change]) -> None:
        """Tell of changes; a path that changed twice is told as one change."""
        for change in changes:
            if not (isinstance(change.before, Merged) and isinstance(change.after, Merged)):
                earlier = self._waiting.get(change.path)
                before = earlier.before if earlier is not None else change.before
                self._waiting[change.path] = Change(change.path, before, change.after)
        if self._waiting:
            self._something.set()

    async def run(self) -> None:
        """Run the command each time that something changed. Until cancelled."""
        while True:
            await self._something.wait()
            self._something = trio.Event()
            changes, self._waiting = self._waiting, {}
            lines = b"".join(line(change) for change in changes.values() if change.before is not change.after)
            if lines:
                await self._run_once(lines)

    async def _run_once(self, lines: bytes) -> None:
        try:
            done = await trio.run_process(
                ["/bin/sh", "-c", self._command],
                stdin=lines,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=self._environment,
                check=False,
                deliver_cancel=_kill,
            )
        except OSError as error:
            log.warning("--on-change: %s", error.strerror)
            return
        if done.returncode:
            log.warning("--on-change: the command ended with %d", done.returncode)


async def _kill(process: trio.Process) -> None:
    process.kill()


def line(change: Change) -> bytes:
    """One change as a line of JSON."""
    kind = "added" if change.before is None else "removed" if change.after is None else "changed"
    path = change.path.decode("utf-8", "surrogateescape")
    return json.dumps({"change": kind, "path": path}).encode() + b"\n"
