"""Pictures for every test."""

import io

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def picture() -> bytes:
    """A PNG file, 192 x 128, grey, with contrast."""
    pixels = np.add.outer(np.arange(128), np.arange(192)).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()
