"""The model bundle: one version of a model, what its files hold and what they mean.

A folder of `model.onnx`, `bundle.json` and `card.md`, and where there are some the same graph in other number
formats and recorded predictions. `canicor.model_repository` says where it lies.
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import pairwise
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

from canicor.model_input import ResizeRule
from canicor.vhs import HEART_SIZES, VERTEBRAE_SPANNED, HeartSize

MODEL_FILE = "model.onnx"
CARD_FILE = "card.md"
PREDICTIONS_FILE = "predictions.npz"
INFO_FILE = "bundle.json"


class ModelKind(StrEnum):
    """What a model gives: class probabilities, or six key points."""

    CLASSIFIER = "classifier"
    KEYPOINTS = "keypoints"


class NumberFormat(StrEnum):
    """What a bundle's graph may also be there in, beside 32-bit floats."""

    INT8 = "int8"
    """Weights and activations in 8 bits, calibrated on training images."""
    FP16 = "fp16"
    """16-bit floats, for GPUs."""

    @property
    def file(self) -> str:
        """Its file in the bundle."""
        return f"model.{self}.onnx"


INT8_FILE, FP16_FILE = NumberFormat.INT8.file, NumberFormat.FP16.file

INPUT = "images"
"""The graph's input: uint8 [N, height, width]."""

OUTPUTS: dict[ModelKind, dict[str, tuple[int, ...]]] = {
    ModelKind.CLASSIFIER: {"probabilities": (3,)},
    ModelKind.KEYPOINTS: {"key_points": (6, 2), "peaks": (6,)},
}
"""The graph's outputs, float32 [N, ...], by kind: what follows N in the shape of each. `BundleInfo` says what they
mean."""

DISTANCE, HEAT_MAP = "distance", "heat_map"

OPTIONAL_OUTPUTS: dict[str, tuple[int | None, ...]] = {DISTANCE: (), HEAT_MAP: (None, None)}
"""What a graph of either kind may give beside, float32 [N, ...]; None is any size.

`distance`: how far the picture's features lie from those of the training images, 0 or more, in standard
deviations (Mahalanobis distance). `heat_map`: [N, rows, columns] from 0 to 1 over the whole of the model's input:
where the key points are seen, or what spoke for the most probable class.
"""

FEATURES = "features"
"""An output float32 [N, D] that answers do without: what `distance` is the length of.

Pictures that look alike have like ones, so that the generator knows a patient's radiograph again.
"""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Metric(_Record):
    """A measured figure with its 95 % interval over so many images."""

    value: float
    lower: float
    upper: float
    count: int = Field(ge=1)


class InputSpec(_Record):
    """The model's input: uint8 [N, height, width], grey, 0 black to 255 white."""

    height: int = Field(ge=16, le=4096)
    width: int = Field(ge=16, le=4096)
    resize: ResizeRule


class Limits(_Record):
    """Beyond these an answer is referred to a person.

    Attributes:
        min_probability: Smallest probability of the best class that may stand, 0 to 1.
        min_peak: Smallest heat-map peak among the six points that may stand, 0 to 1 (key-point models).
        max_distance: Largest `distance` that may stand; None where the graph does not give it.
    """

    min_probability: float = Field(0.0, ge=0, le=1)
    min_peak: float = Field(0.0, ge=0, le=1)
    max_distance: float | None = Field(None, gt=0)


class Histogram(_Record):
    """How a feature is spread over images.

    Attributes:
        edges: Where one bin ends and the next begins, ascending. A value on an edge lies in the bin above it; the
            first and the last bin are open.
        shares: Of the images, by bin: one more than `edges`, and they sum to 1.
    """

    edges: tuple[float, ...] = Field(min_length=1)
    shares: tuple[float, ...]

    @model_validator(mode="after")
    def _check(self) -> Self:
        if any(lower >= upper for lower, upper in pairwise(self.edges)):
            raise ValueError("edges must ascend")
        if len(self.shares) != len(self.edges) + 1 or min(self.shares) < 0 or abs(sum(self.shares) - 1) > 1e-6:
            raise ValueError("shares must be one more than edges, none negative, and sum to 1")
        return self


class Reference(_Record):
    """What inputs and answers looked like on the validation split: what drift is measured against.

    Attributes:
        count: Images of the split.
        features: By name, as `canicor.monitoring` names them.
    """

    count: int = Field(ge=1)
    features: dict[str, Histogram]


