"""Event keys of directories: unique, and stable until removal."""

import errno
import os
import sys
import threading
from pathlib import Path

import pytest

from mmirrorfs.source import handles
from mmirrorfs.source.handles import Support, fsid_of, handle_of
from tests.support.changes import opened, output_as_plain_user
from tests.support.marking import key_of


@pytest.fixture
def where(tmp_path: Path) -> Path:
    if not key_of(tmp_path):
        pytest.skip(f"{tmp_path} is on a filesystem without file handles")
    return tmp_path


def test_each_directory_has_its_own_key_which_survives_renaming(where: Path) -> None:
    (where / "one").mkdir()
    (where / "two").mkdir()
    one, two = key_of(where / "one"), key_of(where / "two")
    assert one != two
    assert one == key_of(where / "one")
    (where / "one").rename(where / "two/renamed")
    assert key_of(where / "two/renamed") == one


def test_a_directory_replaced_at_its_path_has_another_key(where: Path) -> None:
    keys = set()
    for _ in range(20):  # whose inode number is used again
        (where / "d").mkdir()
        keys.add(key_of(where / "d"))
        (where / "d").rmdir()
    assert len(keys) == 20


def test_a_key_begins_with_the_fsid(where: Path) -> None:
    with opened(where) as fd:
        assert handle_of(fd) == handle_of(fd, fsid_of(fd))
        assert handle_of(fd)[:8] == fsid_of(fd)
        assert int.from_bytes(fsid_of(fd), sys.byteorder) == os.fstatvfs(fd).f_fsid
        assert handle_of(fd, b"12345678")[:8] == b"12345678"


def test_concurrent_threads_get_their_own_keys(where: Path) -> None:
    names = [where / str(number) for number in range(4)]
    for name in names:
        name.mkdir()
    expected = {name: key_of(name) for name in names}
    wrong: list[Path] = []

    def ask(name: Path) -> None:
        with opened(name) as fd:
            wrong.extend(name for _ in range(5000) if handle_of(fd) != expected[name])

    threads = [threading.Thread(target=ask, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_kernel_without_at_handle_fid_gives_the_same_keys(where: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = key_of(where)
    unknown = 0x40000000
    monkeypatch.setattr(Support, "flags", Support.flags | unknown | handles._AT_HANDLE_FID)
    assert key_of(where) == before
    assert not Support.flags & (handles._AT_HANDLE_FID | unknown), "the unsupported flag is detected once"


def test_a_closed_descriptor_raises_ebadf(where: Path) -> None:
    with opened(where) as fd:
        pass
    with pytest.raises(OSError, match="Bad file descriptor") as caught:
        handle_of(fd)
    assert caught.value.errno == errno.EBADF


def test_a_filesystem_without_handles_gives_an_empty_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Support, "flags", handles._AT_EMPTY_PATH)
    assert key_of(Path("/proc")) == b""


def test_a_plain_user_gets_keys_too(place: Path) -> None:
    script = (
        "import os; from mmirrorfs.source.handles import handle_of; print(handle_of(os.open('/', os.O_RDONLY)).hex())"
    )
    assert output_as_plain_user(place, script).strip() == key_of(Path("/")).hex()
