"""Known: all that is known of one source, at every level, in one place.

Rule 1: it changes on proof alone. A failure applies nothing, so of a lost source stays all that was ever known of it.
Rule 2: one function says whether something may still be told: ``Freshness.is_fresh``. What is too old is proved anew
by whoever wants it (``source.fetch``), and is kept until then.
Rule 3: above the depth nothing is dropped. Below it, the longest unused directory goes first where ``Room`` is short.
Rule 4: a directory whose (dev, ino) is found under another name was moved, with all that is known of what is in it.
Rule 5: what a scan found is installed in steps, each of which has to do with STEP directories or names at the most.
Between two of them each directory is known as it was or as it is, whole, and ``tree`` is the old one: the index, which
is merged from it, is never newer than what is known.

Event loop's thread only; no I/O.
"""

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence

from mmirrorfs.attributes import DIR, Attributes, Kind
from mmirrorfs.difference import Difference, Told, differences, is_news, is_other_directory
from mmirrorfs.listing import Listed, Listing
from mmirrorfs.source.folders import Folders
from mmirrorfs.source.freshness import NEVER, WATCHED, Freshness
from mmirrorfs.source.listings import Listings, weight
from mmirrorfs.source.room import Room
from mmirrorfs.source.singles import Answer, Singles, is_news_of, is_of_another, listed
from mmirrorfs.source.trust import Trust
from mmirrorfs.source.values import Value, Values
from mmirrorfs.source.walks import Inode, Revision, departures, directories_of, inodes_in, join, revisions, untold
from mmirrorfs.tree import Directory

STEP = 64
"""Directories, or names, in one step of an install: some milliseconds."""

Changed = Callable[[bytes, list[Difference]], None]
"""Called with a directory and what is known to have changed in it: what came to be known is no change."""


