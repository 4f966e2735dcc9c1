"""Open files: handles and descriptors, and reads with any part of the file in the page cache."""

import errno
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import trio
import trio.testing

from mmirrorfs.attributes import FILE, Attributes
from mmirrorfs.source.reader import attributes
from mmirrorfs.source.source import Source
from mmirrorfs.view.files import Files
from mmirrorfs.view.nodes import FileNode
from mmirrorfs.view.reads import LARGEST, Reads
from tests.support.build import sources
from tests.support.trees import grow

CONTENTS = bytes(n * 7 % 251 for n in range(300_000))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return grow(tmp_path / "root", {"file": CONTENTS, "other": b"other" * 1000, "empty": b""})


@pytest.fixture(params=[True, False], ids=["local", "remote"])
def source(root: Path, request: pytest.FixtureRequest) -> Source:
    return sources(root, local=request.param)[0]


@pytest.fixture
def files() -> Files:
    return Files()


@pytest.fixture
def reads(files: Files) -> Reads:
    return Reads(files)


def opened_in(source: Source, name: bytes, node: FileNode) -> tuple[int, FileNode, Attributes, float]:
    """The arguments of ``Files.add`` for a file of the source."""
    fd, attr = source.reader.open_content(name)
    return fd, node, attr, time.monotonic()


def opened(files: Files, source: Source, name: bytes) -> tuple[int, FileNode]:
    """Open a file of the source; returns its handle and its node."""
    node = FileNode(source, name, name, FILE, False)
    return files.add(*opened_in(source, name, node)), node


async def closed(source: Source, fd: int) -> bool:
    """Whether a descriptor is closed after all threads of the source have finished."""
    await trio.testing.wait_all_tasks_blocked()
    while source.threads.busy:
        await trio.lowlevel.checkpoint()
    return not os.path.lexists(f"/proc/self/fd/{fd}")


async def whole(reads: Reads, handle: int, piece: int) -> bytes:
    parts: list[bytes] = []
    while part := bytes(await reads.read(handle, sum(map(len, parts)), piece)):
        parts.append(part)
    return b"".join(parts)


@pytest.mark.parametrize("piece", [4096, 131072, LARGEST, LARGEST * 2])
async def test_sequential_reads_of_any_size_return_the_whole_file(
    files: Files, reads: Reads, source: Source, piece: int
) -> None:
    handle, _ = opened(files, source, b"file")
    assert await whole(reads, handle, piece) == CONTENTS
    files.release(handle)


@pytest.mark.parametrize(
    ("offset", "size"),
    [(0, 1), (1, 10), (299_990, 10), (299_990, 11), (300_000, 1), (400_000, 10), (0, 300_001), (4095, 2)],
)
async def test_read_returns_any_range_up_to_the_end_of_the_file(
    files: Files, reads: Reads, source: Source, offset: int, size: int
) -> None:
    handle, _ = opened(files, source, b"file")
    assert bytes(await reads.read(handle, offset, size)) == CONTENTS[offset : offset + size]
    files.release(handle)


async def test_read_of_an_empty_file_returns_nothing(files: Files, reads: Reads, source: Source) -> None:
    handle, _ = opened(files, source, b"empty")
    assert bytes(await reads.read(handle, 0, 4096)) == b""
    files.release(handle)


async def test_read_of_a_file_that_grew_or_shrank_since_open_returns_its_current_bytes(
    files: Files, reads: Reads, source: Source, root: Path
) -> None:
    handle, _ = opened(files, source, b"other")
    with open(root / "other", "ab") as file:
        file.write(b"more")
    assert bytes(await reads.read(handle, 4990, 100)) == b"otherothermore"
    os.truncate(root / "other", 10)
    assert bytes(await reads.read(handle, 0, 100)) == b"otherother"
    files.release(handle)


# The page cache


Preadv = Callable[[int, Sequence[memoryview], int, int], int]


