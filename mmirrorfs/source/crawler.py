"""The parent's side of a crawl: starts the child, passes on its frames, restarts it when it died.

Rule 1: receiving never occupies the loop for longer than TURN between two checkpoints. While frames are not taken the
child blocks.
Rule 2: a child is killed and reaped when its crawl ends. Each wait for it has a timeout: one in an uninterruptible
call to a hung disk cannot be killed.
Rule 3: a child that died is restarted with backoff, until DEATHS times in a row got no further.

Event loop's thread only, which is also the one that starts the child: PR_SET_PDEATHSIG refers to the parent's thread.
"""

import json
import logging
import os
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from signal import strsignal

import trio

from mmirrorfs.listing import Listing
from mmirrorfs.source.acl import Read
from mmirrorfs.source.child import Child
from mmirrorfs.source.crawl import BATCH, CONTROL, HEADER, LISTS, Plan, Word
from mmirrorfs.source.marker import Met
from mmirrorfs.source.threads import threaded
from mmirrorfs.text import fields

log = logging.getLogger(__name__)

_FULL = "%s: there is more in its folders than --remember allows for; the rest is read when it is asked for"

Offer = Callable[[bytes, Listing], bool]
"""Called with a path and its listing; returns whether there is room for more."""
Learn = Callable[[Read], None]
"""Called with the access lists of a directory."""
Meet = Callable[[list[Met], int], None]
"""Called with how the crawled filesystems are watched, and the number of inotify watches added since the last call."""

TURN = 0.001
"""Seconds of work between two checkpoints."""
ASIDE = 0.1
"""Seconds of pause between two turns while requests are served. It blocks the child, which then uses no CPU either."""
FEW = 20
"""Requests between two turns that are too few for a pause: somebody who asks for the status, say."""
GRACE = 1.0
"""Timeout in seconds for a child to exit, and to be killed."""
DEATHS = 5
"""Deaths in a row without any progress after which the crawl has failed."""
SHORTEST = 1.0
LONGEST = 60.0
"""Limits of the backoff in seconds, which doubles with each restart."""
LARGE = 1 << 20
"""Bytes from which on a frame is joined in a thread: ``bytes.join`` releases the interpreter's lock then."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Progress of a crawl: ``folders`` at the depth are done, ``of`` how many; and what was received so far.

    ``state`` is "off" (nothing to crawl), "crawling", "done" (access lists may follow), "full" (no room for more),
    "lost" (the source is), or "failed".
    """

    state: str = "off"
    folders: int = 0
    of: int = 0
    directories: int = 0
    entries: int = 0


class Crawl:
    """The crawl of one source, ``name`` in the log. ``served`` returns the number of requests served so far."""

    def __init__(
        self,
        plan: Plan,
        name: str,
        offer: Offer,
        learn: Learn,
        meet: Meet = lambda met, made: None,
        served: Callable[[], int] = lambda: 0,
    ) -> None:
        self._plan = plan
        self._requests = served
        self._name = name
        self._offer = offer
        self._learn = learn
        self._meet = meet
        self._child: Child | None = None
        self._again = trio.Event()
        self._scope = trio.CancelScope()
        self._reset("crawling")

    @property
    def progress(self) -> Progress:
        """The progress."""
        return Progress(self._state, self._folders, self._of, self._directories, self._entries)

    @property
    def pid(self) -> int | None:
        """The process id of the child; None if there is none."""
        return None if self._child is None else self._child.pid

    def restart(self, plan: Plan | None = None) -> None:
        """Start again from the beginning, with another plan if given."""
        self._plan = plan or self._plan
        self._again.set()
        self._scope.cancel()

    async def run(self) -> None:
        """Crawl once, and again after each ``restart``. Until cancelled."""
        while True:
            self._again = trio.Event()
            started = time.monotonic()
            with trio.CancelScope() as self._scope:
                self._state = await self._crawled()
                self._log(time.monotonic() - started)
            await self._again.wait()

    def _log(self, took: float) -> None:
        about = fields("crawl", source=self._name, state=self._state, entries=self._entries, took=took)
        what = (self._name, self._state, self._directories, self._entries, took)
        log.info("source %s was read ahead (%s): %d directories, %d entries in %.1f s", *what, extra=about)

    async def _crawled(self) -> str:
        """One crawl, with as many children as it takes; returns its final state."""
        most = barren = 0
        pause = SHORTEST
        while True:
            self._reset("crawling")
            await trio.lowlevel.checkpoint()  # after cancellation the inherited descriptors may be closed
            ended, why = await self._pass()
            if ended != "failed":
                return ended
            barren = 0 if self._directories > most else barren + 1
            most = max(most, self._directories)
            if barren == DEATHS:
                log.warning("%s: its crawl failed for good (%s)", self._name, why)
                return "failed"
            if pause == SHORTEST:
                log.warning("%s: the process that crawls it ended early (%s); starting another one", self._name, why)
            await trio.sleep(pause)
            pause = min(pause * 2, LONGEST)

    def _reset(self, state: str) -> None:
        self._state = state
        self._folders = self._of = self._directories = self._entries = 0

    async def _pass(self) -> tuple[str, str]:
        """Run one child; returns how its crawl ended, and why if it failed."""
        try:
            ours, theirs = socket.socketpair()
            with ours:
                with theirs:
                    self._child = start(theirs, self._plan.inherited)
                return await self._served(self._child, ours)
        except OSError as error:
            return "failed", error.strerror or str(error)

    async def _served(self, child: Child, ours: socket.socket) -> tuple[str, str]:
        try:
            ended, why = await self._receive(Frames(trio.socket.from_stdlib_socket(ours), self._requests))
            if not ended:
                await _gone(child)
            return ended or "failed", why or _end_of(child)
        finally:
            if child.poll() is None:
                child.kill()
                await _gone(child)
            self._child = None

    async def _receive(self, frames: "Frames") -> tuple[str, str]:
        """Pass on frames until the child says that it ended, or there is no room; "" if the socket was closed.

        If the child dies after all listings, while it sends access lists, the crawl is "done".
        """
        made = 0
        try:
            await frames.send(self._plan.encoded())
            while True:
                found = await frames.next()
                if isinstance(found, Read):
                    self._learn(found)
                elif isinstance(found, tuple):
                    path, listing = found
                    self._directories += 1
                    self._entries += len(listing)
                    if not self._offer(path, listing):
                        log.warning(_FULL, self._name)
                        return "full", ""
                else:
                    self._folders, self._of = found.get("folders", self._folders), found.get("of", self._of)
                    before, (made, met) = made, found.get("watch", (made, []))
                    self._meet(met, made - before)
                    ended = found.get("ended", "")
                    if ended and (ended != "done" or self._state == "done"):
                        return ended, found.get("why", "")
                    self._state = ended or self._state
        except (EOFError, BrokenPipeError, ConnectionResetError):
            return "done" if self._state == "done" else "", ""


