"""Pictures that explain an answer, on the radiograph itself: what was measured, or what mattered to the model."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from canicor.bundle import HEAT_MAP, InputSpec, ModelKind
from canicor.classifier.v1 import classifier_pb2 as pb
from canicor.errors import InvalidArgument
from canicor.model_input import Placement, Prepared, ResizeRule, fit
from canicor.radiograph import decode
from canicor.vhs import KEY_POINT_NAMES, KeyPoints
from services.classifier.model import Model
from services.classifier.reading import Classification

LONGEST_SIDE = 1024
"""Of a picture, in pixels. Even where nothing compresses it stays below 4 MiB, the most that gRPC clients take
unless told otherwise."""

_LINES = {"AB": "#ff5252", "CD": "#40c4ff", "EF": "#ffd740"}

# ColorBrewer's YlOrRd (Brewer, colorbrewer2.org), least heat in dark red.
_HEAT_COLOURS = ((128, 0, 38), (227, 26, 28), (253, 141, 60), (255, 237, 160))

# How much of the hottest pixel is colour: the radiograph stays visible below it.
_OPACITY = 0.65

_NAMES = {pb.EXPLANATION_KEY_POINT_OVERLAY: "a key-point overlay", pb.EXPLANATION_HEAT_MAP: "a heat map"}


def check(explanation: "pb.Explanation.ValueType", model: Model) -> None:
    """Refuses an explanation that a model can't give.

    Raises:
        InvalidArgument: Says what it can give.
    """
    given = _given(model)
    if explanation != pb.EXPLANATION_UNSPECIFIED and explanation not in given:
        can = " and ".join(_NAMES[one] for one in given) or "no explanation"
        raise InvalidArgument(
            f"The model {model.name}/{model.version} does not give this explanation; it gives {can}.",
            reason="EXPLANATION",
            field="explanation",
        )


def draw(explanation: "pb.Explanation.ValueType", image: bytes, done: Classification) -> bytes:
    """Returns a PNG file of the radiograph's shape, its longer side at most `LONGEST_SIDE` pixels.

    Args:
        explanation: As `check` has let it pass; no picture for none.
        image: The file, which has been classified.
        done: What came of it.
    """
    if explanation == pb.EXPLANATION_KEY_POINT_OVERLAY:
        return key_point_overlay(image, done.answer.key_points)
    if explanation == pb.EXPLANATION_HEAT_MAP and done.heat_map is not None:
        return heat_map_overlay(image, done.heat_map, done.placement, done.model.info.input)
    return b""


def key_point_overlay(image: bytes, key_points: KeyPoints | None) -> bytes:
    """Returns the radiograph with key points and axes drawn on it; without key points, the radiograph alone.

    Args:
        image: The file.
        key_points: In pixels of the radiograph.
    """
    shown = _read(image)
    picture = Image.fromarray(shown.pixels).convert("RGB")
    if key_points is not None:
        drawn = KeyPoints.from_array(shown.placement.to_input(key_points.xy))
        _draw_lines(ImageDraw.Draw(picture), drawn, stroke=max(1, picture.width // 400))
    return _png(picture)


def heat_map_overlay(image: bytes, heat_map: NDArray[np.float32], placement: Placement, spec: InputSpec) -> bytes:
    """Returns the radiograph with a heat map laid over it: the hotter, the brighter and the less transparent.

    Args:
        image: The file.
        heat_map: float32 [rows, columns], 0 to 1, over the whole of the model's input.
        placement: Where the radiograph lies in that input.
        spec: The input.
    """
    shown = _read(image)
    grey, (height, width) = shown.pixels, shown.received
    per_pixel = np.divide(heat_map.shape, (spec.height, spec.width))[::-1]
    start = placement.offset * per_pixel
    end = start + (width, height) * np.multiply(placement.scale, per_pixel)
    box = np.clip((*start, *end), 0, heat_map.shape[::-1] * 2)
    heat = Image.fromarray(heat_map).resize(grey.shape[::-1], Image.Resampling.BILINEAR, box=tuple(box))
    values = np.clip(np.asarray(heat), 0, 1)[..., np.newaxis]
    levels = np.linspace(0, 1, len(_HEAT_COLOURS))
    colours = np.stack([np.interp(values[..., 0], levels, channel) for channel in np.transpose(_HEAT_COLOURS)], -1)
    opacity = _OPACITY * values
    blended = (1 - opacity) * grey[..., np.newaxis] + opacity * colours
    return _png(Image.fromarray(np.rint(blended).astype(np.uint8)))


def _given(model: Model) -> "list[pb.Explanation.ValueType]":
    key_points = [pb.EXPLANATION_KEY_POINT_OVERLAY] if model.info.kind is ModelKind.KEYPOINTS else []
    return [*key_points, *([pb.EXPLANATION_HEAT_MAP] if HEAT_MAP in model.outputs else [])]


def _read(image: bytes) -> Prepared:
    """Returns the radiograph as the picture takes it.

    In this process: a decoder that might have died of the file has already survived it.
    """

    def size(height: int, width: int, _aspect: tuple[float, float] = (1.0, 1.0)) -> tuple[int, int]:
        scale = min(1.0, LONGEST_SIDE / max(height, width))
        return max(1, round(height * scale)), max(1, round(width * scale))

    radiograph = decode(image, size=size)
    return fit(radiograph, *size(radiograph.height, radiograph.width), ResizeRule.STRETCH)


def _png(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    # Half the time of the usual level, for a twentieth more bytes.
    picture.save(file, "PNG", compress_level=3)
    return file.getvalue()


def _draw_lines(canvas: ImageDraw.ImageDraw, key_points: KeyPoints, stroke: int) -> None:
    points = {name: (x, y) for name, (x, y) in zip(KEY_POINT_NAMES, key_points.xy.tolist(), strict=True)}
    for line, colour in _LINES.items():
        canvas.line([points[name] for name in line], fill=colour, width=stroke)
        for name in line:
            x, y = points[name]
            radius = 2 * stroke
            canvas.ellipse([x - radius, y - radius, x + radius, y + radius], outline=colour, width=stroke)
            canvas.text((x + radius, y - 2 * radius), name, fill=colour, font_size=10 * stroke)
