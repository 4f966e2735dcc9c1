"""The cache of one source: which answers change it, what moves with a renamed directory, and what is evicted first."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmirrorfs.attributes import DIR, FILE, LINK, bare
from mmirrorfs.difference import Difference, is_news
from mmirrorfs.listing import Listing, pack
from mmirrorfs.source.cache_limit import CacheLimit
from mmirrorfs.source.freshness import NEVER, Freshness
from mmirrorfs.source.known import Known
from mmirrorfs.source.singles import WEIGHT, Answer
from mmirrorfs.source.walks import directories_of, revisions
from mmirrorfs.tree import EMPTY_DIRECTORY, Directory
from tests.support.knowing import LARGE, Above, Shape, attr, directory, known_of, paths, tree

# Queries and answers


def test_a_listing_answers_for_present_and_absent_names() -> None:
    known = known_of({b"A": 10})
    known.apply(b"A", directory({b"a": 11}, fetched_at=5))
    assert known.entry(b"A", b"a") == Answer(attr(11), 5)
    assert known.entry(b"A", b"none") == Answer(None, 5)
    assert known.entry(b"B", b"a") is None
    assert known.entry(b"", b"A") == Answer(attr(10), 0)


def test_a_listed_name_without_attributes_is_not_cached() -> None:
    known = known_of({b"A": Above(10, {})})
    assert known.entry(b"", b"A") is None


def test_an_unchanged_stamp_renews_names_and_no_attributes() -> None:
    known = known_of({b"A": 10})
    known.apply(b"A", directory({b"a": 11}))
    known.prove(b"A", 7)
    known.prove(b"", 8)
    known.prove(b"elsewhere", 9)
    assert known.entry(b"A", b"a") == Answer(attr(11), 0)
    assert known.entry(b"A", b"none") == Answer(None, 7)
    assert known.entry(b"", b"none") == Answer(None, 8)
    assert known.has_valid_names(b"A", Freshness(10, 10, None, lambda: 16.9))
    assert not known.has_valid_names(b"A", Freshness(10, 10, None, lambda: 17))
    assert known.listing(b"elsewhere") is None


def test_a_name_fetched_since_the_listing_overrides_it() -> None:
    known = known_of({b"A": 10})
    known.apply(b"A", directory({b"a": 11, b"gone": 13}))
    known.amend(b"A", b"a", attr(11, size=5), 1)
    known.amend(b"A", b"gone", None, 1)
    known.amend(b"A", b"new", attr(15), 1)
    known.amend(b"B", b"alone", attr(17), 1)
    assert known.entry(b"A", b"a") == Answer(attr(11, size=5), 1)
    assert known.entry(b"A", b"gone") == Answer(None, 1)
    assert known.entry(b"A", b"new") == Answer(attr(15), 1)
    assert known.entry(b"B", b"alone") == Answer(attr(17), 1)
    current = known.current(b"A")
    assert current is not None
    assert dict(current.entries()) == {b"a": attr(11, size=5), b"new": attr(15)}
    assert not current.settled, "its stamp belongs to other names"
    assert known.current(b"B") is None
    assert known.entry(b"A", b"a") == Answer(attr(11, size=5), 1)


def test_current_returns_the_listing_itself_if_all_names_match() -> None:
    known, listing = known_of({b"A": 10}), directory({b"a": 11})
    known.apply(b"A", listing)
    known.amend(b"A", b"a", attr(11, size=5), 1)
    known.amend(b"A", b"none", None, 1)
    assert known.current(b"A") is listing


def test_a_listing_overrides_older_single_names_and_not_newer_ones() -> None:
    known = known_of({b"A": 10})
    known.amend(b"A", b"before", attr(11), 1)
    known.amend(b"A", b"after", attr(13), 3)
    known.apply(b"A", directory({b"a": 15}, fetched_at=2))
    assert known.entry(b"A", b"before") == Answer(None, 2)
    assert known.entry(b"A", b"after") == Answer(attr(13), 3)


def test_distrusted_entries_stay_cached_and_stale() -> None:
    known = known_of({b"A": 10})
    known.apply(b"A", directory({b"a": 11}, fetched_at=5))
    known.amend(b"A", b"b", attr(13), 6)
    for path in (b"A", b"", b"elsewhere"):
        known.distrust(path)
    assert known.entry(b"A", b"a") == Answer(attr(11), NEVER)
    assert known.entry(b"A", b"b") == Answer(attr(13), NEVER)
    assert known.entry(b"A", b"none") == Answer(None, NEVER)
    assert known.entry(b"", b"A") == Answer(attr(10), NEVER)


def test_a_removed_directory_is_absent_and_everything_below_is_dropped() -> None:
    known = known_of({b"A": 10})
    known.apply(b"A", directory({b"B": 12}))
    known.apply(b"A/B", directory({b"C": 14}))
    known.apply(b"A/B/C", directory({b"a": 11}))
    known.amend(b"A/B/C", b"a", attr(11), 1)
    known.remove(b"A/B", DIR, 2, 2)
    assert known.entry(b"A", b"B") == Answer(None, 2)
    assert paths(known) == {b"A"}
    assert known.since(b"A/B/C") == {}


def test_values_are_cached_with_their_time() -> None:
    known = known_of({})
    known.note(b"A/a", b"", b"target", 1)
    known.note(b"A/a", b"user.x", 61, 2)
    assert known.value(b"A/a", b"") == (b"target", 1)
    assert known.value(b"A/a", b"user.x") == (61, 2)
    assert known.value(b"A/b", b"") is None


# Renamed directories


def test_a_directory_renamed_inside_a_folder_keeps_its_cached_contents() -> None:
    known = known_of({b"A": 10})
    known.apply(b"A", directory({b"old": 12, b"stays": 14}))
    known.apply(b"A/old", directory({b"C": 16}, fetched_at=1, ino=12))
    known.apply(b"A/old/C", directory({b"a": 11}, fetched_at=2, ino=16))
    known.apply(b"A/stays", directory({b"b": 13}, ino=14))
    known.amend(b"A/old/C", b"new", attr(15), 3)
    known.apply(b"A", directory({b"new": 12, b"stays": 14}, fetched_at=4, stamp=2))
    assert paths(known) == {b"A", b"A/new", b"A/new/C", b"A/stays"}
    assert known.entry(b"A/new/C", b"a") == Answer(attr(11), 2)
    assert known.entry(b"A/new/C", b"new") == Answer(attr(15), 3)
    assert known.entry(b"A/old/C", b"new") is None


def test_directories_that_swap_names_keep_their_own_cached_contents() -> None:
    known = known_of({b"A": 10})
    known.apply(b"A", directory({b"one": 12, b"two": 14}))
    known.apply(b"A/one", directory({b"1": 11}, ino=12))
    known.apply(b"A/two", directory({b"2": 13}, ino=14))
    known.apply(b"A", directory({b"one": 14, b"two": 12}, stamp=2))
    assert known.entry(b"A/one", b"2") == Answer(attr(13), 0)
    assert known.entry(b"A/two", b"1") == Answer(attr(11), 0)
    known.apply(b"A", directory({b"one": 12}, stamp=3))
    assert known.entry(b"A/one", b"1") == Answer(attr(11), 0)
    known.apply(b"A", directory({b"one": 16}, stamp=4))
    assert paths(known) == {b"A"}


def test_a_renamed_folder_keeps_its_cached_contents() -> None:
    known = known_of({b"X": Above(4, {b"old": 10, b"gone": 12})})
    known.apply(b"X/old", directory({b"C": 16}, ino=10))
    known.apply(b"X/old/C", directory({b"a": 11}, ino=16))
    known.apply(b"X/gone", directory({b"b": 13}, ino=12))
    known.amend(b"X/gone", b"c", attr(15), 1)
    known.install(tree({b"X": Above(4, {b"new": 10})}))
    assert paths(known) == {b"X/new", b"X/new/C"}
    assert known.entry(b"X/new/C", b"a") == Answer(attr(11), 0)
    assert known.since(b"X/gone") == {}


def test_a_renamed_artist_keeps_its_cached_contents() -> None:
    known = known_of({b"Old": Above(4, {b"Gold": 10}), b"Else": Above(6, {b"Gold": 12})})
    known.apply(b"Old/Gold", directory({b"a": 11}, ino=10))
    known.apply(b"Else/Gold", directory({b"b": 13}, ino=12))
    known.install(tree({b"New": Above(4, {b"Gold": 10}), b"Else": Above(6, {b"Gold": 12})}))
    assert paths(known) == {b"New/Gold", b"Else/Gold"}
    assert known.entry(b"New/Gold", b"a") == Answer(attr(11), 0)
    assert known.listing(b"Old") is None


def test_a_folder_moved_to_another_artist_keeps_its_cached_contents() -> None:
    known = known_of({b"X": Above(4, {b"Gold": 10}), b"Y": Above(6, {})})
    known.apply(b"X/Gold", directory({b"a": 11}, ino=10))
    known.install(tree({b"X": Above(4, {}), b"Y": Above(6, {b"Gold": 10})}))
    assert known.entry(b"Y/Gold", b"a") == Answer(attr(11), 0)


def test_entries_in_both_trees_are_left_as_they_are() -> None:
    known = known_of({b"X": Above(4, {b"Gold": 10})})
    known.apply(b"X/Gold", directory({b"a": 11}, ino=10))
    known.amend(b"X", b"Gold", attr(10, size=9), 1)
    known.install(replace(known.tree, entries=dict(known.tree.entries)))
    assert known.entry(b"X", b"Gold") == Answer(attr(10, size=9), 1)
    assert paths(known) == {b"X/Gold"}


def test_contents_of_an_evicted_directory_are_not_attributed_to_its_replacement() -> None:
    known = known_of({}, limit=5)
    known.apply(b"A/B", directory({b"C": 16, b"D": 18}, ino=12))
    known.apply(b"A/B/C", directory({b"a": 11}, ino=16))
    known.apply(b"A/B/D", directory({b"a": 11}, ino=18))
    known.apply(b"A", directory({b"B": 12}))
    known.apply(b"A/E", directory({}))
    assert known.listing(b"A/B") is None, "it was the least recently used one"
    known.apply(b"A", directory({b"B": 14}, stamp=2))
    known.apply(b"A/B", directory({b"C": 20, b"D": 18}, stamp=2, ino=14))
    assert known.entry(b"A/B/C", b"a") is None
    assert known.entry(b"A/B/D", b"a") == Answer(attr(11), 0)


# The limit


def test_the_least_recently_used_directory_is_evicted_first() -> None:
    known = known_of({}, limit=4)
    for name in (b"A", b"B"):
        known.apply(name, directory({b"1": 11, b"2": 13}))
    known.entry(b"A", b"1")
    known.apply(b"C", directory({b"1": 11}))
    assert paths(known) == {b"A", b"C"}


def test_an_offered_listing_evicts_nothing() -> None:
    known = known_of({}, limit=3)
    known.apply(b"A", directory({b"1": 11, b"2": 13}, fetched_at=5))
    assert not known.offer(b"B", directory({b"1": 11, b"2": 13}))
    assert known.offer(b"C", directory({}))
    assert not known.offer(b"D", directory({}))
    assert paths(known) == {b"A", b"C"}
    assert known.offer(b"A", directory({}, fetched_at=4)), "a newer listing is cached"
    assert known.entry(b"A", b"1") == Answer(attr(11), 5)
    assert known.offer(b"A", directory({}, fetched_at=6))
    assert known.entry(b"A", b"1") == Answer(None, 6)


def test_nothing_above_the_depth_is_evicted_even_with_a_limit_of_zero() -> None:
    known = known_of({b"A": 10, b"X": Above(4, {b"Gold": 12})}, limit=0)
    known.apply(b"A", directory({b"1": 11}))
    known.amend(b"X", b"Gold", attr(12, size=1), 1)
    known.note(b"A/1", b"", b"target", 1)
    assert (paths(known), known.value(b"A/1", b"")) == (set(), None)
    assert known.entry(b"", b"A") == Answer(attr(10), 0)
    assert known.entry(b"X", b"Gold") == Answer(attr(12, size=1), 1)


NAMES = (b"a", b"b", b"c")
PATHS = [b"", *NAMES, *[one + b"/" + two for one in NAMES for two in NAMES], b"a/b/c", b"b/a/a"]
inodes = st.dictionaries(st.sampled_from(NAMES), st.integers(5, 30), max_size=3)
shapes: st.SearchStrategy[Shape] = st.dictionaries(
    st.sampled_from(NAMES),
    st.one_of(st.integers(5, 30), st.builds(Above, st.sampled_from([4, 6, 8]), inodes)),
    max_size=3,
)
path, name = st.sampled_from(PATHS), st.sampled_from(NAMES)
steps = st.one_of(
    st.tuples(st.just("apply"), path, inodes),
    st.tuples(st.just("offer"), path, inodes),
    st.tuples(st.just("amend"), path, name, st.sampled_from([None, 12, 13])),
    st.tuples(st.just("current"), path),
    st.tuples(st.just("prove"), path),
    st.tuples(st.just("distrust"), path),
    st.tuples(st.just("remove"), st.sampled_from(PATHS[1:])),
    st.tuples(st.just("note"), path, name),
    st.tuples(st.just("install"), shapes),
)


def take(known: Known, step: tuple[object, ...], now: float) -> None:
    """Take one random step."""
    match step:
        case "apply" | "offer" as how, bytes(at), dict(inside):
            (known.apply if how == "apply" else known.offer)(at, directory(inside, now, int(now)))
        case "amend", bytes(at), bytes(one), ino:
            known.amend(at, one, attr(ino) if isinstance(ino, int) else None, now)
        case "current", bytes(at):
            known.current(at)
        case "prove", bytes(at):
            known.prove(at, now)
        case "distrust", bytes(at):
            known.distrust(at)
        case "remove", bytes(at):
            known.remove(at, DIR, now, now)
        case "note", bytes(at), bytes(one):
            known.note(at, one, b"value", now)
        case "install", dict(shape):
            known.install(tree(shape, fetched_at=now))


def recount(known: Known) -> int:
    """The entries below the depth."""
    listings = sum(max(1, len(listing)) for listing in known.listings.below.values())
    singles = sum(len(known.since(path)) for path in known._singles if path not in known.listings.above)
    return listings + WEIGHT * singles + sum(map(len, known._values._of.values()))


@settings(max_examples=500)
@given(st.integers(0, 12), st.lists(st.tuples(st.integers(0, 1), steps), max_size=40))
def test_used_room_equals_a_recount_and_stays_within_the_limit(
    limit: int, taken: list[tuple[int, tuple[object, ...]]]
) -> None:
    cache_limit = CacheLimit(limit)
    both = [Known(EMPTY_DIRECTORY, cache_limit) for _ in range(2)]
    for now, (which, step) in enumerate(taken, 1):
        take(both[which], step, float(now))
        assert cache_limit.used == sum(map(recount, both)), step
        last = any(len(known.listings.below) <= 1 for known in both)
        assert cache_limit.used <= limit or last, "the requested directory stays even without room"


def test_a_removal_is_refused_if_a_newer_answer_or_another_type_is_cached() -> None:
    """The request may be from before the replacement, and its answer arrive after the scan that found the new entry."""
    known = known_of({b"A": 10, b"X": Above(4, {b"loose": 11})})
    known.apply(b"A", directory({b"B": 12, b"c": 13}, fetched_at=5))
    assert not known.remove(b"X/loose", DIR, 0, 6), "a file has its name"
    assert not known.remove(b"A/B", FILE, 6, 6)
    assert not known.remove(b"A/c", FILE, 4, 6), "it was fetched since"
    known.amend(b"A", b"d", attr(15), 7)
    assert not known.remove(b"A/d", FILE, 6, 8)
    assert known.entry(b"A", b"c") == Answer(attr(13), 5)
    assert known.remove(b"A/c", FILE, 5, 6)
    assert known.remove(b"A/d", FILE, 7, 8)
    assert known.remove(b"A/none", FILE, 7, 8)
    assert [known.entry(b"A", name) for name in (b"c", b"d")] == [Answer(None, 6), Answer(None, 8)]


def test_with_unstable_inode_numbers_the_path_identifies_a_directory() -> None:
    """As on sshfs: a directory gets another number each time its inode was forgotten."""
    known = Known(tree({b"A": 10}), CacheLimit(LARGE), stable=False)
    known.apply(b"A", directory({b"sub": 12}))
    known.apply(b"A/sub", directory({b"deep": 11}))
    known.install(tree({b"A": 20}, fetched_at=1))
    known.apply(b"A", directory({b"sub": 22}, fetched_at=2, stamp=2))
    assert known.entry(b"A/sub", b"deep") == Answer(attr(11), 0)
    known.apply(b"A", directory({b"other": 12}, fetched_at=3, stamp=3))
    assert paths(known) == {b"A"}, "removed, not renamed: the number may be reused"


def test_values_are_dropped_with_their_file() -> None:
    cache_limit = CacheLimit(100)
    known = Known(EMPTY_DIRECTORY, cache_limit)
    known.note(b"A/one/link", b"", b"target", 1.0)
    known.note(b"A/one", b"system.posix_acl_access", b"acl", 1.0)
    known.remove(b"A/one/link", LINK, 2.0, 2.0)
    assert known.value(b"A/one/link", b"") is None
    assert known.value(b"A/one", b"system.posix_acl_access") == (b"acl", 1.0)
    known.remove(b"A/one", DIR, 2.0, 2.0)
    assert known.value(b"A/one", b"system.posix_acl_access") is None
    assert cache_limit.used == recount(known)


def test_a_folder_renamed_to_an_artist_does_not_replace_the_scanned_listing() -> None:
    known = known_of({b"A": Above(4, {b"x": 10}), b"C": Above(6, {b"y": 12})})
    known.apply(b"A/x", directory({b"track": 11}, ino=10))
    known.install(tree({b"A": Above(4, {}), b"C": Above(10, {b"track": 11})}, fetched_at=1))
    listing = known.listing(b"C")
    assert listing is not None
    assert listing.fetched_at == 1
    assert paths(known) == set()


def test_attributes_that_a_listing_could_not_read_stay_cached() -> None:
    """A source that is being lost still lists names, and fails to stat them."""
    known = known_of({b"A": Above(4, {b"x": 10}), b"loose": 13})
    known.apply(b"A/x", directory({b"track": 11}, ino=10))
    blind = Listing(pack((4, 10, 2, 2), True, [(b"track", bare(FILE))]), 1)
    for _ in range(2):
        known.apply(b"A/x", blind)
        assert known.entry(b"A/x", b"track") == Answer(attr(11), 0), "true then, and not renewed since"
    known.apply(b"A/x", directory({b"sub": 12}, fetched_at=2, ino=10))
    known.apply(b"A/x/sub", directory({b"deep": 15}, fetched_at=2, ino=12))
    known.apply(b"A/x", Listing(pack((4, 10, 3, 3), True, [(b"sub", bare(DIR))]), 3))
    assert known.entry(b"A/x/sub", b"deep") == Answer(attr(15), 2)
    seen = known.tree
    top = [(b"A", bare(DIR)), (b"loose", bare(FILE))]
    known.install(replace(seen, listing=Listing(pack((4, 2, 2, 2), True, top), 1)))
    assert known.entry(b"", b"loose") == Answer(attr(13), 0)


def test_the_listing_of_another_inode_than_the_parent_has_is_dropped() -> None:
    """It was renamed and back, and listed in between: the listing of its parent shows neither."""
    known = known_of({b"A": 10})
    known.apply(b"A", directory({b"sub": 12}, ino=10))
    known.apply(b"A/sub", directory({}, fetched_at=1, ino=14))
    known.apply(b"A", directory({b"sub": 12}, fetched_at=2, stamp=2, ino=10))
    assert known.listing(b"A/sub") is None
    known.apply(b"A/sub", directory({}, fetched_at=3, ino=14))
    known.amend(b"A", b"sub", attr(12), 4)
    assert known.listing(b"A/sub") is None


def test_a_reused_inode_number_is_not_a_rename() -> None:
    """ext4 reuses the number of a removed inode for the next one: another directory, with another mtime."""
    known = known_of({b"A": 10})
    known.apply(b"A", directory({b"old": 12}))
    known.apply(b"A/old", directory({b"track": 11}, ino=12))
    made = attr(12)._replace(mtime_ns=99)
    known.apply(b"A", Listing(pack((4, 10, 2, 2), True, [(b"new", made)]), 1))
    assert paths(known) == {b"A"}


@settings(max_examples=500)
@given(shapes, st.lists(steps, max_size=30))
def test_every_change_of_an_entry_is_reported_or_that_of_a_directory_above_it(
    shape: Shape, taken: list[tuple[object, ...]]
) -> None:
    reported: set[tuple[bytes, bytes]] = set()
    known = Known(
        tree(shape), CacheLimit(LARGE), changed=lambda at, what: reported.update((at, one.name) for one in what)
    )
    for now, step in enumerate(taken, 1):
        before, tops, merging = all_of(known), above_depth(known.tree), step[0] in ("install", "remove")
        reported.clear()
        take(known, step, float(now))
        after, tops = all_of(known), tops | above_depth(known.tree)
        for at, one in before.keys() & after.keys():
            if is_news(before[at, one].attr, after[at, one].attr) and not (merging and at in tops):
                assert (at, one) in reported or above(at) & reported, (step, at, one)


def above_depth(tree: Directory) -> set[bytes]:
    """The directories above the depth, and all paths below them: changes of names there are the merge's."""
    found = {path for path, _ in directories_of(tree)}
    return found | {path for path in PATHS if any(path.startswith(one + b"/") for one in found if one)}


