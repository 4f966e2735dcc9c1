"""The similarity of two names that ``loose`` does not pair: by their words, and the spelling of these.

Rule 1: the words that differ are long, few and spelled nearly the same; both names have all others. So words that
distinguish albums (numbers, numerals, Blue and Green) keep names apart.
Rule 2: names with different years, or different articles, are different.

Pure: no I/O, no clock. Uses rapidfuzz if it is installed, otherwise difflib, which is slower.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from difflib import SequenceMatcher

from mmirrorfs.merge.letters import plain
from mmirrorfs.merge.loose import Title, loose, parsed

Ratio = Callable[[str, str], float]
"""The similarity of two texts, from 0 to 1: twice the length of the common subsequence by the sum of their lengths."""


def slow_ratio(one: str, other: str) -> float:
    """The ratio by difflib. It depends on the order of the two, so they are sorted."""
    first, second = sorted((one, other))
    return float(SequenceMatcher(None, first, second, autojunk=False).ratio())


try:
    from rapidfuzz.distance.Indel import normalized_similarity
except ImportError:
    ratio: Ratio = slow_ratio
else:
    ratio = normalized_similarity


@dataclass(frozen=True, slots=True)
class Spelling:
    """A name as it is compared: its loose key, its words, and the same expanded (``read``)."""

    base: str
    article: str
    years: str
    words: tuple[str, ...]
    read: tuple[str, ...]


def spelled(text: str) -> Spelling:
    """The spelling of a name."""
    folded = folded_of(text)
    key, words = parsed(folded)
    letters = _LETTERLIKE.sub(lambda sign: _READ_AS[sign[0]], folded)
    read = tuple(_read(words if letters == folded else parsed(letters)[1]))
    return Spelling(key.base, key.article, key.years, words, read)


def base_of(text: str) -> str:
    """The base of the loose key of a name."""
    key = loose(folded_of(text))
    return key.base if isinstance(key, Title) else key


def text_of(name: bytes) -> str | None:
    """A name as text; None if it is not UTF-8."""
    with suppress(UnicodeDecodeError):
        return name.decode()
    return None


def folded_of(text: str) -> str:
    """A text casefolded and normalised to NFC."""
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


_READ_AS = {"!": "i", "$": "s", "@": "a", "€": "e"}
_LETTERLIKE = re.compile(r"(?<=[^\W\d_])[!$@€](?=[^\W\d_])")
_LONG = {
    "und": "and", "et": "and", "plus": "and", "cd": "disc", "disk": "disc", "vol": "volume", "pt": "part",
    "no": "number", "nr": "number", "feat": "featuring", "ft": "featuring", "vs": "versus", "st": "saint",
    "jr": "junior", "sr": "senior",
    "mr": "mister", "dr": "doctor", "sgt": "sergeant", "lt": "lieutenant", "capt": "captain",
    "co": "company",
}  # fmt: skip
_AND = frozenset("neyu")
_NUMBERED = re.compile(r"(cd|dis[ck]|vol|volume|pt|part|no|nr)(\d+)")
_NUMERALS = "i ii iii iv v vi vii viii ix x xi xii xiii xiv xv xvi xvii xviii xix xx"
_VALUES = {numeral: str(value) for value, numeral in enumerate(_NUMERALS.split(), 1)}


def _read(parts: Sequence[str]) -> Iterable[str]:
    """Words with abbreviations in full and numerals as numbers."""
    for position, word in enumerate(parts):
        if word in _AND and 0 < position < len(parts) - 1:
            yield "and"
        elif word in _VALUES and position:
            yield _VALUES[word]
        elif numbered := _NUMBERED.fullmatch(word):
            yield _LONG.get(numbered[1], numbered[1])
            yield numbered[2].lstrip("0")
        else:
            yield _LONG.get(word, word)


_SMALL_WORDS = "the a an and of in on to for de la le les el los der die das und"
_SMALL = frozenset(_SMALL_WORDS.split())
SHORTEST, SHORTEST_ALONE = 5, 6
"""Minimum letters of a word with two spellings, in a name of several words and of one."""
LEAST = 0.85
"""Minimum ratio of two spellings of a word."""


def likeness(one: Spelling, other: Spelling, ratio: Ratio = ratio) -> tuple[float, str] | None:
    """The similarity, up to 1, of two names that ``loose`` does not pair, and by what they differ; None if unlike."""
    if one.base == other.base or _conflict(one.years, other.years) or _conflict(one.article, other.article):
        return None
    left = [word for word in one.read if word not in other.read]
    right = [word for word in other.read if word not in one.read]
    if len(left) > 2 or len(right) > 2 or not (one.read and other.read):
        return None
    if not left and not right:
        return _same_words(one, other)
    if _SMALL.issuperset(left) and _SMALL.issuperset(right):
        return (0.9, "small words") if _outweighs(one, other, left + right) else None
    if len(left) != len(right):
        return None
    shortest = SHORTEST if len(one.read) > len(left) else SHORTEST_ALONE
    scores = [_same_word(*pair, shortest, ratio) for pair in zip(left, right, strict=True)]
    if min(scores) < LEAST:
        return None
    return min(scores) * 0.9, f"the spelling '{' '.join(left)}' or '{' '.join(right)}'"


def _same_words(one: Spelling, other: Spelling) -> tuple[float, str] | None:
    """The same for names of the same words: they differ by order, by abbreviations, or by repeated small words."""
    if one.words == other.words:
        return None
    if sorted(one.read) != sorted(other.read):
        large = [[word for word in spelling.read if word not in _SMALL] for spelling in (one, other)]
        return (0.9, "small words") if large[0] == large[1] and len(large[0]) > 1 else None
    if one.read == other.read:
        return 1.0, "abbreviations, numerals or signs"
    numbers = [[word for word in spelling.read if not word.isalpha()] for spelling in (one, other)]
    return (0.95, "the order of words") if numbers[0] == numbers[1] else None


def _outweighs(one: Spelling, other: Spelling, small: Sequence[str]) -> bool:
    """Whether the common words outweigh the small words by which two names differ."""
    common = [word for word in one.read if word in other.read]
    in_front = len(small) == 1 and (one.read[0] == small[0] or other.read[0] == small[0])
    return len(common) > 1 or (in_front and len("".join(common)) >= SHORTEST_ALONE)


def _same_word(one: str, other: str, shortest: int, ratio: Ratio) -> float:
    if _transcribed(one) == _transcribed(other) and min(len(one), len(other)) > 2:
        return 1.0
    if one[0] != other[0] or min(len(one), len(other)) < shortest or not (one + other).isalpha():
        return 0.0
    return ratio(one, other)


_TRANSCRIBED = re.compile(r"(?<=[aou])e|(?<=d)j")


def _transcribed(word: str) -> str:
    """A word without the letters that transcribe an umlaut, or the stroke of a d."""
    return _TRANSCRIBED.sub("", word)


def _conflict(one: str, other: str) -> bool:
    return bool(one and other) and one != other


def differences(one: str, other: str) -> tuple[str, ...]:
    """By what two names that ``loose`` pairs differ, in a few words each."""
    first, second = (unicodedata.normalize("NFC", text) for text in (one, other))
    if first == second:
        return ("Unicode form",)
    if folded_of(first) == folded_of(second):
        return ("case",)
    found = [what for what in _NORMALISED if _except(first, what) != _except(second, what)]
    if _except(first, "") != _except(second, ""):
        return ("spelling",)
    blanks = any(" ".join(text.split()) != text for text in (first, second)) and "punctuation or blanks" not in found
    return (*found, "blanks") if blanks else tuple(found) or ("spelling",)


def _except(text: str, kept: str) -> str:
    """A text normalised in every respect except one."""
    for what, normalised in _NORMALISED.items():
        if what != kept:
            text = " ".join(normalised(text).split()).strip("- ")
    return text


def _unaccented(text: str) -> str:
    return "".join(char for char in unicodedata.normalize("NFD", text) if not unicodedata.combining(char))


_NORMALISED: dict[str, Callable[[str], str]] = {
    "case": str.casefold,
    "accents or letter forms": lambda text: plain(text) if text == text.casefold() else _unaccented(text),
    "'and' or '&'": lambda text: re.sub("[&+]", " and ", text),
    "the year": lambda text: re.sub(r"\b(?:1[5-9]|20)\d\d\b", " ", text),
    "the article": lambda text: re.sub(r"^(?:the|an?) |, ?[^\W\d_]{1,4}'?(?=$| ?[\[({<])", "", text, flags=re.I),
    "marks in brackets": lambda text: re.sub(r"[\[({<](?!\d{4}[\])}>])[^\[\](){}<>]*[\])}>]", " ", text),
    "punctuation or blanks": lambda text: "".join(filter(str.isalnum, text)),
}


def related(one: Spelling, other: Spelling, ratio: Ratio = ratio) -> bool:
    """Whether the names of two artists with a common album are related: one contains the other, or they are similar."""
    first, second = set(one.read), set(other.read)
    if first and second and (first <= second or second <= first):
        return True
    return _initials(one.read) == other.base or _initials(other.read) == one.base or ratio(one.base, other.base) >= 0.6


def _initials(parts: Sequence[str]) -> str:
    return "".join(part[0] for part in parts) if len(parts) > 1 else ""
