"""``--match loose``: what is one name by it and what is not, as a table of real names and as properties of any."""

import pytest

from mmirrorfs.merge.names import key_of, keyed
from mmirrorfs.tree import Trees
from tests.support.name_pairs import APART, SAME, UNKNOWN, NamePair
from tests.support.scanned import scanned

LOOSE = key_of("loose", [])


def _trees(*sources: list[str]) -> Trees:
    return tuple(scanned(rank, dict.fromkeys(names, "dir")) for rank, names in enumerate(sources))


def _paired(one: str, other: str) -> bool:
    found = keyed(_trees([one], [other]), LOOSE)
    return found[0].keys() == found[1].keys()


def _named(pair: NamePair) -> str:
    return f"{pair.one} | {pair.other}"


@pytest.mark.parametrize("pair", SAME, ids=_named)
def test_two_spellings_of_one_name_are_paired(pair: NamePair) -> None:
    assert _paired(pair.one, pair.other)
    assert _paired(pair.other, pair.one)


@pytest.mark.parametrize("pair", [*APART, *UNKNOWN], ids=_named)
def test_what_tells_two_apart_keeps_them_apart(pair: NamePair) -> None:
    assert not _paired(pair.one, pair.other)
    assert not _paired(pair.other, pair.one)
