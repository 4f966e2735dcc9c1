"""``--status`` as text and JSON, of one view and of all, and compared with given options."""

import json
import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.mounts import COMMAND, View, mounted
from tests.support.namespace import namespace
from tests.support.plain import plain_view
from tests.support.polling import poll
from tests.support.running import called
from tests.support.trees import Tree, folders, grow
from tests.support.users import needs_root, run


@pytest.fixture
def library(place: Path) -> Path:
    """Two overlapping sources, ``flac`` and ``mp3``, below the returned directory."""
    flac: Tree = {b"Lund": folders("f", "Harbour", "Lighthouse")}
    mp3: Tree = {b"Lund": folders("m", "Harbour"), b"Sparrows": folders("m", "Rooftops")}
    grow(place / "flac", flac)
    grow(place / "mp3", mp3)
    return place


@pytest.fixture
def view(library: Path) -> Iterator[View]:
    """A view of both at depth 2."""
    with mounted(library / "view", library / "flac", library / "mp3", depth=2, options=["--refresh=1"]) as view:
        yield view


def status_json(place: Path, *words: str) -> Any:  # noqa: ANN401  # JSON
    """The JSON of ``--status``, whatever its exit code."""
    return json.loads(called(place, "--status", *words, "--json").stdout)


def test_status_of_one_view(library: Path, view: View) -> None:
    check_text(library, view)
    check_colours(library)
    check_differences(library)
    check_json(library, view)


def check_text(library: Path, view: View) -> None:
    assert called(library, "--status", "view/", "--follow").returncode == 0
    done = called(library, "--status", "view/")
    lines = done.stdout.decode().splitlines()
    assert (done.returncode, done.stderr) == (0, b"")
    patterns = [
        rf"{library}/view: 3 folders, mmirrorfs \S+, process {view.pid} for (\d+ min )?\d+ s",
        rf"  flac \({library}/flac\): wins 2 of 2 folders, there",
        "    (changes are reported by|polled:) .*",
        r"    \d+ entries in its folders read ahead",
        rf"  mp3 \({library}/mp3\): wins 1 of 2 folders, there",
        "    (changes are reported by|polled:) .*",
        r"    \d+ entries in its folders read ahead",
        "  asked in the order flac, mp3",
        "  told --prefer=high --depth=2 --match=exact --refresh=1 --on-missing=keep",
        "  who watches it is told (of changes|nothing: only root may)",
        r"  last scanned \d+ s ago, which took \d+\.\d{3} s",
        "  open: 0 files, 0 directories",
        "  messages go to stderr",
    ]
    for line, pattern in zip(lines, patterns, strict=True):
        assert re.fullmatch(pattern, line)


def check_json(library: Path, view: View) -> None:
    grow(library / "flac/Lund/Quay", {b"1": b"1"})
    poll(lambda: (view.mountpoint / "Lund/Quay").exists(), "the album")
    with open(view.mountpoint / "Lund/Quay/1", "rb"):
        state = status_json(library, "view")
    assert [(s["name"], s["wins"], s["folders"], s["lost"], s["hangs"]) for s in state["sources"]] == [
        ("flac", 3, 3, None, False), ("mp3", 1, 2, None, False),
    ]  # fmt: skip
    assert state["sources"][0]["waiting"]["stuck"] == 0
    assert (state["pid"], state["folders"], state["order"]) == (view.pid, 4, ["flac", "mp3"])
    assert state["mountpoint"] == {"path": f"{library}/view"}
    assert (state["options"]["depth"], state["options"]["exclude"], state["options"]["on-change"]) == (2, [], None)
    assert state["open_files"] == 1
    assert time.time() - 60 < state["started"] < time.time()
    assert state["changes"] >= 1
    assert state["last_change"]["path"].startswith("Lund/Quay")
    assert state["log"] == {"to": "stderr"}
    assert state["warnings"] == []


def test_losses_and_warnings_are_reported_with_their_time(library: Path, view: View) -> None:
    view.expect("source flac .* is (lost|back)")
    os.rename(library / "flac", library / "away")
    poll(lambda: status_json(library, "view")["sources"][0]["lost"], "the loss")
    state = status_json(library, "view")
    assert time.time() - 60 < state["sources"][0]["lost_since"] <= time.time()
    assert [warning["text"].partition(" (")[0] for warning in state["warnings"]] == ["source flac"]
    done = called(library, "--status", "view")
    assert done.returncode == 1
    stamp = rb"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"
    assert re.search(rb"LOST: No such file or directory, since " + stamp, done.stdout)
    assert re.search(rb"  the last warnings:\n    " + stamp + rb" source flac .* is lost: ", done.stdout)
    os.rename(library / "away", library / "flac")
    poll(lambda: called(library, "--status", "view").returncode == 0, "the source back")
    assert status_json(library, "view")["sources"][0]["lost_since"] is None


def check_colours(library: Path) -> None:
    words = f"cd {library} && {' '.join(COMMAND)} --status view"
    assert b"\x1b[32mthere\x1b[0m" in run("script", "-qec", words, "/dev/null").stdout
    assert b"\x1b" not in run("script", "-qec", f"export NO_COLOR=1; {words}", "/dev/null").stdout
    assert b"\x1b" not in called(library, "--status", "view").stdout


def check_differences(library: Path) -> None:
    done = called(library, "--status", "view", "--depth=2", "--refresh=1.0")
    assert b"not as asked" not in done.stdout
    done = called(library, "--status", "view", "--depth=3", "--exclude=a", "--exclude=b", "--watch=off")
    said = done.stdout.decode().splitlines()[-3:]
    assert done.returncode == 0
    assert sorted(said) == [
        "  not as asked: --depth is 2, not 3",
        "  not as asked: --exclude is nothing, not a and b",
        "  not as asked: --watch is auto, not off",
    ]
    assert status_json(library, "view", "--prefer=low")["differs"] == ["--prefer is high, not low"]
    assert "differs" not in status_json(library, "view")


def test_status_without_a_path_has_a_line_for_each_view(library: Path, view: View) -> None:
    with mounted(library / "other", library / "flac", library / "mp3", depth=1) as other:
        done = called(library, "--status")
        lines = [line for line in done.stdout.decode().splitlines() if line.startswith(f"{library}/")]
        assert [line.partition(": ")[2].partition(",")[0] for line in lines] == ["2 folders", "3 folders"]
        assert "flac (there), mp3 (there)" in lines[0]
        other.send(signal.SIGKILL)
        poll(lambda: other.process is not None and other.process.poll() is not None, "the end of the daemon")
        done = called(library, "--status")
        assert done.returncode == 1
        assert f"{library}/other is dead" in done.stdout.decode()
        documents = {one.get("path") or one["mountpoint"]["path"]: one for one in status_json(library)}
        assert documents[f"{library}/other"]["state"] == "dead"
        assert documents[f"{library}/view"]["folders"] == 3
        assert called(library, "--status", "--follow").returncode == 1, "that is about one view"
        run("umount", "-l", other.mountpoint)
        other.process = None


@needs_root
def test_a_plain_users_view_without_allow_other_is_named_as_such(library: Path) -> None:
    with namespace(library) as inside, plain_view(inside, library / "flac", library / "mp3") as view:
        assert inside.run(*COMMAND, "--status", view.mountpoint).returncode == 0, "its daemon answers root"
        done = inside.run("unshare", "--net", *COMMAND, "--status", view.mountpoint)
        assert done.returncode == 32
        said = "lets nobody in but nobody, who mounted it without allow_other: ask as nobody"
        assert done.stderr.decode() == f"mmirrorfs: the view on {view.mountpoint} {said}\n"
