"""How far a picture's features lie from those of the training images.

Mahalanobis distance of pooled features: Lee et al., *A Simple Unified Framework for Detecting Out-of-Distribution
Samples* (NeurIPS 2018), with one Gaussian for all classes, since a heart's size changes little of a thorax. The
features are the means of the maps of all stages: the coarsest alone let some upside-down thoraxes pass.
"""

from collections.abc import Callable
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import solve_triangular
from sklearn.covariance import LedoitWolf
from torch import Generator, Tensor, nn

from training.augmentation import Strength, augment
from training.dataset import Images
from training.evaluation import batch_size


class FeatureDistance(nn.Module):
    """Takes an encoder's maps and returns the distance of each picture, and its features.

    Args:
        mean: float64 [D], of the training images' features.
        whitening: float64 [D, D], W with W W^T the inverse of their covariance.
    """

    mean: Tensor
    whitening: Tensor

    def __init__(self, mean: NDArray[np.float64], whitening: NDArray[np.float64]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.from_numpy(mean.astype(np.float32)))
        self.register_buffer("whitening", torch.from_numpy(whitening.astype(np.float32)))

    def forward(self, maps: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Takes the maps [N, width, rows, columns] of some stages, or tokens [N, places, width].

        Returns:
            The distance [N], and what it is the length of: the whitened features [N, D].
        """
        features = (_pooled(maps) - self.mean) @ self.whitening
        return features.square().sum(-1).sqrt(), features

    @classmethod
    def fit(cls, maps_of: Callable[[Tensor], list[Tensor]], images: Images, strength: Strength, seed: int) -> Self:
        """Fits mean and covariance on training images, each as it is and once augmented.

        Without the augmented ones, seven in ten harmlessly turned or darker thoraxes lay beyond the limit, though
        the encoder had been trained on such. The covariance is shrunk towards a sphere (Ledoit & Wolf 2004), so
        that few images, or a channel that is always 0, do not make a distance explode.

        Args:
            maps_of: The encoder, in inference mode.
            images: That it was trained on.
            strength: Of the augmentation that it was trained with.
            seed: Of that augmentation.
        """
        generator = Generator().manual_seed(seed)
        parts = []
        with torch.inference_mode():
            for batch in torch.split(torch.arange(len(images)), batch_size(*images.pixels.shape[1:])):
                pixels, points = (torch.from_numpy(one)[batch] for one in (images.pixels, images.points))
                seeds = torch.randint(2**62, (len(batch),), generator=generator)
                changed, _ = augment(pixels, points, strength, seeds)
                parts += [_pooled(maps_of(pixels)), _pooled(maps_of(changed))]
        # Its own inverse takes minutes where features are thousands.
        fitted = LedoitWolf(store_precision=False).fit(torch.cat(parts).double().numpy())
        lower = np.linalg.cholesky(fitted.covariance_)
        return cls(fitted.location_, solve_triangular(lower, np.eye(len(lower)), lower=True).T)


def _pooled(maps: list[Tensor]) -> Tensor:
    return torch.cat([one.mean(dim=(2, 3) if one.ndim == 4 else 1) for one in maps], dim=1)
