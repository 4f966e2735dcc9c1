"""Packages, manual, documents and scripts; and rules for the code and the tests themselves."""

import pytest


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark every test of this folder."""
    item.add_marker(pytest.mark.packaging)
