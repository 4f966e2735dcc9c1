"""A source that a reader marks as lost between two scans."""

from pathlib import Path

import pytest

from mmirrorfs.source import scan
from tests.support.world import World


async def test_source_marked_lost_by_a_reader_recovers_on_the_next_scan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(scan, "COARSE", -1.0)
    world = World(tmp_path, period=0.2, fallback=True)
    async with world.watched(monkeypatch):
        await world.full_scan()
        world.gates[0].clear()
        stuck = world.scans[0]
        await world.until(lambda: world.scans[0] > stuck)
        world.sources[0].lost = "a reader found it gone"
        (world.low / "New").mkdir()
        await world.until(lambda: world.winner(b"New") == 1)
        assert world.winner(b"Gold") == 1, "the scan of the other source merged without the lost one"
        world.gates[0].set()
        await world.until(lambda: world.winner(b"Gold") == 0)
        assert world.sources[0].lost is None
    said = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert ["is lost: a reader found it gone" in said[0], "is back after 0 s" in said[1]] == [True, True]
    assert len(said) == 2, "one warning each"
