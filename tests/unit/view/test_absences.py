"""The absent names that the kernel caches, to be expired together."""

from mmirrorfs.view.absences import Absences


def test_names_are_taken_once_with_all_their_directories() -> None:
    absences = Absences()
    for ino, name in ((1, b"a"), (2, b"a"), (1, b"b"), (1, b"a")):
        assert absences.add(ino, name)
    assert sorted(absences.take()) == [(1, b"a"), (1, b"b"), (2, b"a")]
    assert list(absences.take()) == []


def test_a_name_is_refused_while_there_are_too_many() -> None:
    absences = Absences(limit=2)
    assert [absences.add(1, name) for name in (b"a", b"b", b"a")] == [True, True, True]
    assert not absences.full.is_set()
    full = absences.full
    assert not absences.add(1, b"c")
    assert full.is_set()
    assert len(list(absences.take())) == 2
    assert not absences.full.is_set()
    assert absences.add(1, b"c")
