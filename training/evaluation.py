"""What a fitted model is worth on images it has not seen, with 95 % intervals over dogs.

Every figure is a mean over images of something that one image can be asked, so one bootstrap serves them all.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import binomtest
from torch import Tensor, nn

from canicor.bundle import Metric
from canicor.vhs import HEART_SIZES, VERTEBRAE_SPANNED, heart_size
from training.dataset import Images, subject

RESAMPLES = 2000
"""Draws of the bootstrap: enough for the third digit of a 95 % interval (Efron & Tibshirani 1993, 14.2: 1000)."""

_BATCH = 32


def predict(network: nn.Module, pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float32], ...]:
    """Returns the network's outputs [N, ...] for pixels [N, height, width], each as one array."""
    parts: list[tuple[Tensor, ...]] = []
    with torch.inference_mode():
        for batch in torch.split(torch.from_numpy(pixels), _BATCH):
            outputs = network(batch)
            parts.append(outputs if isinstance(outputs, tuple) else (outputs,))
    return tuple(torch.cat(output).numpy() for output in zip(*parts, strict=True))


def key_point_metrics(images: Images, points: NDArray[np.float32], seed: int) -> dict[str, Metric]:
    """Compares key points with the labels, in each radiograph's own pixels.

    Args:
        images: Labelled.
        points: [N, 6, 2] in input pixels, found in them.
        seed: Of the bootstrap.

    Returns:
        `vhs_mae` (vertebrae); `key_point_distance`, the mean over the six points, in vertebrae of the label's
        ruler; and the accuracies of the class that follows from VHS.
    """
    vhs = images.vhs_of(points)
    stated = np.array([row.vhs for row in images.rows], dtype=np.float64)
    classes = np.array([HEART_SIZES.index(heart_size(one)) for one in vhs])
    subjects = [subject(row) for row in images.rows]
    return {
        "vhs_mae": mean_with_interval(np.abs(vhs - stated), subjects, seed),
        "key_point_distance": mean_with_interval(_distances(images, points), subjects, seed),
        **class_metrics(images, classes, seed),
    }


def class_metrics(images: Images, classes: NDArray[np.int64], seed: int) -> dict[str, Metric]:
    """Compares classes [N], as indices into `HEART_SIZES`, with the labels.

    Returns:
        `accuracy`, and `accuracy_small`, `accuracy_normal`, `accuracy_large` among the images labelled so, for
        each class that there is.
    """
    subjects = [subject(row) for row in images.rows]
    right = (classes == images.classes).astype(np.float64)
    metrics = {"accuracy": mean_with_interval(right, subjects, seed)}
    for index, name in enumerate(HEART_SIZES):
        members = np.flatnonzero(images.classes == index)
        if members.size:
            own = [subjects[member] for member in members]
            metrics[f"accuracy_{name.lower()}"] = mean_with_interval(right[members], own, seed)
    return metrics


def mean_with_interval(values: NDArray[np.float64], subjects: Sequence[str], seed: int) -> Metric:
    """Returns the mean of values [N] with its 95 % percentile-bootstrap interval over subjects.

    Images of one dog are alike, so whole dogs are drawn, never single images.
    """
    _, dog = np.unique(subjects, return_inverse=True)
    sums, counts = np.bincount(dog, weights=values), np.bincount(dog)
    drawn = np.random.default_rng(seed).integers(len(sums), size=(RESAMPLES, len(sums)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    lower, upper = np.quantile(means, (0.025, 0.975))
    return Metric(value=float(values.mean()), lower=float(lower), upper=float(upper), count=len(values))


def share_with_interval(hits: NDArray[np.bool_]) -> Metric:
    """Returns the share of hits [N] with Wilson's 95 % interval, which has a width even where all or none are."""
    interval = binomtest(int(hits.sum()), len(hits)).proportion_ci(method="wilson")
    return Metric(value=float(hits.mean()), lower=float(interval.low), upper=float(interval.high), count=len(hits))


def _distances(images: Images, points: NDArray[np.float32]) -> NDArray[np.float64]:
    """Returns [N], the mean distance of the six points from the labelled ones, in vertebrae."""
    distances = []
    labelled, found = images.key_points_of(images.points), images.key_points_of(points)
    for row, stated, said in zip(images.rows, labelled, found, strict=True):
        square_pixel = (1.0, row.pixel_aspect)
        ruler = np.linalg.norm((stated.xy[5] - stated.xy[4]) * square_pixel) / VERTEBRAE_SPANNED
        distances.append(np.linalg.norm((said.xy - stated.xy) * square_pixel, axis=1).mean() / ruler)
    return np.array(distances)
