"""The extended attributes of a view, and the arguments and exit codes of ``--status`` and ``--explain``."""

import json
import os
from pathlib import Path

import pytest

from tests.support.json_paths import path_of
from tests.support.mounts import mounted
from tests.support.polling import poll
from tests.support.running import called
from tests.support.trees import Tree, folders, grow
from tests.support.users import output_of

FAILED = 32
LABELS = ("source", "path", "role", "shadowed", "status", "identity")


@pytest.fixture
def library(place: Path) -> Path:
    """Two overlapping sources, ``flac`` and ``mp3``, below the returned directory."""
    flac: Tree = {b"Lund": {**folders("f", "Harbour", "Lighthouse"), b"notes": b"flac"}, b"index": b"flac"}
    mp3: Tree = {
        b"Lund": {**folders("m", "Harbour"), b"notes": b"mp3"},
        b"Sparrows": folders("m", "Rooftops"),
        b"index": {},
    }
    grow(place / "flac", flac)
    grow(place / "mp3", mp3)
    return place


def _label(path: Path, name: str) -> str | None:
    """The value of ``user.mmirrorfs.NAME``; None without one."""
    try:
        return os.fsdecode(os.getxattr(path, f"user.mmirrorfs.{name}"))
    except OSError:
        return None


def test_attributes_name_source_path_role_and_shadowed_paths(library: Path) -> None:
    flac, mp3 = library / "flac", library / "mp3"
    with mounted(library / "view", flac, mp3, depth=2) as view:
        top = view.mountpoint
        expected = {
            "": ("flac\nmp3", f"{flac}\n{mp3}", "merged", None),
            "Lund": ("flac\nmp3", f"{flac}/Lund\n{mp3}/Lund", "merged", None),
            "Sparrows": ("mp3", f"{mp3}/Sparrows", "merged", None),
            "Lund/Harbour": ("flac", f"{flac}/Lund/Harbour", "folder", f"{mp3}/Lund/Harbour"),
            "Lund/Harbour/track": ("flac", f"{flac}/Lund/Harbour/track", "inside", f"{mp3}/Lund/Harbour"),
            "Lund/Lighthouse": ("flac", f"{flac}/Lund/Lighthouse", "folder", None),
            "Lund/notes": ("flac", f"{flac}/Lund/notes", "loose", f"{mp3}/Lund/notes"),
            "Sparrows/Rooftops": ("mp3", f"{mp3}/Sparrows/Rooftops", "folder", None),
        }
        assert {path: tuple(_label(top / path, name) for name in LABELS[:4]) for path in expected} == expected
        assert _label(top, "status") is not None
        assert _label(top / "Lund", "status") is None
        assert _label(top, "nothing") is None


def test_attributes_of_a_view_that_prefers_low_are_the_other_way_round(library: Path) -> None:
    with mounted(library / "view", library / "flac", library / "mp3", prefer="low", depth=2) as view:
        harbour = view.mountpoint / "Lund/Harbour"
        assert _label(harbour, "path") == f"{library}/mp3/Lund/Harbour"
        assert _label(harbour, "shadowed") == f"{library}/flac/Lund/Harbour"
        assert _label(view.mountpoint, "source") == "mp3\nflac"


def test_paths_in_attributes_are_spelled_as_in_the_source(place: Path) -> None:
    high, low = grow(place / "high", folders("h", "Two")), grow(place / "low", folders("l", "TWO", "one"))
    with mounted(place / "view", high, low, prefer="low", options=("--match=casefold",)) as view:
        assert _label(view.mountpoint / "Two", "path") == f"{low}/TWO"
        assert _label(view.mountpoint / "Two", "shadowed") == f"{high}/Two"


def test_attributes_are_neither_listed_nor_copied(library: Path) -> None:
    os.setxattr(library / "flac/Lund/Harbour", "user.own", b"kept")
    with mounted(library / "view", library / "flac", library / "mp3", depth=2) as view:
        for path in ("", "Lund", "Lund/Harbour", "Lund/Harbour/track", "Lund/notes"):
            assert not any("mmirrorfs" in name for name in os.listxattr(view.mountpoint / path)), path
            assert (
                b"mmirrorfs"
                not in output_of("getfattr", "-d", "-m", "-", "--absolute-names", library / "view" / path)[
                    len(f"# file: {library}/view/{path}") :
                ]
            )
        assert os.listxattr(view.mountpoint / "Lund/Harbour") == ["user.own"]
        words = ("getfattr", "--absolute-names", "--only-values", "-n", "user.mmirrorfs.path")
        assert output_of(*words, view.mountpoint / "Lund/Harbour") == os.fsencode(library / "flac/Lund/Harbour")
        output_of("cp", "-a", view.mountpoint / "Lund/Harbour", library / "copy")
        assert os.listxattr(library / "copy") == ["user.own"]


