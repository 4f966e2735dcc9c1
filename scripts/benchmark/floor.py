"""The floor: a bare pyfuse3 filesystem with all replies prepared. ``python -m benchmark.floor TREE... MOUNTPOINT``.

No filesystem on pyfuse3 can serve a request faster: any excess is mmirrorfs' own cost. It shares mmirrorfs' request
loop and mount tuning, and nothing else. Names, attributes and listings are built before mounting, files of up to SMALL
bytes are in memory, larger ones are read by ``preadv`` of an open descriptor into one buffer. The kernel may cache
everything for an hour, negative entries too. Several trees are merged down to two levels; below, each directory comes
from the first tree that has it.

``--delay SECONDS`` simulates a slow disk: reads are serialized, and each takes that long.
"""

import argparse
import errno
import os
import stat
from collections.abc import Sequence
from typing import Any

import pyfuse3
import trio
from pyfuse3 import EntryAttributes, FileHandleT, FileInfo, FileNameT, FlagT, FUSEError, InodeT, RequestContext

from benchmark.kernel import device_at
from mmirrorfs.mount import requestloop, tuning
from mmirrorfs.mount.looplatency import LoopLatency

DEPTH = 2
KEEP = 3600.0
SMALL = 1 << 20
LARGEST = 1 << 20
"""Bytes of the largest read."""
NOTHING = memoryview(b"")


class Floor(pyfuse3.Operations):
    """The inode number is the index into each list; lists that do not apply have an empty value there."""

    def __init__(self, trees: Sequence[str], delay: float) -> None:
        super().__init__()
        self._attributes = [EntryAttributes()]
        self._entries: list[list[tuple[FileNameT, EntryAttributes]]] = [[]]
        self._numbers: list[dict[bytes, EntryAttributes]] = [{}]
        self._contents: list[memoryview | int] = [NOTHING]
        self._infos: list[FileInfo] = [FileInfo()]
        self._absent = EntryAttributes()
        self._absent.st_ino = InodeT(0)
        self._absent.entry_timeout = KEEP
        self._scratch = memoryview(bytearray(LARGEST))
        self._delay, self._arm = delay, trio.Lock()
        self._add([os.fsencode(tree) for tree in trees], 0)

    def _add(self, paths: Sequence[bytes], level: int) -> EntryAttributes:
        number = len(self._attributes)
        attributes = _attributes(paths[0], number)
        self._attributes.append(attributes)
        self._entries.append([])
        self._numbers.append({})
        self._contents.append(NOTHING)
        self._infos.append(FileInfo(fh=FileHandleT(number), keep_cache=True))
        if stat.S_ISREG(attributes.st_mode):
            self._contents[number] = _contents(paths[0])
        elif stat.S_ISDIR(attributes.st_mode):
            shown = paths if level < DEPTH else paths[:1]
            for name in sorted({name for path in shown for name in os.listdir(path)}):
                having = [path + b"/" + name for path in shown if os.path.lexists(path + b"/" + name)]
                self._entries[number].append((FileNameT(name), self._add(having, level + 1)))
            self._numbers[number] = dict(self._entries[number])
        return attributes

    async def getattr(self, inode: InodeT, ctx: RequestContext) -> EntryAttributes:
        return self._attributes[inode]

    async def lookup(self, parent_inode: InodeT, name: FileNameT, ctx: RequestContext) -> EntryAttributes:
        return self._numbers[parent_inode].get(name, self._absent)

    async def forget(self, inode_list: Sequence[tuple[InodeT, int]]) -> None:
        pass

    async def opendir(self, inode: InodeT, ctx: RequestContext) -> FileHandleT:
        return FileHandleT(inode)

    async def readdir(self, fh: FileHandleT, start_id: int, token: pyfuse3.ReaddirToken) -> None:
        for name, attributes in self._entries[fh][start_id:]:
            start_id += 1
            if not pyfuse3.readdir_reply(token, name, attributes, start_id):
                break

    async def releasedir(self, fh: FileHandleT) -> None:
        pass

    async def open(self, inode: InodeT, flags: FlagT, ctx: RequestContext) -> FileInfo:
        return self._infos[inode]

    async def read(self, fh: FileHandleT, off: int, size: int) -> Any:  # noqa: ANN401  # any buffer will do
        if self._delay:
            async with self._arm:
                await trio.sleep(self._delay)
        content = self._contents[fh]
        if not isinstance(content, int):
            return content[off : off + size]
        return self._scratch[: os.preadv(content, [self._scratch[:size]], off)]

    async def flush(self, fh: FileHandleT) -> None:
        raise FUSEError(errno.ENOSYS)  # once: the kernel does not send it again

    async def release(self, fh: FileHandleT) -> None:
        pass


def _attributes(path: bytes, number: int) -> EntryAttributes:
    found = os.lstat(path)
    entry = EntryAttributes()
    entry.st_ino = InodeT(number)
    for name in ("mode", "uid", "gid", "rdev", "size", "blocks", "atime_ns", "mtime_ns", "ctime_ns"):
        setattr(entry, f"st_{name}", getattr(found, f"st_{name}"))
    entry.st_nlink = 1
    entry.entry_timeout = entry.attr_timeout = KEEP
    return entry


def _contents(path: bytes) -> memoryview | int:
    descriptor = os.open(path, os.O_RDONLY)
    if os.fstat(descriptor).st_size > SMALL:
        return descriptor
    with open(descriptor, "rb", buffering=0) as file:
        return memoryview(file.read())


def main() -> None:
    """Mount, let the caller go on, and serve in the background until unmounted."""
    parser = argparse.ArgumentParser(prog="floor")
    parser.add_argument("--delay", type=float, default=0)
    parser.add_argument("trees", nargs="+")
    parser.add_argument("mountpoint")
    words = parser.parse_args()
    tuning.raise_file_limit()
    operations = Floor(words.trees, words.delay)
    pyfuse3.init(operations, words.mountpoint, {"fsname=floor", "subtype=floor", "default_permissions", "ro"})
    if os.fork():
        os._exit(0)
    os.setsid()
    tuning.tune(device_at(words.mountpoint))
    tuning.settle_memory()
    requestloop.install(LoopLatency())
    try:
        trio.run(pyfuse3.main)
    finally:
        pyfuse3.close(unmount=False)


if __name__ == "__main__":
    main()
