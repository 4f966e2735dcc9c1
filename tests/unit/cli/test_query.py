"""The line that starts a view again: what a shell makes of it is what was meant."""

import os
import subprocess

from hypothesis import given, settings
from hypothesis import strategies as st

from mmirrorfs.cli.differing import as_text, differing
from mmirrorfs.cli.line import line
from mmirrorfs.cli.places import Named, ViewSettings
from mmirrorfs.cli.query import quoted
from mmirrorfs.cli.settings import Settings, told, usual
from mmirrorfs.merge.settled import Rule

words = st.binary(min_size=1, max_size=20).filter(lambda word: b"\0" not in word)


@settings(max_examples=60, deadline=None)
@given(st.lists(words, min_size=1, max_size=5))
def test_a_shell_takes_each_word_as_it_was_meant_and_a_terminal_no_harm(meant: list[bytes]) -> None:
    shown = " ".join(quoted(os.fsdecode(word)) for word in meant)
    assert shown.isprintable()
    done = subprocess.run(["bash", "-c", f"printf '%s\\0' {shown}"], capture_output=True, check=True)
    assert done.stdout.split(b"\0")[:-1] == meant


def test_a_line_has_what_is_not_as_usual_and_names_where_they_tell_something() -> None:
    view = ViewSettings(b"/mnt/v", "x")
    made = Settings((Named("x", b"/a/one"), Named("two", b"/a/two")), (view,), depth=2, watch=False, cover=True)
    assert line(made, view)[-7:] == [
        "x=/a/one", "two=/a/two", "/mnt/v", "--prefer=x", "--depth=2", "--watch=off", "--nonempty",
    ]  # fmt: skip
    plain = ViewSettings(b"/mnt/v", "high")
    made = Settings((Named("one", b"/a/one"), Named("two", b"/a/two")), (plain,))
    assert line(made, plain)[-3:] == ["/a/one", "/a/two", "/mnt/v"]


def test_a_line_names_the_file_that_settles_pairs_and_says_what_that_may_say_otherwise() -> None:
    view = ViewSettings(b"/mnt/v", "high")
    rules = (Rule("[[same]] 1", True, (b"a", b"b"), b"x"),)
    made = Settings((Named("one", b"/a/one"), Named("two", b"/a/two")), (view,), rules=rules, rules_in=b"/etc/v.toml")
    words = line(made, view)
    assert {"--config=/etc/v.toml", "--prefer=high", "--depth=1", "--match=exact", "--on-change="} <= {*words}
    assert [word for word in words if "same" in word or "apart" in word or "skip" in word] == []
    there = as_text(usual())
    assert differing(there, as_text(told(made, view))) == ["[[same]] is nothing, not a and b in x"]


def test_what_differs_is_told_and_the_order_of_patterns_is_no_difference() -> None:
    there = as_text({**usual(), "exclude": ["a", "b\udcff"], "depth": 2})
    assert differing(there, {"exclude": ("b\udcff", "a"), "depth": 2, "unheard of": 1}) == []
    assert differing(there, {"depth": 3, "follow-symlinks": True, "on-change": "x\n"}) == [
        "--depth is 2, not 3", "--follow-symlinks is off, not on", "--on-change is nothing, not x\\n",
    ]  # fmt: skip
