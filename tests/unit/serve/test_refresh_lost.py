"""A source that a reader marks as lost between two scans."""

from pathlib import Path
from typing import Any

import pytest

from mmirrorfs.source import scan
from mmirrorfs.tree import Directory
from tests.support.world import World, warnings


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
        assert warnings(caplog, "is lost") == 0
        world.gates[0].set()
        await world.until(lambda: world.winner(b"Gold") == 0)
        assert world.sources[0].lost is None
    said = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert ["is lost: a reader found it gone" in said[0], "is back after 0 s" in said[1]] == [True, True]
    assert len(said) == 2, "one warning each"


async def test_a_scan_that_began_before_the_loss_does_not_end_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    world = World(tmp_path, period=0.2)
    async with world.watched(monkeypatch):
        await world.full_scan()
        source = world.sources[0]
        scan_once = source.scan

        def scan_before_the_loss(*args: Any, **options: Any) -> Directory:  # noqa: ANN401  # of Source.scan
            monkeypatch.setattr(source, "scan", scan_once)
            found = scan_once(*args, **options)
            world.high.rename(tmp_path / "elsewhere")
            source.lost = "a reader found it gone"
            return found

        monkeypatch.setattr(source, "scan", scan_before_the_loss)
        await world.until(lambda: warnings(caplog, "is lost") == 1)
        await world.looked()
        assert source.lost is not None
    assert (warnings(caplog, "is lost"), warnings(caplog, "is back")) == (1, 0)
