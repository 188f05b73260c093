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
from torch import Generator, Tensor

POLICY = "rand-m9-mstd0.5-inc1"
"""Two operations an image, of magnitude 9 of 10 with a standard deviation of 0.5 (the notebook)."""

LEFT_OUT = 2
"""Of the policy's operations the last, which the notebook cuts off: the two translations."""


def rand_augment(images: Tensor, generator: Generator) -> Tensor:
    """Changes each of uint8 images [N, height, width], and returns float32 from 0 to 255.

    Args:
        images: On any device but computed on the CPU, by Pillow.
        generator: The only source of chance.
    """
    # timm takes seconds to import, and few recipes need it.
    from timm.data.auto_augment import rand_augment_transform

    change = rand_augment_transform(POLICY, {})
    change.ops = change.ops[:-LEFT_OUT]
    with _chance(int(torch.randint(2**32, (), generator=generator))):
        changed = [
            # timm fills what it uncovers with a colour.
            np.asarray(change(Image.fromarray(image).convert("RGB")).convert("L"), dtype=np.float32)
            for image in images.numpy()
        ]
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
