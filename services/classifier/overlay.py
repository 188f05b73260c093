"""The radiograph with its key points and axes drawn on it, to show what was measured."""

import io

import numpy as np
from PIL import Image, ImageDraw

from canicor.radiograph import decode
from canicor.vhs import KEY_POINT_NAMES, KeyPoints

_LINES = {"AB": "#ff5252", "CD": "#40c4ff", "EF": "#ffd740"}


def key_point_overlay(image: bytes, key_points: KeyPoints | None) -> bytes:
    """Returns a PNG file of the radiograph's size; without key points, the radiograph alone.

    Args:
        image: The file, which has been classified.
        key_points: In pixels of the radiograph.
    """
    radiograph = decode(image)
    grey = Image.fromarray(np.rint(radiograph.pixels * 255).astype(np.uint8))
    picture = grey.convert("RGB")
    if key_points is not None:
        _draw(ImageDraw.Draw(picture), key_points, stroke=max(1, picture.width // 400))
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def _draw(canvas: ImageDraw.ImageDraw, key_points: KeyPoints, stroke: int) -> None:
    points = {name: (x, y) for name, (x, y) in zip(KEY_POINT_NAMES, key_points.xy.tolist(), strict=True)}
    for line, colour in _LINES.items():
        canvas.line([points[name] for name in line], fill=colour, width=stroke)
        for name in line:
            x, y = points[name]
            radius = 2 * stroke
            canvas.ellipse([x - radius, y - radius, x + radius, y + radius], outline=colour, width=stroke)
            canvas.text((x + radius, y - 2 * radius), name, fill=colour, font_size=10 * stroke)
