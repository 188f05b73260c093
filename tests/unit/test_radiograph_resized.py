"""Resized on the way: the same as resizing the whole."""

import numpy as np
import pytest
from PIL import Image

from canicor.errors import InvalidArgument
from canicor.radiograph import decode
from tests.radiographs import COLUMNS, EIGHT_BIT, ROWS, TWELVE_BIT, dicom, lut, raster

RAMP = np.tile(np.arange(0, 4095, 63, dtype=np.uint16), (ROWS, 1))
SHOWN_AS = {
    "from least to most": {},
    "a window beyond all": {"WindowCenter": 2048, "WindowWidth": 5000},
    "a window that clips both ends": {"WindowCenter": 1800, "WindowWidth": 1000},
    "a window that clips one end hard": {"WindowCenter": 100, "WindowWidth": 200},
    "a narrow window": {"WindowCenter": 2000.3, "WindowWidth": 3},
    "a step": {"WindowCenter": 2000, "WindowWidth": 1},
    "inverted": {"WindowCenter": 1800, "WindowWidth": 1000, "PhotometricInterpretation": "MONOCHROME1"},
    "a negative slope": {"RescaleSlope": -0.5, "RescaleIntercept": 90, "WindowCenter": -700, "WindowWidth": 900},
    "a sigmoid": {"WindowCenter": 2000, "WindowWidth": 1000, "VOILUTFunction": "SIGMOID"},
    "a table": {"VOILUTSequence": lut(4096, 0, 8, [(value // 9) % 256 for value in range(4096)])},
    "padding": {"PixelPaddingValue": 4032},
    "padding in a window": {"PixelPaddingValue": 0, "WindowCenter": 1000, "WindowWidth": 500},
}
A_FIFTH_OF_A_LEVEL = 0.2 / 255


def by_pillow(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(Image.fromarray(pixels).resize(size[::-1], Image.Resampling.BILINEAR))


@pytest.mark.parametrize("elements", SHOWN_AS.values(), ids=SHOWN_AS)
@pytest.mark.parametrize("pixels", [RAMP, TWELVE_BIT, TWELVE_BIT[:, :61]], ids=["ramp", "disc", "uneven"])
@pytest.mark.parametrize("size", [(16, 12), (7, 60), (100, 90)])
def test_dicom(pixels, size, elements):
    data = dicom(np.ascontiguousarray(pixels), **elements)
    image = decode(data, size=lambda *_: size)
    assert (image.height, image.width) == pixels.shape
    np.testing.assert_allclose(image.pixels, by_pillow(decode(data).pixels, size), atol=A_FIFTH_OF_A_LEVEL)


@pytest.mark.parametrize("dtype", [np.int16, np.uint8, np.int8, np.uint32, np.int32])
@pytest.mark.parametrize("window", [{}, {"WindowCenter": 20, "WindowWidth": 70}], ids=["all", "window"])
def test_dicom_of_any_pixel_type(dtype, window):
    info = np.iinfo(dtype)
    values = np.linspace(info.min, info.max, ROWS * COLUMNS).reshape(ROWS, COLUMNS).astype(dtype)
    data = dicom(values, bits=info.bits, **window)
    image = decode(data, size=lambda *_: (17, 20))
    np.testing.assert_allclose(image.pixels, by_pillow(decode(data).pixels, (17, 20)), atol=A_FIFTH_OF_A_LEVEL)


@pytest.mark.parametrize("size", [(300, 400), (150, 200), (149, 100), (60, 60), (33, 40)])
@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("shape", [(300, 400), (301, 405)])
def test_jpeg(shape, mode, size):
    """JPEG's own smaller scales are taken, which are block means nearly."""
    grey = np.asarray(Image.fromarray(EIGHT_BIT).resize(shape[::-1], Image.Resampling.BICUBIC))
    image = decode(raster(Image.fromarray(grey).convert(mode), "JPEG", quality=95), size=lambda *_: size)
    assert (image.height, image.width) == shape
    assert image.levels.shape == size
    difference = np.abs(image.levels.astype(int) - by_pillow(grey, size))
    assert difference.mean() < 1
    assert difference.max() < 16


@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
@pytest.mark.parametrize("pixels", [EIGHT_BIT, TWELVE_BIT], ids=["8 bit", "16 bit"])
def test_other_rasters(file_format, pixels):
    data = raster(pixels, file_format)
    image = decode(data, size=lambda *_: (17, 20))
    assert (image.height, image.width) == (ROWS, COLUMNS)
    expected = by_pillow(decode(data).pixels, (17, 20))
    np.testing.assert_allclose(image.pixels, expected, atol=1.01 / 255 if pixels is EIGHT_BIT else 1e-4)


def test_the_size_is_asked_for_with_what_the_file_states():
    asked = []

    def whole(height, width, aspect):
        asked.append((height, width, aspect))
        return height, width

    image = decode(dicom(PixelSpacing=[0.2, 0.1]), size=whole)
    decode(raster(EIGHT_BIT, "JPEG"), size=whole)
    assert asked == [(ROWS, COLUMNS, (0.2, 0.1)), (ROWS, COLUMNS, (1, 1))]
    np.testing.assert_allclose(image.pixels, decode(dicom()).pixels, atol=1e-6)


@pytest.mark.parametrize("make", [dicom, lambda: raster(EIGHT_BIT, "PNG")], ids=["DICOM", "PNG"])
def test_the_size_is_asked_for_before_any_pixel_is_decoded(make):
    asked = []
    with pytest.raises(InvalidArgument, match="cut off"):
        decode(make()[:-200], size=lambda *stated: asked.append(stated) or (20, 20))
    assert len(asked) == 1
