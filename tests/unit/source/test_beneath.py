"""Opening paths beneath a root: openat2 and the fallback walk must behave alike."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from mmirrorfs.source import beneath
from mmirrorfs.source.beneath import CONTENT, DIRECTORY, PATH_ONLY, Support, open_beneath
from tests.support.build import deep
from tests.support.trees import Fifo, Link, grow


@pytest.fixture(params=["openat2", "walk"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both implementations: a test with this fixture runs twice."""
    if request.param == "walk":
        monkeypatch.setattr(Support, "openat2", False)
    elif not Support.openat2:
        pytest.skip("no openat2 here")
    return str(request.param)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    grow(tmp_path / "outside", {"secret": "!", "dir": {"secret": "!"}})
    return grow(
        tmp_path / "root",
        {
            "dir": {"inner": {"file": "bytes"}},
            "file": "bytes",
            "fifo": Fifo(),
            "link": Link("file"),
            "links": {"up": Link("../../outside"), "within": Link("../dir"), "dangling": Link("nowhere")},
        },
    )


def open_(root: Path, path: str | bytes, flags: int, cached: bool = False) -> int:
    return open_beneath(os.fsencode(root), os.fsencode(path), flags, cached)


def contents(root: Path, path: str | bytes) -> bytes:
    with open(open_(root, path, CONTENT), "rb") as file:
        return file.read()


def code_of(root: Path, path: str | bytes, flags: int) -> int | None:
    """The errno of an open, or None if it succeeds."""
    try:
        os.close(open_(root, path, flags))
    except OSError as error:
        return error.errno
    return None


@pytest.fixture(autouse=True)
def no_descriptor_is_left() -> Iterator[None]:
    before = os.listdir("/proc/self/fd")
    yield
    assert os.listdir("/proc/self/fd") == before


def test_files_and_directories_are_opened_at_any_level(root: Path, way: str) -> None:
    assert contents(root, "file") == contents(root, "dir/inner/file") == b"bytes"
    for path in ("", "dir", "dir/inner"):
        fd = open_(root, path, DIRECTORY)
        assert os.path.samestat(os.fstat(fd), os.stat(root / path))
        os.close(fd)


@pytest.mark.parametrize(
    ("path", "flags"),
    [
        ("link", CONTENT),
        ("links/up", CONTENT),
        ("links/dangling", CONTENT),
        ("links/up/secret", CONTENT),
        ("links/up/dir/secret", CONTENT),
        ("links/within/inner", DIRECTORY),
        ("links/within/inner/file", PATH_ONLY),
        ("links/within/inner/file", CONTENT),
    ],
)
def test_a_link_in_any_position_is_an_error(root: Path, way: str, path: str, flags: int) -> None:
    assert code_of(root, path, flags) == errno.ELOOP


def test_a_link_itself_can_be_opened_with_o_path(root: Path, way: str) -> None:
    fd = open_(root, "links/up", PATH_ONLY)
    assert os.readlink(b"", dir_fd=fd) == b"../../outside"
    os.close(fd)


@pytest.mark.parametrize(
    ("path", "flags", "code"),
    [
        ("none", PATH_ONLY, errno.ENOENT),
        ("none/file", PATH_ONLY, errno.ENOENT),
        ("dir/none", CONTENT, errno.ENOENT),
        ("file/below", PATH_ONLY, errno.ENOTDIR),
        ("dir/inner/file/below", CONTENT, errno.ENOTDIR),
        ("file", DIRECTORY, errno.ENOTDIR),
        ("dir/inner/file", DIRECTORY, errno.ENOTDIR),
        ("links/within", DIRECTORY, errno.ENOTDIR),
        ("links/up", DIRECTORY, errno.ENOTDIR),
        (b"n" * 256, PATH_ONLY, errno.ENAMETOOLONG),
    ],
)
def test_other_errors_are_those_of_the_kernel(root: Path, way: str, path: str | bytes, flags: int, code: int) -> None:
    assert code_of(root, path, flags) == code


def test_a_missing_root_gives_enoent(root: Path, way: str) -> None:
    assert code_of(root / "none", "file", CONTENT) == errno.ENOENT


def test_names_that_are_not_utf_8_are_opened(root: Path, way: str) -> None:
    name = b"caf\xe9"
    with open(os.path.join(os.fsencode(root), name), "wb") as file:
        file.write(b"odd")
    assert contents(root, name) == b"odd"


def test_opening_a_fifo_does_not_block(root: Path, way: str) -> None:
    assert code_of(root, "fifo", CONTENT) is None


@pytest.mark.parametrize(("levels", "name"), [(30, "n" * 200), (1500, "ddd"), (17, "n" * 255)])
def test_paths_longer_than_path_max_are_opened(root: Path, way: str, levels: int, name: str) -> None:
    with deep(root, levels, name) as path:
        assert len(path) > 4096
        assert contents(root, path + "/file") == b"deep"
        assert code_of(root, path + "/link", CONTENT) == errno.ELOOP
        assert code_of(root, path + "/none", CONTENT) == errno.ENOENT
        assert code_of(root, path + "/file", DIRECTORY) == errno.ENOTDIR


def test_cached_opens_succeed_for_cached_inodes_and_raise_eagain_otherwise(root: Path, way: str) -> None:
    for _ in range(2):
        try:
            fd = open_(root, "dir/inner/file", CONTENT, cached=True)
        except BlockingIOError:
            fd = open_(root, "dir/inner/file", CONTENT)
        assert os.read(fd, 10) == b"bytes"
        os.close(fd)
    assert Support.cached


def test_a_kernel_without_openat2_is_detected_by_the_first_call(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beneath, "_SYS_OPENAT2", 100_000)  # ENOSYS everywhere
    monkeypatch.setattr(Support, "openat2", True)
    assert contents(root, "dir/inner/file") == b"bytes"
    assert not Support.openat2
    assert code_of(root, "links/up/secret", CONTENT) == errno.ELOOP


def test_a_kernel_without_openat2_is_detected_on_a_long_path_too(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beneath, "_SYS_OPENAT2", 100_000)
    monkeypatch.setattr(Support, "openat2", True)
    with deep(root, 30, "n" * 200) as path:
        assert contents(root, path + "/file") == b"deep"


def test_eperm_of_a_single_file_does_not_disable_openat2(root: Path) -> None:
    if not Support.openat2:
        pytest.skip("no openat2 here")
    assert code_of(root, "file", os.O_RDONLY | os.O_DIRECTORY) == errno.ENOTDIR
    assert Support.openat2


def test_without_resolve_cached_every_cached_open_raises_eagain(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not Support.openat2:
        pytest.skip("no openat2 here")
    monkeypatch.setattr(beneath, "_RESOLVE_CACHED", 1 << 40)  # EINVAL, as an unknown flag gives
    monkeypatch.setattr(beneath, "_hows", {})
    monkeypatch.setattr(Support, "cached", True)
    for _ in range(2):
        with pytest.raises(BlockingIOError):
            open_(root, "file", CONTENT, cached=True)
        assert not Support.cached
    os.close(open_(root, "file", CONTENT))