def test_status_exits_with_1_while_a_source_is_lost(library: Path) -> None:
    options = ("--refresh=1",)
    with mounted(library / "view", library / "flac", library / "mp3", depth=2, options=options) as view:
        view.expect("flac")
        os.rename(library / "flac", library / "away")
        poll(lambda: called(library, "--status", "view").returncode == 1, "the loss reported")
        assert b"LOST: " in called(library, "--status", "view").stdout
        done = called(library, "--status", "view", "--json")
        assert (done.returncode, bool(json.loads(done.stdout)["sources"][0]["lost"])) == (1, True)
        os.rename(library / "away", library / "flac")
        poll(lambda: called(library, "--status", "view").returncode == 0, "the source back")


def test_path_and_options_of_a_query_may_come_in_any_order(library: Path) -> None:
    with mounted(library / "view", library / "flac", library / "mp3", depth=2):
        for name, path in (("--status", "view"), ("--explain", "view/Lund/Harbour")):
            documents = []
            for words in (
                (name, path, "--json"),
                ("--json", name, path),
                (name, "--json", path),
                (name, "--json", "--", path),
            ):
                done = called(library, *words)
                assert (done.returncode, done.stderr) == (0, b""), words
                documents.append(json.loads(done.stdout))
            keys = [document.keys() for document in documents]
            assert all(found == keys[0] for found in keys)
        assert documents[0] == {
            "path": f"{library}/view/Lund/Harbour",
            "view": {"path": f"{library}/view"},
            "state": "shown",
            "at": {"path": f"{library}/view/Lund/Harbour"},
            "role": "folder",
            "rule": "order",
            "sources": [{"name": "flac", "path": f"{library}/flac/Lund/Harbour"}],
            "hides": [{"name": "mp3", "path": f"{library}/mp3/Lund/Harbour"}],
            "skips": [],
            "notes": [],
        }  # fmt: skip


def test_names_that_are_not_utf_8_survive_in_json(place: Path) -> None:
    sources = [grow(os.fsencode(place / name) + b"\xff", {b"\xfe": {b"track": b""}}) for name in ("high", "low")]
    with mounted(place / "view", *sources) as view:
        state = json.loads(called(place, "--status", "view", "--json").stdout)
        assert [path_of(source) for source in state["sources"]] == [os.fsencode(source) for source in sources]
        assert b"(%s/high\\xff)" % os.fsencode(place) in called(place, "--status", "view").stdout
        told = json.loads(called(place, "--json", "--explain", os.fsdecode(view.where + b"/\xfe")).stdout)
        assert [path_of(one) for one in (told, *told["sources"], *told["hides"])] == [
            view.where + b"/\xfe", *[os.fsencode(source) + b"/\xfe" for source in sources],
        ]  # fmt: skip


def test_foreground_over_the_same_mounted_view_says_why_it_ends(library: Path) -> None:
    words = ("flac", "mp3", "view", "--depth=2", "--prefer=high")
    with mounted(library / "view", library / "flac", library / "mp3", depth=2):
        said = b"mmirrorfs: %s/view is mounted already\n" % os.fsencode(library)
        done = called(library, *words, "-f")
        assert (done.returncode, done.stderr) == (0, said)
        assert called(library, *words, "-f", "-v").stderr.count(b"mounted already") == 1
        done = called(library, *words)
        assert (done.returncode, done.stderr) == (0, b"")


def _asked_in_vain(place: Path, *words: str) -> str:
    done = called(place, *words)
    (line,) = done.stderr.decode().splitlines()
    assert (done.returncode, done.stdout) == (FAILED, b"")
    return line


def test_queries_without_a_view_are_refused_in_one_line(library: Path) -> None:
    with mounted(library / "view", library / "flac", library / "mp3", depth=2):
        assert "not in a mounted view" in _asked_in_vain(library, "--explain", "/usr")
        assert "no view is mounted" in _asked_in_vain(library, "--status", "flac")
    assert "no view is mounted" in _asked_in_vain(library, "--status", "view")
    assert "not in a mounted view" in _asked_in_vain(library, "--explain", "flac/Lund")


def test_control_characters_in_an_answer_are_escaped(place: Path) -> None:
    odd = b"\x1b[31m\n\xff"
    sources = [grow(place / name, {odd: {b"track": b""}}) for name in ("high", "low")]
    with mounted(place / "view", *sources) as view:
        done = called(place, "--explain", os.fsdecode(view.where + b"/" + odd))
        assert done.returncode == 0
        assert b"\x1b" not in done.stdout
        assert done.stdout.count(rb"\x1b[31m\n\xff") == 3
