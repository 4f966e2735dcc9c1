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
from typing import NamedTuple

from mmirrorfs.merge.letters import plain


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
    r"|\d{2,3} ?k(?:bps|bits?|b)?(?:/s)?|128|160|192|224|256|320|[vq]\d"
    r"|flac|mp[23]|m4a|aac|alac|ogg|vorbis|opus|wave?|aiff?|ape|wv|wavpack|wma|mqa|shn|tta|tak|mpc|musepack|pcm|iso"
    r"|dsd(?:64|128|256|512)?|dsf|dff|lame|eac|xld|cue|log|[vca]br|lossless|lossy|hi[ -]?res"
    r"|web(?:[ -]?(?:rip|dl))?|cd(?:[ -]?rip)?|vinyl(?:[ -]?rip)?|lp|sacd|dvd-?a(?:udio)?|cassette|tape"
    r"|digital(?: media| download)?|itunes|bandcamp|qobuz|tidal|deezer|hdtracks|beatport"
    r")(?:[ ,;/+|@.-]+|$))+"
)
_DISC = re.compile(r"(?:cd|lp|tape|cassette)[ .-]*\d")
"""What looks like a mark and counts discs: "CD 16"."""

_YEAR = r"(?:1[5-9]|20)\d\d"
_DATED = re.compile(rf"\s*({_YEAR})\s*")
_BRACKETED = re.compile(r"[\[({<]([^\[\](){}<>]*)[\])}>]")
_YEAR_FIRST = re.compile(rf"({_YEAR})(?!\W*{_YEAR}\b)(?:( - ?|- )|[^\w']+)(?=\S)")

_DROPPED = ("the", "a", "an")
_MOVED = "l'|le|la|les|un|une|der|die|das|ein|eine|el|los|las|una|il|lo|gli|o|os|as|um|uma|de|het|een|den|det|az|els"
_ARTICLE_LAST = re.compile(rf"(.*[^\s,]) ?, ?({'|'.join(_DROPPED)}|{_MOVED}) ?(?=$|[\[({{<]|- )(.*)")
_ARTICLE_FIRST = re.compile(r"(the|an|a(?= [^\W_]{3})) (?=[^\W_])(?!(?:the|an?)$)(.*)")

_BETWEEN = re.compile(r"(?<=[^\W_]) ?\+ ?(?=[^\W_])")
_SHARP = re.compile(r"(?<![^\W_])([a-g])#")
_THOUSANDS = re.compile(r"(?<=\d)[,.'](?=\d\d\d(?!\d))")
_PUNCTUATION = re.compile(r"""[\s_!"#%&'()*,./:;<>?@[\\\]^`{|}~-]+""")
_BLANK = re.compile(r"(?<!\d) | (?!\d)")


def loose(text: str) -> LooseKey:
    """The key of a name, given without differences of case (``str.casefold``) and of Unicode normal form (NFC)."""
    whole = " ".join(plain(text).replace("_", " ").split())
    name, years = _undated(whole)
    article, name = _without_article(name)
    base = _base(name)
    if not base:
        return text
    return Title(base, article, " ".join(sorted(years))) if article or years else base


def _undated(name: str) -> tuple[str, set[str]]:
    """A name without its marks and years, and the years; with a bare year in front put last, for so it pairs too."""
    years: set[str] = set()

    def drop(match: re.Match[str]) -> str:
        inner = match[1].strip()
        if dated := _DATED.fullmatch(inner):
            years.add(dated[1])
            return " "
        return " " if _MARK.fullmatch(inner) and not _DISC.match(inner) else match[0]

    def trimmed(text: str) -> str:
        return " ".join(text.split()).strip("- ") if text != name else text

    left = trimmed(_BRACKETED.sub(drop, name))
    if not left and years:
        return " ".join(sorted(years)), set()
    left = left or name
    first = _YEAR_FIRST.match(left)
    if first is None:
        return left, years
    rest = left[first.end() :]
    return (rest, years | {first[1]}) if first[2] else (f"{rest} {first[1]}", years)


def _without_article(name: str) -> tuple[str, str]:
    """The article that a name has in front or behind a comma, if it is one that may be missing, and the rest."""
    if last := _ARTICLE_LAST.fullmatch(name):
        name = f"{last[2]} {last[1]} {last[3]}".rstrip()
    if first := _ARTICLE_FIRST.fullmatch(name):
        return first[1], first[2]
    return "", name


def _base(name: str) -> str:
    """The letters, digits and symbols of a name; where there are none its punctuation."""
    if not any(map(str.isalnum, name)):
        return name.replace(" ", "")
    text = _BETWEEN.sub(" and ", name.replace("&", " and "))
    text = _SHARP.sub("\\1\N{MUSIC SHARP SIGN}", _THOUSANDS.sub("", text))
    return _outside(name) + _BLANK.sub("", _PUNCTUATION.sub(" ", text).strip())


def _outside(name: str) -> str:
    """What stands outside brackets, where it is nothing but punctuation: "!!! (Live)" is not "(Live)"."""
    if not name.endswith((")", "]", "}")):
        return ""
    outer = _BRACKETED.sub(lambda match: " " if any(map(str.isalnum, match[0])) else match[0], name)
    return "" if any(map(str.isalnum, outer)) else outer.replace(" ", "").strip("-,")


def joined(present: Sequence[Iterable[object]]) -> Mapping[object, object]:
    """Which keys of the names in one directory are to be taken for which, given those of each source.

    A missing article, or year, is taken for the only one that there is of that base in all the sources, unless one
    source has both. A bare year at an end of the name is taken for the year, where another name has it as such.
    """
    everything = {key for keys in present for key in keys}
    titles = {key for key in everything if isinstance(key, Title)}
    taken: dict[object, object] = {bare: title for title in titles if (bare := _bare(title)) in everything}
    found: dict[str, list[set[Title]]] = {title.base: [set() for _ in present] for title in titles}
    for rank, keys in enumerate(present):
        for key in keys:
            title = _title(taken.get(key, key))
            if title is not None and title.base in found:
                found[title.base][rank].add(title)
    for variants in found.values():
        article = _only([{title.article for title in some} for some in variants])
        years = _only([{title.years for title in some} for some in variants])
        for title in set().union(*variants):
            full = Title(title.base, title.article or article, title.years or years)
            if full != title:
                taken[_key(title)] = full
    return {key: taken.get(other, other) for key, other in taken.items()}


def _bare(title: Title) -> LooseKey | None:
    """The key of the same name with the year as a part of it; None where there is no year."""
    if not title.years:
        return None
    between = " " if title.base[-1].isdigit() else ""
    return _key(Title(f"{title.base}{between}{title.years}", title.article, ""))


def _title(key: object) -> Title | None:
    if isinstance(key, Title):
        return key
    return Title(key, "", "") if isinstance(key, str) else None


def _key(title: Title) -> LooseKey:
    return title if title.article or title.years else title.base


def _only(values: list[set[str]]) -> str:
    """The only value that is not empty, where no source has it beside an empty one; else an empty one."""
    filled = set().union(*values) - {""}
    return filled.pop() if len(filled) == 1 and not any("" in some and len(some) > 1 for some in values) else ""


def parsed(text: str) -> tuple[Title, tuple[str, ...]]:
    """The key of a name, given as for ``loose``, with all of its parts, and the words of its base."""
    whole = " ".join(plain(text).replace("_", " ").split())
    name, years = _undated(whole)
    article, name = _without_article(name)
    words = _PUNCTUATION.sub(" ", name.replace("&", " and ").replace("'", "")).split()
    return Title(_base(name) or text, article, " ".join(sorted(years))), tuple(words)
