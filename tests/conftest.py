"""Pictures for every test, and real servers for those that want one."""

import numpy as np
import pytest

from tests.png import png

pytest_plugins = ["tests.servers"]


@pytest.fixture
def picture() -> bytes:
    """A PNG file, 192 x 128, grey, with contrast."""
    return png(np.add.outer(np.arange(128), np.arange(192)).astype(np.uint8))
