"""Inode numbers, and the table of held nodes."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from mmirrorfs.attributes import DIR, FILE
from mmirrorfs.merge.inodes import ROOT, InodeTable, number


@dataclass
class Held:
    ino: int
    nlookup: int = 0


def table() -> InodeTable[Held]:
    made: InodeTable[Held] = InodeTable()
    made.count(Held(ROOT))
    return made


def test_number_is_the_same_in_every_process_and_release() -> None:
    assert number(b"/music/flac", b"Artist/Album", DIR) == 15856965291538923599


@given(st.binary(max_size=50), st.binary(max_size=50))
def test_number_has_64_bits_and_is_never_a_reserved_one(space: bytes, path: bytes) -> None:
    assert ROOT < number(space, path, FILE) < 1 << 64


def test_number_depends_on_source_path_and_type() -> None:
    found = {number(space, path, kind) for space in (b"", b"/a", b"/b") for path in (b"", b"x") for kind in (DIR, FILE)}
    assert len(found) == 12


def test_number_depends_on_the_boundary_of_source_and_path() -> None:
    assert number(b"/a/b", b"c", FILE) != number(b"/a", b"b/c", FILE) != number(b"/a/b/c", b"", FILE)


def test_numbers_are_uniform_in_the_low_32_bits() -> None:
    low = [number(b"/music", b"Artist %d/track.flac" % n, FILE) & 0xFFFFFFFF for n in range(20_000)]
    assert len(set(low)) >= len(low) - 2, "chance alone gives a pair in 20 runs"
    assert len({value >> 24 for value in low}) == 256


def test_node_is_held_until_all_references_are_forgotten() -> None:
    nodes, node = table(), Held(7)
    nodes.count(node)
    nodes.count(node)
    nodes.forget(7, 1)
    assert nodes.get(7) is node
    nodes.forget(7, 1)
    assert nodes.get(7) is None


def test_count_of_a_known_number_counts_the_held_node() -> None:
    nodes, node = table(), Held(7)
    nodes.count(node)
    nodes.count(Held(7))
    assert nodes.get(7) is node
    assert node.nlookup == 2


def test_forget_of_another_number_does_not_drop_a_recreated_node() -> None:
    nodes = table()
    nodes.count(Held(7))
    nodes.forget(7, 1)
    back = Held(7)
    nodes.count(back)
    nodes.forget(8, 1)
    assert nodes.get(7) is back


def test_forget_of_too_many_or_unknown_references_is_ignored() -> None:
    nodes = table()
    nodes.count(Held(7))
    nodes.forget(7, 1000)
    nodes.forget(7, 1)
    nodes.forget(99, 5)
    assert [node.ino for node in nodes] == [ROOT]


def test_root_is_never_dropped() -> None:
    nodes = table()
    nodes.forget(ROOT, 10**9)
    assert nodes.get(ROOT) is not None
    assert len(nodes) == 1


def test_table_can_be_changed_during_iteration() -> None:
    nodes = table()
    for ino in range(2, 10):
        nodes.count(Held(ino))
    for node in nodes:
        nodes.forget(node.ino, 1)
    assert len(nodes) == 1


@given(st.lists(st.tuples(st.integers(2, 5), st.integers(-3, 3).filter(bool)), max_size=40))
def test_table_agrees_with_a_plain_count(steps: list[tuple[int, int]]) -> None:
    nodes, counts = table(), dict.fromkeys(range(2, 6), 0)
    for ino, by in steps:
        if by > 0:
            for _ in range(by):
                nodes.count(nodes.get(ino) or Held(ino))
        else:
            nodes.forget(ino, -by)
        counts[ino] = max(0, counts[ino] + by)
    assert {node.ino: node.nlookup for node in nodes if node.ino != ROOT} == {i: n for i, n in counts.items() if n}
