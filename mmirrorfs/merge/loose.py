"""``--match loose``: the key of a name, without what libraries spell differently.

Rule 1: a key is a base, an article and years. The base is the letters, digits and symbols, without blanks, punctuation,
case, diacritics, and bracketed tags of format and source.
Rule 2: names of one base with different articles, or years, are different. A missing article or year matches the only
one that there is of that base in all sources: see ``joined``.
Rule 3: a name of punctuation only is compared by its punctuation.

docs/matching.md has examples. Pure: no I/O, no clock.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from mmirrorfs.merge.letters import plain, unpunctuated


class Title(NamedTuple):
    """The key of a name with an article or years. Without both, the key is the base itself, a string."""

    base: str
    article: str
    years: str


LooseKey = str | Title

_RATE = r"(?:(?:44|88|176|352)(?:[.,]\d)?|48|96|192|384)"
_TAG = re.compile(
    r"(?:(?>"  # atomic: no backtracking on a hostile name
    rf"(?:16|20|24|32)(?:[ -]?bits?|b)?[ /x-]{_RATE}(?: ?k(?:hz)?)?|(?:16|20|24|32)[ -]?bits?|{_RATE} ?khz"
    r"|\d{2,3} ?k(?:bps|bits?|b)?(?:/s)?|128|160|192|224|256|320|v[02]|q\d"
    r"|flac|mp[23]|m4a|aac|alac|ogg|vorbis|opus|wave?|aiff?|ape|wv|wavpack|wma|mqa|shn|tta|tak|mpc|musepack|pcm|iso"
    r"|dsd(?:64|128|256|512)?|dsf|dff|lame|eac|xld|cue|log|[vca]br|lossless|lossy|hi[ -]?res"
    r"|web(?:[ -]?(?:rip|dl))?|cd(?:[ -]?rip)?|vinyl(?:[ -]?rip)?|lp|sacd|dvd-?a(?:udio)?|cassette|tape"
    r"|digital(?: media| download)?|itunes|bandcamp|qobuz|tidal|deezer|hdtracks|beatport"
    r")(?:[ ,;/+|@.-]+|$))+"
)
_DISC = re.compile(r"(?:cd|lp|tape|cassette)[ .-]*\d+(?! ?[kb/x-]|[\d.])")
"""Looks like a tag, but is the number of a disc: "CD 16"."""

_YEAR = r"(?:1[5-9]|20)\d\d"
_DATED = re.compile(_YEAR)
_BRACKETED = re.compile(r"[\[({<]([^\[\](){}<>]*)[\])}>]")
_YEAR_DASH = re.compile(rf"({_YEAR})(?: - ?|- )(?=.)(?! ?{_YEAR}\b)")
_YEAR_FIRST = re.compile(rf"((?:(?:the|an?) )?)({_YEAR}) (?=.)(?!{_YEAR}\b|s )(.*)")

_MOVED = "l'|le|la|les|un|une|der|die|das|ein|eine|el|los|las|una|il|lo|gli|o|os|as|um|uma|de|het|een|den|det|az|els"
_ARTICLE_LAST = re.compile(rf"(.*[^\s,]) ?, ?(the|an?|{_MOVED}) ?(?=$|[\[({{<]|- )(.*)")
_ARTICLE_FIRST = re.compile(r"(the|an|a(?= [^\W_]{3})) (?=.*[^\W_])(?!(?:the|an?)$)(.*)")

_ALONE = re.compile(r"([!?]+|\( ?\))(?= ?[\[({<]| )")
"""Leading punctuation that is the name itself: "!!! (Live)" is not "(Live)"."""
_BETWEEN = re.compile(r"(?<=[^\W_]) ?\+ ?(?=[^\W_])")
_SHARP = re.compile(r"(?<![^\W_])([a-g])#")
_THOUSANDS = re.compile(r"(?<=\d)[,.'](?=\d\d\d(?!\d))")
_DIGITS_APART = re.compile(r"\d \d")
_BLANK = re.compile(r"(?<!\d) | (?!\d)")


def loose(text: str) -> LooseKey:
    """The key of a name that was casefolded and normalised to NFC."""
    return _key(_parts(text)[0])


def parsed(text: str) -> tuple[Title, tuple[str, ...]]:
    """The full key of such a name, and the words of its base."""
    title, words = _parts(text)
    return title, tuple(words.split())


def _parts(text: str) -> tuple[Title, str]:
    name, years = _without_tags(" ".join(plain(text).replace("_", " ").split()))
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


def _without_tags(name: str) -> tuple[str, set[str]]:
    """A name without bracketed years and tags of format and source, and those years."""
    years: set[str] = set()
    if not ("[" in name or "(" in name or "{" in name or "<" in name):
        return name, years

    def drop(match: re.Match[str]) -> str:
        year = _year_or_tag(match[1])
        if year:
            years.add(year)
        return match[0] if year is None else " "

    left = " ".join(_BRACKETED.sub(drop, name).split())
    left = left.strip("- ") or left
    if left or not years:
        return left or name, years
    return " ".join(sorted(years)), set()


@lru_cache(4096)
def _year_or_tag(inner: str) -> str | None:
    """A bracketed year; "" for a tag of format or source, None for anything else."""
    inner = inner.strip()
    if _DATED.fullmatch(inner):
        return inner
    return "" if _TAG.fullmatch(inner) and not _DISC.match(inner) else None


def _words(name: str) -> str:
    """The words and symbols of a name, separated by blanks."""
    if name.replace(" ", "").isalnum():
        return name
    if "#" in name:
        name = _SHARP.sub("\\1\N{MUSIC SHARP SIGN}", name)
    name = " ".join(unpunctuated(_THOUSANDS.sub("", name).replace("&", " and ")).split())
    return _BETWEEN.sub(" and ", name) if "+" in name else name


def joined(present: Sequence[Iterable[object]]) -> Mapping[object, object]:
    """Which keys of one directory to replace by which, given the keys of each source.

    A missing article or year is replaced by the only one of that base in all sources, unless one source has both names.
    A bare year at an end of a name is taken for the year of release if another name has it as such.
    """
    keys_of_all = set().union(*present)
    titles = {key for key in keys_of_all if isinstance(key, Title)}
    dated = [title for title in titles if title.years]
    replaced: dict[object, object] = {}
    if 0 < len(dated) < len(keys_of_all):
        replaced.update((bare, title) for title in dated if (bare := _bare(title)) in keys_of_all)
    first: dict[object, Title] = {}
    several = {title.base for title in titles if first.setdefault(title.base, title) is not title}
    several.update(title.base for base, title in first.items() if base in keys_of_all)
    found: dict[str, list[set[Title]]] = {base: [set() for _ in present] for base in several}
    for rank, keys in enumerate(present if several else ()):
        for key in keys:
            title = _title(replaced.get(key, key))
            if title is not None and title.base in several:
                found[title.base][rank].add(title)
    for variants in found.values():
        article = _only([{title.article for title in some} for some in variants])
        years = _only([{title.years for title in some} for some in variants])
        for title in set().union(*variants):
            full = Title(title.base, title.article or article, title.years or years)
            if full != title:
                replaced[_key(title)] = full
    return {key: replaced.get(other, other) for key, other in replaced.items()}


def _bare(title: Title) -> LooseKey:
    """The key of the same name with the year as part of the base."""
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
    """The only non-empty value, if no source has both it and an empty one; otherwise ""."""
    filled = set().union(*values) - {""}
    return filled.pop() if len(filled) == 1 and not any("" in some and len(some) > 1 for some in values) else ""
