"""A hung source delays its own readers and nobody else."""

import errno
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.handles import forget, handle_of, opened
from tests.support.hanging import Hanging
from tests.support.hung import (
    READERS,
    SIZE,
    check_the_rest,
    check_the_rest_for,
    content,
    hanging_view,
    soon,
    stuck_readers,
)
from tests.support.mounts import View
from tests.support.polling import poll
from tests.support.readers import readers
from tests.support.trees import Tree, grow
from tests.support.users import needs_root

pytestmark = needs_root


@pytest.fixture(scope="module")
def shared(shared_place: Path) -> Iterator[tuple[Hanging, View]]:
    """A source that can hang, and one view for all tests that leave both as they were."""
    with hanging_view(shared_place) as (source, view):
        yield source, view


@pytest.fixture
def hung(shared: tuple[Hanging, View]) -> Iterator[tuple[Hanging, View]]:
    """The shared source, which answers before and after the test, and its view."""
    source, view = shared
    check_the_rest(view)
    try:
        yield source, view
    finally:
        source.go_on()


def open_files(view: View) -> int:
    """Files that the daemon has open, as its status says."""
    return int(json.loads(os.getxattr(view.mountpoint, "user.mmirrorfs.status"))["open_files"])


@pytest.mark.parametrize("hang", ["all", "reads"])
def test_readers_of_a_hung_source_delay_nobody_else(place: Path, hang: str) -> None:
    with hanging_view(place, hang) as (source, view), stuck_readers(place, source, view) as stuck:
        check_the_rest_for(view, 1.5)
        assert stuck.done == 0
        source.go_on()
        assert stuck.answers(20) == [content(number).hex() for number in range(READERS)]
        check_the_rest(view)
        assert (view.mountpoint / "Slow/One/track").read_bytes() == b"s"


def test_readahead_works_for_others_while_readahead_of_a_hung_source_is_stuck(place: Path) -> None:
    """FUSE allows 12 background requests by default: with more stuck readers than that, all others would stop."""

    def large(place: Path) -> tuple[Path, Path]:
        many: Tree = {b"%02d" % number: bytes(300_000) for number in range(40)}
        fast: Tree = {b"Both": {b"Fast": {b"track": bytes(4_000_000)}}}
        return grow(place / "under", {b"Both": {b"Slow": many}}), grow(place / "fast", fast)

    with (
        hanging_view(place, "reads", grown=large) as (source, view),
        readers([view.mountpoint / f"Both/Slow/{number:02}" for number in range(40)], place / "answers") as stuck,
    ):
        source.hang()
        stuck.start()
        poll(lambda: stuck.reading == 40, "stuck readers")
        assert len(soon((view.mountpoint / "Both/Fast/track").read_bytes)) == 4_000_000
        assert stuck.done == 0
        source.go_on()
        assert len(stuck.answers(20)) == 40


@pytest.mark.parametrize("refresh", ["--refresh=1", "--refresh=0"])
def test_a_source_that_hangs_before_its_first_use_delays_nobody(place: Path, refresh: str) -> None:
    with hanging_view(place, options=(refresh,)) as (source, view):
        source.hang()
        check_the_rest_for(view, 1.5)
        source.go_on()
        assert (view.mountpoint / "Both/Slow/007").read_bytes() == content(7)


def test_an_open_loose_file_of_a_hung_source_delays_nobody(place: Path, hung: tuple[Hanging, View]) -> None:
    source, view = hung
    with open(view.mountpoint / "Both/loose", "rb") as file:
        assert os.path.getsize(view.mountpoint / "Both/loose") == 1
        assert soon(lambda: os.fstat(file.fileno()).st_size) == 1
        source.hang()
        poll(lambda: source.figures.held, "a rescan that is stuck")
        for _ in range(3):
            assert soon(lambda: os.fstat(file.fileno()).st_size) == 1
            check_the_rest_for(view, 1)
        source.go_on()
        assert file.read() == b"s"


def test_closing_files_of_a_hung_source_delays_nobody(place: Path, hung: tuple[Hanging, View]) -> None:
    source, view = hung
    files = [os.open(view.mountpoint / f"Both/Slow/{number:03}", os.O_RDONLY) for number in range(50)]
    source.hang()
    for fd in files:
        soon(lambda fd=fd: os.close(fd))  # type: ignore[misc]
    check_the_rest_for(view, 2)
    source.go_on()
    poll(lambda: open_files(view) == 0, "the files closed")


def test_lookups_stuck_in_a_folder_block_no_directory_above_it(place: Path) -> None:
    with hanging_view(place) as (source, view):
        source.hang()
        paths = [view.mountpoint / f"Both/Slow/{number:03}" for number in range(5)]
        stuck = [subprocess.Popen(["ls", path], stdout=subprocess.DEVNULL) for path in paths]
        poll(lambda: source.figures.held > 0, "a lookup that is stuck")
        check_the_rest_for(view, 2)
        assert [process.poll() for process in stuck] == [None] * 5
        source.go_on()
        assert [process.wait(10) for process in stuck] == [0] * 5


def test_statfs_leaves_out_a_hung_source(place: Path, hung: tuple[Hanging, View]) -> None:
    source, view = hung
    both = soon(lambda: os.statvfs(view.mountpoint)).f_blocks
    source.hang()
    alone = soon(lambda: os.statvfs(view.mountpoint)).f_blocks
    assert both - alone == 1000, "the hung source has 1000 blocks"
    assert [soon(lambda: os.statvfs(view.mountpoint)).f_blocks for _ in range(5)] == [alone] * 5
    source.go_on()
    poll(lambda: os.statvfs(view.mountpoint).f_blocks == both, "both sources counted again")


def test_a_cached_listing_is_served_while_the_source_hangs(place: Path, hung: tuple[Hanging, View]) -> None:
    source, view = hung
    names = os.listdir(view.mountpoint / "Both/Slow")
    source.hang()
    for _ in range(5):
        assert soon(lambda: os.listdir(view.mountpoint / "Both/Slow")) == names
        assert soon(lambda: os.path.getsize(view.mountpoint / "Both/Slow/007")) == SIZE


def test_a_source_lost_while_it_hangs_keeps_its_names_and_reads_fail_with_eio(place: Path) -> None:
    with hanging_view(place) as (source, view), stuck_readers(place, source, view) as stuck:
        view.expect("source slow .* is lost: .*")
        check_the_rest(view)
        source.abort()
        poll(lambda: "is lost" in view.text(), "the warning")
        check_the_rest_for(view, 2)
        with pytest.raises(OSError, match="Input/output error"):
            (view.mountpoint / "Slow/One/track").read_bytes()
        answers = stuck.answers(10)
        assert {answer for answer in answers if isinstance(answer, int)} == {errno.EIO}
        assert set(answers) <= {errno.EIO, *(content(number).hex() for number in range(READERS))}


def test_a_handle_of_another_source_resolves_while_a_source_hangs(place: Path, hung: tuple[Hanging, View]) -> None:
    source, view = hung
    kept = handle_of(view.mountpoint / "Fast/One/track")
    forget()
    source.hang()
    for _ in range(40):
        with soon(lambda: opened(view.mountpoint, kept)) as fd:
            assert os.pread(fd, 1, 0) == b"f"
        forget()
    check_the_rest(view)