class BundleInfo(_Record):
    """`bundle.json`.

    Attributes:
        kind: What the graph gives. `classifier`: `probabilities` float32 [N, 3] in the order of `class_names`.
            `keypoints`: `key_points` float32 [N, 6, 2] in pixels of the model's input and `peaks` float32
            [N, 6], the height of each heat map's peak from 0 to 1.
        temperature: Divides the logits inside the graph (classifier); 1 where nothing was fitted.
        coverage: What prediction sets and intervals state, fitted on validation images.
        vhs_sigma: Root mean square of the VHS error on validation images, in vertebrae (keypoints).
        vhs_half_width: Half width of the VHS interval at `coverage`, in vertebrae (keypoints).
        set_probability: A class is in the prediction set where those likelier than it have at most this
            probability together; at 1 every class is.
        tolerance: How far answers may lie from the recorded predictions, in the mean over images: in total
            variation of the class probabilities (which bounds what their accuracy may change by), in vertebrae of
            a key point, in the height of a peak.
        reference: What drift is measured against; None where nothing was recorded.
        metrics: By name, on the test split; `impostors_refused` on pictures that are no lateral thorax.
        training_origins: Where the training images came from: `real`, `generated`, `phantom`.
        training_run: Names the run that made it.
        training_plan: Seed, recipe, number formats and backbone, as `training.run.Plan` has them; empty where they
            are not known.
        push_reason: Why it was pushed whatever it is worth; empty where it beat what was in production.
        files: SHA-256 of each other file of the bundle, by name.
    """

    schema_version: int = 1
    kind: ModelKind
    input: InputSpec
    class_names: tuple[HeartSize, ...] = HEART_SIZES
    temperature: float = Field(1.0, gt=0)
    coverage: float = Field(0.9, gt=0, lt=1)
    vhs_sigma: float = Field(0.0, ge=0)
    vhs_half_width: float = Field(0.0, ge=0)
    set_probability: float = Field(0.9, gt=0, le=1)
    limits: Limits = Limits()
    tolerance: float = Field(0.05, ge=0)
    reference: Reference | None = None
    metrics: dict[str, Metric] = {}
    training_dataset_digest: str
    test_dataset_digest: str
    training_origins: tuple[str, ...]
    training_run: str
    training_plan: dict[str, JsonValue] = {}
    push_reason: str = ""
    create_time: datetime
    files: dict[str, str] = {}


@dataclass(frozen=True, eq=False)
class Predictions:
    """`predictions.npz`: what the graph said of some images when it was made.

    A server holds what it is about to serve against them: a graph that came out wrong, and a runtime or number
    format that changes its answers, are refused.

    Attributes:
        images: uint8 [K, height, width] of the model's input.
        outputs: By name, as `OUTPUTS` says, float32 [K, ...].
    """

    images: NDArray[np.uint8]
    outputs: Mapping[str, NDArray[np.float32]]

    def to_bytes(self) -> bytes:
        """Returns the file."""
        file = io.BytesIO()
        arrays: dict[str, Any] = {"images": self.images, **self.outputs}
        np.savez_compressed(file, **arrays)
        return file.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes, info: "BundleInfo") -> Self:
        """Reads the file.

        Raises:
            ValueError: It does not hold what a bundle of this kind and input predicts.
        """
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                images, outputs = arrays["images"], {name: arrays[name] for name in OUTPUTS[info.kind]}
        except Exception as error:
            raise ValueError("no such arrays") from error
        count = len(images) if images.ndim else 0
        expected = {name: (count, *shape) for name, shape in OUTPUTS[info.kind].items()}
        if (
            images.dtype != np.uint8
            or images.shape != (count, info.input.height, info.input.width)
            or not count
            or {name: value.shape for name, value in outputs.items()} != expected
        ):
            raise ValueError("arrays of other shapes")
        return cls(images, {name: value.astype(np.float32) for name, value in outputs.items()})

    def difference(self, outputs: Mapping[str, NDArray[np.float32]]) -> float:
        """Returns how far outputs for `images` lie from these, as `BundleInfo.tolerance` counts; NaN for NaN."""
        means = []
        for name, own in self.outputs.items():
            differences = outputs[name] - own
            if name == "probabilities":
                # With three classes, the total variation distance.
                differences = np.abs(differences).max(axis=1)
            elif name == "key_points":
                e, f = own[:, 4], own[:, 5]
                # At least a pixel: points that measure nothing are compared as well.
                vertebrae = np.maximum(np.linalg.norm(f - e, axis=1) / VERTEBRAE_SPANNED, 1)
                differences = np.linalg.norm(differences, axis=2) / vertebrae[:, np.newaxis]
            means.append(np.abs(differences).mean())
        return float(np.max(means))


@dataclass(frozen=True)
class Bundle:
    """One version of a model, checked.

    Attributes:
        name: The model's name.
        version: Its version.
        info: `bundle.json`.
        model: `model.onnx`, the bytes.
        card: `card.md`.
        variants: The same graph in other number formats, by file: `INT8_FILE`, `FP16_FILE`.
        predictions: What the graph said of some images; None where the bundle has none.
    """

    name: str
    version: str
    info: BundleInfo
    model: bytes
    card: str
    variants: Mapping[str, bytes]
    predictions: Predictions | None
