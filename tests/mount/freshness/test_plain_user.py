"""A plain user's view passes the tests that root's passes, though it is watched by inotify only.

Root runs these tests again as a plain user, in a mount namespace where everybody may open /dev/fuse, as on a desktop.
Skipped where a plain user runs the suite anyway.
"""

import os
import sys
from pathlib import Path

import pytest

import mmirrorfs
from tests.support.namespace import namespace
from tests.support.users import AS_NOBODY, Word, need, needs_root
from tests.support.watched import HERE

pytestmark = [pytest.mark.mount(seconds=300), needs_root]

TOP, FOLDER = Path(mmirrorfs.__file__).parents[1], Path(__file__).parent
AGAIN = {
    "test_watch.py": HERE,
    "test_watch_races.py": "first_crawl or during_renames",
    "test_stateful.py": "any_sequence",
}
"""The modules, and which of their tests (``-k``)."""


def test_a_plain_user_passes_the_same_tests(place: Path) -> None:
    need("fusermount3")
    with namespace(place) as inside:
        inside.let_everybody_open_fuse()
        inner = place / "inner"
        inner.mkdir()
        inner.chmod(0o777)
        environment = {**os.environ, "PYTHONPATH": str(TOP), "TMPDIR": str(inner), "MMIRRORFS_SEEDS": "1"}
        options: list[Word] = ["-q", "-p", "no:cacheprovider", "--rootdir", TOP, "-k", " or ".join(AGAIN.values())]
        modules = [Path(__file__).with_name(module) for module in AGAIN]
        words = (*AS_NOBODY, sys.executable, "-B", "-m", "pytest", *options, *modules)
        done = inside.run(*words, seconds=290, environment=environment)
        assert done.returncode == 0, done.stdout.decode()[-4000:]
        assert b"4 passed" in done.stdout
