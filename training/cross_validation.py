"""Stratified k-fold cross-validation that divides no dog, with a network of its own for each fold."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold

from canicor.errors import InvalidArgument
from canicor.vhs import HEART_SIZES
from training.dataset import Images
from training.evaluation import predict, subjects_of
from training.fitting import Loss, Network, Recipe, fit

FOLDS = 7
"""As many as in the study."""


@dataclass(frozen=True)
class HeldOut:
    """What was said of each image by the network of the fold that had not learnt from it.

    Attributes:
        fold: int64 [N]: the image's, from 0.
        classes: int64 [N], as indices into `HEART_SIZES`.
        confidence: float64 [N], the probability stated of it.
    """

    fold: NDArray[np.int64]
    classes: NDArray[np.int64]
    confidence: NDArray[np.float64]


def cross_validate(
    images: Images,
    build: Callable[[], Network],
    loss_of: Loss[Network],
    recipe: Recipe,
    seed: int,
    epoch_done: Callable[[int, int, float], None],
    folds: int = FOLDS,
) -> HeldOut:
    """Fits a class network to all folds but one, for each, and asks it about that one.

    Args:
        images: Labelled, of training and validation split.
        build: Makes a network, a new one each time.
        loss_of: What is minimised.
        recipe: How.
        seed: Of folds, weights, order and augmentation.
        epoch_done: Told the fold, the number of its epochs done and the last one's mean loss.
        folds: How many.

    Raises:
        InvalidArgument: A class has fewer dogs than there are folds.
    """
    subjects = np.array(subjects_of(images))
    for index, name in enumerate(HEART_SIZES):
        dogs = len(np.unique(subjects[images.classes == index]))
        if 0 < dogs < folds:
            raise InvalidArgument(
                f"There are {dogs} dogs with {name} hearts: too few for {folds} folds.", reason="TOO_FEW_DOGS"
            )
    count = len(images)
    held_out = HeldOut(np.zeros(count, np.int64), np.zeros(count, np.int64), np.zeros(count))
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    for fold, (learnt, asked) in enumerate(splitter.split(images.pixels, images.classes, subjects)):

        def told(epoch: int, loss: float, fold: int = fold) -> None:
            epoch_done(fold, epoch, loss)

        network = fit(build, loss_of, images.at(learnt), recipe, seed + fold, told)
        (logits,) = predict(network, images.pixels[asked])
        scaled = np.exp(logits - logits.max(axis=1, keepdims=True))
        held_out.fold[asked] = fold
        held_out.classes[asked] = logits.argmax(axis=1)
        held_out.confidence[asked] = scaled.max(axis=1) / scaled.sum(axis=1)
    return held_out
