"""Whatever goes wrong under a handler, the mount lives on: pyfuse3 ends it for anything but FUSEError.

A real Operations object over a real view, in which what the handler relies on raises what nobody foresaw.
"""

import errno
import inspect
import logging
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pyfuse3
import pytest
import trio

from mmirrorfs.serve.operations import Operations
from mmirrorfs.serve.stage import Stage
from mmirrorfs.serve.writes import Writes
from mmirrorfs.source.source import Source
from mmirrorfs.tree import Rank
from mmirrorfs.view.directories import Directories
from mmirrorfs.view.handles import HandleResolver
from mmirrorfs.view.labels import Labels
from tests.support.build import view_of
from tests.support.trees import folders, grow

NOBODY = pyfuse3.RequestContext()
"""A caller, of no number."""
ARGUMENTS: dict[str, tuple[object, ...]] = {
    "lookup": (1, b"1", NOBODY),
    "getattr": (1, NOBODY),
    "setattr": (1, None, None, None, NOBODY),
    "readlink": (1, NOBODY),
    "open": (1, os.O_RDONLY, NOBODY),
    "read": (1, 0, 4096),
    "release": (1,),
    "opendir": (1, NOBODY),
    "readdir": (1, 0, None),
    "releasedir": (1,),
    "statfs": (NOBODY,),
    "getxattr": (1, b"user.x", NOBODY),
    "listxattr": (1, NOBODY),
    "rename": (1, b"1", 1, b"2", 0, NOBODY),
    "unlink": (1, b"1", NOBODY),
    "rmdir": (1, b"1", NOBODY),
}
"""The handlers that look at the view, and something to call each with."""
WRITES: dict[str, tuple[object, ...]] = {
    **{name: ARGUMENTS[name] for name in ("setattr", "rename", "unlink", "rmdir")},
    "mkdir": (1, b"2", 0o755, NOBODY),
    "mknod": (1, b"2", 0o644, 0, NOBODY),
    "create": (1, b"2", 0o644, os.O_WRONLY, NOBODY),
    "symlink": (1, b"2", b"1", NOBODY),
    "link": (1, 1, b"2", NOBODY),
    "write": (0, 0, b"x"),
    "setxattr": (1, b"user.x", b"", NOBODY),
    "removexattr": (1, b"user.x", NOBODY),
}
"""All that would write, and is refused to whoever does not announce something."""
APART = {"flush", "forget", *WRITES.keys() - ARGUMENTS.keys()}
"""flush says ENOSYS on purpose, once a mount, and forget has nobody to answer to."""


