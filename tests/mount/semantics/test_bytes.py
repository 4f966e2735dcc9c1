"""Names of every byte that the kernel allows (all but slash and NUL), alone and mixed, up to the longest."""

import errno
import json
import os
import random
from pathlib import Path

import pytest

from tests.support.fresh import REFRESH, observer, shows
from tests.support.json_paths import path_of
from tests.support.model import predict, walk
from tests.support.mounts import View, mounted
from tests.support.trees import Link, Tree, grow

BYTES = [bytes([byte]) for byte in range(1, 256) if byte != ord("/")]
SINGLE = [byte for byte in BYTES if byte != b"."]
LONGEST = 255


def names(seed: int, count: int) -> list[bytes]:
    """Names of random bytes, half of them of the largest length."""
    chance = random.Random(seed)
    lengths = [LONGEST if number % 2 else chance.randint(2, 40) for number in range(count)]
    return [b"".join(chance.choices(BYTES, k=length)) for length in lengths]


EVERY = [*SINGLE, *names(1, 60), b"\xff" * LONGEST, b"...", b".. "]
DEPTH = 2


def files(whose: bytes, some: list[bytes]) -> Tree:
    """A file for each name, whose content is its source and name."""
    return {name: whose + name for name in some}


def source(place: Path, whose: str, some: list[bytes]) -> Path:
    """The names above, at and below the depth, as files, directories and targets of symlinks."""
    mark = whose.encode()
    inside: Tree = {**files(mark, some[::2]), **{name: {b"x": mark, name: mark} for name in some[1::2]}}
    links: Tree = {b"l" + name[:-1]: Link(name) for name in some if len(name) > 1}
    tree: Tree = {
        b"loose": {**files(mark, some), b"folder": {**inside, **links}},
        b"folders": {name: {name: mark + name} for name in some},
        **{name: {b"in": {b"track": mark}} for name in some},
    }
    return grow(place / whose, tree)


def check(view: View, order: list[Path]) -> None:
    """The view equals the model, to the byte."""
    expected = {path: what.shown for path, what in predict([os.fsencode(path) for path in order], DEPTH).items()}
    assert walk(view.where) == expected
    assert set(BYTES) <= {path[position : position + 1] for path in expected for position in range(len(path))}


@pytest.mark.parametrize("prefer", ["high", "low"])
def test_names_of_every_byte_and_length_are_listed_and_found(place: Path, prefer: str) -> None:
    high, low = source(place, "high", EVERY[::2] + EVERY[1::4]), source(place, "low", EVERY[1::2] + EVERY[::4])
    with mounted(place / "view", high, low, prefer=prefer, depth=DEPTH) as view:
        check(view, [high, low] if prefer == "high" else [low, high])
        for name in EVERY:
            with open(view.where + b"/folders/" + name + b"/" + name, "rb") as file:
                assert file.read() in (b"high" + name, b"low" + name)


STRANGE = [b"\xff", b"\n", b"\x1b[2J\x07", b"\x80" * LONGEST, b"\x7f\\", b"%n%s", b"-rf", b" ", b'"', b"$(x)"]


def test_names_of_any_bytes_are_added_removed_and_reported_safely(place: Path) -> None:
    high, low = source(place, "high", [b"a"]), source(place, "low", [b"b"])
    reported, view = place / "reported", place / "view"
    paths = [above + name for above in (b"", b"folders/", b"loose/folder/") for name in STRANGE]
    with (
        mounted(view, high, low, depth=DEPTH, options=[REFRESH, f"--on-change=cat >>{reported}"]) as mount,
        observer() as eyes,
    ):

        def exist() -> list[bool]:
            return [eyes.exists(Path(os.fsdecode(mount.where + b"/" + path))) for path in paths]

        assert not any(exist())
        for path in paths:
            os.mkdir(os.fsencode(high) + b"/" + path)
        shows(lambda: all(exist()), "the new names")
        for path in paths:
            os.rmdir(os.fsencode(high) + b"/" + path)
        shows(lambda: not any(exist()), "their removal")
        shows(lambda: reported.exists() and lines(reported, "removed") == set(paths), "each change reported")
        assert lines(reported, "added") == set(paths)
        assert b"\x1b" not in mount.log.read_bytes()


def lines(reported: Path, change: str) -> set[bytes]:
    """The paths that a kind of change was reported for."""
    read = [json.loads(line) for line in reported.read_text().splitlines()]
    return {path_of(line) for line in read if line["change"] == change}


def test_a_name_that_is_too_long_fails_as_on_the_disk(place: Path) -> None:
    high, low = source(place, "high", [b"a"]), source(place, "low", [b"b"])
    with mounted(place / "view", high, low, depth=DEPTH) as view:
        for top in (os.fsencode(high), view.where):
            for above in (b"/", b"/folders/", b"/loose/folder/"):
                for length, code in ((LONGEST, errno.ENOENT), (LONGEST + 1, errno.ENAMETOOLONG)):
                    with pytest.raises(OSError, match=r"\[Errno") as caught:
                        os.lstat(top + above + b"n" * length)
                    assert caught.value.errno == code, (top, above, length)
