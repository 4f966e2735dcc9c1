"""Announcements have no side effects: no call succeeds or answers differently because of them."""

import contextlib
import errno
import os
import re
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.held import crawled, descriptors, status
from tests.support.mounts import View, mounted
from tests.support.parity import Outcomes, command, differing, outcomes, pairs
from tests.support.parity_differences import OF_A_PLAIN_USER
from tests.support.parity_tree import shown, sources
from tests.support.polling import holds, poll
from tests.support.trees import Tree, grow
from tests.support.users import NOBODY, needs_root, output_of, run
from tests.support.watched import HOURLY
from tests.support.watcher import watcher

pytestmark = [pytest.mark.mount(seconds=90), needs_root]

TABLES = ["parity_contents", "parity_names", "parity_locks", "parity_writes"]
USERS = [0, NOBODY]
CAPABILITIES = 1 << 2 | 1 << 3 | 1 << 21
"""CAP_DAC_READ_SEARCH, CAP_FOWNER and CAP_SYS_ADMIN."""
OVERRIDE = 1 << 1
PRIVATE = 50
"""Descriptors of the private mount that are tried."""
SOURCE: Tree = {b"Ann": {b"Album": {b"1": b"track"}}}


@contextlib.contextmanager
def changing(folder: Path) -> Iterator[None]:
    """Make every kind of change in a folder of a source in a loop, until the block ends."""
    ended = threading.Event()

    def work() -> None:
        number = 0
        while not ended.is_set():
            number += 1
            (folder / "track").write_bytes(b"%d" % number)
            (folder / "come").write_bytes(b"")
            (folder / "come").rename(folder / f"{number}")
            (folder / f"{number}").unlink()
            (folder.parent / "New").mkdir()
            ended.wait(0.01)
            (folder.parent / "New").rmdir()
            ended.wait(0.01)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@contextlib.contextmanager
def busy(place: Path, *others: Path, announce: str = "auto") -> Iterator[View]:
    """A view with a watcher on it, and constant changes in one folder."""
    noise = place / "noise"
    if not noise.exists():
        grow(noise, {b"noise": {b"Album": {b"track": b"n"}}})
    options = (HOURLY, f"--announce={announce}", "-o", "allow_other")
    with mounted(place / "view", noise, *others, depth=2, options=options) as view:
        crawled(view)
        with watcher(view.mountpoint) as heard, changing(noise / "noise/Album"):
            if announce == "auto":
                heard.hears(("MOVED_TO,ISDIR", "noise/New"), ("DELETE,ISDIR", "noise/New"))
            yield view


def answers(place: Path, others: tuple[Path, Path], announce: str) -> dict[tuple[str, int], Outcomes]:
    """The results of each table of system calls, as root and as a plain user, while another folder changes."""
    with busy(place, *others, announce=announce) as view:
        top = shown(place, view.mountpoint)
        return {(table, user): outcomes(output_of(*command(table, user, top))) for table in TABLES for user in USERS}


def is_of_no_view(call: str, subject: str) -> bool:
    """Whether a result differs between any two mounts: device number, and what is beside the root."""
    return "st_dev" in call or (subject == "root" and "beside" in call)


@pytest.mark.mount(seconds=180)
def test_announcing_changes_no_result_of_any_system_call(place: Path) -> None:
    """Except for writes of a plain user without permission: EACCES takes precedence, as in a plain folder."""
    place.chmod(0o755)
    with sources(place) as others:
        silent, found = (answers(place, others, how) for how in ("off", "auto"))
    for table, user in silent:
        both = silent[table, user], found[table, user]
        different = {key: what for key, what in differing(*both).items() if not is_of_no_view(*key)}
        if user and table == "parity_writes":
            allowed = pairs(OF_A_PLAIN_USER, table)
            different = {
                key: what for key, what in different.items() if key not in allowed or what != ("EROFS", "EACCES")
            }
        assert different == {}, f"{table} as {user}"