class Broken:
    """Takes the place of a part of the view: whatever is asked of it raises."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __getattr__(self, name: str) -> object:
        raise self.error

    def __len__(self) -> int:
        raise self.error


def _operations(place: Path) -> Operations:
    trees = [grow(place / name, folders(name, "1")) for name in ("high", "low")]
    sources = [Source(Rank(rank), tree.name, os.fsencode(tree), 1) for rank, tree in enumerate(trees)]
    view = view_of(sources)
    stage = Stage(view.inodes, view.known)
    return Operations(view, Directories(view), HandleResolver(view, lambda: False), Labels(view), stage)


def _broken(place: Path, error: BaseException) -> Operations:
    """Handlers that find nothing but the error in whatever they turn to."""
    operations: Any = _operations(place)
    for name in [name for name, value in vars(operations).items() if type(value).__module__.startswith("mmirrorfs")]:
        setattr(operations, name, Broken(error))
    return operations  # type: ignore[no-any-return]


def _handler(operations: Operations, name: str) -> Callable[..., Awaitable[object]]:
    handler: Callable[..., Awaitable[object]] = getattr(operations, name)
    return handler


async def _answer(operations: Operations, name: str) -> str:
    """The errno that a handler answers with."""
    with pytest.raises(pyfuse3.FUSEError) as raised:
        await _handler(operations, name)(*ARGUMENTS[name])
    return errno.errorcode[raised.value.errno]


def test_every_handler_is_put_to_these_tests() -> None:
    ours = {**vars(Writes), **vars(Operations)}
    own = {name for name, value in ours.items() if inspect.iscoroutinefunction(value)}
    own |= {name for name in ours if name in vars(pyfuse3.Operations) and not name.startswith("_")}
    handlers = {name for name in own if inspect.iscoroutinefunction(getattr(pyfuse3.Operations, name, None))}
    assert handlers == set(ARGUMENTS) | APART


@pytest.mark.parametrize("name", ARGUMENTS)
@pytest.mark.parametrize(
    "error", [ZeroDivisionError("unforeseen"), AssertionError(), KeyError(1), RecursionError()], ids=repr
)
async def test_an_unforeseen_error_is_logged_and_becomes_an_input_output_error(
    tmp_path: Path, name: str, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    assert await _answer(_broken(tmp_path, error), name) == "EIO"
    assert [(record.levelname, record.exc_info is not None) for record in caplog.records] == [("ERROR", True)]
    assert name in caplog.text


@pytest.mark.parametrize("name", ARGUMENTS)
@pytest.mark.parametrize("code", [errno.EACCES, errno.EMFILE, errno.ESTALE], ids=errno.errorcode.get)
async def test_the_error_of_a_source_is_answered_as_it_is(tmp_path: Path, name: str, code: int) -> None:
    assert await _answer(_broken(tmp_path, OSError(code, "")), name) == errno.errorcode[code]


@pytest.mark.parametrize("name", ARGUMENTS)
async def test_not_implemented_never_passes_or_the_kernel_would_not_ask_again(tmp_path: Path, name: str) -> None:
    assert await _answer(_broken(tmp_path, OSError(errno.ENOSYS, "")), name) != "ENOSYS"


@pytest.mark.parametrize("name", ARGUMENTS)
async def test_an_error_without_a_number_becomes_an_input_output_error(tmp_path: Path, name: str) -> None:
    assert await _answer(_broken(tmp_path, OSError("no number")), name) == "EIO"


@pytest.mark.parametrize("name", ARGUMENTS)
async def test_a_request_that_is_cancelled_is_answered_only_when_the_mount_ends(tmp_path: Path, name: str) -> None:
    for ending in (False, True):
        operations = _broken(tmp_path / str(ending), _cancellation())
        operations.ending = ending
        with pytest.raises(pyfuse3.FUSEError if ending else trio.Cancelled):
            await _handler(operations, name)(*ARGUMENTS[name])


def _cancellation() -> trio.Cancelled:
    return trio.Cancelled._create(source="deadline")


@pytest.mark.parametrize("name", ["read", "release", "readdir", "releasedir"])
async def test_a_handle_that_nobody_gave_out_ends_nothing(tmp_path: Path, name: str) -> None:
    operations = _operations(tmp_path)
    if name.startswith("release"):
        assert await _handler(operations, name)(999) is None
    else:
        with pytest.raises(pyfuse3.FUSEError) as raised:
            await _handler(operations, name)(999, *ARGUMENTS[name][1:])
        assert raised.value.errno == errno.EBADF


@pytest.mark.parametrize("name", ["lookup", "getattr", "readlink", "open", "opendir", "getxattr", "listxattr"])
async def test_an_inode_that_nobody_was_told_of_is_stale(tmp_path: Path, name: str) -> None:
    with pytest.raises(pyfuse3.FUSEError) as raised:
        await _handler(_operations(tmp_path), name)(12345, *ARGUMENTS[name][1:])
    assert raised.value.errno in (errno.ESTALE, errno.ENOENT)


async def test_to_forget_never_raises_whatever_it_is_told(tmp_path: Path) -> None:
    operations = _operations(tmp_path)
    found = await operations.lookup(pyfuse3.ROOT_INODE, pyfuse3.FileNameT(b"1"), pyfuse3.RequestContext())
    told = [(found.st_ino, 100), (found.st_ino, 1), (999, 1), (1, 1 << 40), (0, 0)]
    await operations.forget([(pyfuse3.InodeT(ino), nlookup) for ino, nlookup in told])
    again = await operations.lookup(pyfuse3.ROOT_INODE, pyfuse3.FileNameT(b"1"), pyfuse3.RequestContext())
    assert again.st_ino == found.st_ino


async def test_to_forget_with_a_broken_table_is_logged_and_ends_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await _broken(tmp_path, ZeroDivisionError()).forget([(pyfuse3.InodeT(5), 1)])
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


async def test_a_flush_says_not_implemented_so_that_the_kernel_spares_us_the_next(tmp_path: Path) -> None:
    with pytest.raises(pyfuse3.FUSEError) as raised:
        await _operations(tmp_path).flush(pyfuse3.FileHandleT(1))
    assert raised.value.errno == errno.ENOSYS


@pytest.mark.parametrize("name", WRITES)
async def test_whoever_would_write_is_told_that_the_view_is_read_only(tmp_path: Path, name: str) -> None:
    with pytest.raises(pyfuse3.FUSEError) as raised:
        await _handler(_operations(tmp_path), name)(*WRITES[name])
    assert raised.value.errno == errno.EROFS


@pytest.mark.parametrize("flags", [os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_CREAT | os.O_TRUNC])
async def test_to_open_for_writing_is_refused_though_the_kernel_refused_it_before(tmp_path: Path, flags: int) -> None:
    with pytest.raises(pyfuse3.FUSEError) as raised:
        await _operations(tmp_path).open(pyfuse3.InodeT(1), pyfuse3.FlagT(flags), pyfuse3.RequestContext())
    assert raised.value.errno == errno.EROFS
