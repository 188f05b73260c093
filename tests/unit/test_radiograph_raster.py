import numpy as np
import pytest
from PIL import Image

from canicor.radiograph import View, decode
from tests.radiographs import COLUMNS, EIGHT_BIT, ROWS, SHOWN, TWELVE_BIT, raster


@pytest.mark.parametrize(("file_format", "tolerance"), [("PNG", 1e-6), ("TIFF", 1e-6), ("JPEG", 0.02)])
def test_eight_bit_grey(file_format, tolerance):
    image = decode(raster(EIGHT_BIT, file_format))
    assert (image.format, image.view, image.pixel_spacing) == (file_format, View.UNKNOWN, None)
    assert image.pixel_aspect == (1, 1)
    np.testing.assert_allclose(image.pixels, EIGHT_BIT / 255, atol=tolerance)


@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_by_what_they_hold(file_format):
    np.testing.assert_allclose(decode(raster(TWELVE_BIT, file_format)).pixels, SHOWN, atol=1e-6)


def test_float_tiff():
    np.testing.assert_allclose(decode(raster(SHOWN * 3 - 7, "TIFF")).pixels, SHOWN, atol=1e-6)


@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
def test_one_bit(file_format):
    image = decode(raster(Image.fromarray(EIGHT_BIT > 127), file_format))
    np.testing.assert_array_equal(image.pixels, (EIGHT_BIT > 127).astype(np.float32))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "LA"])
def test_grey_in_other_png_modes_is_grey(mode):
    image = decode(raster(Image.fromarray(EIGHT_BIT).convert(mode), "PNG"))
    np.testing.assert_allclose(image.pixels, EIGHT_BIT / 255, atol=1e-6)


def test_transparent_pixels_are_black():
    alpha = np.where(np.arange(COLUMNS) < 10, 0, 255) * np.ones((ROWS, 1))
    image = decode(raster(np.dstack([EIGHT_BIT] * 3 + [alpha.astype(np.uint8)]), "PNG"))
    np.testing.assert_allclose(image.pixels, EIGHT_BIT / 255 * (alpha / 255), atol=1e-6)


def test_chroma_noise_of_a_jpeg_is_grey_and_a_small_coloured_marker_passes():
    large = np.kron(EIGHT_BIT, np.ones((4, 4), np.uint8))
    noisy = np.dstack([large] * 3).astype(np.int16)
    noisy += np.random.default_rng(1).integers(-4, 5, noisy.shape)
    noisy[2:10, 2:10] = (255, 0, 0)
    image = decode(raster(np.clip(noisy, 0, 255).astype(np.uint8), "JPEG", quality=90))
    np.testing.assert_allclose(image.pixels[16:], large[16:] / 255, atol=0.06)


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_deflate"])
@pytest.mark.parametrize(
    ("pixels", "expected"),
    # Pillow inverts the 8-bit pixels it writes under this tag, and only those.
    [(EIGHT_BIT, EIGHT_BIT / 255), (TWELVE_BIT, 1 - SHOWN), (SHOWN, 1 - SHOWN)],
    ids=["8 bit", "16 bit", "float"],
)
def test_white_is_zero_tiff_is_inverted(pixels, expected, compression):
    data = raster(pixels, "TIFF", tiffinfo={262: 0}, compression=compression)
    np.testing.assert_allclose(decode(data).pixels, expected, atol=1e-6)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("file_format", ["JPEG", "TIFF", "PNG"])
def test_orientation_marks_do_not_move_pixels(file_format, orientation):
    exif = Image.Exif()
    exif[274] = orientation
    image = decode(raster(EIGHT_BIT, file_format, exif=exif))
    np.testing.assert_allclose(image.pixels, EIGHT_BIT / 255, atol=0.02)


def test_grey_bytes_stay_bytes():
    for file_format in ("PNG", "JPEG", "TIFF"):
        assert decode(raster(EIGHT_BIT, file_format)).levels.dtype == np.uint8