def test_announcing_gives_nobody_a_way_to_write_or_to_see_the_private_mount(place: Path) -> None:
    with busy(place, grow(place / "high", SOURCE)) as view:
        check_cap_dac_override_is_in_effect_only_while_announcing(view)
        check_private_directory_is_never_listed(view)
        check_private_mount_refuses_writes(view)
        check_every_write_is_refused_after_a_remount_read_write(view)


def check_every_write_is_refused_after_a_remount_read_write(view: View) -> None:
    output_of("mount", "-o", "remount,bind,rw", view.mountpoint)
    for words in (
        ("touch", "new"),
        ("mkdir", "new"),
        ("mkfifo", "new"),
        ("ln", "-s", "a", "new"),
        ("ln", "Ann/Album/1", "new"),
        ("rm", "-f", "Ann/Album/1"),
        ("rmdir", "noise/Album"),
        ("mv", "Ann", "new"),
        ("mv", "Ann/Album/1", "Ann/Album/2"),
        ("chmod", "0", "Ann"),
        ("chown", "1", "Ann/Album/1"),
        ("truncate", "-s", "0", "noise/Album/track"),
        ("touch", "noise/Album/track"),
        ("setfattr", "-n", "user.a", "-v", "b", "Ann"),
        ("dd", "if=/dev/zero", "of=noise/Album/track", "conv=notrunc", "count=1"),
    ):
        done = run("env", "-C", view.mountpoint, *words)
        assert done.returncode, words
        assert b"Read-only file system" in done.stderr, words


def check_private_directory_is_never_listed(view: View) -> None:
    names = set()
    for _ in range(300):
        names |= set(os.listdir(view.mountpoint))
        names |= set(os.listdir(view.mountpoint / "noise")) - {"New"}
    assert names == {"Ann", "noise", "Album"}


def check_private_mount_refuses_writes(view: View) -> None:
    """Root reaches it by /proc/PID/fd while it exists."""
    device, errors, met = os.stat(view.mountpoint).st_dev, set[str](), 0
    for _ in range(20_000):
        for name in os.listdir(f"/proc/{view.pid}/fd"):
            found = tried(f"/proc/{view.pid}/fd/{name}", device)
            errors |= found
            met += bool(found)
        if met >= PRIVATE:
            break
    assert errors <= {"EROFS", "ENOENT", "ENOTDIR", "EACCES"}
    assert "EROFS" in errors


def tried(link: str, device: int) -> set[str]:
    """The errors of attempts to write below a directory of that device; none where the link leads elsewhere."""
    try:
        fd = os.open(link, os.O_PATH)
    except OSError:  # closed meanwhile
        return set()
    try:
        st = os.fstat(fd)
        return attempted(fd) if stat.S_ISDIR(st.st_mode) and st.st_dev == device else set()
    finally:
        os.close(fd)


def attempted(directory: int) -> set[str]:
    """The errors of attempts to write below a directory, and ``done`` for one that succeeds."""
    found = set()
    attempts: list[Callable[[], object]] = [
        lambda: os.mkdir("new", dir_fd=directory),
        lambda: os.open("Ann/Album/1", os.O_WRONLY, dir_fd=directory),
        lambda: os.rename("Ann/Album", "Ann/Other", src_dir_fd=directory, dst_dir_fd=directory),
        lambda: os.utime("Ann", dir_fd=directory),
    ]
    for attempt in attempts:
        try:
            attempt()
        except OSError as error:
            found.add(errno.errorcode[error.errno or 0])
        else:
            found.add("done")
    return found


