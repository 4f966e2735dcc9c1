"""The directories of one source that are known: by path, and by what they are called where changes are reported.

Above the depth they stay; below it the one that was not used for longest comes first: in a plain dictionary, which
takes 80 bytes a directory less than an ordered one. Event loop's thread only; no I/O.
"""

from collections.abc import Iterable, Iterator

from mmirrorfs.difference import Difference
from mmirrorfs.listing import Listing
from mmirrorfs.source.keys import Keys
from mmirrorfs.source.walks import join


class Listings:
    """Listings by path; ``above`` the depth and ``below`` it."""

    def __init__(self) -> None:
        self.above: dict[bytes, Listing] = {}
        self.below: dict[bytes, Listing] = {}
        self.keys = Keys()
        """Of those that are watched."""

    def polled(self) -> set[bytes]:
        """The directories above the depth whose changes are not reported."""
        return {path for path, listing in self.above.items() if not listing.key}

    def outdated(self, directory: bytes, changes: Iterable[Difference]) -> Iterator[bytes]:
        """The watched ones that are known with other stamps than they have, by what changed in the one above."""
        for name, _, after in changes:
            known = self.below.get(join(directory, name))
            if known is not None and known.key and after is not None and after.is_known and known.stamp != after.stamp:
                yield join(directory, name)

    def use(self, path: bytes) -> Listing | None:
        """One that somebody asks for."""
        found = self.above.get(path)
        if found is None and (found := self.below.pop(path, None)) is not None:
            known = self.keys.get(found.key)
            self.below[known if known == path else path] = found  # one path object, not two
        return found

    def peek(self, path: bytes) -> Listing | None:
        """One that nobody asks for."""
        found = self.above.get(path)
        return found if found is not None else self.below.get(path)

    def subtree(self, path: bytes) -> list[bytes]:
        """A directory below the depth and all in it, as far as known."""
        found = [path] if path in self.below else []
        for directory in found:
            inner = (join(directory, name) for name, _ in self.below[directory].directories())
            found += [one for one in inner if one in self.below]
        return found

    def put(self, path: bytes, listing: Listing, above: bool) -> None:
        """Have a listing at a path, as the one that was used last."""
        self.pop(path)
        (self.above if above else self.below)[path] = listing
        if listing.key:
            self.keys.add(listing.key, path)

    def replace(self, path: bytes, listing: Listing) -> None:
        """Another value of the same key in the place of one; none where there is none."""
        for store in (self.above, self.below):
            if path in store:
                store[path] = listing

    def pop(self, path: bytes) -> Listing | None:
        """Take one away, if there is any."""
        found = self.above.pop(path, None)
        found = self.below.pop(path, None) if found is None else found
        if found is not None and found.key:
            self.keys.release(found.key, path)
        return found


def weight(listing: Listing | None) -> int:
    """What a directory counts as, in entries: an empty one takes room too."""
    return max(1, len(listing)) if listing is not None else 0
