"""Normalises letters: removes compatibility forms, diacritics and typographic punctuation.

A mark that makes a different letter is kept: the breve of Cyrillic short i, dakuten, nukta, Indic vowel signs.
Pure: text in, text out. Any thread may call this; results are cached by character.
"""

import re
import unicodedata
from collections.abc import Callable

_COMBINING = "\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe00-\ufe0f"
_HEBREW = "\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7"
_ARABIC = "\u0610-\u061a\u0640\u064b-\u0652\u0656-\u065f\u0670\u06d6-\u06dc\u06df-\u06e8\u06ea-\u06ed"
_WITHOUT_WIDTH = "\u00ad\u061c\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff"
_DROPPED = re.compile(rf"[{_COMBINING}{_HEBREW}{_ARABIC}{_WITHOUT_WIDTH}]|(?<=\u0627)[\u0653-\u0655]")
"""The last alternative is the hamza or madda of an alef."""

_CYRILLIC = re.compile("[\u0400-\u052f]")
_LETTERS = {
    **{"æ": "ae", "œ": "oe", "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "ħ": "h", "ŧ": "t", "\u0131": "i"},
    **{"\u0451": "\u0435", "\u0450": "\u0435", "\u045d": "\u0438"},  # Cyrillic io as ie; ie and i with a stress
    **{"\u0671": "\u0627", "\u06cc": "\u064a", "\u06a9": "\u0643"},  # alef wasla; Persian ye and kaf
    **dict.fromkeys("\u2122\u2120\xae\xa9", ""),  # signs of trademarks and copyright
    **dict.fromkeys("\u2018\u2019\u201a\u201b\u2032\u2035\u02b9\u02bb\u02bc\u02bd\u02be\u02bf\u02c8\xb4", "'"),
    **dict.fromkeys("\u201c\u201d\u201e\u201f\u2033\u2036\xab\xbb", '"'),
    **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212\u2e3a\u2e3b\u301c\u3030", "-"),
    **dict.fromkeys("\u2044\u2215\u29f8\u2571", "/"),
    **dict.fromkeys("\u2223\u01c0\xa6\u2502", "|"),
    **dict.fromkeys("\u2217\u204e\u2731", "*"),
    **dict.fromkeys("\u2236\ua789\u02d0", ":"),
    **dict.fromkeys("\u3010\u3014\u3016", "["),
    **dict.fromkeys("\u3011\u3015\u3017", "]"),
}
_PUNCTUATION = frozenset(("Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "Sk", "Zs", "Zl", "Zp", "Cc", "Cf", "Co"))
"""Unicode categories of punctuation and blanks; SMB and macOS map characters that a filesystem forbids into Co."""


class _Table(dict[int, str]):
    """A table for ``str.translate``, filled on demand."""

    def __init__(self, replacement: Callable[[str], str]) -> None:
        super().__init__()
        self._replacement = replacement

    def __missing__(self, code: int) -> str:
        found = self[code] = self._replacement(chr(code))
        return found


def _letter(char: str) -> str:
    if char in _LETTERS or _CYRILLIC.match(char):
        return _LETTERS.get(char, char)
    parts = unicodedata.normalize("NFD", unicodedata.normalize("NFKC", char).casefold())
    left = unicodedata.normalize("NFC", _DROPPED.sub("", parts))
    return "".join(_LETTERS.get(one, one) for one in left)


def _blank(char: str) -> str:
    return " " if unicodedata.category(char) in _PUNCTUATION or char in "<>|~" else char


_LETTER, _BLANK = _Table(_letter), _Table(_blank)
_ASCII = "".join(_BLANK[code] if code < 128 else "?" for code in range(256)).encode()


def plain(text: str) -> str:
    """A casefolded text with normalised letters and ASCII punctuation."""
    return text if text.isascii() else unicodedata.normalize("NFC", text.translate(_LETTER))


def unpunctuated(text: str) -> str:
    """A text with all punctuation replaced by blanks. Symbols (+ = $ and the like) are kept."""
    if text.isascii():
        return text.encode().translate(_ASCII).decode()
    return text.translate(_BLANK)
