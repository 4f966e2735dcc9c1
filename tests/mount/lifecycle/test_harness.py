"""The test harness: its time limit frees a test that hangs on a mount, and it checks the log."""

import os
import signal
from pathlib import Path

import pytest

from tests.support.kernel import mounted_under
from tests.support.limit import limit
from tests.support.mounts import View, mounted
from tests.support.polling import poll
from tests.support.trees import folders, grow


def _hang(place: Path) -> View:
    """Hang in stat(2) on a view whose daemon is stopped."""
    high, low = grow(place / "high", folders("h", "1")), grow(place / "low", folders("l", "2"))
    with mounted(place / "view", high, low) as view:
        view.send(signal.SIGSTOP)
        with limit(1, os.fsencode(place)):
            os.stat(place / "view/2/track")
    return view


def test_a_test_that_hangs_in_the_kernel_is_freed_and_fails(place: Path) -> None:
    with pytest.raises(OSError, match=r"connection abort|not connected|No such file"):
        _hang(place)
    assert mounted_under(os.fsencode(place)) == []


def test_a_test_that_hangs_elsewhere_fails(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.support.limit.GRACE", 0.1)
    with pytest.raises(pytest.fail.Exception, match=r"longer than 0\.1 s"), limit(0.1, os.fsencode(place)):
        poll(lambda: False, "what never comes", 1000)


def _lose_a_source(place: Path) -> None:
    """Have the daemon log a warning that the test does not expect."""
    high, low = grow(place / "high", folders("h", "1")), grow(place / "low", folders("l", "2"))
    with mounted(place / "view", high, low) as view:
        low.rename(place / "gone")
        view.send(signal.SIGHUP)
        poll(lambda: "is lost" in view.text(), "the warning")


def test_an_unexpected_warning_fails_the_test(place: Path) -> None:
    with pytest.raises(AssertionError, match="nobody expected it"):
        _lose_a_source(place)


def test_an_expected_warning_that_is_not_logged_fails_the_test(place: Path) -> None:
    high, low = grow(place / "high", folders("h", "1")), grow(place / "low", folders("l", "2"))
    with pytest.raises(AssertionError, match="never logged"), mounted(place / "view", high, low) as view:
        view.expect("is lost")
