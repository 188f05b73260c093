import numpy as np
import pytest
from PIL import Image

from canicor import resizing
from canicor.resizing import Filter, resized, resized_as_shown

SHAPES = [((300, 420), (128, 128)), ((33, 33), (64, 96)), ((500, 40), (16, 16)), ((90, 90), (90, 91))]
FULL = {np.uint8: 255, np.uint16: 65535, np.float32: 1}


@pytest.fixture(params=["cykooz", "Pillow"])
def library(request, monkeypatch):
    if request.param == "Pillow":
        monkeypatch.setattr(resizing, "cykooz", None)


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("dtype", FULL)
@pytest.mark.parametrize("extent", [None, (0.75, 0.5)], ids=["all", "less"])
@pytest.mark.parametrize(("shape", "size"), SHAPES)
def test_is_pillows_bilinear(shape, size, extent, dtype):
    share = np.random.default_rng(0).random(shape)
    pixels = np.asarray(share * FULL[dtype], dtype=dtype)
    rows, columns = (shape[0] - extent[0], shape[1] - extent[1]) if extent else shape
    found = resized(pixels, *size, extent and (rows, columns))
    whole = Image.fromarray(pixels.astype(np.float32))
    expected = np.asarray(whole.resize(size[::-1], Image.Resampling.BILINEAR, box=(0, 0, columns, rows)))
    assert found.dtype == dtype
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=0 if dtype is np.float32 else 1.01)


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("by", [Filter.BOX, Filter.BICUBIC])
@pytest.mark.parametrize(("shape", "size"), SHAPES)
def test_other_filters_are_pillows_too(shape, size, by):
    pixels = np.random.default_rng(0).random(shape, dtype=np.float32)
    expected = Image.fromarray(pixels).resize(size[::-1], Image.Resampling[by.name])
    np.testing.assert_allclose(resized(pixels, *size, by=by), np.asarray(expected), rtol=1e-5, atol=1e-6)


@pytest.mark.usefixtures("library")
def test_same_size_is_the_same():
    pixels = np.arange(1600, dtype=np.uint16).reshape(40, 40)
    assert resized(pixels, 40, 40) is pixels


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("height", [40, 250, 251, 700])
def test_what_is_shown_is_resized(height):
    pixels = np.random.default_rng(0).integers(0, 4096, (height, 90))
    shown = (pixels * 16).astype(np.uint16)
    found = resized_as_shown(pixels, lambda strip: (strip * 16).astype(np.uint16), 33, 44)
    np.testing.assert_allclose(found, resized(shown, 33, 44), atol=2)
