"""``--explain`` on paths of views and of sources, existing or not."""

import itertools
import json
import os
import random
import re
import shlex
import signal
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mmirrorfs.mount import table
from mmirrorfs.mount.controlclient import about, send_query
from mmirrorfs.text import path_of
from tests.support.disks import disk
from tests.support.mounts import COMMAND, View, mounted
from tests.support.namespace import namespace
from tests.support.plain import plain_view
from tests.support.polling import poll
from tests.support.running import called
from tests.support.trees import Link, Tree, folders, grow
from tests.support.users import NOBODY, WITHOUT_OVERRIDE, as_nobody, needs_root, run

FLAC: Tree = {
    b"Lund": {
        b"Harbour": {b"01.flac": b"f", b"live": Link(b"/elsewhere"), b"cd": {b"02.flac": b"f"}},
        b"Lighthouse": {b"01.flac": b"f"},
        b"notes": b"flac",
        b"linked": Link(b"../Other"),
    },
    b"index": b"flac",
    b"Bjork": folders("f", "Debut"),
}
MP3: Tree = {
    b"Lund": {b"Harbour": {b"01.mp3": b"m", b"cover.jpg": b"m"}, b"notes": b"mp3", b"@eaDir": {b"x": b""}},
    b"Sparrows": folders("m", "Rooftops", "Lighthouse"),
    b"index": {b"in": {}},
    b"bjork": folders("m", "Debut"),
}


@pytest.fixture
def library(place: Path) -> Path:
    """Two overlapping sources, ``flac`` and ``mp3``, below the returned directory."""
    grow(place / "flac", FLAC)
    grow(place / "mp3", MP3)
    return place


@pytest.fixture
def view(library: Path) -> Iterator[View]:
    """A view of both at depth 2."""
    with mounted(library / "view", library / "flac", library / "mp3", depth=2, options=["--exclude=@eaDir"]) as view:
        yield view


def explained(place: Path, path: str) -> Any:  # noqa: ANN401  # JSON
    """The JSON of ``--explain``."""
    done = called(place, "--explain", path, "--json")
    assert (done.returncode, done.stderr) == (0, b"")
    return json.loads(done.stdout)


def explained_text(place: Path, path: str) -> str:
    """The text of ``--explain`` in one line, with paths relative to ``place``."""
    done = called(place, "--explain", path)
    assert (done.returncode, done.stderr) == (0, b"")
    return " ".join(done.stdout.decode().replace(f"{place}/", "").split())


def notes(answer: Any, about: str) -> list[Any]:  # noqa: ANN401  # JSON
    """The notes on one subject."""
    return [note for note in answer["notes"] if note["about"] == about]


def test_each_kind_of_answer_about_one_view(library: Path, view: View) -> None:
    check_shown_path_names_its_source_and_what_it_hides(library)
    check_directory_that_beats_a_file(library)
    check_path_of_a_source_is_shown_or_hidden(library)
    check_track_of_a_hidden_folder(library)
    check_excluded_names(library)
    check_symbolic_links(library)
    check_near_namesakes(library)
    check_absent_path_has_the_nearest_names(library)
    check_view_reached_by_a_link(library)


def check_shown_path_names_its_source_and_what_it_hides(library: Path) -> None:
    assert "is above the depth: it shows together what these have. flac: flac/Lund mp3: mp3/Lund" in explained_text(
        library, "view/Lund"
    )
    said = explained_text(library, "view/Lund/Harbour/")
    assert said.startswith("view/Lund/Harbour comes from flac: flac/Lund/Harbour It is a folder at the depth")
    assert "from the first source of this view that has it. It takes the place of mp3/Lund/Harbour" in said
    assert "No other source has anything in its place." in explained_text(library, "view/Sparrows/Rooftops")
    assert "It is no directory, and is taken from the first source" in explained_text(library, "view/Lund/notes")
    assert "It lies in a folder that is taken whole" in explained_text(library, "view/Lund/Harbour/01.flac")
    assert explained_text(library, "view").startswith("view is above the depth")


def check_directory_that_beats_a_file(library: Path) -> None:
    assert "It takes the place of flac/index" in explained_text(library, "view/index")
    assert explained_text(library, "flac/index") == (
        "flac/index is not shown. view/index is a directory in other sources, and a directory beats what is none: "
        "mp3: mp3/index"
    )


