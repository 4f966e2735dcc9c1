"""Open files: every byte of them, whatever is in memory, and no descriptor mistaken for another."""

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
from mmirrorfs.view.files import LARGEST, Files
from mmirrorfs.view.nodes import FileNode
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


def added(source: Source, name: bytes, node: FileNode) -> tuple[int, FileNode, Attributes, float]:
    """A descriptor of a file of the source, and what else goes with it."""
    fd, attr = source.reader.open_content(name)
    return fd, node, attr, time.monotonic()


def opened(files: Files, source: Source, name: bytes) -> tuple[int, FileNode]:
    """An open file of the source: its handle and its node."""
    node = FileNode(source, name, name, FILE, False)
    return files.add(*added(source, name, node)), node


async def closed(source: Source, fd: int) -> bool:
    """Whether a descriptor is closed, once all threads of the source are done."""
    await trio.testing.wait_all_tasks_blocked()
    while source.pace.busy:
        await trio.lowlevel.checkpoint()
    return not os.path.lexists(f"/proc/self/fd/{fd}")


async def whole(files: Files, handle: int, piece: int) -> bytes:
    parts: list[bytes] = []
    while part := bytes(await files.read(handle, sum(map(len, parts)), piece)):
        parts.append(part)
    return b"".join(parts)


@pytest.mark.parametrize("piece", [4096, 131072, LARGEST, LARGEST * 2])
async def test_every_byte_is_read(files: Files, source: Source, piece: int) -> None:
    handle, _ = opened(files, source, b"file")
    assert await whole(files, handle, piece) == CONTENTS
    files.release(handle)


@pytest.mark.parametrize(
    ("offset", "size"),
    [(0, 1), (1, 10), (299_990, 10), (299_990, 11), (300_000, 1), (400_000, 10), (0, 300_001), (4095, 2)],
)
async def test_any_part_is_read(files: Files, source: Source, offset: int, size: int) -> None:
    handle, _ = opened(files, source, b"file")
    assert bytes(await files.read(handle, offset, size)) == CONTENTS[offset : offset + size]
    files.release(handle)


async def test_an_empty_file_is_empty(files: Files, source: Source) -> None:
    handle, _ = opened(files, source, b"empty")
    assert bytes(await files.read(handle, 0, 4096)) == b""
    files.release(handle)


async def test_a_file_that_grows_or_shrinks_while_it_is_open_is_read_as_it_is(
    files: Files, source: Source, root: Path
) -> None:
    handle, _ = opened(files, source, b"other")
    with open(root / "other", "ab") as file:
        file.write(b"more")
    assert bytes(await files.read(handle, 4990, 100)) == b"otherothermore"
    os.truncate(root / "other", 10)
    assert bytes(await files.read(handle, 0, 100)) == b"otherother"
    files.release(handle)


# What is in memory


Preadv = Callable[[int, Sequence[memoryview], int, int], int]


