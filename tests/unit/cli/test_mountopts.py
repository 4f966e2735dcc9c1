"""``-o`` and the source field of fstab: escapes, spellings, options of mount(8) and other filesystems, errors."""

from collections.abc import Callable

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmirrorfs.cli.errors import USAGE, Problem
from mmirrorfs.cli.main import command
from mmirrorfs.cli.mountopts import FUSE, IGNORED, parse, split

OPTIONS = {
    name.removeprefix("--").replace("_", "-"): option
    for option in command.params
    if isinstance(option, click.Option)
    for name in option.opts
    if name.startswith("--")
}
FLAGS = frozenset(name for name, option in OPTIONS.items() if option.is_flag or option.count)
KNOWN = frozenset(OPTIONS)
VALUED = sorted(KNOWN - FLAGS)

paths = st.text(st.sampled_from("a/ \\:,=\n\N{SNOWMAN}\udcff\"'"), min_size=1)


def escaped(text: str, separator: str) -> str:
    """A value, escaped as between separators."""
    return text.replace("\\", "\\\\").replace(separator, "\\" + separator)


def parsed(*texts: str) -> list[str]:
    """The long options for these values of ``-o``."""
    return parse(texts, KNOWN, FLAGS)[0]


def refused(*texts: str) -> str:
    """The error message for them."""
    with pytest.raises(Problem) as caught:
        parse(texts, KNOWN, FLAGS)
    assert caught.value.code == USAGE
    return str(caught.value)


@pytest.mark.parametrize("separator", [":", ","])
@given(parts=st.lists(paths, min_size=1))
def test_split_reverses_escaping_and_joining(separator: str, parts: list[str]) -> None:
    assert split(separator.join(escaped(part, separator) for part in parts), separator) == parts


@pytest.mark.parametrize("separator", [":", ","])
@given(text=st.text(st.sampled_from("ab,:\n")))
def test_text_without_backslashes_is_split_as_by_str_split(separator: str, text: str) -> None:
    assert split(text, separator) == text.split(separator)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (r"/a\:b:/c", ["/a:b", "/c"]),
        (r"/a\\:/c", ["/a\\", "/c"]),
        (r"/a\,b:/c", [r"/a\,b", "/c"]),
        ("/a\\", ["/a\\"]),
        ("/a:/b:/c:/d:e:f:g", ["/a", "/b", "/c", "/d", "e", "f", "g"]),
        (":/a::/b:", ["", "/a", "", "/b", ""]),
        ("", [""]),
    ],
)
def test_backslash_escapes_only_the_separator_and_a_backslash(text: str, parts: list[str]) -> None:
    assert split(text, ":") == parts


@given(names=st.lists(st.sampled_from(VALUED), max_size=12), values=st.lists(paths, min_size=12, max_size=12))
def test_options_keep_their_order_and_values(names: list[str], values: list[str]) -> None:
    pairs = list(zip(names, values, strict=False))
    text = ",".join(f"{name}={escaped(value, ',')}" for name, value in pairs)
    assert parsed(text) == [f"--{name}={value}" for name, value in pairs]


@pytest.mark.parametrize("name", VALUED)
@pytest.mark.parametrize("spelled", [str, lambda name: name.replace("-", "_")], ids=["dashes", "underscores"])
def test_long_option_that_takes_a_value_needs_one(name: str, spelled: Callable[[str], str]) -> None:
    assert parsed(f"{spelled(name)}=a_b-c=d") == [f"--{name}=a_b-c=d"]
    assert parsed(f"{spelled(name)}=") == [f"--{name}="]
    assert refused(spelled(name)) == f"-o {spelled(name)}: {name} takes a value"


@pytest.mark.parametrize("name", sorted(FLAGS))
@pytest.mark.parametrize("spelled", [str, lambda name: name.replace("-", "_")], ids=["dashes", "underscores"])
def test_flag_takes_no_value(name: str, spelled: Callable[[str], str]) -> None:
    assert parsed(spelled(name)) == [f"--{name}"]
    assert refused(f"{spelled(name)}=1") == f"-o {spelled(name)}=1: {name} takes no value"


def test_flags_may_repeat_and_several_values_of_o_are_joined() -> None:
    assert parsed("verbose,verbose", "depth=2", "", ",,") == ["--verbose", "--verbose", "--depth=2"]


@pytest.mark.parametrize("word", [*sorted(IGNORED), "x-systemd.automount", "X-foo=a", "comment=a b", "context=u:r"])
def test_generic_options_of_fstab_have_no_effect(word: str) -> None:
    assert parse((f"depth=2,{word},prefer=low",), KNOWN, FLAGS) == (["--depth=2", "--prefer=low"], frozenset())


