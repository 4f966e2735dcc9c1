"""Request handlers raise nothing but FUSEError, whatever fails under them: pyfuse3 ends the mount for anything else.

A real Operations object over a real view whose parts are replaced by ones that raise.
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

CALLER = pyfuse3.RequestContext()
"""A caller with thread id 0."""
ARGUMENTS: dict[str, tuple[object, ...]] = {
    "lookup": (1, b"1", CALLER),
    "getattr": (1, CALLER),
    "setattr": (1, None, None, None, CALLER),
    "readlink": (1, CALLER),
    "open": (1, os.O_RDONLY, CALLER),
    "read": (1, 0, 4096),
    "release": (1,),
    "opendir": (1, CALLER),
    "readdir": (1, 0, None),
    "releasedir": (1,),
    "statfs": (CALLER,),
    "getxattr": (1, b"user.x", CALLER),
    "listxattr": (1, CALLER),
    "rename": (1, b"1", 1, b"2", 0, CALLER),
    "unlink": (1, b"1", CALLER),
    "rmdir": (1, b"1", CALLER),
}
"""The handlers that use the view, with arguments for each."""
WRITES: dict[str, tuple[object, ...]] = {
    **{name: ARGUMENTS[name] for name in ("setattr", "rename", "unlink", "rmdir")},
    "mkdir": (1, b"2", 0o755, CALLER),
    "mknod": (1, b"2", 0o644, 0, CALLER),
    "create": (1, b"2", 0o644, os.O_WRONLY, CALLER),
    "symlink": (1, b"2", b"1", CALLER),
    "link": (1, 1, b"2", CALLER),
    "write": (0, 0, b"x"),
    "setxattr": (1, b"user.x", b"", CALLER),
    "removexattr": (1, b"user.x", CALLER),
}
"""The handlers of writes, which are refused to any process but an announcer."""
EXEMPT = {"flush", "forget", *WRITES.keys() - ARGUMENTS.keys()}
"""flush raises ENOSYS on purpose, and forget has no reply."""


class Broken:
    """Replaces a part of the view; any use of it raises."""

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
    """Handlers over parts that raise the error."""
    operations: Any = _operations(place)
    for name in [name for name, value in vars(operations).items() if type(value).__module__.startswith("mmirrorfs")]:
        setattr(operations, name, Broken(error))
    return operations  # type: ignore[no-any-return]


def _handler(operations: Operations, name: str) -> Callable[..., Awaitable[object]]:
    handler: Callable[..., Awaitable[object]] = getattr(operations, name)
    return handler


async def _error_of(operations: Operations, name: str) -> str:
    """The name of the errno that a handler replies with."""
    with pytest.raises(pyfuse3.FUSEError) as raised:
        await _handler(operations, name)(*ARGUMENTS[name])
    return errno.errorcode[raised.value.errno]


def test_every_handler_is_tested_here() -> None:
    ours = {**vars(Writes), **vars(Operations)}
    own = {name for name, value in ours.items() if inspect.iscoroutinefunction(value)}
    own |= {name for name in ours if name in vars(pyfuse3.Operations) and not name.startswith("_")}
    handlers = {name for name in own if inspect.iscoroutinefunction(getattr(pyfuse3.Operations, name, None))}
    assert handlers == set(ARGUMENTS) | EXEMPT


@pytest.mark.parametrize("name", ARGUMENTS)
@pytest.mark.parametrize(
    "error", [ZeroDivisionError("unexpected"), AssertionError(), KeyError(1), RecursionError()], ids=repr
)
async def test_an_unexpected_exception_is_logged_and_becomes_eio(
    tmp_path: Path, name: str, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    assert await _error_of(_broken(tmp_path, error), name) == "EIO"
    assert [(record.levelname, record.exc_info is not None) for record in caplog.records] == [("ERROR", True)]
    assert name in caplog.text


@pytest.mark.parametrize("name", ARGUMENTS)
@pytest.mark.parametrize("code", [errno.EACCES, errno.EMFILE, errno.ESTALE], ids=errno.errorcode.get)
async def test_an_oserror_of_a_source_is_passed_on_with_its_errno(tmp_path: Path, name: str, code: int) -> None:
    assert await _error_of(_broken(tmp_path, OSError(code, "")), name) == errno.errorcode[code]


@pytest.mark.parametrize("name", ARGUMENTS)
async def test_enosys_of_a_source_is_never_passed_on(tmp_path: Path, name: str) -> None:
    assert await _error_of(_broken(tmp_path, OSError(errno.ENOSYS, "")), name) != "ENOSYS"


@pytest.mark.parametrize("name", ARGUMENTS)
async def test_an_oserror_without_errno_becomes_eio(tmp_path: Path, name: str) -> None:
    assert await _error_of(_broken(tmp_path, OSError("no number")), name) == "EIO"


@pytest.mark.parametrize("name", ARGUMENTS)
async def test_a_cancelled_request_raises_fuseerror_only_while_the_mount_ends(tmp_path: Path, name: str) -> None:
    for ending in (False, True):
        operations = _broken(tmp_path / str(ending), _cancellation())
        operations.ending = ending
        with pytest.raises(pyfuse3.FUSEError if ending else trio.Cancelled):
            await _handler(operations, name)(*ARGUMENTS[name])


def _cancellation() -> trio.Cancelled:
    return trio.Cancelled._create(source="deadline")


@pytest.mark.parametrize("name", ["read", "release", "readdir", "releasedir"])
async def test_an_unknown_file_handle_is_ebadf_and_its_release_is_ignored(tmp_path: Path, name: str) -> None:
    operations = _operations(tmp_path)
    if name.startswith("release"):
        assert await _handler(operations, name)(999) is None
    else:
        with pytest.raises(pyfuse3.FUSEError) as raised:
            await _handler(operations, name)(999, *ARGUMENTS[name][1:])
        assert raised.value.errno == errno.EBADF


@pytest.mark.parametrize("name", ["lookup", "getattr", "readlink", "open", "opendir", "getxattr", "listxattr"])
async def test_an_inode_that_was_never_replied_is_stale(tmp_path: Path, name: str) -> None:
    with pytest.raises(pyfuse3.FUSEError) as raised:
        await _handler(_operations(tmp_path), name)(12345, *ARGUMENTS[name][1:])
    assert raised.value.errno in (errno.ESTALE, errno.ENOENT)


async def test_forget_accepts_unknown_inodes_and_counts_that_are_too_high(tmp_path: Path) -> None:
    operations = _operations(tmp_path)
    found = await operations.lookup(pyfuse3.ROOT_INODE, pyfuse3.FileNameT(b"1"), pyfuse3.RequestContext())
    forgets = [(found.st_ino, 100), (found.st_ino, 1), (999, 1), (1, 1 << 40), (0, 0)]
    await operations.forget([(pyfuse3.InodeT(ino), nlookup) for ino, nlookup in forgets])
    again = await operations.lookup(pyfuse3.ROOT_INODE, pyfuse3.FileNameT(b"1"), pyfuse3.RequestContext())
    assert again.st_ino == found.st_ino


async def test_an_unexpected_exception_in_forget_is_logged_and_not_raised(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await _broken(tmp_path, ZeroDivisionError()).forget([(pyfuse3.InodeT(5), 1)])
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


async def test_flush_is_enosys_so_that_the_kernel_sends_no_more_of_them(tmp_path: Path) -> None:
    with pytest.raises(pyfuse3.FUSEError) as raised:
        await _operations(tmp_path).flush(pyfuse3.FileHandleT(1))
    assert raised.value.errno == errno.ENOSYS


@pytest.mark.parametrize("name", WRITES)
async def test_every_write_is_erofs(tmp_path: Path, name: str) -> None:
    with pytest.raises(pyfuse3.FUSEError) as raised:
        await _handler(_operations(tmp_path), name)(*WRITES[name])
    assert raised.value.errno == errno.EROFS


@pytest.mark.parametrize("flags", [os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_CREAT | os.O_TRUNC])
async def test_open_for_writing_is_erofs_also_if_the_kernel_lets_it_through(tmp_path: Path, flags: int) -> None:
    with pytest.raises(pyfuse3.FUSEError) as raised:
        await _operations(tmp_path).open(pyfuse3.InodeT(1), pyfuse3.FlagT(flags), pyfuse3.RequestContext())
    assert raised.value.errno == errno.EROFS
