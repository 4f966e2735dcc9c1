"""A source that can be made slow, hung or failing: a FUSE pass-through of a directory, in a process of its own.

1. After SIGUSR1 it leaves requests unanswered: all, or only those that ``hang`` names. After SIGHUP it fails them with
   EIO. After SIGUSR2 it answers again, pending ones too. It confirms each signal on its standard output.
2. The kernel caches only the pages of files: names and attributes have no timeout. Listing a directory with the name
   ``STOP`` in it stops the process, after its reply.
3. Each read takes ``delay`` seconds; reads run concurrently. Their numbers are in a file (``Figures``).
4. Each request, or with ``hang="reads"`` each read, takes ``pause`` seconds more. That number is in the same file, and
   may change at any time.
5. When the block ends, the connection is aborted and the mount detached, without accessing it.
"""

import argparse
import contextlib
import errno
import mmap
import os
import signal
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, ParamSpec, TypeVar

import pyfuse3
import trio
from pyfuse3 import (
    EntryAttributes,
    FileHandleT,
    FileInfo,
    FileNameT,
    FlagT,
    FUSEError,
    InodeT,
    RequestContext,
    XAttrNameT,
)

from tests.support.kernel import Abort, detach, see_connections
from tests.support.polling import poll

P = ParamSpec("P")
R = TypeVar("R")

_FIGURES = struct.Struct("=IIIIfI")
_PAUSE = struct.Struct("=d")
_WHOLE = _FIGURES.size + _PAUSE.size


class Figures(NamedTuple):
    """Reads started, in progress, and most in progress at a time; requests that are pending now.

    ``mean`` is the average number of reads in progress, over the time in which there were any; ``listed`` the number of
    directories opened.
    """

    begun: int
    now: int
    most: int
    held: int
    mean: float
    listed: int


@dataclass
class Hanging:
    """A mounted pass-through, as the test controls it."""

    mountpoint: Path
    process: "subprocess.Popen[bytes]"
    _figures: Path
    _abort: Abort | None

    def hang(self) -> None:
        """Leave requests unanswered from now on."""
        self._send(signal.SIGUSR1, b"hangs\n")

    def fail(self) -> None:
        """Fail the requests with EIO from now on."""
        self._send(signal.SIGHUP, b"fails\n")

    def slow(self, pause: float) -> None:
        """Delay each request by ``pause`` seconds from now on (invariant 4)."""
        with open(self._figures, "r+b") as file:
            file.seek(_FIGURES.size)
            file.write(_PAUSE.pack(pause))

    def go_on(self) -> None:
        """Answer again, pending requests first."""
        self._send(signal.SIGUSR2, b"goes on\n")

    def freeze(self) -> None:
        """Stop the process (SIGSTOP). It does not read requests either, so that processes that wait can be killed."""
        self.process.send_signal(signal.SIGSTOP)
        self.await_frozen()

    def await_frozen(self) -> None:
        """Wait until the process has stopped."""
        status = Path(f"/proc/{self.process.pid}/stat")
        poll(lambda: status.read_bytes().rpartition(b")")[2].split()[0] == b"T", "the process stopped")

    def thaw(self) -> None:
        """Let it run again."""
        self.process.send_signal(signal.SIGCONT)

    def abort(self) -> None:
        """Abort the connection: pending requests fail."""
        if self._abort is not None:
            self._abort.abort()

    @property
    def figures(self) -> Figures:
        """The counts, read without accessing the mount."""
        return Figures(*_FIGURES.unpack_from(self._figures.read_bytes()))

    def _send(self, number: signal.Signals, answer: bytes) -> None:
        self.process.send_signal(number)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == answer


@contextlib.contextmanager
def freed(*sources: Hanging) -> Iterator[None]:
    """Abort the sources when the block fails: processes that wait for them in the kernel cannot be killed."""
    try:
        yield
    except BaseException:
        for source in sources:
            source.abort()
        raise


