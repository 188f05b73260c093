"""A heart as a key-point model reads it, and how sure one may be of that."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from canicor.bundle import DISTANCE, FEATURES, INPUT, Bundle, InputSpec, ModelKind
from canicor.errors import FailedPrecondition, InvalidArgument
from canicor.model_input import Prepared
from canicor.morphometry import implausible
from canicor.onnx_runtime import open_session
from canicor.resizing import resized
from canicor.vhs import VERTEBRAE_SPANNED, KeyPoints, measure

_SHRUNK = 0.875
"""What the second pass sees: the picture, smaller. A heart that is there is found in both."""


@dataclass(frozen=True, eq=False)
class Reading:
    """What a model reads.

    Attributes:
        scores: `lowest_peak` of the six heat maps, 0 to 1; `distance` from the model's training images, in limits
            of its bundle; `disagreement` of two passes, the mean distance of their points in vertebrae; `vhs`,
            where the points can be measured.
        implausible: A sentence for each figure that no dog's heart has.
        features: float32 [D], the graph's output of that name; empty where it has none.
    """

    scores: dict[str, float]
    implausible: list[str]
    features: NDArray[np.float32]


class Reader:
    """Reads hearts by a bundle, on one core.

    Args:
        bundle: Of a key-point model.

    Raises:
        FailedPrecondition: It is one of another kind.
    """

    def __init__(self, bundle: Bundle) -> None:
        if bundle.info.kind is not ModelKind.KEYPOINTS:
            raise FailedPrecondition(
                f"{bundle.name} places no key points: name a key-point model in CANICOR_CURATION_MODEL.",
                reason="NO_KEYPOINT_MODEL",
            )
        self.input: InputSpec = bundle.info.input
        self._session = open_session(bundle.model, threads=1)
        given = {output.name for output in self._session.get_outputs()}
        self._names = ["key_points", "peaks", *(name for name in (DISTANCE, FEATURES) if name in given)]
        self._max_distance = bundle.info.limits.max_distance

    def read(self, image: Prepared) -> Reading:
        """Reads an image that was prepared for `input`."""
        outputs = dict(zip(self._names, self._session.run(self._names, {INPUT: image.pixels[None]}), strict=True))
        points, other = outputs["key_points"][0], self._second_pass(image.pixels)
        vertebra = max(float(np.linalg.norm(points[5] - points[4])) / VERTEBRAE_SPANNED, 1.0)
        scores = {
            "lowest_peak": float(outputs["peaks"].min()),
            "disagreement": float(np.linalg.norm(points - other, axis=1).mean()) / vertebra,
        }
        if DISTANCE in outputs and self._max_distance:
            scores[DISTANCE] = float(outputs[DISTANCE][0]) / self._max_distance
        try:
            found = KeyPoints.from_array(image.placement.to_radiograph(points))
            scores["vhs"] = measure(found, image.pixel_aspect).vhs
            sentences = implausible(found, image.pixel_aspect)
        except InvalidArgument as error:
            sentences = [error.message]
        features = outputs[FEATURES][0] if FEATURES in outputs else np.empty(0, np.float32)
        return Reading(scores, sentences, features)

    def _second_pass(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Returns the points of the picture made smaller, float32 [6, 2], where they lie in the picture."""
        rows, columns = (round(_SHRUNK * side) for side in pixels.shape)
        top, left = (pixels.shape[0] - rows) // 2, (pixels.shape[1] - columns) // 2
        shrunk = np.zeros_like(pixels)
        shrunk[top : top + rows, left : left + columns] = resized(pixels, rows, columns)
        (points,) = self._session.run(["key_points"], {INPUT: shrunk[None]})
        scale = np.array([columns / pixels.shape[1], rows / pixels.shape[0]], np.float32)
        placed: NDArray[np.float32] = (points[0] + 0.5 - np.array([left, top], np.float32)) / scale - 0.5
        return placed
