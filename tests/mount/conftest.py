"""The real command, mounted, and tested by system calls on the view."""

import pytest


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark every test of this folder that does not have the mark with a time limit of its own."""
    if item.get_closest_marker("mount") is None:
        item.add_marker(pytest.mark.mount)