def test_a_new_file_once_found_stays_found_under_its_inode_number(place: Path) -> None:
    """A process that stats a new name in a loop never gets ENOENT again, nor another inode number."""
    high = grow(place / "high", SOURCE)
    low = grow(place / "low", {b"Other": {}})
    with mounted(place / "view", high, low, depth=2, options=[HOURLY]) as view, watcher(view.mountpoint) as heard:
        crawled(view)
        for number in range(60):
            name = f"Ann/Album/new {number}"
            (high / name).write_bytes(b"n")
            poll((view.mountpoint / name).exists, "the file")
            ino = os.stat(view.mountpoint / name).st_ino
            while ("MOVED_TO", name) not in heard.events():
                for _ in range(50):
                    st = os.stat(view.mountpoint / name)
                    assert (st.st_ino, st.st_size) == (ino, 1)
            assert os.stat(view.mountpoint / name).st_ino == ino


def check_cap_dac_override_is_in_effect_only_while_announcing(view: View) -> None:
    seen: list[list[tuple[int, int]]] = []

    def is_seen() -> bool:
        seen.append(capabilities(view))
        return len(seen) > 100 and any(found != CAPABILITIES for one in seen for found, _ in one)

    poll(is_seen, "one more capability in effect, after a hundred checks", 30)
    effective = {found for one in seen for found, _ in one}
    assert {permitted for one in seen for _, permitted in one} == {CAPABILITIES | OVERRIDE}
    assert effective == {CAPABILITIES, CAPABILITIES | OVERRIDE}
    assert all([found for found, _ in one].count(CAPABILITIES | OVERRIDE) <= 2 for one in seen)


def capabilities(view: View) -> list[tuple[int, int]]:
    """(effective, permitted) capabilities of each thread."""
    found = []
    for thread in os.listdir(f"/proc/{view.pid}/task"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            text = Path(f"/proc/{view.pid}/task/{thread}/status").read_text()
            words = [re.search(rf"Cap{kind}:\s*(\w+)", text) for kind in ("Eff", "Prm")]
            found.append((int(words[0][1], 16), int(words[1][1], 16)) if words[0] and words[1] else (0, 0))
    return found


@pytest.mark.parametrize("how", [("umount",), ("umount", "-l")], ids=["at once", "lazily"])
def test_an_unmount_while_announcing_succeeds_at_once(place: Path, how: tuple[str, ...]) -> None:
    """Announcing keeps no reference to the view that makes unmounting fail with EBUSY."""
    high, low = grow(place / "high", {b"noise": {b"Album": {b"track": b"n"}}}), grow(place / "low", {b"Other": {}})
    with changing(high / "noise/Album"):
        for _ in range(5):
            with mounted(place / "view", high, low, depth=2, options=[HOURLY]) as view:
                os.listdir(view.mountpoint / "noise/Album")
                with watcher(view.mountpoint) as heard:
                    heard.hears(("MOVED_TO,ISDIR", "noise/New"))
                done = run(*how, view.mountpoint)
                assert (done.returncode, done.stderr) == (0, b"")
                assert view.await_end() == 0


def test_events_of_20000_new_files_are_bounded(place: Path) -> None:
    """The watcher gets some of the events, no queue overflows, and the daemon keeps no descriptor."""
    high = grow(place / "high", {b"Ann": {b"%02d" % album: {b"1": b"track"} for album in range(20)}})
    low = grow(place / "low", {b"Other": {}})
    with mounted(place / "view", high, low, depth=2, options=[HOURLY]) as view, watcher(view.mountpoint) as heard:
        crawled(view)
        before = descriptors(view)
        for number in range(20_000):
            os.close(os.open(high / f"Ann/{number % 20:02}/{number}", os.O_CREAT | os.O_WRONLY))
        grow(high, {b"Last": {}})
        heard.hears(("MOVED_TO,ISDIR", "Last"), seconds=60)
        poll(lambda: len(os.listdir(view.mountpoint / "Ann/19")) == 1001, "all of them", 30)
        albums = {f"Ann/{album:02}" for album in range(20)}
        poll(lambda: albums <= {os.path.dirname(path) for _, path in heard.events()}, "some of each", 30)
        told = heard.events()
        assert not [event for event in told if "OVERFLOW" in event[0]]
        assert len(told) < 20_000 or status(view)["announce"]["left_out"] == 0
        assert holds(lambda: descriptors(view) <= before)
