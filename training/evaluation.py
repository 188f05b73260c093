"""What a fitted model is worth on images it has not seen, with 95 % intervals over dogs.

Every figure is a function of sums over images (of errors, of a confusion matrix): one bootstrap serves them all.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import binomtest
from torch import Tensor, nn

from canicor.agreement import kappa
from canicor.bundle import INPUT, Metric
from canicor.onnx_runtime import open_session
from canicor.vhs import (
    HEART_SIZES,
    LARGE_ABOVE,
    SMALL_BELOW,
    VERTEBRAE_SPANNED,
    class_probabilities,
    heart_size,
)
from training.dataset import Images, subject

RESAMPLES = 2000
"""Draws of the bootstrap: enough for the third digit of a 95 % interval (Efron & Tibshirani 1993, 14.2: 1000)."""

THRESHOLDS = (SMALL_BELOW, LARGE_ABOVE)

# Vertebrae from a threshold: about what two readers differ by.
_NEAR = 0.5

# Within 1.96 standard deviations of the bias lie 95 % of errors that are normal.
_LIMITS_OF_AGREEMENT = 1.96

BINS = 10
"""Of confidence, equally wide."""

_BATCH_PIXELS = 2**21


def batch_size(height: int, width: int) -> int:
    """Returns how many images of a size to show a network at once: 32 of 256 x 256.

    The widest map of a large network, EfficientNetB7's, takes some 200 bytes for each of these pixels.
    """
    return max(1, _BATCH_PIXELS // (height * width))


def predict(network: nn.Module, pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float32], ...]:
    """Returns the network's outputs [N, ...] for pixels [N, height, width], each as one array."""
    parts: list[tuple[Tensor, ...]] = []
    with torch.inference_mode():
        for batch in torch.split(torch.from_numpy(pixels), batch_size(*pixels.shape[1:])):
            outputs = network(batch)
            parts.append(outputs if isinstance(outputs, tuple) else (outputs,))
    return tuple(torch.cat(output).numpy() for output in zip(*parts, strict=True))


def ask(model: bytes, outputs: Iterable[str], pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float32], ...]:
    """Returns outputs [N, ...] of an ONNX file for pixels [N, height, width], which it is shown one by one."""
    session = open_session(model)
    answers = [session.run(list(outputs), {INPUT: image[np.newaxis]}) for image in pixels]
    return tuple(np.concatenate(output) for output in zip(*answers, strict=True))


