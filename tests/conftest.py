"""Pictures for every test, and real servers for those that want one."""

import pytest

from tests.png import gradient

pytest_plugins = ["tests.servers"]


@pytest.fixture
def picture() -> bytes:
    """A PNG file, 192 x 128, grey, with contrast."""
    return gradient()
