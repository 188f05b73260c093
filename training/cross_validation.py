"""Stratified k-fold cross-validation that divides no dog, with a network of its own for each fold."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold

from canicor.errors import InvalidArgument
from canicor.vhs import HEART_SIZES
from training.dataset import Images
from training.evaluation import classified, subjects_of
from training.fitting import Loss, Network, Recipe, fit
from training.journal import Journal

FOLDS = 7
"""As many as in the study."""


@dataclass(frozen=True)
class HeldOut:
    """What was said of each image by the network of the fold that had not learnt from it.

    Attributes:
        fold: int64 [N]: the image's, from 0.
        classes: int64 [N], as indices into `HEART_SIZES`.
        confidence: float64 [N], the probability stated of it.
        losses: Of each fold, the mean training loss by epoch.
    """

    fold: NDArray[np.int64]
    classes: NDArray[np.int64]
    confidence: NDArray[np.float64]
    losses: tuple[tuple[float, ...], ...]


def cross_validate(
    images: Images,
    build: Callable[[], Network],
    loss_of: Loss[Network],
    recipe: Recipe,
    seed: int,
    epoch_done: Callable[[int, int, float], None],
    folds: int = FOLDS,
    added: Images | None = None,
    journal: Journal | None = None,
) -> HeldOut:
    """Fits a class network to all folds but one, for each, and asks it about that one.

    Args:
        images: Labelled, of training and validation split.
        build: Makes a network, a new one each time.
        loss_of: What is minimised.
        recipe: How.
        seed: Of folds, weights, order and augmentation.
        epoch_done: Told the fold, the number of its epochs done and the last one's mean loss.
        folds: How many, 2 or more.
        added: What every network learns from beside its folds, and none is asked about.
        journal: Has the folds that are done, which are then not done again.

    Raises:
        InvalidArgument: There is one fold, or a class has fewer dogs than there are folds.
    """
    if folds < 2:
        raise InvalidArgument(f"Cross-validation takes two folds or more, not {folds}.", reason="TOO_FEW_FOLDS")
    subjects = np.array(subjects_of(images))
    for index, name in enumerate(HEART_SIZES):
        dogs = len(np.unique(subjects[images.classes == index]))
        if 0 < dogs < folds:
            raise InvalidArgument(
                f"There are {dogs} dogs with {name} hearts: too few for {folds} folds.", reason="TOO_FEW_DOGS"
            )

    def one_fold(fold: int, learnt: NDArray[np.int64], asked: NDArray[np.int64]) -> dict[str, Any]:
        losses: list[float] = []

        def told(epoch: int, loss: float) -> None:
            losses.append(loss)
            epoch_done(fold, epoch, loss)

        known = images.at(learnt.tolist())
        if added:
            known = known.joined(added)
        network = fit(build, loss_of, known, recipe, seed + fold, told)
        classes, confidence = classified(network, images.pixels[asked])
        return {"classes": classes.tolist(), "confidence": confidence.tolist(), "losses": losses}

    count, by_fold = len(images), []
    held_out = HeldOut(np.zeros(count, np.int64), np.zeros(count, np.int64), np.zeros(count), ())
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    for fold, (learnt, asked) in enumerate(splitter.split(images.pixels, images.classes, subjects)):
        if journal:
            found = journal.once(f"fold-{fold}", lambda: one_fold(fold, learnt, asked))  # noqa: B023 - called at once
        else:
            found = one_fold(fold, learnt, asked)
        held_out.fold[asked] = fold
        held_out.classes[asked], held_out.confidence[asked] = found["classes"], found["confidence"]
        by_fold.append(tuple(found["losses"]))
    return HeldOut(held_out.fold, held_out.classes, held_out.confidence, tuple(by_fold))
