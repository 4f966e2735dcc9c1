"""``--on-change``: runs a command of the user's after the view has changed.

Invariant 1: one run at a time; changes during a run go to the next one.
Invariant 2: a run gets one JSON object a line on standard input: ``{"change": "added", "path": "Artist/Album", "type":
"directory"}``. ``change`` is added, removed or changed; ``path`` is in the view, in the form of ``text.json_path``;
``type`` is that of what is there, or was. A directory is left out if only its entries changed.
Invariant 3: a failure of the command is logged, and never ends the mount.
Invariant 4: when the view ends, its processes get SIGTERM as a process group, and SIGKILL after GRACE seconds, also if
the daemon was killed. One that made a process group of its own stays. The daemon never waits for the command: one that
is blocked in the view is released when the view is gone.

One task on the event loop.
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
_LEADER = f"trap '' HUP INT QUIT TERM; read -r _; kill -TERM 0; sleep {GRACE}; kill -KILL 0"
"""The leader of the process group, a shell: waits for EOF on a pipe whose other end the daemon holds.

While it lives the group's number cannot be reused.
"""


class Hook:
    """Runs ``command`` with the shell, with the mountpoint in the environment as MMIRRORFS_MOUNTPOINT."""

    def __init__(self, command: str, mountpoint: bytes) -> None:
        self._command = command
        self._environment = {**os.environ, "MMIRRORFS_MOUNTPOINT": os.fsdecode(mountpoint)}
        self._pending: dict[bytes, Change] = {}
        self._wake = trio.Event()
        self._group = _Group()

    def changed(self, changes: Iterable[Change]) -> None:
        """Queue changes for the next run; two of one path become one."""
        for change in changes:
            if not is_directory_that_stayed(change):
                earlier = self._pending.get(change.path)
                before = earlier.before if earlier is not None else change.before
                self._pending[change.path] = Change(change.path, before, change.after, change.attributes)
        if self._pending:
            self._wake.set()

    async def run(self) -> None:
        """Run the command after changes. Until cancelled."""
        try:
            while True:
                await self._wake.wait()
                self._wake = trio.Event()
                changes, self._pending = self._pending, {}
                lines = b"".join(line(change) for change in changes.values() if _has_changed(change))
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
            nursery.cancel_scope.cancel()  # a background process may hold its standard input, and never read it
        if code:
            log.warning("--on-change: the command ended with %d", code)


async def _feed(process: trio.Process, lines: bytes) -> None:
    assert process.stdin is not None
    try:
        async with process.stdin:
            await process.stdin.send_all(lines)
    except trio.BrokenResourceError:
        return  # the command need not read its input


class _Group:
    """The process group of all runs of the command."""

    def __init__(self) -> None:
        self._leader: trio.Process | None = None
        self._pipe = -1

    async def number(self) -> int:
        """Its number; makes the group if there is none. Raises OSError."""
        if self._leader is None or self._leader.poll() is not None:
            self.end()
            read_end, self._pipe = os.pipe()
            try:
                self._leader = await trio.lowlevel.open_process(
                    ["/bin/sh", "-c", _LEADER, "mmirrorfs-on-change"],
                    stdin=read_end,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    process_group=0,
                )
            finally:
                os.close(read_end)
        return self._leader.pid

    def end(self) -> None:
        """Close the pipe, which ends all processes of the group. Does not wait for them."""
        pipe, self._pipe = self._pipe, -1
        if pipe >= 0:
            os.close(pipe)


def line(change: Change) -> bytes:
    """One change as a line of JSON."""
    kind = "added" if change.before is None else "removed" if change.after is None else "changed"
    what = _TYPES.get(_kind(change.after or change.before), "special")
    return json.dumps({"change": kind, **json_path(change.path), "type": what}).encode() + b"\n"


def _has_changed(change: Change) -> bool:
    """Whether a path differs at all from what the last run was given."""
    if change.before is None and change.after is None:
        return False
    return change.before is not change.after or change.attributes is not None


def _kind(child: Child | None) -> int:
    return child.kind if isinstance(child, Leaf) else DIR
