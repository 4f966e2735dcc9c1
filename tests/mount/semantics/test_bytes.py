"""Every name that the kernel takes: each byte but the slash and the zero, by itself and mixed, as long as may be."""

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
    """Names of random bytes, half of them as long as may be."""
    chance = random.Random(seed)
    lengths = [LONGEST if number % 2 else chance.randint(2, 40) for number in range(count)]
    return [b"".join(chance.choices(BYTES, k=length)) for length in lengths]


EVERY = [*SINGLE, *names(1, 60), b"\xff" * LONGEST, b"...", b".. "]
DEPTH = 2


def files(whose: bytes, some: list[bytes]) -> Tree:
    """A file for each name, that says whose and what it is."""
    return {name: whose + name for name in some}


def source(place: Path, whose: str, some: list[bytes]) -> Path:
    """Names above the depth, at it, and below it, as files and as directories, and links that have them as targets."""
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
    """The view is what the model says, to the byte."""
    expected = {path: what.shown for path, what in predict([os.fsencode(path) for path in order], DEPTH).items()}
    assert walk(view.where) == expected
    assert set(BYTES) <= {path[position : position + 1] for path in expected for position in range(len(path))}


@pytest.mark.parametrize("prefer", ["high", "low"])
def test_every_byte_and_every_length_of_a_name_is_shown_and_found(place: Path, prefer: str) -> None:
    high, low = source(place, "high", EVERY[::2] + EVERY[1::4]), source(place, "low", EVERY[1::2] + EVERY[::4])
    with mounted(place / "view", high, low, prefer=prefer, depth=DEPTH) as view:
        check(view, [high, low] if prefer == "high" else [low, high])
        for name in EVERY:
            with open(view.where + b"/folders/" + name + b"/" + name, "rb") as file:
                assert file.read() in (b"high" + name, b"low" + name)


STRANGE = [b"\xff", b"\n", b"\x1b[2J\x07", b"\x80" * LONGEST, b"\x7f\\", b"%n%s", b"-rf", b" ", b'"', b"$(x)"]


def test_names_of_any_bytes_come_and_go_and_are_told_of_without_harm(place: Path) -> None:
    high, low = source(place, "high", [b"a"]), source(place, "low", [b"b"])
    told, view = place / "told", place / "view"
    paths = [above + name for above in (b"", b"folders/", b"loose/folder/") for name in STRANGE]
    with (
        mounted(view, high, low, depth=DEPTH, options=[REFRESH, f"--on-change=cat >>{told}"]) as mount,
        observer() as eyes,
    ):

        def there() -> list[bool]:
            return [eyes.exists(Path(os.fsdecode(mount.where + b"/" + path))) for path in paths]

        assert not any(there())
        for path in paths:
            os.mkdir(os.fsencode(high) + b"/" + path)
        shows(lambda: all(there()), "the new names")
        for path in paths:
            os.rmdir(os.fsencode(high) + b"/" + path)
        shows(lambda: not any(there()), "their end")
        shows(lambda: told.exists() and lines(told, "removed") == set(paths), "all of it told")
        assert lines(told, "added") == set(paths)
        assert b"\x1b" not in mount.log.read_bytes()


def lines(told: Path, change: str) -> set[bytes]:
    """The paths that a change was told of."""
    read = [json.loads(line) for line in told.read_text().splitlines()]
    return {path_of(line) for line in read if line["change"] == change}


def test_a_name_that_is_too_long_is_refused_as_on_the_disk(place: Path) -> None:
    high, low = source(place, "high", [b"a"]), source(place, "low", [b"b"])
    with mounted(place / "view", high, low, depth=DEPTH) as view:
        for top in (os.fsencode(high), view.where):
            for above in (b"/", b"/folders/", b"/loose/folder/"):
                for length, code in ((LONGEST, errno.ENOENT), (LONGEST + 1, errno.ENAMETOOLONG)):
                    with pytest.raises(OSError, match=r"\[Errno") as caught:
                        os.lstat(top + above + b"n" * length)
                    assert caught.value.errno == code, (top, above, length)
