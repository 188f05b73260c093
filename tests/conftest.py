"""Pictures for every test, and real servers for those that want one."""

import os

import pytest

from tests.png import gradient

# In the order in which they need each other.
pytest_plugins = ["tests.servers", "tests.clinics", "tests.browsers", "tests.containers"]

# Tests run as many at a time as there are cores: the threads of one would only wait for those of the others. Set
# before the first import of torch, and for the processes that tests start.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# Tests make models of their own; those of the shipped one ask for it.
os.environ["CANICOR_SHIPPED_MODEL"] = "false"


@pytest.fixture
def picture() -> bytes:
    """A PNG file, 192 x 128, grey, with contrast."""
    return gradient()
