"""The real command, really mounted, met from the outside."""

import pytest


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark every test of this folder that does not say how long it may take."""
    if item.get_closest_marker("mount") is None:
        item.add_marker(pytest.mark.mount)
