"""Names as text and JSON: safe for a terminal, a log and a parser, and lossless in JSON."""

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
def test_printable_escapes_only_what_is_unsafe(name: bytes | str, expected: str) -> None:
    assert printable(name) == expected


@given(st.binary(max_size=40))
def test_printable_of_any_bytes_is_one_printable_line(name: bytes) -> None:
    shown = printable(name)
    assert shown.isprintable()
    assert shown.encode().decode() == shown


def test_printable_escapes_backslashes() -> None:
    assert printable(b"\\n") == "\\\\n" != printable(b"\n")


def test_printable_is_the_same_for_text_and_bytes() -> None:
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
def test_json_path_adds_the_bytes_only_if_they_are_not_utf_8(path: bytes, members: dict[str, str]) -> None:
    assert json_path(path) == members


@given(st.binary(max_size=40))
def test_json_path_is_lossless_and_has_no_lone_surrogates(path: bytes) -> None:
    dumped = json.dumps(json_path(path))
    assert path_of(json.loads(dumped)) == path
    assert json_path(b"\xff" + path)["path"].encode(), "a lone surrogate cannot be encoded"
