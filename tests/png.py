"""Pictures as files."""

import io

import numpy as np
from PIL import Image


def png(pixels: np.ndarray) -> bytes:
    """A PNG file of uint8 pixels, [height, width] or [height, width, 3]."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def gradient() -> bytes:
    """A PNG file, 192 x 128, grey, with contrast."""
    return png(np.add.outer(np.arange(128), np.arange(192)).astype(np.uint8))
