"""The options of a view: compared with others, and turned back into a command line that a shell understands."""

import os
import subprocess

from hypothesis import given, settings
from hypothesis import strategies as st

from mmirrorfs.cli.positionals import NamedSource, ViewSettings
from mmirrorfs.cli.settings import Settings
from mmirrorfs.cli.terminal import shell_quoted
from mmirrorfs.cli.view_options import as_json, command_line, default_options, differences, view_options
from mmirrorfs.merge.settled import Rule

words = st.binary(min_size=1, max_size=20).filter(lambda word: b"\0" not in word)


@settings(max_examples=60, deadline=None)
@given(st.lists(words, min_size=1, max_size=5))
def test_quoted_words_are_printable_and_a_shell_reads_them_back(expected: list[bytes]) -> None:
    shown = " ".join(shell_quoted(os.fsdecode(word)) for word in expected)
    assert shown.isprintable()
    done = subprocess.run(["bash", "-c", f"printf '%s\\0' {shown}"], capture_output=True, check=True)
    assert done.stdout.split(b"\0")[:-1] == expected


def test_command_line_leaves_out_defaults_and_names_that_are_the_directories() -> None:
    view = ViewSettings(b"/mnt/v", "x")
    settings_given = Settings(
        (NamedSource("x", b"/a/one"), NamedSource("two", b"/a/two")), (view,), depth=2, watch=False, cover=True
    )
    assert command_line(settings_given, view)[-7:] == [
        "x=/a/one", "two=/a/two", "/mnt/v", "--prefer=x", "--depth=2", "--watch=off", "--nonempty",
    ]  # fmt: skip
    plain = ViewSettings(b"/mnt/v", "high")
    settings_given = Settings((NamedSource("one", b"/a/one"), NamedSource("two", b"/a/two")), (plain,))
    assert command_line(settings_given, plain)[-3:] == ["/a/one", "/a/two", "/mnt/v"]


def test_command_line_of_a_view_with_rules_names_their_file_and_repeats_all_options() -> None:
    view = ViewSettings(b"/mnt/v", "high")
    rules = (Rule("[[same]] 1", True, (b"a", b"b"), b"x"),)
    settings_given = Settings(
        (NamedSource("one", b"/a/one"), NamedSource("two", b"/a/two")), (view,), rules=rules, rules_in=b"/etc/v.toml"
    )
    words = command_line(settings_given, view)
    assert {"--config=/etc/v.toml", "--prefer=high", "--depth=1", "--match=exact", "--on-change="} <= {*words}
    assert [word for word in words if "same" in word or "apart" in word or "skip" in word] == []
    mounted, wanted = as_json(default_options()), as_json(view_options(settings_given, view))
    assert differences(mounted, wanted) == ["[[same]] is nothing, not a and b in x"]


def test_differences_name_both_values_and_ignore_the_order_of_patterns() -> None:
    mounted = as_json({**default_options(), "exclude": ["a", "b\udcff"], "depth": 2})
    assert differences(mounted, {"exclude": ("b\udcff", "a"), "depth": 2, "unheard of": 1}) == []
    assert differences(mounted, {"depth": 3, "follow-symlinks": True, "on-change": "x\n"}) == [
        "--depth is 2, not 3", "--follow-symlinks is off, not on", "--on-change is nothing, not x\\n",
    ]  # fmt: skip