class Frames:
    """Reads frames from a socket, and yields to requests; ``served`` returns the number of requests served so far."""

    def __init__(self, stream: trio.socket.SocketType, served: Callable[[], int] = lambda: 0) -> None:
        self._stream = stream
        self._served = served
        self._last = 0
        self._buffer = b""
        self._at = 0
        self._turn = time.monotonic()

    async def send(self, whole: bytes) -> None:
        """Send all bytes."""
        left = memoryview(whole)
        while left:
            left = left[await self._stream.send(left) :]

    async def next(self) -> tuple[bytes, Listing] | Read | Word:
        """The next listing with its path, access lists, or control frame. Raises EOFError."""
        if time.monotonic() > self._turn + TURN:
            await self._yield()
        fetched_at, path, key, size = HEADER.unpack(await self._take(HEADER.size))
        if path == CONTROL:
            word: Word = json.loads(await self._take(size))
            return word
        if path >= LISTS:
            return Read.decoded(await self._take(path - LISTS), fetched_at, await self._take(size))
        where, called = await self._take(path), await self._take(key)
        return where, Listing(await self._take(size), fetched_at, key=called)

    async def _yield(self) -> None:
        """Checkpoint; sleep instead if requests were served since the last turn."""
        last, self._last = self._last, self._served()
        await (trio.sleep(ASIDE) if self._last > last + FEW else trio.lowlevel.checkpoint())
        self._turn = time.monotonic()

    async def _take(self, size: int) -> bytes:
        if len(self._buffer) - self._at < size:
            await self._fill(size)
        start, self._at = self._at, self._at + size
        taken = self._buffer[start : self._at]
        if self._at == len(self._buffer):
            self._buffer, self._at = b"", 0  # free a large one
        return taken

    async def _fill(self, size: int) -> None:
        """Have at least ``size`` bytes in the buffer; exactly as many if one recv does not give them."""
        pieces = [self._buffer[self._at :]]
        have = len(pieces[0])
        while have < size:
            piece = await self._stream.recv(BATCH if size <= BATCH else min(BATCH, size - have))
            if not piece:
                raise EOFError
            pieces.append(piece)
            have += len(piece)
            await self._yield()
        join = partial(b"".join, pieces)
        self._buffer, self._at = await threaded(join) if have >= LARGE else join(), 0


def start(theirs: socket.socket, inherited: Sequence[int] = ()) -> Child:
    """Start a child with its end of the socket, and descriptors to inherit. Raises OSError.

    It keeps no directory and no stream of the parent open, and imports this package from wherever it is.
    """
    package = os.fsdecode(Path(__file__).parents[2])
    path = os.pathsep.join(filter(None, (package, os.environ.get("PYTHONPATH"))))
    code = "import os, sys; os.chdir('/'); from mmirrorfs.source.crawl import main; main(*map(int, sys.argv[1:]))"
    environment, own = {**os.environ, "PYTHONPATH": path}, [theirs.fileno(), *inherited]
    return Child(code, list(map(str, own)), environment, own)


async def _gone(child: Child) -> None:
    """Wait for the exit of a child, for GRACE seconds; reap it."""
    with trio.move_on_after(GRACE, shield=True):
        while child.poll() is None:
            await trio.sleep(0.005)


def _end_of(child: Child) -> str:
    code = child.poll()
    if code is None:
        return "it closed its socket"
    return f"killed: {strsignal(-code)}" if code < 0 else f"exit code {code}"