def classified(network: nn.Module, pixels: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Returns the likeliest class [N] of pixels [N, height, width], and the probability [N] stated of it.

    Args:
        network: Gives logits.
        pixels: To ask about.
    """
    (logits,) = predict(network, pixels)
    scaled = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return logits.argmax(axis=1), scaled.max(axis=1) / scaled.sum(axis=1)


def key_point_metrics(images: Images, points: NDArray[np.float32], sigma: float, seed: int) -> dict[str, Metric]:
    """Compares key points with the labels, in each radiograph's own pixels.

    Args:
        images: Labelled.
        points: [N, 6, 2] in input pixels, found in them.
        sigma: Standard deviation in vertebrae that the VHS found is said to have.
        seed: Of the bootstrap.

    Returns:
        In vertebrae: `vhs_mae`, also near each threshold; `vhs_bias`; `vhs_limit_lower` and `vhs_limit_upper`, the
        limits of agreement (Bland & Altman 1986); `key_point_distance`, the mean over the six points, in vertebrae
        of the label's ruler. And `class_metrics` of the class that follows from VHS.
    """
    vhs = images.vhs_of(points)
    stated, subjects = stated_vhs(images), subjects_of(images)
    errors = vhs - stated
    moments = np.stack([np.ones_like(errors), errors, errors**2], axis=1)
    metrics = {"vhs_mae": mean_with_interval(np.abs(errors), subjects, seed)}
    for threshold in THRESHOLDS:
        near = np.flatnonzero(np.abs(stated - threshold) < _NEAR)
        if near.size:
            name = f"vhs_mae_near_{threshold:g}".replace(".", "_")
            metrics[name] = mean_with_interval(np.abs(errors[near]), [subjects[one] for one in near], seed)
    metrics["vhs_bias"] = mean_with_interval(errors, subjects, seed)
    for name, deviations in (("lower", -_LIMITS_OF_AGREEMENT), ("upper", _LIMITS_OF_AGREEMENT)):
        limit = partial(_mean_and_deviations, deviations)
        metrics[f"vhs_limit_{name}"] = with_interval(moments, limit, subjects, seed)
    metrics["key_point_distance"] = mean_with_interval(_distances(images, points), subjects, seed)
    sizes = [heart_size(one) for one in vhs]
    classes = np.array([HEART_SIZES.index(size) for size in sizes])
    confidence = [
        class_probabilities(one, sigma)[index] for one, index in zip(vhs.tolist(), classes.tolist(), strict=True)
    ]
    return metrics | class_metrics(images, classes, np.array(confidence), seed)


def class_metrics(
    images: Images, classes: NDArray[np.int64], confidence: NDArray[np.floating], seed: int
) -> dict[str, Metric]:
    """Compares classes [N], as indices into `HEART_SIZES`, with the labels.

    Args:
        images: Labelled.
        classes: What was said.
        confidence: [N], the probability that was stated of it.
        seed: Of the bootstrap.

    Returns:
        `accuracy`; `accuracy_small`, `accuracy_normal`, `accuracy_large` among the images labelled so, for each
        class that there is; `accuracy_near_thresholds`, where VHS is stated; `balanced_accuracy`, their mean;
        `macro_f1`; `quadratic_kappa` (Cohen 1968), where there are two classes; and `calibration_error`, the mean
        difference between confidence and accuracy over ten bins of confidence (ECE; Naeini et al. 2015).
    """
    subjects, count = subjects_of(images), len(images)
    right = (classes == images.classes).astype(np.float64)
    metrics = {"accuracy": mean_with_interval(right, subjects, seed)}
    of_class = {f"accuracy_{name.lower()}": images.classes == index for index, name in enumerate(HEART_SIZES)}
    distances = np.abs(stated_vhs(images)[:, None] - THRESHOLDS)
    of_class["accuracy_near_thresholds"] = (distances < _NEAR).any(axis=1)
    for name, chosen in of_class.items():
        members = np.flatnonzero(chosen)
        if members.size:
            metrics[name] = mean_with_interval(right[members], [subjects[one] for one in members], seed)
    confusion = np.zeros((count, len(HEART_SIZES), len(HEART_SIZES)))
    confusion[np.arange(count), images.classes, classes] = 1.0
    metrics["balanced_accuracy"] = with_interval(confusion, _balanced_accuracy, subjects, seed)
    metrics["macro_f1"] = with_interval(confusion, _macro_f1, subjects, seed)
    if len({*images.classes.tolist(), *classes.tolist()}) > 1:
        metrics["quadratic_kappa"] = with_interval(confusion, partial(kappa, quadratic=True), subjects, seed)
    bins = np.zeros((count, BINS, 2))
    bins[np.arange(count), bins_of(confidence)] = np.stack([np.ones(count), right - confidence], axis=1)
    metrics["calibration_error"] = with_interval(bins, _calibration_error, subjects, seed)
    return metrics


def bins_of(confidence: NDArray[np.floating]) -> NDArray[np.int64]:
    """Returns which of `BINS` each confidence [N] lies in."""
    return np.minimum((confidence * BINS).astype(np.int64), BINS - 1)


def subjects_of(images: Images) -> list[str]:
    """Returns whose image each is."""
    return [subject(row) for row in images.rows]


def stated_vhs(images: Images) -> NDArray[np.float64]:
    """Returns the labels' VHS [N]; NaN where only the class is known."""
    return np.array([row.vhs for row in images.rows], dtype=np.float64)


def mean_with_interval(values: NDArray[np.float64], subjects: Sequence[str], seed: int) -> Metric:
    """Returns the mean of values [N] with its 95 % interval."""
    return with_interval(np.stack([values, np.ones_like(values)], axis=1), _mean, subjects, seed)


def with_interval(
    tables: NDArray[np.float64],
    statistic: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    subjects: Sequence[str],
    seed: int,
) -> Metric:
    """Returns a statistic with its 95 % percentile-bootstrap interval over subjects.

    Images of one dog are alike, so whole dogs are drawn, never single images.

    Args:
        tables: [N, ...], one an image: what the statistic needs is their sum over the images.
        statistic: Takes sums [..., table] and returns numbers [...]; NaN where there is none.
        subjects: Whose image each is.
        seed: Of the bootstrap.
    """
    _, dog = np.unique(subjects, return_inverse=True)
    sums = np.zeros((dog.max() + 1, *tables.shape[1:]))
    np.add.at(sums, dog, tables)
    drawn = np.random.default_rng(seed).integers(len(sums), size=(RESAMPLES, len(sums)))
    times = np.stack([np.bincount(one, minlength=len(sums)) for one in drawn]).astype(np.float64)
    lower, upper = np.nanquantile(statistic(np.tensordot(times, sums, axes=1)), (0.025, 0.975))
    value = float(statistic(tables.sum(axis=0)))
    return Metric(value=value, lower=float(lower), upper=float(upper), count=len(tables))


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


def _mean(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(sums[..., 0] / sums[..., 1])


def _mean_and_deviations(deviations: float, moments: NDArray[np.float64]) -> NDArray[np.float64]:
    count, total, squares = np.moveaxis(moments, -1, 0)
    mean = total / count
    return np.asarray(mean + deviations * np.sqrt(np.maximum(squares / count - mean**2, 0.0)))


def _balanced_accuracy(confusion: NDArray[np.float64]) -> NDArray[np.float64]:
    with np.errstate(invalid="ignore"):
        return np.asarray(np.nanmean(_diagonal(confusion) / confusion.sum(axis=-1), axis=-1))


def _macro_f1(confusion: NDArray[np.float64]) -> NDArray[np.float64]:
    with np.errstate(invalid="ignore"):
        each = 2.0 * _diagonal(confusion) / (confusion.sum(axis=-1) + confusion.sum(axis=-2))
        return np.asarray(np.nanmean(each, axis=-1))


def _calibration_error(bins: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.abs(bins[..., 1]).sum(axis=-1) / bins[..., 0].sum(axis=-1))


def _diagonal(confusion: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.diagonal(confusion, axis1=-2, axis2=-1)
