"""Text in a radiograph's pixels is seen, and a radiograph without is not suspected."""

import io

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from canicor import phantom
from canicor.radiograph import Radiograph, decode
from services.labeling.burned_in import shows_text

NAME = "Bello, Schmidt 12.03.2024"


def film(index: int) -> Image.Image:
    return Image.fromarray(phantom.draw(4, index, width=512, height=400).pixels).resize((1280, 1000))


def as_file(image: Image.Image, file_format: str) -> Radiograph:
    file = io.BytesIO()
    image.save(file, file_format, quality=90)
    return decode(file.getvalue())


@pytest.mark.parametrize("index", range(20))
def test_a_radiograph_alone_is_not_suspected(index: int) -> None:
    assert not shows_text(as_file(film(index), "PNG"))


@pytest.mark.parametrize("file_format", ["PNG", "JPEG"])
@pytest.mark.parametrize(("size", "grey"), [(14, 255), (24, 255), (40, 255), (24, 0)])
def test_a_line_of_text_is_seen_on_most_films(size: int, grey: int, file_format: str) -> None:
    seen = []
    for index in range(10):
        image = film(index)
        where = (40, 30) if grey else (500, 500)
        ImageDraw.Draw(image).text(where, NAME, fill=grey, font=ImageFont.load_default(size))
        seen.append(shows_text(as_file(image, file_format)))
    assert sum(seen) >= 8


def test_a_side_marker_is_no_text() -> None:
    image = film(1)
    ImageDraw.Draw(image).text((60, 40), "L", fill=255, font=ImageFont.load_default(70))
    assert not shows_text(as_file(image, "PNG"))


def test_noise_is_no_text() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (900, 900), np.uint8)
    assert not shows_text(as_file(Image.fromarray(pixels), "PNG"))
