"""How like a batch is to the reference, over the features of their images.

- KID, the squared maximum mean discrepancy by the kernel (x.y / D + 1)^3, unbiased (Binkowski et al., ICLR 2018):
  0 where nothing tells the two apart, and a little below by chance.
- Precision and recall (Kynkäänniemi et al., NeurIPS 2019): the share of the images that lie among the reference,
  and the share of the reference that lies among the images.
- Density and coverage (Naeem et al., ICML 2020): the same, less moved by single radiographs that are unlike all
  others.

Exact copies of the reference score best in all of them: whether an image is one is looked at apart.
"""

import numpy as np
from numpy.typing import NDArray

Features = NDArray[np.float64]
"""[N, D]."""

NEIGHBOURS = 5
"""Which neighbour's distance is a radiograph's reach: Naeem et al. found 5 to serve."""

LEAST = 2 * NEIGHBOURS
"""Fewer images or radiographs than this tell nothing."""


def fidelity(images: Features, reference: Features) -> dict[str, float]:
    """Compares some images with the reference; nothing where there are fewer than `LEAST` of one.

    Returns:
        `kid`; `kid_of_reference`, of one half of the reference to the other, which no images go below but by
        chance; `precision`, `recall` and `coverage` from 0 to 1; `density` from 0, about 1 for the reference's
        own.
    """
    if min(len(images), len(reference)) < LEAST:
        return {}
    order = np.random.default_rng(0).permutation(len(reference))
    one, other = reference[order[::2]], reference[order[1::2]]
    across = _distances(reference, images)
    reach = np.partition(_distances(reference, reference), NEIGHBOURS, axis=1)[:, NEIGHBOURS]
    images_reach = np.partition(_distances(images, images), NEIGHBOURS, axis=1)[:, NEIGHBOURS]
    within = across < reach[:, None]
    return {
        "kid": kid(images, reference),
        "kid_of_reference": kid(one, other),
        "precision": float(within.any(axis=0).mean()),
        "recall": float((across < images_reach).any(axis=1).mean()),
        "density": float(within.sum() / (NEIGHBOURS * len(images))),
        "coverage": float(within.any(axis=1).mean()),
    }


def kid(one: Features, other: Features) -> float:
    """Returns the KID of two sets of at least two."""

    def kernel(x: Features, y: Features) -> Features:
        values: Features = (x @ y.T / x.shape[1] + 1) ** 3
        return values

    def within(x: Features) -> float:
        values = kernel(x, x)
        return float((values.sum() - np.trace(values)) / (len(x) * (len(x) - 1)))

    return within(one) + within(other) - 2 * float(kernel(one, other).mean())


def _distances(one: Features, other: Features) -> Features:
    """Returns the distance of each of one set to each of the other, [N, M]."""
    squares: Features = (one**2).sum(1)[:, None] + (other**2).sum(1) - 2 * one @ other.T
    return np.sqrt(np.maximum(squares, 0.0, out=squares))