def check_path_of_a_source_is_shown_or_hidden(library: Path) -> None:
    assert explained_text(library, "flac/Lund/Harbour/cd").startswith(
        "flac/Lund/Harbour/cd is shown as view/Lund/Harbour/cd"
    )
    assert explained_text(library, "mp3/Lund/Harbour") == (
        "mp3/Lund/Harbour is not shown. view/Lund/Harbour is taken whole from flac: flac/Lund/Harbour "
        "That is the first source of this view that has it."
    )
    (answer,) = explained(library, "mp3/Lund/Harbour/01.mp3")
    assert (answer["state"], answer["at"]["path"]) == ("hidden", f"{library}/view/Lund/Harbour")
    (answer,) = explained(library, "mp3/Lund/notes")
    assert (answer["state"], answer["rule"]) == ("hidden", "order")


def test_a_source_path_is_explained_for_every_view_of_that_source(library: Path, view: View) -> None:
    with mounted(library / "low", library / "flac", library / "mp3", depth=2, prefer="low"):
        answers = explained(library, "mp3/Lund/Harbour")
        assert sorted((answer["view"]["path"], answer["state"]) for answer in answers) == [
            (f"{library}/low", "shown"), (f"{library}/view", "hidden"),
        ]  # fmt: skip


def check_track_of_a_hidden_folder(library: Path) -> None:
    assert explained_text(library, "view/Lund/Harbour/cover.jpg") == (
        "view/Lund/Harbour/cover.jpg is not shown. view/Lund/Harbour is taken whole from flac: flac/Lund/Harbour "
        "That is the first source of this view that has it. Hidden by it: mp3: mp3/Lund/Harbour/cover.jpg"
    )


def check_excluded_names(library: Path) -> None:
    for path in ("view/Lund/@eaDir", "mp3/Lund/@eaDir", "view/Lund/@eaDir/x", "flac/Lund/Harbour/@eaDir"):
        said = explained_text(library, path)
        assert said.startswith(f"{path} is not shown: --exclude leaves it out."), path
        assert "@eaDir matches --exclude '@eaDir'." in said, path
        assert ("It is there: mp3: mp3/Lund/@eaDir" in said) == ("Harbour" not in path), path


def check_symbolic_links(library: Path) -> None:
    said = explained_text(library, "view/Lund/linked")
    assert "view/Lund/linked is not shown: a symbolic link is in the way." in said
    assert "flac/Lund/linked is a symbolic link to ../Other; links are left out down to the depth, --follow-sy" in said
    assert "flac/Lund/linked is a symbolic link" in explained_text(library, "flac/Lund/linked/inside")
    said = explained_text(library, "view/Lund/Harbour/live/x")
    assert "flac/Lund/Harbour/live is a symbolic link to /elsewhere: the view shows it as a link" in said


def test_a_followed_link_that_dangles_is_explained(library: Path) -> None:
    options = ["--followsymlinks"]
    with mounted(library / "view", library / "flac", library / "mp3", depth=2, options=options):
        assert "../Other, which leads nowhere, back to a" in explained_text(library, "view/Lund/linked")


def test_links_and_fifos_in_a_folder_are_explained_as_shown(library: Path, view: View) -> None:
    os.mkfifo(library / "flac/Lund/Harbour/fifo")
    for name in ("live", "fifo"):
        poll(lambda: explained(library, f"view/Lund/Harbour/{name}")["state"] == "shown", name)  # noqa: B023


def check_near_namesakes(library: Path) -> None:
    said = explained_text(library, "view/Bjork")
    assert "It is not paired with view/bjork, of mp3: --match casefold pairs them." in said
    assert "view/Bjork, of flac: --match casefold" in explained_text(library, "view/bjork")


def test_same_and_apart_rules_of_the_configuration_file_are_explained(place: Path) -> None:
    sources = [grow(place / "flac", folders("f", "Harbour Lights", "Moon")), grow(place / "mp3", folders("m", "Moon!"))]
    grow(place / "mp3", folders("m", "Harbor Lights"))
    file = place / "views.toml"
    file.write_text('match = "loose"\ndepth = 7\n[[apart]]\nnames = ["Moon", "Moon!"]\nin = "/"\n')
    with mounted(place / "view", *sources, depth=1, options=[f"--config={file}"]) as view:
        said = explained_text(place, "view/Harbour Lights")
        assert "It is not paired with view/Harbor Lights, of mp3: these lines in the configuration file" in said
        assert '[[same]] names = ["Harbour Lights", "Harbor Lights"] in = "/"' in said
        assert "view/Moon!, of mp3: [[apart]] 1 in the configuration file keeps" in explained_text(place, "view/Moon")
        assert b" --match=loose [[apart]] Moon and Moon! in / " in called(place, "--status", "view").stdout
        kill_daemon(view)
        line = shlex.split(json.loads(called(place, "--explain", "view/Moon", "--json").stdout)["start"])
        at = line.index(str(sources[0]))
        assert f"--config={file}" in line[at:]
        assert run(*COMMAND, *line[at:]).returncode == 0
        assert sorted(os.listdir(view.mountpoint)) == ["Harbor Lights", "Harbour Lights", "Moon", "Moon!"]
        run("umount", view.mountpoint)
        poll(lambda: not view.is_mounted, "the end")
        view.process = None


