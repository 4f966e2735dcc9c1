"""Names as people see them: nothing in them can do anything to a terminal or a log."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmirrorfs.text import printable


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (b"Artist/Album", "Artist/Album"),
        ("Björk/Début".encode(), "Björk/Début"),
        ("日本".encode(), "日本"),
        ("as text", "as text"),
        (b"", ""),
        (b"line\nbreak", r"line\nbreak"),
        (b"\x1b[31mred", r"\x1b[31mred"),
        (b"tab\tbell\x07", r"tab\tbell\x07"),
        (b"caf\xe9", r"caf\xe9"),
        (b"back\\slash", r"back\\slash"),
        ("right\u202eto left".encode(), r"right\u202eto left"),
        ("no\u2028line".encode(), r"no\u2028line"),
    ],
)
def test_a_name_is_shown_plainly_or_escaped(name: bytes | str, expected: str) -> None:
    assert printable(name) == expected


@given(st.binary(max_size=40))
def test_any_name_becomes_one_printable_line_in_any_encoding_of_unicode(name: bytes) -> None:
    shown = printable(name)
    assert shown.isprintable()
    assert shown.encode().decode() == shown


def test_a_backslash_in_a_name_is_not_taken_for_an_escape() -> None:
    assert printable(b"\\n") == "\\\\n" != printable(b"\n")


def test_text_and_bytes_of_one_name_are_shown_alike() -> None:
    name = b"caf\xe9\n"
    assert printable(os.fsdecode(name)) == printable(name)
