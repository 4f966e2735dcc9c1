"""What is left of a name when all that libraries spell differently is taken out of it: ``--match loose``.

Rule 1: a name is a base, an article and years. The base has what tells albums apart: letters, digits and symbols,
without blanks, punctuation, case and diacritics, and without bracketed marks of format and source.
Rule 2: an article or a year that one name has and another of the same base does not have keeps them apart only where
there is a third: see ``joined``. Two articles, or two years, that differ keep names apart.
Rule 3: where nothing but punctuation is left, punctuation counts.

docs/matching.md says it with examples. Pure: no I/O, no clock.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from mmirrorfs.merge.letters import plain, unpunctuated


class Title(NamedTuple):
    """The key of a name that has an article or years; that of one without is its base, a text."""

    base: str
    article: str
    years: str


LooseKey = str | Title

_RATE = r"(?:(?:44|88|176|352)(?:[.,]\d)?|48|96|192|384)"
_MARK = re.compile(
    r"(?:(?>"  # atomic, for else a hostile name could be taken apart in too many ways
    rf"(?:16|20|24|32)(?:[ -]?bits?|b)?[ /x-]{_RATE}(?: ?k(?:hz)?)?|(?:16|20|24|32)[ -]?bits?|{_RATE} ?khz"
    r"|\d{2,3} ?k(?:bps|bits?|b)?(?:/s)?|128|160|192|224|256|320|v[02]|q\d"
    r"|flac|mp[23]|m4a|aac|alac|ogg|vorbis|opus|wave?|aiff?|ape|wv|wavpack|wma|mqa|shn|tta|tak|mpc|musepack|pcm|iso"
    r"|dsd(?:64|128|256|512)?|dsf|dff|lame|eac|xld|cue|log|[vca]br|lossless|lossy|hi[ -]?res"
    r"|web(?:[ -]?(?:rip|dl))?|cd(?:[ -]?rip)?|vinyl(?:[ -]?rip)?|lp|sacd|dvd-?a(?:udio)?|cassette|tape"
    r"|digital(?: media| download)?|itunes|bandcamp|qobuz|tidal|deezer|hdtracks|beatport"
    r")(?:[ ,;/+|@.-]+|$))+"
)
_DISC = re.compile(r"(?:cd|lp|tape|cassette)[ .-]*\d+(?! ?[kb/x-]|[\d.])")
"""What looks like a mark and counts discs: "CD 16"."""

_YEAR = r"(?:1[5-9]|20)\d\d"
_DATED = re.compile(_YEAR)
_BRACKETED = re.compile(r"[\[({<]([^\[\](){}<>]*)[\])}>]")
_YEAR_DASH = re.compile(rf"({_YEAR})(?: - ?|- )(?=.)(?! ?{_YEAR}\b)")
_YEAR_FIRST = re.compile(rf"((?:(?:the|an?) )?)({_YEAR}) (?=.)(?!{_YEAR}\b|s )(.*)")

_MOVED = "l'|le|la|les|un|une|der|die|das|ein|eine|el|los|las|una|il|lo|gli|o|os|as|um|uma|de|het|een|den|det|az|els"
_ARTICLE_LAST = re.compile(rf"(.*[^\s,]) ?, ?(the|an?|{_MOVED}) ?(?=$|[\[({{<]|- )(.*)")
_ARTICLE_FIRST = re.compile(r"(the|an|a(?= [^\W_]{3})) (?=.*[^\W_])(?!(?:the|an?)$)(.*)")

_ALONE = re.compile(r"([!?]+|\( ?\))(?= ?[\[({<]| )")
"""Punctuation that is the name, in front of more: "!!! (Live)" is not "(Live)"."""
_BETWEEN = re.compile(r"(?<=[^\W_]) ?\+ ?(?=[^\W_])")
_SHARP = re.compile(r"(?<![^\W_])([a-g])#")
_THOUSANDS = re.compile(r"(?<=\d)[,.'](?=\d\d\d(?!\d))")
_DIGITS_APART = re.compile(r"\d \d")
_BLANK = re.compile(r"(?<!\d) | (?!\d)")


def loose(text: str) -> LooseKey:
    """The key of a name, given without differences of case (``str.casefold``) and of Unicode normal form (NFC)."""
    return _key(_parts(text)[0])


def parsed(text: str) -> tuple[Title, tuple[str, ...]]:
    """The key of a name, given as for ``loose``, with all of its parts, and the words of its base."""
    title, words = _parts(text)
    return title, tuple(words.split())


def _parts(text: str) -> tuple[Title, str]:
    name, years = _without_marks(" ".join(plain(text).replace("_", " ").split()))
    if dated := _YEAR_DASH.match(name):
        name = name[dated.end() :]
        years.add(dated[1])
    alone = None
    if not name[:1].isalnum():
        if not any(map(str.isalnum, name)):
            return Title(name.replace(" ", "") or text, "", " ".join(sorted(years))), name
        alone = _ALONE.match(name)
    if "," in name and (last := _ARTICLE_LAST.fullmatch(name)):
        name = f"{last[2]} {last[1]} {last[3]}".rstrip()
    name = _words(name)
    if bare := _YEAR_FIRST.fullmatch(name):
        name = f"{bare[1]}{bare[3]} {bare[2]}"
    article = ""
    if first := _ARTICLE_FIRST.fullmatch(name):
        article, name = first[1], first[2]
    base = _BLANK.sub("", name) if _DIGITS_APART.search(name) else name.replace(" ", "")
    if alone:
        base = f"{alone[1].replace(' ', '')} {base}"
    return Title(base, article, " ".join(sorted(years))), name


def _without_marks(name: str) -> tuple[str, set[str]]:
    """A name without the years and the marks of format and source in brackets, and those years."""
    years: set[str] = set()
    if not ("[" in name or "(" in name or "{" in name or "<" in name):
        return name, years

    def drop(match: re.Match[str]) -> str:
        year = _year_or_mark(match[1])
        if year:
            years.add(year)
        return match[0] if year is None else " "

    left = " ".join(_BRACKETED.sub(drop, name).split())
    left = left.strip("- ") or left
    if left or not years:
        return left or name, years
    return " ".join(sorted(years)), set()


@lru_cache(4096)
def _year_or_mark(inner: str) -> str | None:
    """The year that stands in brackets; nothing for a mark of format or source, None for anything else."""
    inner = inner.strip()
    if _DATED.fullmatch(inner):
        return inner
    return "" if _MARK.fullmatch(inner) and not _DISC.match(inner) else None


def _words(name: str) -> str:
    """The words of a name, with the symbols that count, and a blank between them."""
    if name.replace(" ", "").isalnum():
        return name
    if "#" in name:
        name = _SHARP.sub("\\1\N{MUSIC SHARP SIGN}", name)
    name = " ".join(unpunctuated(_THOUSANDS.sub("", name).replace("&", " and ")).split())
    return _BETWEEN.sub(" and ", name) if "+" in name else name


def joined(present: Sequence[Iterable[object]]) -> Mapping[object, object]:
    """Which keys of the names in one directory are to be taken for which, given those of each source.

    A missing article, or year, is taken for the only one that there is of that base in all the sources, unless one
    source has both. A bare year at an end of the name is taken for the year, where another name has it as such.
    """
    everything = set().union(*present)
    titles = {key for key in everything if isinstance(key, Title)}
    dated = [title for title in titles if title.years]
    taken: dict[object, object] = {}
    if 0 < len(dated) < len(everything):
        taken.update((bare, title) for title in dated if (bare := _bare(title)) in everything)
    first: dict[object, Title] = {}
    several = {title.base for title in titles if first.setdefault(title.base, title) is not title}
    several.update(title.base for base, title in first.items() if base in everything)
    found: dict[str, list[set[Title]]] = {base: [set() for _ in present] for base in several}
    for rank, keys in enumerate(present if several else ()):
        for key in keys:
            title = _title(taken.get(key, key))
            if title is not None and title.base in several:
                found[title.base][rank].add(title)
    for variants in found.values():
        article = _only([{title.article for title in some} for some in variants])
        years = _only([{title.years for title in some} for some in variants])
        for title in set().union(*variants):
            full = Title(title.base, title.article or article, title.years or years)
            if full != title:
                taken[_key(title)] = full
    return {key: taken.get(other, other) for key, other in taken.items()}


def _bare(title: Title) -> LooseKey:
    """The key of the same name with the year as a part of it."""
    between = " " if title.base[-1].isdigit() else ""
    return _key(Title(f"{title.base}{between}{title.years}", title.article, ""))


def _title(key: object) -> Title | None:
    if isinstance(key, Title):
        return key
    return Title(key, "", "") if isinstance(key, str) else None


def _key(title: Title) -> LooseKey:
    base, article, years = title
    return title if article or years else base


def _only(values: list[set[str]]) -> str:
    """The only value that is not empty, where no source has it beside an empty one; else an empty one."""
    filled = set().union(*values) - {""}
    return filled.pop() if len(filled) == 1 and not any("" in some and len(some) > 1 for some in values) else ""
