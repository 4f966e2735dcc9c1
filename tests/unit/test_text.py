"""Names as people and programs see them: nothing in them harms a terminal, a log or a parser, or is lost to one."""

import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmirrorfs.text import json_path, printable
from tests.support.json_paths import path_of


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


@pytest.mark.parametrize(
    ("path", "members"),
    [
        (b"Artist/Album", {"path": "Artist/Album"}),
        ("Björk/\ufffd".encode(), {"path": "Björk/\ufffd"}),
        (b"", {"path": ""}),
        (b"a\n\\", {"path": "a\n\\"}),
        (b"caf\xe9/1", {"path": "caf\ufffd/1", "path_b64": "Y2Fm6S8x"}),
        (b"\xed\xb3\xbf", {"path": "\ufffd\ufffd\ufffd", "path_b64": "7bO/"}),
    ],
)
def test_a_path_in_json_is_text_and_its_bytes_are_added_where_they_are_no_text(
    path: bytes, members: dict[str, str]
) -> None:
    assert json_path(path) == members


@given(st.binary(max_size=40))
def test_no_path_is_lost_in_json_and_none_is_a_lone_surrogate(path: bytes) -> None:
    told = json.dumps(json_path(path))
    assert path_of(json.loads(told)) == path
    assert json_path(b"\xff" + path)["path"].encode(), "which no surrogate can be"