class PageCache:
    """A page cache that holds only part of each file: a read from it ends after ``cached`` bytes."""

    def __init__(self, cached: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls = 0
        self._cached = cached
        self._preadv: Preadv = os.preadv
        monkeypatch.setattr(os, "preadv", self.preadv)

    def preadv(self, fd: int, buffers: Sequence[memoryview], offset: int, flags: int = 0) -> int:
        assert flags == os.RWF_NOWAIT
        self.calls += 1
        if not self._cached:
            raise BlockingIOError(errno.EAGAIN, "not cached")
        return self._preadv(fd, [buffers[0][: self._cached]], offset, 0)


@pytest.mark.parametrize("cached", [0, 1, 4096, 65536, 200_000])
async def test_short_read_from_the_page_cache_is_completed(
    files: Files, reads: Reads, source: Source, monkeypatch: pytest.MonkeyPatch, cached: int
) -> None:
    cache = PageCache(cached, monkeypatch)
    handle, _ = opened(files, source, b"file")
    assert bytes(await reads.read(handle, 1000, 131072)) == CONTENTS[1000 : 1000 + 131072]
    assert bytes(await reads.read(handle, 250_000, 131072)) == CONTENTS[250_000:]
    assert await whole(reads, handle, 100_000) == CONTENTS
    assert cache.calls > 2
    files.release(handle)


async def test_concurrent_slow_reads_do_not_mix_their_bytes(
    files: Files, reads: Reads, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = PageCache(10, monkeypatch)
    one, other = opened(files, source, b"file")[0], opened(files, source, b"other")[0]
    answers: dict[int, bytes] = {}

    async def read(handle: int, offset: int) -> None:
        answers[offset] = bytes(await reads.read(handle, offset, 1000))

    async with trio.open_nursery() as nursery:
        for offset in range(0, 4000, 500):
            nursery.start_soon(read, one, offset)
            nursery.start_soon(read, other, offset + 1)
    for offset in range(0, 4000, 500):
        assert answers[offset] == CONTENTS[offset : offset + 1000]
        assert answers[offset + 1] == (b"other" * 1000)[offset + 1 : offset + 1001]
    assert cache.calls == 16
    for handle in (one, other):
        files.release(handle)


@pytest.mark.parametrize("code", [errno.EOPNOTSUPP, errno.EINVAL])
async def test_nowait_read_refused_by_the_filesystem_is_not_tried_again(
    files: Files, reads: Reads, source: Source, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    calls = 0

    def refusing(*args: object) -> int:
        nonlocal calls
        calls += 1
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "preadv", refusing)
    handle, _ = opened(files, source, b"file")
    assert await whole(reads, handle, 65536) == CONTENTS
    assert calls == 1
    files.release(handle)


@pytest.mark.parametrize("call", ["preadv", "pread"])
async def test_io_error_of_a_read_is_raised(
    files: Files, reads: Reads, source: Source, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def failing(*args: object) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    PageCache(0, monkeypatch)
    monkeypatch.setattr(os, call, failing)
    handle, _ = opened(files, source, b"file")
    with pytest.raises(OSError, match="Input/output error"):
        await reads.read(handle, 0, 2000)
    files.release(handle)


# Handles


async def test_released_handle_is_closed_and_raises_ebadf(files: Files, reads: Reads, source: Source) -> None:
    handle, node = opened(files, source, b"file")
    file = files.of(node)
    assert file is not None
    assert (len(files), node.opened, list(files)) == (1, 1, [file])
    fd = file.fd
    files.release(handle)
    files.release(handle)
    assert (len(files), node.opened, files.of(node)) == (0, 0, None)
    assert await closed(source, fd)
    with pytest.raises(OSError, match="Bad file descriptor") as caught:
        await reads.read(handle, 0, 1)
    assert caught.value.errno == errno.EBADF


async def test_second_handle_of_a_file_survives_release_of_the_first(
    files: Files, reads: Reads, source: Source
) -> None:
    handle, node = opened(files, source, b"file")
    again = files.add(*opened_in(source, b"file", node))
    files.release(handle)
    assert node.opened == 1
    assert bytes(await reads.read(again, 0, 3)) == CONTENTS[:3]
    files.release(again)


async def test_attributes_of_an_open_file_are_its_own_after_it_was_replaced(
    files: Files, source: Source, root: Path
) -> None:
    handle, node = opened(files, source, b"file")
    (root / "file").rename(root / "elsewhere")
    (root / "file").write_bytes(b"new")
    file = files.of(node)
    assert file is not None
    assert await file.attributes(lambda: None) == (attributes((root / "elsewhere").stat()), True)
    files.release(handle)


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


async def test_descriptor_released_during_reads_is_closed_after_the_last_one(
    files: Files, reads: Reads, source: Source, monkeypatch: pytest.MonkeyPatch, gate: threading.Event
) -> None:
    started, pread = threading.Event(), os.pread

    def slow(fd: int, size: int, offset: int) -> bytes:
        started.set()
        gate.wait()
        return pread(fd, size, offset)

    PageCache(0, monkeypatch)
    monkeypatch.setattr(os, "pread", slow)
    handle, node = opened(files, source, b"file")
    file = files.of(node)
    assert file is not None
    fd = file.fd
    answers: list[bytes] = []

    async def read(offset: int) -> None:
        answers.append(bytes(await reads.read(handle, offset, 100)))

    async with trio.open_nursery() as nursery:
        for offset in (0, 100):
            nursery.start_soon(read, offset)
        await trio.to_thread.run_sync(started.wait)
        await trio.testing.wait_all_tasks_blocked()
        files.release(handle)
        assert (len(files), node.opened, file.reading) == (0, 0, 2)
        other, _ = source.reader.open_content(b"other")
        assert other != fd, "the number is not reused during a read"
        os.close(other)
        gate.set()
    assert sorted(answers) == sorted([CONTENTS[:100], CONTENTS[100:200]])
    assert await closed(source, fd)
