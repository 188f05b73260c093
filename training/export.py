"""Network -> ONNX, checked against it, and the card that goes with it."""

import io
import warnings
from collections.abc import Sequence
from importlib.resources import files

import numpy as np
import torch
from jinja2 import Environment, StrictUndefined
from torch import nn

from canicor.bundle import DISTANCE, FEATURES, INPUT, OUTPUTS, BundleInfo, Metric, ModelKind, Predictions
from canicor.errors import FailedPrecondition
from canicor.vhs import BAND_NOTICE
from training.calibration import REFUSED
from training.dataset import Images
from training.evaluation import ask, predict
from training.served import Served

OPSET = 18
"""Run by every onnxruntime since 1.14; the graph needs nothing newer."""

PREDICTED = 8
"""Images whose predictions go with a bundle: a server runs them each time that it loads it."""

TOLERANCE = 1e-3
"""Largest difference between ONNX and torch."""

DISTANCE_TOLERANCE = 5e-3
"""Largest share by which a distance may differ: it is made of what is left when nearly equal features are taken
from one another, so that rounding weighs more, above all where a network has hardly been trained."""


def to_onnx(network: nn.Module, outputs: Sequence[str], height: int, width: int) -> bytes:
    """Exports a network in inference mode: `images` uint8 [N, height, width] with any N -> its outputs."""
    buffer = io.BytesIO()
    # Tracing would keep every map for a gradient that nobody asks for.
    with warnings.catch_warnings(), torch.no_grad():
        # The exporter that replaces this one needs onnxscript and unrolls nothing that these graphs hold.
        warnings.simplefilter("ignore", DeprecationWarning)
        # A graph is for one size of input, so backbones may ask for it as they are traced.
        warnings.simplefilter("ignore", torch.jit.TracerWarning)  # type: ignore[attr-defined]
        torch.onnx.export(
            network,
            (torch.zeros(2, height, width, dtype=torch.uint8),),
            buffer,  # type: ignore[arg-type]  # the stub forgets the buffers that this exporter takes
            dynamo=False,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=list(outputs),
            dynamic_axes={name: {0: "N"} for name in (INPUT, *outputs)},
        )
    return buffer.getvalue()


def check_parity(model: bytes, served: Served, images: Images) -> float:
    """Returns the largest difference between the ONNX file's answers and the network's on these images.

    Key points are counted in sides of the input, distances and features in the network's own distance.

    Raises:
        FailedPrecondition: It is above `TOLERANCE` or, of distances and features, `DISTANCE_TOLERANCE`.
    """
    exported = ask(model, served.outputs, images.pixels)
    own = predict(served, images.pixels)
    differences = {}
    for name, one, other in zip(served.outputs, exported, own, strict=True):
        unit = {
            "key_points": min(images.pixels.shape[1:]),
            DISTANCE: np.abs(other),
            FEATURES: np.linalg.norm(other, axis=-1, keepdims=True),
        }.get(name, 1)
        differences[name] = float((np.abs(one - other) / unit).max())
    limits = {DISTANCE: DISTANCE_TOLERANCE, FEATURES: DISTANCE_TOLERANCE}
    # Written so that a NaN is refused too.
    beyond = [
        f"{name} by {one:.1e}" for name, one in differences.items() if not one <= limits.get(name, TOLERANCE)
    ]
    if beyond:
        raise FailedPrecondition(
            f"The exported model differs from the trained one in {', '.join(beyond)}: it was not pushed.",
            reason="EXPORT_DIFFERS",
        )
    return max(differences.values())


def predictions(model: bytes, kind: ModelKind, images: Images) -> Predictions:
    """Returns what an ONNX file says of the first `PREDICTED` images, one by one as a server asks."""
    some = images.pixels[:PREDICTED]
    return Predictions(some, dict(zip(OUTPUTS[kind], ask(model, OUTPUTS[kind], some), strict=True)))


def card(
    name: str, info: BundleInfo, counts: dict[str, int], difference: float, refused: dict[str, Metric]
) -> str:
    """Returns the model card, Markdown.

    Args:
        name: The model's.
        info: Its `bundle.json`.
        counts: Images by split.
        difference: What `check_parity` returned.
        refused: The shares beyond the limit of distance, by what was shown.
    """
    template = files("training").joinpath("card.md.template").read_text(encoding="utf-8")
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False)  # noqa: S701 - Markdown
    return environment.from_string(template).render(
        name=name,
        info=info,
        counts=counts,
        difference=difference,
        refused=refused,
        refused_at_most=max(REFUSED, 1 / (counts["validation"] + 1)),
        band_notice=BAND_NOTICE,
    )
