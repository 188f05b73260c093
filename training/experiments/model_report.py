"""One model of the repository on labelled images: every figure, and what it got most wrong."""

import numpy as np
from numpy.typing import NDArray

from canicor.bundle import OUTPUTS, Bundle, Metric, ModelKind
from canicor.vhs import HEART_SIZES, class_probabilities, heart_size
from training.dataset import Images
from training.evaluation import ask, class_metrics, key_point_metrics, stated_vhs
from training.experiments import charts
from training.experiments.report import WORST, Chart, Picture, Report, Table, percent, picture, surest_errors


def about(bundle: Bundle, images: Images, seed: int) -> Report:
    """Asks a model about images.

    Args:
        bundle: The model.
        images: Labelled, at the size of its input; with key points, where it gives some.
        seed: Of the bootstrap.
    """
    answers, *_ = ask(bundle.model, OUTPUTS[bundle.info.kind], images.pixels)
    shown, pictures = [], []
    if bundle.info.kind is ModelKind.KEYPOINTS:
        vhs = images.vhs_of(answers)
        metrics = key_point_metrics(images, answers, bundle.info.vhs_sigma, seed)
        classes = np.array([HEART_SIZES.index(heart_size(one)) for one in vhs.tolist()])
        confidence = np.array(
            [
                class_probabilities(one, bundle.info.vhs_sigma)[index]
                for one, index in zip(vhs.tolist(), classes.tolist(), strict=True)
            ]
        )
        drawn = charts.bland_altman(stated_vhs(images), vhs)
        shown.append(Chart("Bland-Altman", drawn, "Dashed: the bias; shaded: within the limits of agreement."))
        pictures = _furthest(images, answers, vhs)
    else:
        classes, confidence = answers.argmax(axis=1), answers.max(axis=1).astype(np.float64)
        metrics = class_metrics(images, classes, confidence, seed)
        pictures = surest_errors(images, classes, confidence)
    shown.append(Chart("Confusion", charts.confusion(images.classes, classes), "Labels down, answers across."))
    drawn = charts.reliability(confidence, classes == images.classes)
    shown.append(Chart("Reliability", drawn, "Over each bar, its images."))
    return Report(
        f"{bundle.name}/{bundle.version}",
        _conclusion(metrics, len(images)),
        ["Against the labels of these images, which err themselves."],
        metrics,
        [
            Table(
                "Every figure",
                ["figure", "value", "95 % interval", "images"],
                [
                    [
                        name.replace("_", " "),
                        f"{one.value:.3f}",
                        f"{one.lower:.3f} to {one.upper:.3f}",
                        str(one.count),
                    ]
                    for name, one in metrics.items()
                ],
                "VHS in vertebrae. 95 % intervals: percentile bootstrap over dogs.",
            )
        ],
        shown,
        pictures,
    )


def _furthest(images: Images, found: NDArray[np.float32], vhs: NDArray[np.float64]) -> list[Picture]:
    error = vhs - stated_vhs(images)
    chosen = np.argsort(-np.abs(error), kind="stable")[:WORST].tolist()
    return [
        picture(
            images,
            number,
            found[number].tolist(),
            f"VHS {vhs[number]:.2f} where the label says {vhs[number] - error[number]:.2f}: {error[number]:+.2f}.",
        )
        for number in chosen
    ]


def _conclusion(metrics: dict[str, Metric], images: int) -> str:
    right = f"The class is right on {percent(metrics['accuracy'])} % of {images} images"
    if "vhs_mae" not in metrics:
        return f"{right}."
    error = metrics["vhs_mae"]
    return f"VHS is {error.value:.2f} vertebrae off ({error.lower:.2f} to {error.upper:.2f}). {right}."
