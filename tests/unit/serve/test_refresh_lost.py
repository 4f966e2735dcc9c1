"""A source that others find lost between two looks, and that is back before the next one."""

from pathlib import Path

import pytest

from mmirrorfs.source import scan
from tests.support.world import World


async def test_what_fell_back_meanwhile_comes_back_though_no_look_found_the_source_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scan, "COARSE", -1.0)
    world = World(tmp_path, period=0.2, fallback=True)
    async with world.watched(monkeypatch):
        await world.a_whole_look()
        world.gates[0].clear()
        stuck = world.looks[0]
        await world.until(lambda: world.looks[0] > stuck)
        world.sources[0].lost = "a reader found it gone"
        (world.low / "New").mkdir()
        await world.until(lambda: world.winner(b"New") == 1)
        assert world.winner(b"Gold") == 1, "the look at the other source merged without the lost one"
        world.gates[0].set()
        await world.until(lambda: world.winner(b"Gold") == 0)
        assert world.sources[0].lost is None