def all_of(known: Known) -> dict[tuple[bytes, bytes], Answer]:
    """The cached answers for all names."""
    answers = {(at, one): known.entry(at, one) for at in PATHS for one in NAMES}
    return {where: answer for where, answer in answers.items() if answer is not None}


def above(path: bytes) -> set[tuple[bytes, bytes]]:
    """A path and its ancestors, each as directory and name."""
    found: set[tuple[bytes, bytes]] = set()
    while path:
        directory, _, name = path.rpartition(b"/")
        found.add((directory, name))
        path = directory
    return found


def test_a_change_is_reported_after_it_was_applied() -> None:
    """The kernel asks again after an invalidation: an old reply would be cached for an hour."""

    def changed(at: bytes, changes: list[Difference]) -> None:
        for one in changes:
            found = known.entry(at, one.name)
            assert found is not None
            assert found.attr == one.after

    known = Known(tree({b"A": 10, b"X": Above(4, {b"loose": 11})}), CacheLimit(LARGE), changed=changed)
    known.apply(b"A", directory({b"1": 11, b"2": 13, b"3": 15}))
    known.amend(b"A", b"1", attr(11, size=1), 1)
    known.amend(b"A", b"2", None, 1)
    known.apply(b"A", directory({b"1": 11, b"4": 17}, fetched_at=2, stamp=2))
    known.remove(b"A/4", DIR, 3, 3)
    known.install(tree({b"A": 10, b"X": Above(4, {b"loose": 13})}, fetched_at=4))


