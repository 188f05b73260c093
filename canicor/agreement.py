"""How far readers of the same radiographs agree, by the measures that the field reports."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

_OF_A_NORMAL_DISTRIBUTION = 1.96
"""Standard deviations to either side of the mean between which 95 % lie."""


@dataclass(frozen=True)
class LimitsOfAgreement:
    """Between which 95 % of the differences of two readers lie (Bland & Altman 1986).

    Attributes:
        bias: The mean difference.
        lower, upper: The bias and 1.96 standard deviations to either side.
        count: Of the differences.
    """

    bias: float
    lower: float
    upper: float
    count: int


def limits_of_agreement(differences: ArrayLike) -> LimitsOfAgreement:
    """Returns the limits of agreement of differences [N], in their unit; NaN for fewer than two.

    Args:
        differences: One reader's figure less the other's, an image each.
    """
    values = np.asarray(differences, dtype=np.float64)
    if len(values) < 2:
        return LimitsOfAgreement(np.nan, np.nan, np.nan, len(values))
    bias, reach = float(values.mean()), _OF_A_NORMAL_DISTRIBUTION * float(values.std(ddof=1))
    return LimitsOfAgreement(bias, bias - reach, bias + reach, len(values))


def intraclass_correlation(readings: ArrayLike) -> float:
    """Returns ICC(2,1): two-way random effects, absolute agreement, a single reader (Shrout & Fleiss 1979).

    How much of the spread of single readings is that of the images: 1 where readers agree, about 0 where an image
    says nothing of its reading, below 0 where readers of an image differ more than chance would have it.

    Args:
        readings: [N, K], of N images by K readers. Any reader may stand in any column where they differ from image
            to image, since readers count as drawn by chance.

    Returns:
        NaN for fewer than two images or readers, and where no reading differs from any other.
    """
    values = np.asarray(readings, dtype=np.float64)
    images, readers = values.shape
    if images < 2 or readers < 2 or np.ptp(values) == 0:
        return np.nan
    by_image, by_reader = values.mean(axis=1, keepdims=True), values.mean(axis=0, keepdims=True)
    between_images = readers * by_image.var(ddof=1)
    between_readers = images * by_reader.var(ddof=1)
    rest = np.square(values - by_image - by_reader + values.mean()).sum() / ((images - 1) * (readers - 1))
    spread = between_images + (readers - 1) * rest + readers * (between_readers - rest) / images
    return float((between_images - rest) / spread)


def kappa(confusion: NDArray[np.float64], *, quadratic: bool = False) -> NDArray[np.float64]:
    """Returns Cohen's kappa: how much more often readers name the same class than they would by chance.

    Args:
        confusion: [..., C, C], how often one reader named the class of the row and the other that of the column.
        quadratic: Whether a difference counts by the square of the classes between (Cohen 1968), instead of fully
            whatever the classes (Cohen 1960).

    Returns:
        [...], at most 1; NaN where both readers know one class alone.
    """
    places = np.arange(confusion.shape[-1])
    apart = np.abs(places[:, None] - places[None, :])
    weights = np.square(apart) if quadratic else np.minimum(apart, 1)
    expected = confusion.sum(axis=-1)[..., :, None] * confusion.sum(axis=-2)[..., None, :]
    observed, by_chance = ((weights * one).sum(axis=(-1, -2)) for one in (confusion, expected))
    with np.errstate(invalid="ignore"):
        return np.asarray(1.0 - observed * confusion.sum(axis=(-1, -2)) / by_chance)
