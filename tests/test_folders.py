"""The insides of folders: which questions the source is asked for the first name, and for the others."""

from pathlib import Path

import pytest

from mmirrorfs.attributes import DIR
from mmirrorfs.source.reader import Reader
from mmirrorfs.view.directories import Directories
from mmirrorfs.view.fallback import PIECE
from mmirrorfs.view.folders import RUN
from mmirrorfs.view.view import View
from tests.build import LASTING, Clock, find, listed, move, plant, sources, view_of


class Asked:
    """Counts the questions that a source is asked."""

    def __init__(self, reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
        self.counts = {"stat": 0, "listing": 0}
        for name in self.counts:
            monkeypatch.setattr(reader, name, self._counting(name, getattr(reader, name)))

    def _counting(self, name: str, call: object) -> object:
        def counted(*args: object) -> object:
            self.counts[name] += 1
            assert callable(call)
            return call(*args)

        return counted


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return plant(tmp_path / "root", {"A": {f"{n:02}": "x" * n for n in range(20)}})


@pytest.fixture
def clock() -> Clock:
    return Clock()


async def entered(root: Path, clock: Clock, local: bool, monkeypatch: pytest.MonkeyPatch) -> tuple[View, Asked]:
    """A view whose folder A is known to the kernel, and a count of what is asked from then on."""
    view = view_of(sources(root, local=local), clock=clock)
    await find(view, "A")
    return view, Asked(view.sources[0].reader, monkeypatch)


async def test_in_a_local_folder_the_first_name_brings_the_others(
    root: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    view, asked = await entered(root, clock, True, monkeypatch)
    assert [(await find(view, f"A/{n:02}")).attr.size for n in range(20)] == list(range(20))
    with pytest.raises(FileNotFoundError):
        await find(view, "A/none")
    assert asked.counts == {"stat": 0, "listing": 1}


async def test_in_a_local_folder_names_that_are_not_there_are_known_from_its_listing(
    root: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    view, asked = await entered(root, clock, True, monkeypatch)
    for name in ("cover.jpg", "folder.jpg", "cover.jpg"):
        with pytest.raises(FileNotFoundError):
            await find(view, f"A/{name}")
    assert asked.counts == {"stat": 0, "listing": 1}
    assert (await find(view, "A/07")).attr.size == 7


async def came_late(root: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> View:
    """A view that was asked for A/new just before that was made."""
    view, _ = await entered(root, clock, True, monkeypatch)
    with pytest.raises(FileNotFoundError):
        await find(view, "A/new")
    (root / "A" / "new").touch()
    return view


async def test_a_name_that_was_not_there_is_found_within_the_promise(
    root: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = await came_late(root, clock, monkeypatch)
    clock.now += LASTING.keep
    assert (await find(view, "A/new")).attr.size == 0


async def test_a_listing_that_is_distrusted_leaves_no_older_names_behind(
    root: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = await came_late(root, clock, monkeypatch)
    await listed(Directories(view), await find(view, "A"))
    new = await find(view, "A/new")
    view.nodes.count(new)
    (root / "A" / "new").unlink()
    (root / "A" / "new").mkdir()
    with pytest.raises(OSError, match=r"[Ss]tale"):
        await view.open(new.ino)
    assert (await find(view, "A/new")).attr.kind == DIR


async def test_so_many_folders_only_are_known_to_be_large(
    root: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mmirrorfs.view.folders.NOTED", 3)
    for n in range(10):
        plant(root / f"B{n}", {f"{n:04}": "" for n in range(PIECE + 1)})
    view, asked = await entered(root, clock, True, monkeypatch)
    for name in [f"B{n}/none" for n in range(10)] * 2:
        with pytest.raises(FileNotFoundError):
            await find(view, name)
    assert 10 < asked.counts["listing"] <= 20


async def test_in_any_other_folder_each_name_is_asked_for_by_itself(
    root: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    view, asked = await entered(root, clock, False, monkeypatch)
    assert [(await find(view, f"A/{n:02}")).attr.size for n in range(20)] == list(range(20))
    assert asked.counts == {"stat": 20, "listing": 0}


async def test_what_a_listing_brought_is_true_for_a_while_only(
    root: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    view, _ = await entered(root, clock, True, monkeypatch)
    await find(view, "A/01")
    (root / "A" / "new").touch()
    (root / "A" / "02").unlink()
    move(root / "A")
    clock.now += LASTING.keep
    assert (await find(view, "A/new")).attr.size == 0
    with pytest.raises(FileNotFoundError):
        await find(view, "A/02")


async def test_a_large_folder_is_not_listed_for_one_name(
    root: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(root / "A", {f"large{n:04}": "" for n in range(PIECE + 1)})
    view, asked = await entered(root, clock, True, monkeypatch)
    for n in range(3):
        await find(view, f"A/{n:02}")
    assert asked.counts == {"stat": 3, "listing": 1}
    with pytest.raises(FileNotFoundError):
        await find(view, "A/none")
    assert asked.counts["listing"] == 1
    clock.now += LASTING.keep
    await find(view, "A/01")
    assert asked.counts["listing"] == 2, "it may be small by now"


async def test_a_folder_that_can_be_passed_through_only_still_leads_on(
    root: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    view, _ = await entered(root, clock, True, monkeypatch)

    def denied(*args: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(view.sources[0].reader, "listing", denied)
    assert (await find(view, "A/07")).attr.size == 7
    with pytest.raises(PermissionError):
        await Directories(view).open((await find(view, "A")).ino)


async def test_a_very_large_folder_is_in_byte_order_too(tmp_path: Path, clock: Clock) -> None:
    names = [f"{n * 7919 % 10007:05}" for n in range(RUN * 2 + 10)]
    view = view_of(sources(plant(tmp_path / "root", {"A": dict.fromkeys(names, "")})), clock=clock)
    assert list(await listed(Directories(view), await find(view, "A"))) == sorted(names)