class Known:
    """What is known of one source. ``tree`` is what the merge is made of: all directories above the depth.

    ``changed`` is told what changed in the source: below the depth of names and attributes, above it of attributes
    alone, for names are the merge's there.
    ``stable`` says that its inode numbers tell directories apart: on sshfs and the like they are given out anew when
    they were forgotten, and a directory is what has its path.
    """

    def __init__(self, tree: Directory, room: Room, stable: bool = True, changed: Changed = lambda *_: None) -> None:
        self.tree = tree
        self._room = room
        self.used = 0
        room.members.append(self)
        self._stable = stable
        self._changed = changed
        self.listings = Listings()
        self.trust = Trust()
        self.folders = Folders(self.trust)
        self._singles = Singles()
        self._values = Values()
        for path, directory in directories_of(tree):
            self.listings.put(path, directory.listing, True)
            self.folders.update(path, None, directory, directory.entries)
        self._steps: Iterator[bool] = iter(())
        self._strangers = set[bytes]()

    # What is known

    def listing(self, path: bytes) -> Listing | None:
        """A directory's, as it was taken last; None where it never was, or is forgotten."""
        return self.listings.use(path)

    def entry(self, directory: bytes, name: bytes) -> Answer | None:
        """What is known of a name in a directory, and when that is true; None where that is nothing."""
        answer, listing = self._last(directory, name), self.listings.use(directory)
        if answer is None:
            return None
        when = self.trust.when(directory, listing, answer.when, name)
        if when == WATCHED and answer.attr is not None and not self.is_reported(directory, name, answer.attr):
            when = answer.when
        return Answer(answer.attr, when)

    def is_reported(self, directory: bytes, name: bytes, attr: Attributes) -> bool:
        """Whether changes in these are reported: of a directory if it is watched, of a file if it has one name."""
        if attr.kind != DIR:
            return not attr.may_change_elsewhere
        inner = self.listings.peek(join(directory, name))
        return inner is not None and bool(inner.key) and inner.fetched_at >= self.trust.since

    def _last(self, directory: bytes, name: bytes) -> Answer | None:
        """What was proved last of a name, and when."""
        later = self._singles.get(directory, name)
        return later or listed(self.listings.peek(directory), name)

    def when(self, directory: bytes) -> float:
        """When all that is known of a directory is true; NEVER where that is nothing."""
        listing = self.listings.peek(directory)
        return self.trust.when(directory, listing, listing.fetched_at) if listing is not None else NEVER

    def since(self, directory: bytes) -> Mapping[bytes, Answer]:
        """What was proved of single names since the directory was listed."""
        return self._singles.of(directory)

    def current(self, directory: bytes) -> Listing | None:
        """As ``listing``, with the names that are known to have come, gone or changed their type since."""
        listing = self.listing(directory)
        applied = self._singles.applied(directory, listing) if listing is not None else None
        if applied is None:
            return listing
        self.apply(directory, applied)
        return applied

    def is_proved(self, directory: bytes, freshness: Freshness) -> bool:
        """Whether it is known, well enough, that a directory is there with these names."""
        listing = self.listings.use(directory)
        return listing is not None and freshness.is_fresh(self.trust.when(directory, listing, listing.proved))

    def value(self, path: bytes, name: bytes) -> tuple[Value, float] | None:
        """An extended attribute, or under the name b"" a link's target; and when that was so."""
        return self._values.get(path, name)

    def __len__(self) -> int:
        """The room that is taken, in entries of directories below the depth."""
        singles = sum(self._singles.weight(path) for path in self._singles if path not in self.listings.above)
        return sum(map(weight, self.listings.below.values())) + singles + len(self._values)

    # Proof

    def apply(self, path: bytes, listing: Listing, told: Told | None = None) -> None:
        """A directory below the depth was looked at. What is above it is the scan's: it fits the tree.

        ``told`` is what differs from an earlier look, where somebody has found that out, in a thread of theirs.
        """
        known, own = self.listings.peek(path), self._last(*path.rpartition(b"/")[::2])
        if path in self.listings.above or (known is not None and known.fetched_at > listing.fetched_at):
            return  # one that began earlier came in later
        if not self._stable or not is_of_another(own, listing):
            self._apply(path, listing, told)

    def _apply(self, path: bytes, listing: Listing, told: Told | None = None) -> None:
        last = self._last_of(path, listing, [name for name, _ in listing.unknown()])
        changes = self._changes(path, listing, told)
        old = self.listings.pop(path)
        self.used += weight(listing) - weight(old)
        self.listings.put(path, listing, False)
        self.trust.settle(path, listing.fetched_at)
        self.trust.arrive(path, listing)
        self._compare(path, listing)
        self._drop_singles(path, listing)
        if old is not None and old.blob != listing.blob:
            gone = dict(inodes_in(path, old))
            for _ in self._settling(gone, {**untold(path, listing, gone), **dict(inodes_in(path, listing))}):
                pass
        self._check_all(path, listing.directories(), listing.fetched_at)
        for name, answer in last.items():
            self.amend(path, name, *answer)
        self._shrink(path)
        self._tell(path, changes, listing.fetched_at)

    def offer(self, path: bytes, listing: Listing) -> bool:
        """The same for what nobody asked for: it takes no room from anything, and returns whether there was some."""
        old = self.listing(path)
        if old is not None and old.fetched_at >= listing.fetched_at:
            return True
        if old is None and self._room.used + max(1, len(listing)) > self._room.limit:
            return False
        self.apply(path, listing)
        return True

    def prove(self, path: bytes, when: float) -> None:
        """The stamp of a directory stands: it has the same names."""
        listing = self.listings.peek(path)
        if listing is not None:
            self.listings.replace(path, listing.still(when))

    def amend(
        self, directory: bytes, name: bytes, attr: Attributes | None, when: float, asked: float | None = None
    ) -> None:
        """One name was looked at, from ``asked`` to ``when``; None: it is not there."""
        self.trust.settle(directory, when if asked is None else asked, name)
        before, weight = self._last(directory, name), self._singles.weight(directory)
        listing = self.listings.peek(directory)
        self._singles.add(directory, name, Answer(attr, when), listing)
        self._count_singles(directory, self._singles.weight(directory) - weight)
        self._shrink(directory)
        if before is not None and is_other_directory(before.attr, attr, self._stable):
            self.forget(join(directory, name))
        elif attr is not None:
            self._check_all(directory, [(name, attr)], when if asked is None else asked)
        if before is not None and is_news(before.attr, attr):
            self._tell(directory, [Difference(name, before.attr, attr)], when)

    def take_back(self, directory: bytes, name: bytes) -> None:
        """What was proved of one name while the directory was looked at: the look may have been the later one."""
        weight = self._singles.weight(directory)
        if self._singles.remove(directory, name):
            self._count_singles(directory, self._singles.weight(directory) - weight)

    def note(self, path: bytes, name: bytes, value: Value, when: float) -> None:
        """A value was asked for: see ``value``."""
        self.used += self._values.note(path, name, value, when)
        self._shrink()

    def distrust(self, directory: bytes) -> None:
        """What is known of a directory is too old, whatever its age."""
        listing = self.listing(directory)
        if listing is not None:
            self.listings.replace(directory, Listing(listing.blob, NEVER, key=listing.key, lists=listing.lists))
        for name, answer in list(self.since(directory).items()):
            self._singles.add(directory, name, Answer(answer.attr, NEVER), listing)

    def install(self, tree: Directory, revised: Sequence[Revision] | None = None) -> None:
        """Everything above the depth was looked at; ``revised`` says how ``tree`` differs from the one before."""
        self.finish()
        self.begin(tree, revisions(self.tree, tree) if revised is None else revised)
        self.finish()

    def begin(self, tree: Directory, revised: Sequence[Revision]) -> None:
        """The same, step by step (rule 5)."""
        self._steps = self._installing(tree, revised)

    def advance(self) -> bool:
        """Take a step of what was begun; returns whether there was one."""
        return next(self._steps, False)

    def finish(self) -> None:
        """Take all steps that are left."""
        while self.advance():
            pass

    def _installing(self, tree: Directory, revised: Sequence[Revision]) -> Iterator[bool]:
        gone, come = dict[bytes, Inode](), dict[bytes, Inode]()
        told: list[tuple[bytes, list[Difference], float]] = []
        for number, one in enumerate(revised, 1):
            for start in range(0, len(one.searched), STEP):
                self._search_anew(one, one.searched[start : start + STEP])
                yield True
            changes = self._revise(one)
            gone.update(one.gone)
            come.update(one.come)
            if one.new is not None:
                told.append((one.path, changes, one.new.listing.fetched_at))
            if number % STEP == 0:
                yield True
        yield from self._settling(gone, come)
        while come:
            inner, inode = come.popitem()
            above = self.listings.above.get(inner.rpartition(b"/")[0])
            if above is not None:
                self._check_inner(inner, inode, above.fetched_at)
            if len(come) % STEP == 0:
                yield True
        self._check_strangers({one.path for one in revised})
        for path, changes, when in told:
            for start in range(0, len(changes), STEP):
                self._tell(path, changes[start : start + STEP], when)
                yield True
        self.tree = tree

    def _search_anew(self, one: Revision, names: Sequence[bytes]) -> None:
        for folder in self.folders.update(one.path, one.old, one.new, names):  # or it would take over as it was: empty
            for directory in self.listings.subtree(folder):
                self.distrust(directory)

    def _revise(self, one: Revision) -> list[Difference]:
        """One directory above the depth was looked at. Returns what is to be told of it, if it is one still."""
        path, new = one.path, one.new
        if path not in self.listings.above:
            self.forget(path)
        if new is None:
            self._forget_singles(path)
            self.listings.pop(path)
            return []
        if one.old is None or is_news(one.old.attr, new.attr):
            self.used -= self._values.forget([path])
        last = self._last_of(path, new.listing, [*one.untold, *self.since(path)])
        known = (one.old.listing, one.differences) if one.old is not None else (None, [])
        changes = [found for found in self._changes(path, new.listing, known) if found.before and found.after]
        self.listings.put(path, new.listing, True)
        self.trust.settle(path, new.listing.fetched_at)
        self.trust.arrive(path, new.listing)
        self._drop_singles(path, new.listing)
        for name, answer in last.items():
            self.amend(path, name, *answer)
        return changes

    def remove(self, path: bytes, kind: Kind, asked: float, when: float) -> bool:
        """A path was found to lead to nothing of that ``kind``; returns False where that is known better since."""
        directory, _, name = path.rpartition(b"/")
        if is_news_of(self.listings.peek(directory), self._singles.get(directory, name), name, kind, asked):
            return False
        self.amend(directory, name, None, when)
        self.forget(path)
        return True

    # Moves, and what is dropped

    def _settling(self, gone: "dict[bytes, Inode]", come: "dict[bytes, Inode]") -> Iterator[bool]:
        """Rule 4, for the directories that were at some paths and those that are now, step by step."""
        moved: list[tuple[bytes, Listing, Mapping[bytes, Answer]]] = []
        for path, place in departures(gone, come, self._stable, self.listings.below).items():
            if place is not None:
                inside = self.listings.subtree(path)
                moved += [(place + old[len(path) :], self.listings.below[old], self.since(old)) for old in inside]
            self.forget(path)
            yield True
        for path, listing, since in moved:  # once all are away: two may have changed names
            if path in self.listings.above:
                continue  # it is scanned now
            self._apply(path, listing)
            for name, later in since.items():
                self.amend(path, name, later.attr, later.when)
            if since or not listing.settled:  # it may have been proved by what had its path by then
                self.trust.miss(path, max([listing.fetched_at, *[later.when for later in since.values()]]))
            yield True

    def _check_all(self, path: bytes, found: Iterable[Listed], asked: float) -> None:
        """The directories ``found`` in one."""
        for name, attr in found:
            if attr.is_known:
                self._check_inner(join(path, name), (attr.dev, attr.ino, attr.mtime_ns), asked)

    def _check_inner(self, path: bytes, inode: Inode, asked: float) -> None:
        """What is known of another one than was found at a path is dropped, or looked at where it is newer."""
        known = self.listings.below.get(path)
        if known is None or not self._stable or known.stamp[:2] == inode[:2]:
            return
        if known.fetched_at > asked:
            directory, _, name = path.rpartition(b"/")
            self._strangers.add(path)
            self.trust.miss(directory, known.fetched_at, name)
        else:
            self.forget(path)
            self.trust.miss(path, asked)

    def _check_strangers(self, looked_at: Container[bytes]) -> None:
        """The same, of what was another one than the directory above it says, once that was looked at again."""
        for path in [one for one in self._strangers if one.rpartition(b"/")[0] in looked_at]:
            self._strangers.discard(path)
            directory, _, name = path.rpartition(b"/")
            own, above = self._last(directory, name), self.listings.above.get(directory)
            if above is not None and own is not None and own.attr is not None:
                self._check_all(directory, [(name, own.attr)], above.fetched_at)

    def _last_of(self, path: bytes, listing: Listing, names: Iterable[bytes]) -> dict[bytes, Answer]:
        """What was known of those of some names whose attributes a look could not have: a source that is being lost
        gives names.
        """
        found = [(name, listing.get(name), self._last(path, name)) for name in names]
        return {
            name: old
            for name, attr, old in found
            if attr and not attr.is_known and old is not None and old.attr and old.attr.kind == attr.kind
        }

    def _compare(self, path: bytes, listing: Listing) -> None:
        """What changed before a directory was watched nobody reported: its own attributes may be others."""
        directory, _, name = path.rpartition(b"/")
        own = self._last(directory, name)
        if (
            own is not None
            and own.attr is not None
            and own.when < listing.fetched_at
            and own.attr.stamp != listing.stamp
        ):
            self.trust.miss(directory, listing.fetched_at, name)
            if own.attr.stamp[:2] != listing.stamp[:2]:
                self._strangers.add(path)

    def forget(self, path: bytes) -> None:
        """No such directory is there any more."""
        self.used -= self._values.forget([path])
        for directory in self.listings.subtree(path) or [path]:
            self.trust.forget(directory)
            self._strangers.discard(directory)
            if directory in self.listings.below and (old := self.listings.pop(directory)) is not None:
                self.used -= weight(old)
                names = old.names() if self._values else ()
                self.used -= self._values.forget(join(directory, name) for name in names)
            self._forget_singles(directory)

    def _forget_singles(self, directory: bytes) -> Mapping[bytes, Answer]:
        self._count_singles(directory, -self._singles.weight(directory))
        return self._singles.take(directory)

    def _count_singles(self, directory: bytes, more: int) -> None:
        """Above the depth they take no room: nothing there is dropped."""
        if directory not in self.listings.above:
            self.used += more

    def _drop_singles(self, directory: bytes, listing: Listing) -> None:
        """A listing knows better than what was proved before it."""
        answers = self._forget_singles(directory)
        for name, answer in answers.items():
            if answer.when > listing.fetched_at:
                self._singles.add(directory, name, answer, listing)
        self._count_singles(directory, self._singles.weight(directory))

    def _tell(self, directory: bytes, changes: list[Difference], when: float) -> None:
        """Of what changed no value is known any longer. A directory may have been made anew, with the same number."""
        if changes:
            self.used -= self._values.forget(join(directory, one.name) for one in changes)
            for path in self.listings.outdated(directory, changes):
                self.trust.miss(path, when)
            self._changed(directory, changes)

    def _changes(self, path: bytes, listing: Listing, told: Told | None) -> list[Difference]:
        """What a look tells that is not what was known."""
        old = self.listings.peek(path)
        if told is None or _blob(told[0]) is not _blob(old):
            told = (old, differences(old, listing) if old is not None else [])
        return self._singles.differences(path, listing, told[1])

    def _shrink(self, kept: bytes | None = None) -> None:
        """Rule 3, of the source of which most is known. ``kept`` is what somebody asks for at this moment: it stays."""
        while self._room.is_short:
            fullest = max(self._room.members, key=lambda member: member.used)
            if not fullest.drop(kept if fullest is self else None) and not self.drop(kept):
                break

    def drop(self, kept: bytes | None) -> bool:
        """Forget what was not used for longest, but for one directory; returns whether there was anything else."""
        path = next((path for path in self.listings.below if path != kept), None)
        if path is not None:
            self._room.tight.set()
            self.used -= weight(self.listings.pop(path))
            self.trust.forget(path)
        elif freed := self._values.drop():
            self.used -= freed
            return True
        else:
            path = next((path for path in self._singles if path != kept and path not in self.listings.above), None)
        if path is not None:
            self._forget_singles(path)
        return path is not None


def _blob(listing: Listing | None) -> bytes | None:
    """What makes two listings the same: when they were proved does not."""
    return listing.blob if listing is not None else None
