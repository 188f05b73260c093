"""What an experiment is done under, and a network judged under them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from torch import nn

from canicor.bundle import Metric
from training.cross_validation import HeldOut, cross_validate
from training.dataset import Images, Progress
from training.evaluation import classified, mean_with_interval, subjects_of
from training.fitting import class_loss, fit
from training.journal import Journal
from training.network import ClassNetwork
from training.presets import Preset


@dataclass(frozen=True)
class Conditions:
    """The same for every network of an experiment.

    Attributes:
        preset: Network and recipe.
        seed: Of splits, folds, weights, order and augmentation.
        folds: Of cross-validation; 0 for none.
        progress: Told how far it is.
        journal: Has what is already found.
    """

    preset: Preset
    seed: int
    folds: int
    progress: Progress
    journal: Journal

    def network(self) -> nn.Module:
        """Returns a new network as the preset has it."""
        backbone, spec = self.preset.backbone, self.preset.spec
        return backbone.build(spec.height, spec.width) if backbone else ClassNetwork()

    def told(self, what: str) -> Callable[[int, float], None]:
        """Returns what `fit` tells its epochs to."""

        def epoch_done(epoch: int, loss: float) -> None:
            self.progress(f"{what}, loss {loss:.3f}", epoch, self.preset.recipe.epochs)

        return epoch_done

    def cross_validate(
        self, name: str, images: Images, build: Callable[[], nn.Module], added: Images | None = None
    ) -> HeldOut:
        """Cross-validates class networks, where there are folds.

        Args:
            name: Of what is cross-validated, in the journal and to the reader.
            images: Of training and validation split.
            build: Makes a network.
            added: Learnt from in every fold.
        """

        def epoch_done(fold: int, epoch: int, loss: float) -> None:
            self.told(f"{name}, fold {fold + 1} of {self.folds}")(epoch, loss)

        return cross_validate(
            images,
            build,
            class_loss,
            self.preset.recipe,
            self.seed,
            epoch_done,
            self.folds,
            added,
            self.journal.within(name),
        )


@dataclass(frozen=True)
class Answered:
    """What a class network said of labelled images.

    Attributes:
        classes: int64 [N], as indices into `HEART_SIZES`.
        confidence: float64 [N], the probability stated of them.
        losses: Of its training, by epoch; empty where they were not kept.
    """

    classes: NDArray[np.int64]
    confidence: NDArray[np.float64]
    losses: tuple[float, ...] = ()

    @classmethod
    def of(cls, found: dict[str, Any]) -> Self:
        """Reads what the journal holds, see `record`."""
        return cls(
            np.array(found["classes"], dtype=np.int64), np.array(found["confidence"]), tuple(found["losses"])
        )

    def record(self) -> dict[str, Any]:
        """Returns what the journal holds."""
        return {
            "classes": self.classes.tolist(),
            "confidence": self.confidence.tolist(),
            "losses": list(self.losses),
        }


def taught(
    conditions: Conditions, name: str, learnt: Images, asked: Images, build: Callable[[], nn.Module]
) -> Answered:
    """Fits a class network to some images and asks it about others, once: the journal keeps what it said."""

    def work() -> dict[str, Any]:
        losses: list[float] = []
        show = conditions.told(f"{name}, for the test")

        def told(epoch: int, loss: float) -> None:
            losses.append(loss)
            show(epoch, loss)

        network = fit(build, class_loss, learnt, conditions.preset.recipe, conditions.seed, told)
        return Answered(*classified(network, asked.pixels), tuple(losses)).record()

    return Answered.of(conditions.journal.within(name).once("test", work))


def accuracy(images: Images, classes: NDArray[np.int64], seed: int) -> Metric:
    """Returns the share of classes [N] that are the labels', with its interval over dogs."""
    return mean_with_interval((classes == images.classes).astype(np.float64), subjects_of(images), seed)
