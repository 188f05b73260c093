"""Pictures for every test, and real servers for those that want one."""

import os

import pytest

from tests.png import gradient

pytest_plugins = ["tests.servers"]

# Tests make models of their own; those of the shipped one ask for it.
os.environ["CANICOR_SHIPPED_MODEL"] = "false"


@pytest.fixture
def picture() -> bytes:
    """A PNG file, 192 x 128, grey, with contrast."""
    return gradient()