def test_another_spelling_is_explained_under_the_shown_name(library: Path) -> None:
    options = ["--match=casefold"]
    with mounted(library / "view", library / "flac", library / "mp3", depth=2, options=options):
        answer = explained(library, "view/bjork/Debut")
        assert (answer["state"], answer["at"]["path"]) == ("shown", f"{library}/view/Bjork/Debut")
        assert notes(answer, "spelled")[0]["path"] == f"{library}/view/Bjork/Debut"
        (answer,) = explained(library, "mp3/bjork/Debut")
        assert (answer["state"], answer["sources"][0]["path"]) == ("hidden", f"{library}/flac/Bjork/Debut")


def check_absent_path_has_the_nearest_names(library: Path) -> None:
    said = explained_text(library, "view/Lund/Harbor")
    assert said == "view/Lund/Harbor is not there: no source has it. Nearest to it: view/Lund/Harbour"
    assert "Of the same name: view/Sparrows/Rooftops" in explained_text(library, "view/Lund/Rooftops")
    assert "Nearest to it: view/Lund/Harbour/01.flac" in explained_text(library, "view/Lund/Harbour/1.flac")
    assert "Nearest to it: view/Lund" in explained_text(library, "view/Lnd/Harbour/1.flac")
    assert explained(library, "mp3/Lund/Lighthouse")[0]["state"] == "absent"
    assert "view/Lund/notes is no directory: nothing is in it" in explained_text(library, "view/Lund/notes/x")
    assert explained(library, "view/" + "x" * 255)["state"] == "absent"
    assert explained(library, "view/" + "/".join(["x" * 250] * 15))["state"] == "absent"


def test_an_entry_that_is_not_scanned_yet_is_explained(library: Path) -> None:
    """Any mount on the machine triggers a rescan, so new albums are added until one is seen unscanned."""
    options = ["--watch=off", "--refresh=3600"]
    names = (f"Quay {number}" for number in itertools.count())
    with mounted(library / "view", library / "flac", library / "mp3", depth=2, options=options) as view:
        for top in ("view", "flac"):

            def unseen(top: str = top) -> bool:
                name = next(names)
                grow(library / "flac/Lund" / name, {b"1": b""})
                said = explained_text(library, f"{top}/Lund/{name}")
                found = f"It is there: flac: flac/Lund/{name} flac was last scanned"
                return said.startswith(f"{top}/Lund/{name} is not shown yet. {found}")

            poll(unseen, f"one in {top} that is not scanned yet", 20)
        view.send(signal.SIGHUP)
        poll(lambda: explained(library, "view/Lund/Quay 0")["state"] == "shown", "it is scanned")


@needs_root
def test_unreadable_directories_are_explained_with_error_and_time(library: Path) -> None:
    for path in ("flac/Lund/Lighthouse", "mp3/Sparrows"):
        os.chown(library / path, NOBODY, NOBODY)
        os.chmod(library / path, 0o700)
    sources = (library / "flac", library / "mp3")
    with mounted(library / "view", *sources, depth=2, prefix=WITHOUT_OVERRIDE) as view:
        view.expect("mp3/Sparrows cannot be listed: Permission denied")
        error = r"cannot be read, since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d: Permission denied\."
        assert re.search(f"mp3/Sparrows {error}", explained_text(library, "view/Sparrows"))
        assert re.search(f"mp3/Sparrows {error}", explained_text(library, "view/Sparrows/Rooftops"))
        assert explained(library, "view/Sparrows/Rooftops")["state"] == "unknown"
        assert re.search(f"flac/Lund/Lighthouse {error}", explained_text(library, "view/Lund/Lighthouse"))
        answer = explained(library, "view/Lund/Lighthouse/nothing")
        assert (answer["state"], bool(notes(answer, "unreadable"))) == ("unknown", True)


