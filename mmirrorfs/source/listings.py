"""The cached listings of one source, by path, and the paths by the keys that events carry.

Listings above the depth stay. Those below it are kept in the order of their last use, the longest unused one first: in
a plain dictionary, which takes 80 bytes a directory less than an OrderedDict.

Event loop's thread only; no I/O.
"""

from collections.abc import Iterable, Iterator

from mmirrorfs.difference import Difference
from mmirrorfs.listing import Listing
from mmirrorfs.tree import join


class Keys(dict[bytes, bytes]):
    """The path of a directory by its event key; several where it is mounted twice, or is being renamed."""

    def __init__(self) -> None:
        super().__init__()
        self._others: dict[bytes, list[bytes]] = {}

    def paths(self, key: bytes) -> list[bytes]:
        """All paths of a key."""
        path = self.get(key)
        return [path, *self._others.get(key, ())] if path is not None else []

    def add(self, key: bytes, path: bytes) -> None:
        """Add a path that the key does not have, or has as its first one."""
        if self.setdefault(key, path) != path:
            self._others.setdefault(key, []).append(path)

    def release(self, key: bytes, path: bytes) -> None:
        """Remove a path that was added."""
        others = self._others.pop(key, [])
        if self[key] != path:
            others.remove(path)
        elif others:
            self[key] = others.pop(0)
        else:
            del self[key]
        if others:
            self._others[key] = others


class Listings:
    """Listings by path, ``above`` the depth and ``below`` it; ``used`` is the size of the latter, in entries."""

    def __init__(self) -> None:
        self.above: dict[bytes, Listing] = {}
        self.below: dict[bytes, Listing] = {}
        self.used = 0
        self.keys = Keys()
        """Of the watched directories."""

    def polled(self) -> set[bytes]:
        """The directories above the depth that are not watched."""
        return {path for path, listing in self.above.items() if not listing.key}

    def superseded(self, directory: bytes, changes: Iterable[Difference]) -> Iterator[bytes]:
        """The watched directories that ``changes`` in their parent give another stamp than their listing has."""
        for name, _, after in changes:
            listing = self.below.get(join(directory, name))
            if listing is None or not listing.key or after is None or not after.is_known:
                continue
            if listing.stamp != after.stamp:
                yield join(directory, name)

    def use(self, path: bytes) -> Listing | None:
        """Get a listing for a request: it becomes the most recently used one."""
        found = self.above.get(path)
        if found is None and (found := self.below.pop(path, None)) is not None:
            watched = self.keys.get(found.key)
            self.below[watched if watched == path else path] = found  # one path object, not two
        return found

    def peek(self, path: bytes) -> Listing | None:
        """Get a listing without marking it as used."""
        found = self.above.get(path)
        return found if found is not None else self.below.get(path)

    def subtree(self, path: bytes) -> list[bytes]:
        """A directory below the depth and all in it, as far as they are cached."""
        found = [path] if path in self.below else []
        for directory in found:
            inner = (join(directory, name) for name, _ in self.below[directory].directories())
            found += [one for one in inner if one in self.below]
        return found

    def put(self, path: bytes, listing: Listing, above: bool) -> None:
        """Store a listing as the most recently used one."""
        self.pop(path)
        if above:
            self.above[path] = listing
        else:
            self.below[path] = listing
            self.used += weight(listing)
        if listing.key:
            self.keys.add(listing.key, path)

    def replace(self, path: bytes, listing: Listing) -> None:
        """Store a listing with the key and the names of the cached one in its place, if there is one."""
        for store in (self.above, self.below):
            if path in store:
                store[path] = listing

    def pop(self, path: bytes) -> Listing | None:
        """Remove a listing, if there is one, and return it."""
        found = self.above.pop(path, None)
        if found is None and (found := self.below.pop(path, None)) is not None:
            self.used -= weight(found)
        if found is not None and found.key:
            self.keys.release(found.key, path)
        return found


def weight(listing: Listing) -> int:
    """The size of a directory in entries; that of an empty one is not 0."""
    return max(1, len(listing))