@contextlib.contextmanager
def hanging(directory: Path, mountpoint: Path, hang: str = "all", delay: float = 0) -> Iterator[Hanging]:
    """Mount a pass-through of ``directory``. ``hang`` says which requests hang or fail on demand.

    These are ``all``, ``reads``, or ``attributes``: getattr, not lookup.
    """
    see_connections()
    mountpoint.mkdir(exist_ok=True)
    figures = mountpoint.parent / f"{mountpoint.name}.figures"
    figures.write_bytes(bytes(_WHOLE))
    words = [str(directory), str(mountpoint), str(figures), f"--hang={hang}", f"--delay={delay}"]
    program = [sys.executable, "-m", "tests.support.hanging", *words]
    top = Path(__file__).parents[2]
    process = subprocess.Popen(program, cwd=top, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"mounted\n"
        with contextlib.ExitStack() as stack:
            abort = None
            with contextlib.suppress(OSError):  # a plain user may not
                abort = stack.enter_context(Abort(os.minor(os.stat(mountpoint).st_dev)))
            found = Hanging(mountpoint, process, figures, abort)
            stack.callback(found.abort)
            yield found
    finally:
        process.kill()
        process.communicate()
        detach(os.fsencode(mountpoint))


# The process


class _Passing(pyfuse3.Operations):
    """The pass-through. Inode numbers are assigned in order, one for each path, and never reused."""

    def __init__(self, root: str, figures: str, hang: str, delay: float) -> None:
        super().__init__()
        self._paths: list[bytes] = [b"", os.fsencode(root)]
        self._numbers = {self._paths[1]: 1}
        self._listed: list[tuple[bytes, list[bytes]]] = []
        self._what, self._delay = hang, delay
        self._failing = False
        self._answering = trio.Event()
        self._answering.set()
        self._begun = self._now = self._most = self._waiting = self._opened = 0
        self._last = self._busy = self._total = 0.0
        with open(figures, "r+b") as file:
            self._shared = mmap.mmap(file.fileno(), _WHOLE)

    async def obey(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        with trio.open_signal_receiver(signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP) as arriving:
            task_status.started()
            async for number in arriving:
                self._failing = number == signal.SIGHUP
                if number == signal.SIGUSR1:
                    self._answering = trio.Event()
                    os.write(1, b"hangs\n")
                elif number == signal.SIGHUP:
                    os.write(1, b"fails\n")
                else:
                    self._answering.set()
                    os.write(1, b"goes on\n")

    async def _held(self, what: str = "all") -> None:
        if self._what not in ("all", what):
            return
        if pause := _PAUSE.unpack_from(self._shared, _FIGURES.size)[0]:
            await trio.sleep(pause)
        if self._failing:
            raise FUSEError(errno.EIO)
        if self._answering.is_set():
            return
        self._count(0, 1)
        await self._answering.wait()
        self._count(0, -1)

    def _count(self, reads: int, held: int = 0) -> None:
        time = trio.current_time()
        self._busy += (time - self._last) * bool(self._now)
        self._total += (time - self._last) * self._now
        self._last = time
        self._now += reads
        self._begun += max(reads, 0)
        self._most = max(self._most, self._now)
        self._waiting += held
        mean = self._total / (self._busy or 1)
        figures = _FIGURES.pack(self._begun, self._now, self._most, self._waiting, mean, self._opened)
        self._shared[: len(figures)] = figures

    def _entry(self, path: bytes) -> EntryAttributes:
        st = _asked(os.lstat, path)
        entry = EntryAttributes()
        entry.st_ino = InodeT(self._numbers.setdefault(path, len(self._paths)))
        if entry.st_ino == len(self._paths):
            self._paths.append(path)
        for name in ("mode", "nlink", "uid", "gid", "rdev", "size", "blocks", "atime_ns", "mtime_ns", "ctime_ns"):
            setattr(entry, f"st_{name}", getattr(st, f"st_{name}"))
        entry.entry_timeout = entry.attr_timeout = 0
        return entry

    async def lookup(self, parent_inode: InodeT, name: FileNameT, ctx: RequestContext) -> EntryAttributes:
        await self._held()
        return self._entry(self._paths[parent_inode] + b"/" + name)

    async def forget(self, inode_list: Sequence[tuple[InodeT, int]]) -> None:
        pass

    async def getattr(self, inode: InodeT, ctx: RequestContext) -> EntryAttributes:
        await self._held("attributes")
        return self._entry(self._paths[inode])

    async def getxattr(self, inode: InodeT, name: XAttrNameT, ctx: RequestContext) -> bytes:
        await self._held()
        return _asked(os.getxattr, self._paths[inode], name, follow_symlinks=False)

    async def opendir(self, inode: InodeT, ctx: RequestContext) -> FileHandleT:
        self._opened += 1
        self._count(0)
        await self._held()
        path = self._paths[inode]
        self._listed.append((path, _asked(os.listdir, path)))
        return FileHandleT(len(self._listed) - 1)

    async def readdir(self, fh: FileHandleT, start_id: int, token: pyfuse3.ReaddirToken) -> None:
        await self._held()
        above, names = self._listed[fh]
        for position, name in enumerate(names[start_id:], start_id + 1):
            with contextlib.suppress(FUSEError):
                if not pyfuse3.readdir_reply(token, FileNameT(name), self._entry(above + b"/" + name), position):
                    break

        if b"STOP" in names:
            trio.lowlevel.spawn_system_task(_stop)

    async def open(self, inode: InodeT, flags: FlagT, ctx: RequestContext) -> FileInfo:
        await self._held()
        return FileInfo(fh=FileHandleT(_asked(os.open, self._paths[inode], os.O_RDONLY)), keep_cache=False)

    async def read(self, fh: FileHandleT, off: int, size: int) -> bytes:
        self._count(1)
        try:
            await trio.sleep(self._delay)
            await self._held("reads")
            return os.pread(fh, size, off)
        finally:
            self._count(-1)

    async def flush(self, fh: FileHandleT) -> None:
        await self._held()

    async def release(self, fh: FileHandleT) -> None:
        try:
            await self._held()
        finally:
            os.close(fh)

    async def releasedir(self, fh: FileHandleT) -> None:
        await self._held()

    async def statfs(self, ctx: RequestContext) -> pyfuse3.StatvfsData:
        await self._held()
        data = pyfuse3.StatvfsData()
        data.f_bsize = data.f_frsize = 4096
        data.f_blocks, data.f_files, data.f_namemax = 1000, 100, 255
        return data


async def _stop() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def _asked(call: Callable[P, R], *words: P.args, **more: P.kwargs) -> R:
    try:
        return call(*words, **more)
    except OSError as error:
        raise FUSEError(error.errno or 5) from None


async def _serve(operations: _Passing) -> None:
    async with trio.open_nursery() as nursery:
        await nursery.start(operations.obey)
        os.write(1, b"mounted\n")
        await pyfuse3.main(max_tasks=2000)
        nursery.cancel_scope.cancel()


def _main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("directory")
    parser.add_argument("mountpoint")
    parser.add_argument("figures")
    parser.add_argument("--hang", default="all")
    parser.add_argument("--delay", type=float, default=0)
    words = parser.parse_args()
    operations = _Passing(words.directory, words.figures, words.hang, words.delay)
    pyfuse3.init(operations, words.mountpoint, {"fsname=hanging", "subtype=hanging", "default_permissions"})
    trio.run(_serve, operations)
    pyfuse3.close(unmount=False)


if __name__ == "__main__":
    _main()
