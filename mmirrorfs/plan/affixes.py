"""Affixes of names (prefixes and suffixes that are not part of a title), and the ``--ignore`` patterns for them.

Rule 1: a pattern is printable, whatever the name, and matches one text at one end of a name.
Rule 2: a number is never ignored.
Rule 3: an affix that ``loose`` does not know as a tag is recognised only if many names have it, and if it does not
distinguish albums: no number, no numeral, no word for an edition, and no source has names both with and without it.

Pure: no I/O, no clock.
"""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from mmirrorfs.merge.names import compiled
from mmirrorfs.plan.alike import folded_of


class Cut(NamedTuple):
    """A name split into the stem, folded, and an affix; ``in_front``: a prefix."""

    stem: str
    affix: str = ""
    in_front: bool = False

    @property
    def pattern(self) -> str:
        """The regular expression that removes the affix."""
        return f"^{escaped(self.affix)}" if self.in_front else f"{escaped(self.affix)}$"

    @property
    def kind(self) -> str:
        """A description for the user."""
        return f"the {'prefix' if self.in_front else 'suffix'} '{self.affix}'"


_BRACKETED = r"\s*[\[({<][^\[\](){}<>]*[\])}>]\s*"
_DASH = r"\s[-\u2013\u2014~|]\s"
_SUFFIX = re.compile(rf"{_BRACKETED}$|\s+$|(?:{_DASH}|_)(?!.*(?:{_DASH}|_|[\])}}>]\s*$|\s$)).+$", re.DOTALL)
_PREFIX = re.compile(rf"{_BRACKETED}|\s+|(?:(?!{_DASH}|_).)+(?:{_DASH}|_)", re.DOTALL)
_NESTED = 3
"""Maximum number of brackets, or parts, in one affix."""


def cuts(text: str) -> Iterator[Cut]:
    """All ways to split a name, the whole name first."""
    yield Cut(folded_of(text))
    left = text
    for _ in range(_NESTED):
        found = _SUFFIX.search(left)
        if found is None or not found.start():
            break
        left = left[: found.start()]
        yield Cut(folded_of(left), text[found.start() :])
    left = text
    for _ in range(_NESTED):
        found = _PREFIX.match(left)
        if found is None or found.end() == len(left):
            break
        left = left[found.end() :]
        yield Cut(folded_of(left), text[: len(text) - len(left)], True)


def common(texts: Sequence[str]) -> list[Cut]:
    """The shortest affixes without which some names are the same; [] if there are none."""
    options = [{cut.stem: cut for cut in reversed(list(cuts(text)))} for text in texts]
    stems = set(options[0]).intersection(*options[1:])
    if not stems:
        return []
    longest = max(stems, key=lambda stem: (len(stem), stem))
    return [cut for cut in dict.fromkeys(option[longest] for option in options) if cut.affix]


def escaped(text: str) -> str:
    """A regular expression for exactly this text, in printable characters."""
    return "".join(_SPECIAL.get(char) or (char if char.isprintable() else _numbered(char)) for char in text)


_SPECIAL = {char: f"\\{char}" for char in r"\.^$*+?{}[]|()"}


def _numbered(char: str) -> str:
    point = ord(char)
    return f"\\x{point:02x}" if point < 0x100 else f"\\u{point:04x}" if point < 0x10000 else f"\\U{point:08x}"


def can_be_ignored(cut: Cut) -> bool:
    """Whether ``--ignore`` accepts the pattern, and the affix is not just a year or another number."""
    if re.search(r"\d", cut.affix) and not re.search(r"[^\W\d_]", cut.affix):
        return False
    try:
        compiled(cut.pattern)
    except ValueError:
        return False
    return True


LEAST = 3
"""Minimum number of names that have an unknown affix."""


def tells_apart(affix: str) -> bool:
    """Whether an affix may distinguish two albums."""
    parts = re.findall(r"[^\W_]+", folded_of(affix))
    return not parts or any(part in _DISTINCTIVE or part.isdecimal() or _NUMERAL.fullmatch(part) for part in parts)


_NUMERAL = re.compile(r"[ivx]+|\w*(?:st|nd|rd|th)(?<=\d\w\w)")
_DISTINCTIVE_WORDS = """
deluxe edition editions édition edición edição remaster remastered remasterd remasterizado reissue expanded
anniversary bonus special limited collector collectors version versions versión legacy super ultimate definitive
live unplugged acoustic demo demos session sessions remix remixes remixed mix mixes mixed mixtape instrumental
instrumentals karaoke mono stereo quad surround atmos ep single singles maxi lp album vol volume part pt disc disk
cd dvd book chapter act side number no nr op opus original soundtrack ost score tribute cover covers best hits
greatest collection anthology box set early late outtakes rarities unreleased extended radio edit edits club dub
clean explicit uncut complete highlights sampler promo redux alternate alternative reprise revisited reloaded
rerecorded taylor vivo vive concert concierto concerto ao teil folge tome parte partie band junior senior jr sr trio
quartet quintet sextet orchestra choir ensemble symphony white black blue green red yellow one two three four five
six seven eight nine ten first second third fourth fifth i ii iii uk us usa ca au new old young vol1 vol2 major
minor flat sharp north south east west a b c d e f g day night
"""
_DISTINCTIVE = frozenset(_DISTINCTIVE_WORDS.split())
