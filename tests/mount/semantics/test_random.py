"""Any two trees, mounted, have the names, types, winners and bytes of the model, which was written from the rules."""

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from tests.support.model import Shown, predict, walk
from tests.support.mounts import mounted
from tests.support.trees import Link, Tree, grow

ODD = [
    b"a",
    b"b",
    b"A",
    b"-rf",
    b" ",
    b"two words ",
    b"line\nbreak",
    b".hidden",
    b"...",
    b"tab\there",
    b"\xff\xfe not UTF-8",
    b"n" * 255,
    "café".encode(),
    "cafe\u0301".encode(),
    b"back\\slash",
    b"comma,colon:",
]
NAMES = st.sampled_from(ODD)
FILES = st.binary(max_size=8)
LINKS = st.sampled_from([Link(b"a"), Link(b".."), Link(b"/nowhere"), Link(b"\xff")])


def _trees(levels: int) -> st.SearchStrategy[Tree]:
    """Directories with files, symlinks and, for ``levels`` more levels, directories."""
    below: list[st.SearchStrategy[Tree | bytes | Link]] = (
        [FILES, LINKS] if levels == 0 else [_trees(levels - 1), _trees(levels - 1), FILES, LINKS]
    )
    return st.dictionaries(NAMES, st.one_of(below), max_size=4 if levels else 2)


def _signed(tree: Tree, whose: bytes) -> Tree:
    """The same tree with each file's content prefixed by its source, so that its bytes identify the winner."""
    return {
        name: whose + what if isinstance(what, bytes) else _signed(what, whose) if isinstance(what, Mapping) else what
        for name, what in tree.items()
    }


def _check(view: bytes, order: list[bytes], depth: int) -> set[bytes]:
    """Compare a view with the model; returns its paths down to the depth."""
    expected = predict(order, depth)
    seen: dict[bytes, Shown] = walk(view)
    assert seen == {path: what.shown for path, what in expected.items()}
    for path, what in expected.items():
        shown, true = os.lstat(view + b"/" + path), os.lstat(what.winner)
        assert (shown.st_mode, shown.st_size) == (true.st_mode, true.st_size), path
        assert what.merged or shown.st_mtime_ns == true.st_mtime_ns, path
    return {path for path in seen if path.count(b"/") < depth}


@pytest.mark.slow
@pytest.mark.mount(seconds=150)
@settings(
    max_examples=7,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # a mount is too slow to shrink with
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(pairs=st.lists(st.tuples(_trees(4), _trees(4)), min_size=1, max_size=6), depth=st.integers(1, 5))
@example(pairs=[({}, {b"a": b""})], depth=1)
def test_any_two_trees_equal_the_model(place: Path, pairs: list[tuple[Tree, Tree]], depth: int) -> None:
    """The first pair is at the root; as a mount is slow, each other pair is in a directory of its own below it."""
    high, low = ({**pairs[0][rank], **{b"%d" % n: pair[rank] for n, pair in enumerate(pairs[1:])}} for rank in (0, 1))
    here = Path(tempfile.mkdtemp(dir=place))
    sources = [grow(here / name, _signed(tree, name.encode())) for name, tree in (("high", high), ("low", low))]
    ranked = [os.fsencode(source) for source in sources]
    with (
        mounted(here / "preferring-high", *sources, prefer="high", depth=depth) as first,
        mounted(here / "preferring-low", *sources, prefer="low", depth=depth) as second,
    ):
        upper = _check(first.where, ranked, depth)
        assert upper == _check(second.where, ranked[::-1], depth), "both views have the same names down to the depth"
        for source in sources:
            if not predict([os.fsencode(source)], depth):
                first.expect(f"source {source.name} .* is empty")
                second.expect(f"source {source.name} .* is empty")
    shutil.rmtree(here)