@needs_root
def test_a_path_of_a_lost_source_is_explained_from_cached_metadata(place: Path) -> None:
    low = grow(place / "low", MP3)
    with (
        disk(place / "high", {b"Lund": FLAC[b"Lund"]}) as high,
        mounted(place / "view", high.where, low, depth=2, options=["--refresh=1"]) as view,
    ):
        assert called(place, "--status", "view", "--follow").returncode == 0
        view.expect("source high .* is lost")
        high.unplug()
        poll(lambda: notes(explained(place, "view/Lund/Harbour"), "lost"), "the loss reported")
        said = explained_text(place, "view/Lund/Harbour/01.flac")
        assert "view/Lund/Harbour/01.flac comes from high: high/Lund/Harbour/01.flac" in said
        since = r"Source high \(high\) is lost since (\d{4}-.*|a moment ago): an empty directory is in its place; what"
        assert re.search(since, said)
        for path in ("view/Lund/Harbour/none", "view/Lund/none", "view/none"):
            answer = explained(place, path)
            assert (answer["state"], len(notes(answer, "lost"))) == ("absent", 1)


@needs_root
def test_a_path_of_a_lost_source_that_counts_as_empty_is_explained(place: Path) -> None:
    low = grow(place / "low", MP3)
    options = ["--refresh=1", "--on-missing=fallback"]
    with (
        disk(place / "high", {b"Mine": folders("h", "One")}) as high,
        mounted(place / "view", high.where, low, depth=2, options=options) as view,
    ):
        view.expect("source high .* is lost")
        high.unplug()
        poll(lambda: not (view.mountpoint / "Mine").exists(), "it counts as empty")
        said = explained_text(place, "view/Mine/One")
        assert "view/Mine/One is not shown: its source is lost, and counts as empty" in said
        assert "It was there: high: high/Mine/One Source high (high) is lost since" in said


def kill_daemon(view: View) -> None:
    """Kill the daemon of the view."""
    view.send(signal.SIGKILL)
    assert view.process is not None
    view.process.wait(10)


def test_a_dead_view_is_explained_with_the_command_that_starts_it(library: Path) -> None:
    sources = (library / "flac", library / "mp3")
    options = ("--exclude=it's", r"--ignore= \[MP3\]$", "--refresh=5")
    with mounted(library / "view", *sources, prefer="low", depth=2, options=options) as view:
        kill_daemon(view)
        for option in ("--explain", "--status"):
            done = called(library, option, "view/Lund/Harbour" if option == "--explain" else "view")
            first, second = done.stdout.decode().splitlines()
            assert done.returncode == 1
            assert first.startswith(f"{library}/view is dead")
        document = json.loads(called(library, "--explain", "view/Lund", "--json").stdout)
        line = shlex.split(document["start"])
        assert second == f"Start it again: {document['start']}"
        assert line[-9:] == [
            *map(str, sources), f"{library}/view", "--prefer=low", "--depth=2", r"--ignore= \[MP3\]$", "--exclude=it's",
            "--refresh=5", "-v",
        ]  # fmt: skip
        at = line.index(str(sources[0]))
        done = run(*COMMAND, *line[at:])
        assert done.returncode == 0
        assert os.listdir(view.mountpoint / "Lund/Harbour") == ["01.mp3", "cover.jpg"]
        assert explained(library, "view/Lund/Harbour")["state"] == "shown"
        run("umount", view.mountpoint)
        poll(lambda: not view.is_mounted, "the end")
        view.process = None


@needs_root
def test_another_user_gets_answers_only_about_what_they_may_see(library: Path) -> None:
    options = ["-o", "allow_other"]
    with mounted(library / "view", library / "flac", library / "mp3", depth=2, options=options):
        done = as_nobody(*COMMAND, "--explain", library / "view/Lund/Harbour", "--json")
        assert json.loads(done.stdout)["hides"][0]["path"] == f"{library}/mp3/Lund/Harbour"
        assert json.loads(done.stdout)["notes"] == []
        done = as_nobody(*COMMAND, "--explain", library / "view/Lund/nothing")
        assert done.returncode == 32
        assert b"only root and root may ask why" in done.stderr
        os.chmod(library / "flac/Lund", 0o700)
        poll(lambda: (library / "view/Lund").stat().st_mode & 0o777 == 0o700, "it is closed")
        done = as_nobody(*COMMAND, "--explain", library / "view/Lund/Harbour")
        assert (done.returncode, done.stdout) == (32, b"")
        done = as_nobody(*COMMAND, "--explain", library / "flac/Lund/Harbour")
        assert (done.returncode, done.stdout) == (32, b"")


