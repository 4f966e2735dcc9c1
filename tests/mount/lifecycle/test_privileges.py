"""Capabilities of the processes of a view: none that they do not need, and none missing."""

import os
import re
import signal
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest

from tests.support.disks import disk
from tests.support.kernel import alive
from tests.support.mounts import View, mounted
from tests.support.namespace import namespace
from tests.support.plain import plain_view
from tests.support.polling import holds, poll
from tests.support.running import foreground
from tests.support.trees import Tree, folders, grow
from tests.support.users import NOBODY, need, needs_root, output_of, run
from tests.support.watched import HOURLY

pytestmark = [pytest.mark.mount(seconds=90), needs_root]

OVERRIDE, NEEDED = 1 << 1, 1 << 2 | 1 << 3 | 1 << 21
"""CAP_DAC_OVERRIDE; CAP_DAC_READ_SEARCH, CAP_FOWNER and CAP_SYS_ADMIN."""
NUMBERS = {"dac_override": 1 << 1, "dac_read_search": 1 << 2, "fowner": 1 << 3}
CRAWLING = 1 << 2 | 1 << 3
LARGE: Tree = {b"%02d" % artist: {b"%02d" % album: {b"1": b"t"} for album in range(100)} for artist in range(40)}


def capabilities(directory: str) -> dict[str, int]:
    """The capability sets (Inh, Prm, Eff, Bnd, Amb) and NoNewPrivs of a process or thread."""
    text = Path(f"/proc/{directory}/status").read_text()
    found = {kind: int(value, 16) for kind, value in re.findall(r"^Cap(\w+):\s*(\w+)$", text, re.MULTILINE)}
    return found | {"NoNewPrivs": int(text.partition("NoNewPrivs:")[2].split()[0])}


OWN = capabilities("self")
"""Of the test process, and so of what it starts."""


def capabilities_of_threads(pid: int) -> list[dict[str, int]]:
    """The same for each thread of a process, without CAP_DAC_OVERRIDE in Eff, which comes and goes."""
    found = []
    for thread in os.listdir(f"/proc/{pid}/task"):
        try:
            found.append(capabilities(f"{pid}/task/{thread}"))
        except (FileNotFoundError, ProcessLookupError):
            continue
        found[-1]["Eff"] &= ~OVERRIDE
    return found


def irrevocable(permitted: int) -> dict[str, int]:
    """The sets of a thread that can never regain more than ``permitted``."""
    effective = permitted & ~OVERRIDE
    return {"Inh": 0, "Prm": permitted, "Eff": effective, "Bnd": permitted, "Amb": 0, "NoNewPrivs": 1}


@pytest.fixture
def sources(place: Path) -> list[Path]:
    """Two overlapping sources."""
    return [grow(place / "high", folders("h", "1", "2")), grow(place / "low", folders("l", "2", "3"))]


@pytest.mark.parametrize(
    ("options", "permitted"),
    [
        ([], NEEDED | OVERRIDE),
        (["--announce=off"], NEEDED),
        (["--announce=off", "--watch=off"], NEEDED),
        (["--announce=off", "--log=LOG"], NEEDED | OVERRIDE),
    ],
    ids=["as usual", "without announcements", "polled", "with a log"],
)
@pytest.mark.parametrize("background", [False, True], ids=["foreground", "background"])
def test_the_daemon_keeps_the_capabilities_that_its_options_need(
    place: Path, sources: list[Path], options: list[str], permitted: int, background: bool
) -> None:
    words = [option.replace("LOG", f"{place}/log") for option in options]
    with mounted(place / "view", *sources, options=words, background=background) as view:
        assert (view.mountpoint / "1/track").read_bytes() == b"h1"
        threads = capabilities_of_threads(view.pid)
        assert len(threads) > 1
        assert [one for one in threads if one != irrevocable(permitted)] == []


