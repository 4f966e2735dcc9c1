"""What is shipped beside the program: packages, manual, README, scripts; and the rules that code and tests keep."""

import pytest


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark every test of this folder."""
    item.add_marker(pytest.mark.packaging)
