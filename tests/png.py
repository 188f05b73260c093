"""Pictures as files."""

import io
from functools import cache

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


@cache
def noise(seed: int) -> bytes:
    """A PNG file, 1500 x 1500, of noise: two megabytes, which take a while on the way and to be read."""
    return png(np.random.default_rng(seed).integers(0, 256, (1500, 1500), dtype=np.uint8))
