"""What was fetched of single names of one source: attributes since their directory was listed; xattrs, link targets.

Event loop's thread only; no I/O.
"""

from collections.abc import Container, Iterable, Iterator, Mapping
from typing import NamedTuple

from mmirrorfs.attributes import Attributes, Kind
from mmirrorfs.difference import Difference, is_news
from mmirrorfs.listing import Listing, pack

WEIGHT = 5
"""The size of a single name, in entries of a listing: 600 bytes against 105, measured."""

Value = bytes | int
"""An extended attribute or a link target; or the errno that says why there is none."""


class Answer(NamedTuple):
    """What is known of one name: its attributes, None if it is absent; and when that was true, in monotonic seconds."""

    attr: Attributes | None
    when: float


class Singles:
    """Attributes of single names. ``used`` is their size in entries; those in ``free`` directories do not count."""

    def __init__(self, free: Container[bytes] = ()) -> None:
        self.used = 0
        self._free = free
        self._answers: dict[bytes, dict[bytes, Answer]] = {}
        self._unlike: set[bytes] = set()
        """Directories whose names or types differ from their listing."""

    def of(self, directory: bytes) -> Mapping[bytes, Answer]:
        """All names of one directory."""
        return self._answers.get(directory, _NOTHING)

    def get(self, directory: bytes, name: bytes) -> Answer | None:
        """One name."""
        answers = self._answers.get(directory)
        return answers.get(name) if answers is not None else None

    def add(self, directory: bytes, name: bytes, answer: Answer, listing: Listing | None) -> None:
        """Store one name; ``listing`` is that of the directory."""
        answers = self._answers.setdefault(directory, {})
        if name not in answers and directory not in self._free:
            self.used += WEIGHT
        answers[name] = answer
        if listing is not None and _kind(listing.get(name)) != _kind(answer.attr):
            self._unlike.add(directory)

    def remove(self, directory: bytes, name: bytes) -> None:
        """Remove one name, if it is there."""
        answers = self._answers.get(directory)
        if answers is not None and answers.pop(name, None) is not None and directory not in self._free:
            self.used -= WEIGHT

    def take(self, directory: bytes) -> Mapping[bytes, Answer]:
        """Remove all names of one directory, and return them."""
        self._unlike.discard(directory)
        answers = self._answers.pop(directory, _NOTHING)
        if directory not in self._free:
            self.used -= WEIGHT * len(answers)
        return answers

    def applied(self, directory: bytes, listing: Listing) -> Listing | None:
        """The listing with the names that were created, removed or changed in type since; None if none was."""
        if directory not in self._unlike:
            return None
        found = dict(listing.entries())
        for name, later in self.of(directory).items():
            found.pop(name, None)
            if later.attr is not None:
                found[name] = later.attr
        lists = {**listing.lists, **dict.fromkeys(self.of(directory))} if listing.lists is not None else None
        blob = pack(listing.stamp, False, found.items())
        return Listing(blob, listing.fetched_at, listing.validated_at, listing.key, lists)

    def differences(self, directory: bytes, listing: Listing, found: list[Difference]) -> list[Difference]:
        """How a new listing differs from what is cached; ``found`` is how it differs from the old listing."""
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


class Values:
    """Values by path and name, each with the monotonic time of its request. ``used`` is how many there are."""

    def __init__(self) -> None:
        self.used = 0
        self._of: dict[bytes, dict[bytes, tuple[Value, float]]] = {}

    def get(self, path: bytes, name: bytes) -> tuple[Value, float] | None:
        """An extended attribute, or under the name b"" a link target; and when it was requested."""
        values = self._of.get(path)
        return values.get(name) if values is not None else None

    def note(self, path: bytes, name: bytes, value: Value, when: float) -> None:
        """Store a value; its path becomes the most recently stored one."""
        values = self._of.pop(path, {})
        self._of[path] = {**values, name: (value, when)}
        self.used += name not in values

    def forget(self, paths: Iterable[bytes]) -> None:
        """Remove the values of some paths."""
        self.used -= sum(len(self._of.pop(path, ())) for path in paths)

    def evict(self) -> bool:
        """Remove the values of the path that was stored longest ago; returns whether there was one."""
        oldest = next(iter(self._of), None)
        if oldest is not None:
            self.forget([oldest])
        return oldest is not None


_NOTHING: Mapping[bytes, Answer] = {}


def listed(listing: Listing | None, name: bytes) -> Answer | None:
    """What a listing says of a name."""
    if listing is None:
        return None
    attr = listing.get(name)
    if attr is None:
        return Answer(None, listing.validated_at)
    return Answer(attr, listing.fetched_at) if attr.is_known else None


def is_news_of(listing: Listing | None, later: Answer | None, name: bytes, kind: Kind, requested_at: float) -> bool:
    """Whether a name is known to exist since ``requested_at``, or with another ``kind``: by the listing of its
    directory, or by the ``later`` answer about it alone.
    """
    if later is not None:
        found, when = later.attr, later.when
    else:
        found, when = (listing.get(name), listing.fetched_at) if listing is not None else (None, requested_at)
    return found is not None and (found.kind != kind or when > requested_at)


def is_of_another(own: Answer | None, listing: Listing) -> bool:
    """Whether a newer answer about the name of a directory says that it is not the listed one."""
    if own is None or own.attr is None or not own.attr.is_known:
        return False
    return own.when > listing.fetched_at and (own.attr.dev, own.attr.ino) != listing.stamp[:2]


def _kind(attr: Attributes | None) -> Kind | None:
    return attr.kind if attr is not None else None