@needs_root
def test_root_may_query_a_plain_users_view_without_allow_other(library: Path) -> None:
    with namespace(library) as inside, plain_view(inside, library / "flac", library / "mp3") as view:
        assert inside.run("ls", view.mountpoint).returncode != 0
        done = inside.run(*COMMAND, "--explain", view.mountpoint / "Lund", "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["state"] == "shown"
        assert inside.run(*COMMAND, "--status", view.mountpoint).returncode == 0


def check_view_reached_by_a_link(library: Path) -> None:
    grow(library, {b"music": Link(b"view"), b"other": Link(b"flac")})
    assert explained_text(library, "music/Lund/notes").startswith("view/Lund/notes comes from flac")
    assert explained_text(library, "music").startswith("view is above the depth")
    assert explained_text(library, "other/Lund/notes").startswith("flac/Lund/notes is shown as view/Lund/notes")


class Shape:
    """Random trees of few names, with collisions of files, directories, links and excluded names at every level."""

    NAMES = ("a", "A", "b", "@eaDir", "c\n", "\udcff")

    def __init__(self, seed: int) -> None:
        self._dice = random.Random(seed)

    def grow(self, top: Path, levels: int = 3) -> None:
        """Make a tree with up to ``levels`` + 1 levels of names."""
        top.mkdir()
        for name in self.NAMES:
            what = self._dice.random()
            if what < 0.45 and levels:
                self.grow(top / name, levels - 1)
            elif what < 0.6:
                (top / name).write_text("")
            elif what < 0.7:
                (top / name).symlink_to(self._dice.choice(self.NAMES))


@pytest.mark.parametrize("options", [(), ("--followsymlinks",), ("--match=casefold",)], ids=["plain", "links", "match"])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.mount(seconds=120)
def test_the_answer_shown_agrees_with_the_view_for_every_path_of_random_trees(
    place: Path, seed: int, options: tuple[str, ...]
) -> None:
    sources = [place / name for name in ("high", "low", "last")]
    shape = Shape(seed)
    for source in sources:
        shape.grow(source)
    inner = {os.path.relpath(path, source) for source in sources for path in all_paths(source)}
    view_options = [*options, "--exclude=@eaDir", "--watch=off", "--refresh=3600"]
    with mounted(place / "view", *sources, prefer="low", depth=2, options=view_options) as view:
        mount = table.view_at(view.where)
        assert mount is not None

        def asked(path: str) -> Any:  # noqa: ANN401  # JSON
            """The daemon gives a source 1 s to answer; repeat on a busy machine."""
            for _ in range(5):
                answer: Any = send_query(mount.device, os.geteuid(), {"ask": "explain", **about(os.fsencode(path))}, 20)
                if answer["state"] != "unknown":
                    break
            return answer

        for path in sorted({*inner, "a/none", "none", "a/b/none/none"}, key=os.fsencode):
            answer, there = asked(f"{view.mountpoint}/{path}"), is_there(view.mountpoint, path)
            if notes(answer, "spelled") and answer["state"] == "shown":
                there = os.path.lexists(path_of(answer["at"]))
            assert (answer["state"] == "shown") == there, (path, answer)
            assert answer["state"] not in ("unknown", "lost", "unseen"), (path, answer)
            if there and answer["role"] != "merged":
                (source,) = answer["sources"]
                assert os.path.lexists(path_of(source))
                assert "followsymlinks" in str(options) or same_type_and_mtime(path_of(source), path_of(answer["at"]))
            for source in sources:
                own = f"{source}/{path}"
                answer_of_source = asked(own)
                if answer_of_source["state"] == "shown":
                    assert os.path.lexists(own)
                    assert os.path.lexists(path_of(answer_of_source["at"])), (own, answer_of_source)
                    assert os.fsencode(own) in map(path_of, answer_of_source["sources"]), (own, answer_of_source)
                elif "@eaDir" in path.split("/"):
                    assert answer_of_source["state"] in ("excluded", "link"), (own, answer_of_source)
                else:
                    expected = ("hidden", "link") if os.path.lexists(own) else ("absent", "link")
                    assert answer_of_source["state"] in expected, (own, answer_of_source)


def is_there(top: Path, path: str) -> bool:
    """Whether a path below ``top`` exists without following a symbolic link."""
    parts = path.split("/")
    above = [top.joinpath(*parts[:end]) for end in range(1, len(parts))]
    return os.path.lexists(top / path) and not any(map(os.path.islink, above))


def same_type_and_mtime(one: bytes, other: bytes) -> bool:
    """Whether two paths have the same type and mtime."""
    first, second = os.lstat(one), os.lstat(other)
    return (stat.S_IFMT(first.st_mode), first.st_mtime_ns) == (stat.S_IFMT(second.st_mode), second.st_mtime_ns)


def all_paths(top: Path) -> Iterator[str]:
    """All paths in a tree."""
    for above, directories, files in os.walk(top):
        yield from (os.path.join(above, name) for name in (*directories, *files))
