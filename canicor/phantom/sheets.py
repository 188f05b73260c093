"""Pictures of phantoms for people: a contact sheet, and one phantom built up part by part."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from canicor.phantom.canvas import Canvas
from canicor.phantom.dog import Masks, Tissue
from canicor.phantom.phantom import draw, examine
from canicor.vhs import KEY_POINT_NAMES

_COLUMNS = 6
NOTICE = "Procedural phantoms, not canine; not for diagnosis"
"""Is written below every picture."""
_LINE_COLOURS = ("#ff5050", "#50c0ff", "#ffd040")
"""Of long axis, short axis and ruler."""


def contact_sheet(seed: int, count: int, width: int = 256, height: int = 200) -> Image.Image:
    """Phantoms 0 to `count` - 1 of a batch, side by side."""
    pictures = (draw(seed, index, width=width, height=height).pixels for index in range(count))
    return _tiled([Image.fromarray(picture) for picture in pictures], ["" for _ in range(count)])


def part_by_part(seed: int, index: int, width: int = 384, height: int = 300) -> Image.Image:
    """One phantom with one part more in each picture, all shown alike, and at last as it is, with its points."""
    examination = examine(seed, index, width=width, height=height)
    canvas = Canvas(examination.beam)
    tissue, masks = Tissue(canvas.blank(), canvas.blank(), canvas.blank()), Masks()
    pictures: list[Image.Image] = []
    names: list[str] = []
    for name in examination.dog.build(canvas, examination.stream, tissue, masks):
        seen = Tissue(np.maximum(tissue.soft, 0.0), tissue.fat, tissue.bone)
        pictures.append(Image.fromarray(examination.show(seen, 8)))
        names.append(f"+ {name}" if names else name)
    finished = draw(seed, index, width=width, height=height)
    pictures.append(_with_points(Image.fromarray(finished.pixels), finished.key_points.xy))
    names.append(f"VHS {finished.vhs:.2f}")
    return _tiled(pictures, names, columns=3)


def _with_points(picture: Image.Image, points: NDArray[np.float64]) -> Image.Image:
    picture = picture.convert("RGB")
    pen = ImageDraw.Draw(picture)
    for start, end, colour in zip(points[::2], points[1::2], _LINE_COLOURS, strict=True):
        pen.line([*start, *end], fill=colour, width=2)
    for name, (x, y) in zip(KEY_POINT_NAMES, points, strict=True):
        pen.text((x + 4, y - 12), name, fill="white", font=ImageFont.load_default(13))
    return picture


def _tiled(pictures: Sequence[Image.Image], names: Sequence[str], columns: int = _COLUMNS) -> Image.Image:
    width, height = pictures[0].size
    below = 20 if any(names) else 2
    rows = -(-len(pictures) // columns)
    sheet = Image.new("RGB", (columns * (width + 2), rows * (height + below) + 20))
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for number, (picture, name) in enumerate(zip(pictures, names, strict=True)):
        corner = (number % columns * (width + 2), number // columns * (height + below))
        sheet.paste(picture, corner)
        pen.text((corner[0] + 4, corner[1] + height + 2), name, fill="white", font=font)
    pen.text((4, sheet.height - 18), NOTICE, fill="white", font=font)
    return sheet