class Cache:
    """A page cache that has a part of each file: an answer from it ends after ``has`` bytes."""

    def __init__(self, has: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked = 0
        self._has = has
        self._preadv: Preadv = os.preadv
        monkeypatch.setattr(os, "preadv", self.preadv)

    def preadv(self, fd: int, buffers: Sequence[memoryview], offset: int, flags: int = 0) -> int:
        assert flags == os.RWF_NOWAIT
        self.asked += 1
        if not self._has:
            raise BlockingIOError(errno.EAGAIN, "not in memory")
        return self._preadv(fd, [buffers[0][: self._has]], offset, 0)


@pytest.mark.parametrize("has", [0, 1, 4096, 65536, 200_000])
async def test_a_short_answer_from_memory_in_mid_file_is_not_the_end_of_it(
    files: Files, source: Source, monkeypatch: pytest.MonkeyPatch, has: int
) -> None:
    cache = Cache(has, monkeypatch)
    handle, _ = opened(files, source, b"file")
    assert bytes(await files.read(handle, 1000, 131072)) == CONTENTS[1000 : 1000 + 131072]
    assert bytes(await files.read(handle, 250_000, 131072)) == CONTENTS[250_000:]
    assert await whole(files, handle, 100_000) == CONTENTS
    assert cache.asked > 2
    files.release(handle)


async def test_the_answer_to_a_slow_read_is_its_own_while_others_are_served(
    files: Files, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = Cache(10, monkeypatch)
    one, other = opened(files, source, b"file")[0], opened(files, source, b"other")[0]
    answers: dict[int, bytes] = {}

    async def read(handle: int, offset: int) -> None:
        answers[offset] = bytes(await files.read(handle, offset, 1000))

    async with trio.open_nursery() as nursery:
        for offset in range(0, 4000, 500):
            nursery.start_soon(read, one, offset)
            nursery.start_soon(read, other, offset + 1)
    for offset in range(0, 4000, 500):
        assert answers[offset] == CONTENTS[offset : offset + 1000]
        assert answers[offset + 1] == (b"other" * 1000)[offset + 1 : offset + 1001]
    assert cache.asked == 16
    for handle in (one, other):
        files.release(handle)


@pytest.mark.parametrize("code", [errno.EOPNOTSUPP, errno.EINVAL])
async def test_where_the_filesystem_cannot_say_what_is_in_memory_it_is_asked_once(
    files: Files, source: Source, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    asked = 0

    def refusing(*args: object) -> int:
        nonlocal asked
        asked += 1
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "preadv", refusing)
    handle, _ = opened(files, source, b"file")
    assert await whole(files, handle, 65536) == CONTENTS
    assert asked == 1
    files.release(handle)


@pytest.mark.parametrize("call", ["preadv", "pread"])
async def test_an_io_error_is_passed_on(
    files: Files, source: Source, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def failing(*args: object) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    Cache(0, monkeypatch)
    monkeypatch.setattr(os, call, failing)
    handle, _ = opened(files, source, b"file")
    with pytest.raises(OSError, match="Input/output error"):
        await files.read(handle, 0, 2000)
    files.release(handle)


# Handles


async def test_a_handle_is_good_until_it_is_released(files: Files, source: Source) -> None:
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
        await files.read(handle, 0, 1)
    assert caught.value.errno == errno.EBADF


async def test_each_open_has_its_own_handle(files: Files, source: Source) -> None:
    handle, node = opened(files, source, b"file")
    again = files.add(*added(source, b"file", node))
    files.release(handle)
    assert node.opened == 1
    assert bytes(await files.read(again, 0, 3)) == CONTENTS[:3]
    files.release(again)


async def test_an_open_file_tells_its_own_attributes_whatever_has_its_name(
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


async def test_a_descriptor_is_closed_only_after_the_last_read_of_it(
    files: Files, source: Source, monkeypatch: pytest.MonkeyPatch, gate: threading.Event
) -> None:
    begun, pread = threading.Event(), os.pread

    def slow(fd: int, size: int, offset: int) -> bytes:
        begun.set()
        gate.wait()
        return pread(fd, size, offset)

    Cache(0, monkeypatch)
    monkeypatch.setattr(os, "pread", slow)
    handle, node = opened(files, source, b"file")
    file = files.of(node)
    assert file is not None
    fd = file.fd
    answers: list[bytes] = []

    async def read(offset: int) -> None:
        answers.append(bytes(await files.read(handle, offset, 100)))

    async with trio.open_nursery() as nursery:
        for offset in (0, 100):
            nursery.start_soon(read, offset)
        await trio.to_thread.run_sync(begun.wait)
        await trio.testing.wait_all_tasks_blocked()
        files.release(handle)
        assert (len(files), node.opened, file.reading) == (0, 0, 2)
        other, _ = source.reader.open_content(b"other")
        assert other != fd, "its number is not given out again while a read goes on"
        os.close(other)
        gate.set()
    assert sorted(answers) == sorted([CONTENTS[:100], CONTENTS[100:200]])
    assert await closed(source, fd)