def test_the_on_change_command_has_the_capabilities_of_the_caller(place: Path, sources: list[Path]) -> None:
    told = place / "told"
    command = f"cat /proc/self/status >{told}.new; mv {told}.new {told}"
    with mounted(place / "view", *sources, options=[HOURLY, f"--on-change={command}"]) as view:
        expected = irrevocable(NEEDED | OVERRIDE) | {"Bnd": OWN["Bnd"], "NoNewPrivs": OWN["NoNewPrivs"]}
        assert [one for one in capabilities_of_threads(view.pid) if one != expected] == []
        grow(sources[0] / "4", {b"1": b"1"})
        poll(told.exists, "the command")
        for kind in ("Prm", "Eff", "Bnd"):
            assert f"Cap{kind}:\t{OWN['Bnd']:016x}\n" in told.read_text()
        assert f"NoNewPrivs:\t{OWN['NoNewPrivs']}\n" in told.read_text()


KEPT_BY_CRAWLS: dict[str, tuple[list[str], int]] = {
    "watched": ([], CRAWLING | 1 << 21),
    "polled": (["--watch=off"], CRAWLING),
    "with a command": (["--on-change=true"], CRAWLING | 1 << 21),
}
"""Options of a view, and the capabilities that its crawls keep."""


def test_the_crawler_keeps_the_capabilities_to_read_and_watch(place: Path) -> None:
    high, low = grow(place / "high", LARGE), grow(place / "low", {b"Other": {}})
    for name, (options, kept) in KEPT_BY_CRAWLS.items():
        with mounted(place / "view", high, low, depth=2, options=[HOURLY, *options]) as view:
            seen: list[dict[str, int]] = []
            poll(partial(is_crawling, view, kept, seen), f"{name}: a crawl that keeps no more", 30)
            last = next(one for one in seen if one["Prm"] == kept)
            assert (last["Inh"], last["Eff"], last["Amb"], last["NoNewPrivs"]) == (0, kept, 0, 1), name
            bounds = (kept, NEEDED | OVERRIDE)
            assert last["Bnd"] in bounds, f"{name}: without CAP_SETPCAP that of the daemon stays"


def is_crawling(view: View, kept: int, seen: list[dict[str, int]]) -> bool:
    """Whether a crawl keeps just these; adds all that are met to ``seen``, and has another crawl begun."""
    seen.extend(found := list(capabilities_of_children(view)))
    if not found:
        view.send(signal.SIGHUP)
    return any(one["Prm"] == kept for one in seen)


def capabilities_of_children(view: View) -> Iterator[dict[str, int]]:
    """The capability sets of the child processes."""
    for pid in Path(f"/proc/{view.pid}/task/{view.pid}/children").read_text().split():
        try:
            yield capabilities(pid)
        except (FileNotFoundError, ProcessLookupError):
            continue


def test_the_parent_of_two_views_keeps_no_capability(place: Path, sources: list[Path]) -> None:
    words = (*map(str, sources), "--output-high=best", "--output-low=small")
    with foreground(place, *words, views=("best", "small")) as family:
        poll(lambda: capabilities(str(family.process.pid)) == irrevocable(0), "nothing kept")
        children = family.children()
        assert [capabilities_of_threads(pid)[0] for pid in children] == [irrevocable(NEEDED | OVERRIDE)] * 2
        assert family.end() == 0
        assert not any(map(alive, children))


@pytest.mark.parametrize("missing", ["setpcap", "fowner", "dac_override,dac_read_search"])
def test_missing_capabilities_of_root_are_no_error(place: Path, sources: list[Path], missing: str) -> None:
    need("setpriv")
    bound = ("setpriv", f"--bounding-set=-{missing.replace(',', ',-')}")
    with mounted(place / "view", *sources, prefix=bound) as view:
        assert (view.mountpoint / "1/track").read_bytes() == b"h1"
        found = capabilities_of_threads(view.pid)[0]
        assert found["Prm"] == (NEEDED | OVERRIDE) & ~sum(NUMBERS.get(one, 0) for one in missing.split(","))
        assert (found["NoNewPrivs"], found["Inh"], found["Amb"]) == (1, 0, 0)