def test_a_listing_is_dropped_as_soon_as_another_directory_has_its_name() -> None:
    known = known_of({b"A": 10})
    known.apply(b"A", directory({b"d": 12}))
    known.apply(b"A/d", directory({b"1": 11}, fetched_at=1))
    known.amend(b"A", b"d", attr(16), 2)
    assert known.listing(b"A/d") is None
    assert known.entry(b"A/d", b"1") is None


def test_a_listing_of_a_directory_that_was_replaced_meanwhile_is_discarded() -> None:
    known = known_of({b"A": 10})
    known.apply(b"A", directory({b"d": 12}))
    known.amend(b"A", b"d", attr(16), 2)
    known.apply(b"A/d", directory({b"1": 11}, fetched_at=1, ino=12))
    assert known.listing(b"A/d") is None
    known.apply(b"A/d", directory({b"2": 13}, fetched_at=3, ino=16))
    assert known.entry(b"A/d", b"2") == Answer(attr(13), 3)


def test_differences_are_not_computed_again_after_the_old_listing_was_renewed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known, new = known_of({b"A": 10}), tree({b"A": 12}, fetched_at=5)
    revised = revisions(known.tree, new)
    known.prove(b"", 3)

    def fail(*both: Listing) -> list[Difference]:
        raise AssertionError

    monkeypatch.setattr("mmirrorfs.source.cache.differences", fail)
    known.install(new, revised)
    assert known.entry(b"", b"A") == Answer(attr(12), 5)
