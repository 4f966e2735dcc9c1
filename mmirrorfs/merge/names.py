"""Pairing of names: ``--match`` (exact, nfc, casefold, loose) and ``--ignore``.

Rule 1: the spelling shown is that of the highest-ranked source, independent of the view's order.
Rule 2: no name is hidden. If several names of one source have the same key, one is paired (the one equal to the name
shown, else the first in byte order), and the others are shown under their own names.
Rule 3: a name that is not UTF-8, or that ``--ignore`` would make empty, is matched exactly.

Pure: no I/O, no clock. Keys are cached.
"""

import re
import unicodedata
import warnings
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache, partial

from mmirrorfs.merge.index import Group, Pairing, exact
from mmirrorfs.merge.loose import joined, loose
from mmirrorfs.merge.settled import Key, Matching, Matchings, Rule, one_for_each
from mmirrorfs.tree import Entry, Trees

MATCHES = ("exact", "nfc", "casefold", "loose")
KEPT = 1 << 18
"""Cached keys, some 150 bytes each."""


def pairing(match: str, ignore: Sequence[re.Pattern[str]], rules: Sequence[Rule] = ()) -> Pairing:
    """The pairing for ``match``, one of MATCHES; ``ignore`` is removed from names before they are compared.

    Raises ValueError if the rules contradict each other.
    """
    if match == "exact" and not ignore and not rules:
        return exact
    return partial(_groups, matchings(match, ignore, rules))


def matchings(match: str, ignore: Sequence[re.Pattern[str]], rules: Sequence[Rule] = ()) -> Matchings:
    """The keys and rules of a pairing. Raises ValueError if the rules contradict each other."""
    stricter = MATCHES[MATCHES.index(match) :: -1]
    return Matchings([lru_cache(KEPT)(key_of(match, ignore)), *[key_of(other, ()) for other in stricter]], rules)


def key_of(match: str, ignore: Sequence[re.Pattern[str]]) -> Key:
    """The key function of ``match`` and ``ignore``. A key is a string, or the name itself if it is matched exactly.

    With "loose" it may be a ``loose.Title``. Whether two of these are the same depends on all names of the directory:
    see ``keyed``.
    """

    def key(name: bytes) -> object:
        try:
            text = name.decode()
        except UnicodeDecodeError:
            return name
        for pattern in ignore:
            text = pattern.sub("", text) or text
        return _folded(text, match)

    return key


def _folded(text: str, match: str) -> object:
    if match == "exact":
        return text
    text = unicodedata.normalize("NFC", text)
    if match == "nfc":
        return text
    text = unicodedata.normalize("NFC", text.casefold())
    return text if match == "casefold" else loose(text)


def _groups(matchings: Matchings, inputs: Trees, path: bytes) -> Iterator[Group]:
    """The paired names of several directories, in no particular order."""
    spellings = keyed(inputs, matchings.at(path))
    unpaired: dict[bytes, list[Entry | None]] = {}
    for common in dict.fromkeys(one for spelling in spellings for one in spelling):
        candidates = [spelling.get(common, []) for spelling in spellings]
        shown = next(names[0] for names in candidates if names)
        own = tuple([shown if shown in names else names[0] if names else None for names in candidates])
        found = tuple([_entry(inputs, rank, name) for rank, name in enumerate(own)])
        yield shown, found, own if any(name not in (None, shown) for name in own) else None
        for rank, names in enumerate(candidates):
            for name in names:
                if name != own[rank]:
                    unpaired.setdefault(name, [None] * len(inputs))[rank] = _entry(inputs, rank, name)
    for name, entries in unpaired.items():
        yield name, tuple(entries), None


def keyed(inputs: Trees, matching: Matching) -> list[dict[object, list[bytes]]]:
    """The names of each directory by their final key; names of one key are sorted."""
    spellings = [_by_key(directory.entries if directory is not None else (), matching.key) for directory in inputs]
    replaced = joined(spellings)
    if matching.same:
        replaced = one_for_each([*replaced.items(), *matching.same.items()])
    if replaced:
        for rank, spelling in enumerate(spellings):
            final: dict[object, list[bytes]] = {}
            for own, names in spelling.items():
                final.setdefault(replaced.get(own, own), []).extend(names)
            spellings[rank] = final
    return spellings


def _by_key(names: Iterable[bytes], key: Key) -> dict[object, list[bytes]]:
    found: dict[object, list[bytes]] = {}
    for name in sorted(names):
        found.setdefault(key(name), []).append(name)
    return found


def _entry(inputs: Trees, rank: int, name: bytes | None) -> Entry | None:
    directory = inputs[rank]
    return directory.entries.get(name) if directory is not None and name is not None else None


def collisions(inputs: Trees, matching: Matching) -> Iterator[tuple[int, bytes, bytes]]:
    """(rank, name that is paired or first, other name) for names of one source that have the same key."""
    for rank, spelling in enumerate(keyed(inputs, matching)):
        for names in spelling.values():
            for other in names[1:]:
                yield rank, names[0], other


LONGEST = 200
"""Maximum length of a pattern, in characters."""
MOST_WAYS = 1 << 18
"""Maximum number of ways in which a pattern may match at one position: two repeats and 16 alternatives."""

_LITERAL = re.compile(r"\\[^1-9]|\[\^?\]?(?:\\.|[^\]\\])*\]", re.DOTALL)
_REFUSED = (
    (re.compile(r"\\"), r"it refers back to a group, as \1 does"),
    (re.compile(r"\(\?(?!:|i\))"), "it has a (? that is neither (?: nor (?i)"),
    (re.compile(r"\)[*+{]"), "it repeats a group; repeat single characters and [classes] only"),
)
_REPEAT = re.compile(r"[*+]|\{\d*,\d*\}")
_INNERMOST = re.compile(r"\((?:\?:|\?i)?([^()]*)\)")


def compiled(pattern: str) -> re.Pattern[str]:
    """A pattern for ``ignore``. Raises ValueError if it is malformed, or may backtrack for too long on some name.

    In a name of at most 255 bytes a repeat matches in 128 ways on average, a "?" in 2, and alternatives in as many as
    there are. As no group is repeated, a pattern matches in at most the product of these: 255 * MOST_WAYS steps, about
    a second.
    """
    if len(pattern) > LONGEST:
        raise ValueError(f"it has more than {LONGEST} characters")
    try:
        with warnings.catch_warnings(action="ignore", category=FutureWarning):  # "[[" may become a nested set
            made = re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(str(error)) from None
    bare = _LITERAL.sub("x", pattern)
    for refused, what in _REFUSED:
        if refused.search(bare):
            raise ValueError(f"it may take for ever: {what}")
    if _ways(bare) > MOST_WAYS:
        raise ValueError("it may take for ever: two of * + {m,n} at most, and 16 alternatives by | and ? beside them")
    if made.search(""):
        raise ValueError("it matches nothing at all, and so everywhere")
    return made


def _ways(bare: str) -> int:
    """In how many ways a pattern without escapes and classes may match at one position."""
    ways = 1
    while inner := _INNERMOST.search(bare):
        ways *= _ways(inner[1])
        bare = bare[: inner.start()] + bare[inner.end() :]
    return ways * int(128 ** len(_REPEAT.findall(bare)) * 2 ** bare.count("?")) * (1 + bare.count("|"))
