"""The study's augmentation: RandAugment (Cubuk et al. 2020) as its notebook has it from timm.

It shears, which changes VHS, and inverts and solarises, which no radiograph goes through: it is here to repeat the
study, for class models alone.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from PIL import Image
from torch import Tensor

POLICY = "rand-m9-mstd0.5-inc1"
"""Two operations an image, of magnitude 9 of 10 with a standard deviation of 0.5 (the notebook)."""

LEFT_OUT = 2
"""Of the policy's operations the last, which the notebook cuts off: the two translations."""

_POSTERIZED_AT_MOST = 9.9
"""At a magnitude of 10, one image in some hundreds, no bit would be left, which Pillow refuses."""


def rand_augment(images: Tensor, seeds: Tensor) -> Tensor:
    """Changes each of uint8 images [N, height, width] by its own seed, and returns float32 from 0 to 255.

    Args:
        images: On any device but computed on the CPU, by Pillow.
        seeds: int64 [N].
    """
    # timm takes seconds to import, and few recipes need it.
    from timm.data.auto_augment import rand_augment_transform

    change = rand_augment_transform(POLICY, {})
    change.ops = change.ops[:-LEFT_OUT]
    for operation in change.ops:
        if operation.name == "PosterizeIncreasing":
            operation.magnitude_max = _POSTERIZED_AT_MOST
    changed = []
    for image, seed in zip(images.numpy(), seeds.tolist(), strict=True):
        with _chance(seed % 2**32):
            # timm fills what it uncovers with a colour.
            one = change(Image.fromarray(image).convert("RGB")).convert("L")
        changed.append(np.asarray(one, dtype=np.float32))
    return torch.from_numpy(np.stack(changed))


@contextmanager
def _chance(seed: int) -> Iterator[None]:
    """Seeds the global generators that timm draws from, and leaves them as they were."""
    held, held_numpy = random.getstate(), np.random.get_state()
    random.seed(seed)
    np.random.seed(seed)
    try:
        yield
    finally:
        random.setstate(held)
        np.random.set_state(held_numpy)
