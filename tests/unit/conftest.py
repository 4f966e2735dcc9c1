"""Tests without a mount: pure code, and files in a temporary directory."""

import pytest


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark every test of this folder."""
    item.add_marker(pytest.mark.unit)
