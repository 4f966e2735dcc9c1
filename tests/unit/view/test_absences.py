"""The absent names that the kernel caches, to be expired together."""

from mmirrorfs.view.absences import DIRECTORY, NAME, Absences


def test_names_are_taken_once_with_all_their_directories() -> None:
    absences = Absences()
    for ino, name in ((1, b"a"), (2, b"a"), (3, b"a"), (1, b"b"), (1, b"a"), (3, b"a")):
        assert absences.add(ino, name)
    assert sorted(absences.take()) == [(1, b"a"), (1, b"b"), (2, b"a"), (3, b"a")]
    assert list(absences.take()) == []


def test_a_name_is_refused_while_there_is_no_room() -> None:
    absences = Absences(limit=2 * (NAME + 1) + DIRECTORY)
    assert [absences.add(*one) for one in ((1, b"a"), (1, b"b"), (2, b"a"), (1, b"a"))] == [True] * 4
    full = absences.full
    assert not full.is_set()
    assert not absences.add(3, b"a")
    assert not absences.add(1, b"c")
    assert full.is_set()
    assert len(list(absences.take())) == 3
    assert not absences.full.is_set()
    assert absences.add(1, b"c")