def test_root_of_a_user_namespace_can_mount(place: Path, sources: list[Path]) -> None:
    script = (
        f'"$1" -m mmirrorfs {sources[0]} {sources[1]} {place}/view || exit 9; '
        f"cat {place}/view/1/track; for pid in /proc/[0-9]*; do grep -q {place}/view $pid/cmdline && "
        "grep -E '^(CapEff|NoNewPrivs)' $pid/status; done; "
        f"umount {place}/view"
    )
    (place / "view").mkdir()
    words = ("--user", "--map-root-user", "--mount", "--pid", "--fork", "--mount-proc")
    done = run("unshare", *words, "sh", "-c", script, "sh", sys.executable)
    if b"unshare" in done.stderr or done.returncode == 9:
        pytest.skip(f"a user namespace cannot mount here: {done.stderr.decode()}")
    assert done.stdout.startswith(b"h1"), done
    assert b"NoNewPrivs:\t1" in done.stdout
    assert f"CapEff:\t{NEEDED:016x}".encode() in done.stdout


def test_a_plain_users_daemon_may_run_setuid_fusermount3(place: Path, sources: list[Path]) -> None:
    need("fusermount3")
    with namespace(place) as inside, plain_view(inside, *sources) as view:
        pids = [int(pid) for pid in os.listdir("/proc") if pid.isdigit() and is_serving(int(pid), view.mountpoint)]
        assert pids
        for pid in pids:  # a child that is about to execute a program is still one of them
            expected = {"Inh": 0, "Prm": 0, "Eff": 0, "Bnd": OWN["Bnd"], "Amb": 0, "NoNewPrivs": 0}
            assert capabilities(str(pid)) == expected


def is_serving(pid: int, mountpoint: Path) -> bool:
    """Whether the process serves the view on ``mountpoint``."""
    try:
        return os.fsencode(mountpoint) in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False


def given_to(user: int, path: Path) -> Path:
    """Give a tree to a user, readable by them alone; returns it."""
    for above, _, names in os.walk(path, topdown=False):
        for name in names:
            os.chown(os.path.join(above, name), user, user)
            os.chmod(os.path.join(above, name), 0o600)
        os.chown(above, user, user)
        os.chmod(above, 0o700)
    return path


def test_sources_and_log_of_another_user_can_be_used(place: Path, sources: list[Path]) -> None:
    """For reading, watching and logging, also after the log is replaced by a file of another user."""
    logs = grow(place / "logs", {})
    log, inner = logs / "log", sources[0] / "1/inner"
    grow(inner, {b"2": b"deep"})
    for path in (*sources, logs):
        given_to(NOBODY, path)
    os.utime(inner / "2", ns=(1, 1))
    with mounted(place / "view", *sources, options=[HOURLY, "-v", f"--log={log}"], background=True) as view:
        view.expect("is mounted")
        assert (view.mountpoint / "1/inner/2").read_bytes() == b"deep"
        assert os.stat(inner / "2").st_atime_ns == 1, "its access time"
        poll(log.exists, "the log")
        log.rename(logs / "log.1")
        log.touch(0o600)
        os.chown(log, NOBODY, NOBODY)
        grow(sources[0] / "1/new", {b"track": b"n"})
        poll((view.mountpoint / "1/new/track").exists, "what is new")
        view.send(signal.SIGHUP)
        poll(lambda: "scanned" in log.read_text(), "a line in the new log")


def test_a_disk_that_returns_is_watched_as_before(place: Path, sources: list[Path]) -> None:
    with disk(place / "disk", {b"1": {b"track": b"d1"}}, "ext4") as plugged:
        options = [HOURLY, "--announce=off"]
        with mounted(place / "view", plugged.where, sources[1], options=options) as view:
            view.expected += ["is lost", "is back"]
            plugged.unplug()
            poll(lambda: "is lost" in view.text(), "the loss")
            plugged.plug()
            poll(lambda: "is back" in view.text(), "its return")
            grow(plugged.where / "4", {b"track": b"d4"})
            poll((view.mountpoint / "4/track").exists, "what is new, at once", 10)


@pytest.mark.parametrize("how", [("umount",), ("umount", "-l"), ("fusermount3", "-u"), ("kill",)], ids=" ".join)
def test_each_way_of_unmounting_ends_a_daemon_that_may_regain_capabilities(
    place: Path, sources: list[Path], how: Sequence[str]
) -> None:
    """``--on-change`` keeps the bounding set. Views without it: test_start_and_end.py."""
    with mounted(place / "view", *sources, options=["--on-change=true"], background=True) as view:
        output_of(*how, str(view.pid) if how == ("kill",) else view.mountpoint)
        assert holds(lambda: not view.is_mounted and not alive(view.pid), 10)