@pytest.mark.parametrize("word", sorted(FUSE))
def test_options_of_libfuse_are_passed_on_and_are_no_long_options(word: str) -> None:
    for spelled in (word, word.replace("_", "-")):
        assert parse((f"ro,{spelled},depth=2,{word}",), KNOWN, FLAGS) == (["--depth=2"], frozenset([word]))
    assert f"-o {word}=1: unknown option" in refused(f"{word}=1")


def test_options_that_would_break_or_weaken_a_mount_never_reach_libfuse() -> None:
    for word in ("suid", "dev", "rw", "exec"):
        assert parse((word,), KNOWN, FLAGS) == ([], frozenset())
    for word in ("fd=3", "user_id=0", "rootmode=40000", "blkdev", "debug"):
        assert f"-o {word}: unknown option" in refused(word)


def test_nonempty_of_old_fusermount_lines_is_the_long_option() -> None:
    assert parse(("ro,nonempty",), KNOWN, FLAGS) == (["--nonempty"], frozenset())
    assert parse(("follow_symlinks,overwritesymlinks",), KNOWN, FLAGS)[0] == [
        "--follow-symlinks",
        "--overwritesymlinks",
    ]


@pytest.mark.parametrize(
    "words",
    [
        "defaults,allow_other,use_ino,direct_io,fsname=mergerfs,noauto_cache,splice_move,noforget",
        "allow_other,default_permissions,kernel_cache,auto_cache,_netdev,big_writes,max_write=131072,nosymfollow",
        r"ro,allow_other,fsname=a\,b,subtype=other,async_read,max_background=12,x-systemd.automount",
    ],
)
def test_options_of_copied_fuse_lines_without_meaning_here_are_accepted(words: str) -> None:
    assert parse((words,), KNOWN, FLAGS) == ([], frozenset(["allow_other"]))


@pytest.mark.parametrize(
    ("word", "instead"),
    [
        ("uid=1000", "allow_other"),
        ("gid=1000", "allow_other"),
        ("umask=022", "allow_other"),
        ("umask", "allow_other"),
        ("dmask=022", "allow_other"),
        ("attr_timeout=3600", "refresh=SECONDS"),
        ("entry_timeout=1", "refresh=SECONDS"),
        ("max_read=4096", "leave it out"),
    ],
)
def test_options_of_copied_fuse_lines_with_another_equivalent_are_refused_with_it(word: str, instead: str) -> None:
    message = refused(f"allow_other,{word}")
    assert message.startswith(f"-o {word}: not possible: ")
    assert instead in message


def test_foreign_options_are_accepted_only_in_their_own_form() -> None:
    for word in ("fsname", "max_write", "kernel_cache=1", "default_permissions=0"):
        assert f"-o {word}: unknown option" in refused(word)


@pytest.mark.parametrize("text", ["remount", "remount,ro", "depth=2,remount,rw"])
def test_remount_is_refused_with_what_to_do_instead(text: str) -> None:
    message = refused(text)
    assert message.startswith("remount is not possible: unmount the view and mount it again")
    assert "\n" not in message


@pytest.mark.parametrize(
    ("word", "near"),
    [
        ("dept=2", "depth"),
        ("perfer=low", "prefer"),
        ("on_mising=keep", "on-missing"),
        ("refesh=3", "refresh"),
        ("allowother", "allow_other"),
        ("alow-other", "allow_other"),
        ("followsymlink", "followsymlinks"),
    ],
)
def test_unknown_option_is_an_error_that_suggests_the_nearest_one(word: str, near: str) -> None:
    assert refused(word) == f"-o {word}: unknown option; did you mean {near}?"


@pytest.mark.parametrize("word", ["force-user=joe", "=", "=value", "xyzzy", "--depth=2", " depth=2"])
def test_unknown_option_like_no_other_is_an_error_without_a_suggestion(word: str) -> None:
    assert refused(word).startswith(f"-o {word}: unknown option")


@given(word=st.text(st.characters(exclude_characters=",\\"), min_size=1))
def test_any_text_is_accepted_or_refused_in_one_line(word: str) -> None:
    try:
        options, fuse = parse((word,), KNOWN, FLAGS)
    except Problem as problem:
        message = str(problem)
    else:
        message = "accepted"
        assert fuse <= FUSE
        assert all(option.startswith("--") for option in options)
    assert len(message.splitlines()) == 1
