"""Whether one model is better than another: both answer the same images, their difference is held to chance."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from canicor.bundle import OUTPUTS, Metric, ModelKind
from canicor.errors import InvalidArgument
from canicor.vhs import HEART_SIZES, heart_size
from training.dataset import Images
from training.evaluation import ask, mean_with_interval, stated_vhs, subjects_of


@dataclass(frozen=True)
class Answers:
    """What a model says of labelled images.

    Attributes:
        right: bool [N]: whether its class is the label's.
        errors: float64 [N]: how far its VHS is from the label's, in vertebrae; NaN where either has none.
    """

    right: NDArray[np.bool_]
    errors: NDArray[np.float64]

    @classmethod
    def of(cls, model: bytes, kind: ModelKind, images: Images) -> Self:
        """Asks a model, by its ONNX file alone.

        Args:
            model: The file.
            kind: What it gives.
            images: At the size of its input.
        """
        answers, *_ = ask(model, OUTPUTS[kind], images.pixels)
        if kind is ModelKind.CLASSIFIER:
            return cls(answers.argmax(axis=1) == images.classes, np.full(len(images), np.nan))
        vhs = images.vhs_of(answers)
        classes = np.array([HEART_SIZES.index(heart_size(one)) for one in vhs])
        return cls(classes == images.classes, np.abs(vhs - stated_vhs(images)))


@dataclass(frozen=True)
class Comparison:
    """How much better the first of two models is, with 95 % intervals over dogs.

    Attributes:
        accuracy: How much more often it is right, as a share of all images.
        of_class: The same among the images labelled so, by class, for each that there is.
        p: Of McNemar's exact test: how often chance alone would make the two differ as much or more.
        vhs_mae: By how much its VHS is closer, in vertebrae; None where a model gives none.
    """

    accuracy: Metric
    of_class: dict[str, Metric]
    p: float
    vhs_mae: Metric | None

    @property
    def beyond_chance(self) -> bool:
        """Whether the first is better in something, its interval above 0."""
        return self.accuracy.lower > 0 or (self.vhs_mae is not None and self.vhs_mae.lower > 0)


def compare(one: Answers, other: Answers, images: Images, seed: int = 0) -> Comparison:
    """Holds one model's answers to another's.

    Args:
        one: The model that may be better.
        other: The one it is held to.
        images: That both were asked about, in the same order.
        seed: Of the bootstrap.

    Raises:
        InvalidArgument: They are not about the same images.
    """
    if not len(one.right) == len(other.right) == len(images):
        raise InvalidArgument("The two models were not asked about the same images.", reason="OTHER_IMAGES")
    subjects = subjects_of(images)
    gained = one.right.astype(np.float64) - other.right
    closer = other.errors - one.errors
    return Comparison(
        accuracy=mean_with_interval(gained, subjects, seed),
        of_class={
            name: _mean_of(gained, images.classes == index, subjects, seed)
            for index, name in enumerate(HEART_SIZES)
            if (images.classes == index).any()
        },
        p=mcnemar(one.right, other.right),
        vhs_mae=_mean_of(closer, np.isfinite(closer), subjects, seed) if np.isfinite(closer).any() else None,
    )


def mcnemar(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """Returns the exact two-sided p of McNemar's test (Psychometrika 1947), given what two models got right.

    Only images on which they differ count: by chance each is as likely to be the one that is right.
    """
    first, second = int((one & ~other).sum()), int((other & ~one).sum())
    return float(binomtest(first, first + second).pvalue) if first + second else 1.0


def _mean_of(values: NDArray[np.float64], chosen: NDArray[np.bool_], subjects: Sequence[str], seed: int) -> Metric:
    members = np.flatnonzero(chosen).tolist()
    return mean_with_interval(values[members], [subjects[member] for member in members], seed)
