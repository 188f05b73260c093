"""Whether two files show one picture, whatever was done to them: a perceptual hash.

Needs imagehash, which the extras `generator` and `training` bring.
"""

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image

BITS = 256
"""Of a fingerprint. 64, as is common, can't tell two thoraxes apart."""

SAME_PICTURE = 32
"""Bits in which the fingerprints of two files of one radiograph may differ.

Files that were shrunk and compressed anew differed in 8 at most, with another gamma in 16; two dogs of 50 real
thumbnails and of 300 phantoms in 70 at least.
"""

Fingerprints = NDArray[np.uint64]
"""[..., 4]: `BITS` in four numbers."""


def fingerprint(picture: NDArray[np.uint8]) -> Fingerprints:
    """Returns a picture's fingerprint [4]: the signs of its slowest cosine waves (pHash).

    Args:
        picture: [height, width] of any size.
    """
    waves = imagehash.phash(Image.fromarray(picture), 16).hash
    return np.packbits(waves.ravel()).view(">u8").astype(np.uint64)


def differing(one: Fingerprints, many: Fingerprints) -> NDArray[np.intp]:
    """Returns in how many bits a fingerprint [4] differs from each of some others [N, 4]."""
    bits: NDArray[np.intp] = np.bitwise_count(many ^ one).sum(axis=-1, dtype=np.intp)
    return bits


def to_text(fingerprint: Fingerprints) -> str:
    """Returns a fingerprint [4] in 64 hexadecimal digits."""
    return fingerprint.astype(">u8").tobytes().hex()


def from_text(text: str) -> Fingerprints:
    """Reads what `to_text` wrote."""
    return np.frombuffer(bytes.fromhex(text), ">u8").astype(np.uint64)
