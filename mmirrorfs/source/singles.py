"""What was proved of single names since the directory that they are in was listed. Event loop's thread only; no I/O."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from mmirrorfs.attributes import Attributes, Kind
from mmirrorfs.difference import Difference, is_news
from mmirrorfs.listing import Listing, pack

WEIGHT = 5
"""What a name that is known by itself takes, in entries of a listing: 600 bytes against 105, measured."""


class Answer(NamedTuple):
    """What is known of one name: its attributes, None where there is none of that name; and when that was true."""

    attr: Attributes | None
    when: float


class Singles:
    """Single names of the directories of one source, and which of these directories have other names by that."""

    def __init__(self) -> None:
        self._answers: dict[bytes, dict[bytes, Answer]] = {}
        self._unlike: set[bytes] = set()

    def of(self, directory: bytes) -> Mapping[bytes, Answer]:
        """All of one directory."""
        return self._answers.get(directory, _NOTHING)

    def get(self, directory: bytes, name: bytes) -> Answer | None:
        """One name."""
        answers = self._answers.get(directory)
        return answers.get(name) if answers is not None else None

    def add(self, directory: bytes, name: bytes, answer: Answer, listing: Listing | None) -> None:
        """One name was proved; ``listing`` is what is known of the directory."""
        self._answers.setdefault(directory, {})[name] = answer
        if listing is not None and _kind(listing.get(name)) != _kind(answer.attr):
            self._unlike.add(directory)

    def remove(self, directory: bytes, name: bytes) -> bool:
        """Take one back; returns whether there was any."""
        answers = self._answers.get(directory)
        return answers is not None and answers.pop(name, None) is not None

    def take(self, directory: bytes) -> Mapping[bytes, Answer]:
        """Take all of one directory away, and return them."""
        self._unlike.discard(directory)
        return self._answers.pop(directory, _NOTHING)

    def weight(self, directory: bytes) -> int:
        """What those of one directory take, in entries of a listing."""
        return WEIGHT * len(self.of(directory))

    def applied(self, directory: bytes, listing: Listing) -> Listing | None:
        """The listing with the names that have come, gone or changed their type since; None where none has."""
        if directory not in self._unlike:
            return None
        found = dict(listing.entries())
        for name, later in self.of(directory).items():
            found.pop(name, None)
            if later.attr is not None:
                found[name] = later.attr
        lists = {**listing.lists, **dict.fromkeys(self.of(directory))} if listing.lists is not None else None
        blob = pack(listing.stamp, False, found.items())
        return Listing(blob, listing.fetched_at, listing.proved, listing.key, lists)

    def differences(self, directory: bytes, listing: Listing, found: list[Difference]) -> list[Difference]:
        """What a new listing tells that is not what was known: ``found`` is what the last one did not."""
        singles = self.of(directory)
        if not singles:
            return found
        older = [(name, answer.attr) for name, answer in singles.items() if answer.when <= listing.fetched_at]
        now = [Difference(name, attr, listing.get(name)) for name, attr in older]
        rest = [one for one in found if one.name not in singles]
        return sorted([*rest, *(one for one in now if is_news(one.before, one.after))])

    def __iter__(self) -> Iterator[bytes]:
        """The directories."""
        return iter(self._answers)


_NOTHING: Mapping[bytes, Answer] = {}


def listed(listing: Listing | None, name: bytes) -> Answer | None:
    """What a listing says of a name."""
    if listing is None:
        return None
    attr = listing.get(name)
    if attr is None:
        return Answer(None, listing.proved)
    return Answer(attr, listing.fetched_at) if attr.is_known else None


def is_news_of(listing: Listing | None, later: Answer | None, name: bytes, kind: Kind, asked: float) -> bool:
    """Whether something is known of a name since ``asked``, or that it is of another ``kind``: from its directory's
    listing, and from what was proved ``later`` of it alone.
    """
    if later is not None:
        found, when = later.attr, later.when
    else:
        found, when = (listing.get(name), listing.fetched_at) if listing is not None else (None, asked)
    return found is not None and (found.kind != kind or when > asked)


def _kind(attr: Attributes | None) -> Kind | None:
    return attr.kind if attr is not None else None


def is_of_another(own: Answer | None, listing: Listing) -> bool:
    """Whether another directory has taken the place of the listed one since, by what is known of its name."""
    if own is None or own.attr is None or not own.attr.is_known:
        return False
    return own.when > listing.fetched_at and (own.attr.dev, own.attr.ino) != listing.stamp[:2]
