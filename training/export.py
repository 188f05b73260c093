"""Network -> ONNX, checked against it, and the card that goes with it."""

import io
import warnings
from importlib.resources import files

import numpy as np
import torch
from jinja2 import Environment, StrictUndefined
from numpy.typing import NDArray
from torch import Tensor, nn

from canicor.bundle import INPUT, OUTPUTS, BundleInfo, ModelKind
from canicor.errors import FailedPrecondition
from canicor.onnx_runtime import open_session
from canicor.vhs import BAND_NOTICE
from training.dataset import Images
from training.evaluation import predict

OPSET = 18
"""Run by every onnxruntime since 1.14; the graph needs nothing newer."""

TOLERANCE = 1e-3
"""Largest difference between ONNX and torch, key points being counted in sides of the input."""


class Probabilities(nn.Module):
    """A class network with its temperature and softmax, as it is served.

    Args:
        network: Gives logits [N, 3].
        temperature: Divides them.
    """

    def __init__(self, network: nn.Module, temperature: float) -> None:
        super().__init__()
        self.network = network
        self.temperature = temperature

    def forward(self, images: Tensor) -> Tensor:
        """Takes [N, height, width] and returns probabilities [N, 3]."""
        logits: Tensor = self.network(images)
        return (logits / self.temperature).softmax(-1)


def to_onnx(network: nn.Module, kind: ModelKind, height: int, width: int) -> bytes:
    """Exports a network in inference mode: `images` uint8 [N, height, width] with any N -> `OUTPUTS`."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # The exporter that replaces this one needs onnxscript and unrolls nothing that these graphs hold.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            network,
            (torch.zeros(2, height, width, dtype=torch.uint8),),
            buffer,  # type: ignore[arg-type]  # the stub forgets the buffers that this exporter takes
            dynamo=False,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=list(OUTPUTS[kind]),
            dynamic_axes={name: {0: "N"} for name in (INPUT, *OUTPUTS[kind])},
        )
    return buffer.getvalue()


def check_parity(model: bytes, network: nn.Module, kind: ModelKind, images: Images) -> float:
    """Returns the largest difference between the ONNX file's answers and the network's on these images.

    Raises:
        FailedPrecondition: It is above `TOLERANCE`.
    """
    session = open_session(model)
    exported = session.run(list(OUTPUTS[kind]), {INPUT: images.pixels})
    own = predict(network, images)
    side = min(images.pixels.shape[1:]) if kind is ModelKind.KEYPOINTS else 1
    units = (side, 1)[: len(own)]
    difference = max(_largest(a, b) / unit for a, b, unit in zip(exported, own, units, strict=True))
    # Written so that a NaN is refused too.
    if not difference <= TOLERANCE:
        raise FailedPrecondition(
            f"The exported model differs from the trained one by {difference:.1e}, more than {TOLERANCE:g}: "
            "it was not pushed.",
            reason="EXPORT_DIFFERS",
        )
    return difference


def card(name: str, info: BundleInfo, counts: dict[str, int], difference: float) -> str:
    """Returns the model card, Markdown.

    Args:
        name: The model's.
        info: Its `bundle.json`.
        counts: Images by split.
        difference: What `check_parity` returned.
    """
    template = files("training").joinpath("card.md.template").read_text(encoding="utf-8")
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False)  # noqa: S701 - Markdown
    return environment.from_string(template).render(
        name=name, info=info, counts=counts, difference=difference, band_notice=BAND_NOTICE
    )


def _largest(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    return float(np.abs(one - other).max())
